"""Predictions for pairs of reference and changed windows, by the cheaper of incremental and full evaluation."""

import numpy as np
import torch

from regzoo.effects.incremental import Incremental, Stretch, has_plan
from regzoo.effects.splice import Splice
from regzoo.options import PRECISIONS, check_choice
from regzoo.sequence.codes import UNKNOWN, reverse_complement

#: Reference windows that are evaluated at once (activations of 2.4 MB each in DeepSEA).
WINDOWS = 64
#: Changed windows gathered before their dense layers are multiplied.
CHANGES = 4096
#: Fewest changes at one position, among those of `WINDOWS` reference windows, that are evaluated together.
FEWEST_ALIKE = 8
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

_ONE_HOT = torch.cat([torch.eye(4), torch.zeros(1, 4)])


class Evaluator:
    """Predictions of a model for reference windows and changed versions of them.

    Parameters
    ----------
    model : regzoo.zoo.Model
    incremental : bool
        False evaluates every window in full.
    precision : str
        'float32', or 'bf16' for products in bfloat16.

    Raises
    ------
    InputError
        If there is no such precision.
    """

    def __init__(self, model, incremental=True, precision="float32"):
        check_choice("precision", precision, PRECISIONS)
        self.model, self.precision = model, precision
        net, on_cpu = model.module.net, model.device.type == "cpu"
        self.incremental = Incremental(net, _DTYPES[precision]) if incremental and on_cpu and has_plan(net) else None

    def predict(self, reference, windows, changed, places=None, batch_size=64):
        """Predictions of both sides.

        Parameters
        ----------
        reference : numpy.ndarray, uint8, shape (W, L)
            Base codes.
        windows : numpy.ndarray, int, shape (N,)
            The reference window of each changed one.
        changed : numpy.ndarray, uint8, shape (N, L)
        places : numpy.ndarray, int64, shape (W, 2), optional
            Contig number and start of the reference windows; overlapping ones then share their convolutions.
        batch_size : int
            Windows in one full pass.

        Returns
        -------
        reference, changed : numpy.ndarray, float32, shapes (W, targets) and (N, targets)
            As `Model.predict` gives them, of profile models with bins as the third axis.
        """
        if self.incremental is None:
            return tuple(self.model.predict(codes, batch_size, self.precision) for codes in (reference, changed))
        sides = self._one_strand(reference, windows, changed, places, batch_size)
        if self.model.module.reverse_complement:
            turned = None if places is None else places * [1, -1]
            other = reverse_complement(reference), windows, reverse_complement(changed), turned, batch_size
            turned_back = [side[:, :, ::-1] if side.ndim == 3 else side for side in self._one_strand(*other)]
            sides = [(a + b) / 2 for a, b in zip(sides, turned_back)]
        return tuple(sides)

    def predict_joined(self, left, right, start, inserted, batch_size=64):
        """Predictions of windows that are one window up to a position, then some bases, then another window.

        Parameters
        ----------
        left, right : numpy.ndarray, uint8, shape (L,)
            Base codes.
        start : numpy.ndarray, int64, shape (N,)
            Position of the first base that is not `left`'s.
        inserted : numpy.ndarray, uint8, shape (N, width)
            Base codes of what lies between.
        batch_size : int

        Returns
        -------
        numpy.ndarray, float32, shape (N, targets) or (N, targets, bins)
        """
        length, width = len(left), inserted.shape[1]
        if self.incremental is None or not self.incremental.steps_worthwhile(max(width, 1), length, spliced=True):
            windows = np.where(np.arange(length) < start[:, None], left, right)
            place = start[:, None] + np.arange(width)
            rows, columns = np.nonzero(place < length)
            windows[rows, place[rows, columns]] = inserted[rows, columns]
            return self.model.predict(windows, batch_size, self.precision)
        sides = [self._joined(left, right, start, inserted)]
        if self.model.module.reverse_complement:
            turned = [reverse_complement(codes[None])[0] for codes in (right, left)]
            other = self._joined(*turned, length - start - width, reverse_complement(inserted))
            sides.append(other[:, :, ::-1] if other.ndim == 3 else other)
        return sum(sides) / len(sides)

    @torch.inference_mode()
    def _joined(self, left, right, start, inserted):
        splice = Splice(self.incremental, _one_hot(left[None]), _one_hot(right[None]))
        parts = [
            self._predictions(splice.join(torch.from_numpy(at), _one_hot(bases)))
            for at, bases in zip(*(np.split(a, range(CHANGES, len(start), CHANGES)) for a in (start, inserted)))
        ]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _one_strand(self, reference, windows, changed, positions, batch_size):
        length = reference.shape[1]
        results = [np.empty((len(rows), *self.model.output_shape), dtype=np.float32) for rows in (reference, changed)]
        first, width = _extent(reference[windows], changed)
        steps = {w: self.incremental.steps_worthwhile(w, length) for w in np.unique(width).tolist()}
        count = np.array([steps[w] for w in width.tolist()], dtype=np.int64)
        # Where the layers' deltas would not stay short to the end, changes at one position are evaluated without gathers.
        _, group, sizes = np.unique(first * length + width, return_inverse=True, return_counts=True)
        common = sizes >= max(FEWEST_ALIKE, FEWEST_ALIKE * len(reference) / WINDOWS)
        alike = common[group] & (count < len(self.incremental.steps)) & (not self.incremental.shares)
        # Beside them, the few others would need a second reference pass for their deltas: they are evaluated in full.
        in_full = ~alike & ((count == 0) | (alike.any() & (count < len(self.incremental.steps))))
        rest = np.flatnonzero(in_full)
        at_one_place = _Changes(np.flatnonzero(alike), windows, group)
        others = _Changes(np.flatnonzero(~alike & ~in_full), windows, width)
        for members, starts in self._runs(positions, len(reference), length):
            alike_rows, stretches = [], []
            for rows, local in at_one_place.of(members):
                start, end = first[rows[0]], first[rows[0]] + width[rows[0]]
                own = None if torch.equal(local, torch.arange(len(members))) else local
                alike_rows.append(rows)
                stretches.append(Stretch(own, int(start), _one_hot(changed[rows, start:end])))
            other = list(others.of(members))
            if stretches:
                values = self.incremental.together(_one_hot(reference[members]), stretches)
                logits = values[None]
                for rows, stretch in zip(alike_rows, stretches):
                    results[1][rows] = self._predictions(values[stretch])
            if other or not stretches:
                logits, tape = self._reference(reference, members, starts)
            results[0][members] = self._predictions(logits)
            for rows, local in other:
                spans = first[rows, None] + np.arange(width[rows[0]])
                old = np.take_along_axis(reference[windows[rows]], spans, 1)
                delta = _one_hot(np.take_along_axis(changed[rows], spans, 1)) - _one_hot(old)
                place = torch.from_numpy(first[rows])
                results[1][rows] = self._predictions(self.incremental.changed(tape, local, place, delta))
        for start in range(0, len(rest), batch_size):
            rows = rest[start : start + batch_size]
            results[1][rows] = self._predictions(self.incremental.reference(_one_hot(changed[rows]))[0])
        return results

    def _predictions(self, logits):
        return self.model.module.activation(logits).numpy()

    def _reference(self, reference, members, starts):
        """Reference pass of windows, each alone where `starts` is None, else as pieces of one sequence."""
        if starts is None:
            return self.incremental.reference(_one_hot(reference[members]))
        length = reference.shape[1]
        sequence = np.full(starts[-1] + length, UNKNOWN, dtype=np.uint8)
        for window, start in zip(reference[members], starts):
            sequence[start : start + length] = window
        return self.incremental.shared_reference(_one_hot(sequence[None]), torch.from_numpy(starts), length)

    def _runs(self, places, count, length):
        """Groups of windows that are evaluated together: (members, starts in one sequence that holds them, or None).

        Windows of one contig and pooling phase that overlap lie in the sequence as they lie in the genome, others one
        after the other; what a convolution sees across such a joint belongs to no window.
        """
        if places is None or not self.incremental.shares:
            for low in range(0, count, WINDOWS):
                yield np.arange(low, min(low + WINDOWS, count)), None
            return
        pools = self.incremental.pools
        phase = places[:, 1] % pools
        order = np.lexsort((places[:, 1], phase, places[:, 0]))
        step = np.diff(places[order, 1])
        joined = (np.diff(places[order, 0]) == 0) & (np.diff(phase[order]) == 0) & (step < length)
        starts = np.concatenate([[0], np.cumsum(np.where(joined, step, -(-length // pools) * pools))])
        cuts = np.flatnonzero(np.diff(starts // (WINDOWS * length))) + 1
        for group, place in zip(np.split(order, cuts), np.split(starts, cuts)):
            yield group, place - place[0]


class _Changes:
    """Some of the changed windows, by their reference window.

    Parameters
    ----------
    members : numpy.ndarray, int
        Rows of the changed windows.
    windows : numpy.ndarray, int, shape (N,)
    keys : numpy.ndarray, int, shape (N,)
        Rows with the same key are yielded together.
    """

    def __init__(self, members, windows, keys):
        self.order = members[np.argsort(windows[members], kind="stable")]
        self.windows, self.keys = windows[self.order], keys

    def of(self, members):
        """Yield (rows, window within `members`, int64 tensor) of the changes of some reference windows."""
        low, high = np.searchsorted(self.windows, members), np.searchsorted(self.windows, members, side="right")
        rows = np.concatenate([self.order[a:b] for a, b in zip(low, high)])
        local = np.repeat(np.arange(len(members)), high - low)
        for key in np.unique(self.keys[rows]):
            same = np.flatnonzero(self.keys[rows] == key)
            for start in range(0, len(same), CHANGES):
                chosen = same[start : start + CHANGES]
                yield rows[chosen], torch.from_numpy(local[chosen])


def _one_hot(codes):
    """One-hot tensor, channels last, of base codes of any shape."""
    return _ONE_HOT[torch.from_numpy(codes.astype(np.int64))]


def _extent(reference, changed):
    """First changed position and width of the changed stretch of each row; an unchanged row has width 1."""
    different = reference != changed
    length = different.shape[1]
    first = different.argmax(1)
    last = length - 1 - different[:, ::-1].argmax(1)
    some = different.any(1)
    return np.where(some, first, 0), np.where(some, last - first + 1, 1)
