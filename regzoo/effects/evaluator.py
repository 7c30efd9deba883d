"""Predictions of reference and changed windows, by the cheaper of incremental and full evaluation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from regzoo.effects.incremental import Incremental, Stretch, Tape, has_plan
from regzoo.effects.splice import Splice
from regzoo.options import PRECISIONS, check_choice
from regzoo.sequence.codes import UNKNOWN, reverse_complement
from regzoo.strands import strand_mean

if TYPE_CHECKING:
    from regzoo.model import Model

#: Reference windows evaluated at once (activations of 2.4 MB each in DeepSEA).
WINDOWS = 64
#: Changed windows evaluated at once by the dense layers.
CHANGES = 4096
#: Smallest number of changes at one position, per `WINDOWS` reference windows, that are evaluated as one stretch.
FEWEST_ALIKE = 8
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

_ONE_HOT = torch.cat([torch.eye(4), torch.zeros(1, 4)])


class Evaluator:
    """Predictions of a model for reference windows and changed versions of them.

    Parameters
    ----------
    model : regzoo.model.Model
    incremental : bool
        Evaluate changed windows incrementally if the network and device allow it. Otherwise evaluate all windows in
        full.
    precision : str
        'float32', or 'bf16' for products in bfloat16.

    Attributes
    ----------
    incremental : regzoo.effects.incremental.Incremental or None
        None if all windows are evaluated in full.

    Raises
    ------
    InputError
        If the precision is unknown.
    """

    def __init__(self, model: "Model", incremental: bool = True, precision: str = "float32"):
        check_choice("precision", precision, PRECISIONS)
        self.model, self.precision = model, precision
        net, on_cpu = model.module.net, model.device.type == "cpu"
        self.incremental = Incremental(net, _DTYPES[precision]) if incremental and on_cpu and has_plan(net) else None

    def predict(
        self,
        reference: np.ndarray,
        windows: np.ndarray,
        changed: np.ndarray,
        positions: np.ndarray | None = None,
        batch_size: int = 64,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of reference windows and of changed windows.

        Parameters
        ----------
        reference : numpy.ndarray, uint8, shape (W, L)
            Base codes.
        windows : numpy.ndarray, int, shape (N,)
            Reference window of each changed window.
        changed : numpy.ndarray, uint8, shape (N, L)
            Base codes.
        positions : numpy.ndarray, int64, shape (W, 2), optional
            Contig index and start of each reference window. If given, overlapping windows share convolutions.
        batch_size : int
            Windows per full pass.

        Returns
        -------
        reference, changed : numpy.ndarray, float32, shapes (W, targets) and (N, targets)
            See `Model.predict`. Profile models have bins as a third axis.
        """
        if self.incremental is None:
            predict = self.model.predict
            return predict(reference, batch_size, self.precision), predict(changed, batch_size, self.precision)
        forward = self._one_strand(self.incremental, reference, windows, changed, positions, batch_size)
        if not self.model.module.reverse_complement:
            return forward
        # On the other strand, starts decrease along the sequence.
        positions = None if positions is None else positions * [1, -1]
        reference, changed = reverse_complement(reference), reverse_complement(changed)
        reverse = self._one_strand(self.incremental, reference, windows, changed, positions, batch_size)
        return strand_mean(forward[0], reverse[0]), strand_mean(forward[1], reverse[1])

    def predict_joined(
        self, left: np.ndarray, right: np.ndarray, start: np.ndarray, inserted: np.ndarray, batch_size: int = 64
    ) -> np.ndarray:
        """Predictions of windows that consist of one window up to a position, inserted bases, and another window.

        Parameters
        ----------
        left, right : numpy.ndarray, uint8, shape (L,)
            Base codes.
        start : numpy.ndarray, int64, shape (N,)
            First position after `left`.
        inserted : numpy.ndarray, uint8, shape (N, width)
            Base codes between `left` and `right`.
        batch_size : int
            Windows per full pass.

        Returns
        -------
        numpy.ndarray, float32, shape (N, targets) or (N, targets, bins)
        """
        length, width = len(left), inserted.shape[1]
        if self.incremental is None or not self.incremental.steps_worthwhile(max(width, 1), length, spliced=True):
            windows = np.where(np.arange(length) < start[:, None], left, right)
            position = start[:, None] + np.arange(width)
            rows, columns = np.nonzero(position < length)
            windows[rows, position[rows, columns]] = inserted[rows, columns]
            return self.model.predict(windows, batch_size, self.precision)
        forward = self._joined(self.incremental, left, right, start, inserted)
        if not self.model.module.reverse_complement:
            return forward
        left, right, inserted = reverse_complement(right), reverse_complement(left), reverse_complement(inserted)
        return strand_mean(forward, self._joined(self.incremental, left, right, length - start - width, inserted))

    @torch.inference_mode()
    def _joined(self, incremental, left, right, start, inserted) -> np.ndarray:
        splice = Splice(incremental, _one_hot(left[None]), _one_hot(right[None]))
        cuts = range(CHANGES, len(start), CHANGES)
        parts = [
            self._predictions(splice.join(torch.from_numpy(positions), _one_hot(bases)))
            for positions, bases in zip(np.split(start, cuts), np.split(inserted, cuts))
        ]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _one_strand(
        self, incremental, reference, windows, changed, positions, batch_size
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of one strand; parameters and results are those of `predict`."""
        of_reference, of_changed = (
            np.empty((len(rows), *self.model.output_shape), dtype=np.float32) for rows in (reference, changed)
        )
        first, width = _extent(reference[windows], changed)
        alike, in_full, group = _strategy(incremental, first, width, reference.shape)
        same_position = _Changes(np.flatnonzero(alike), windows, group)
        others = _Changes(np.flatnonzero(~alike & ~in_full), windows, width)
        for members, starts in self._runs(incremental, positions, len(reference), reference.shape[1]):
            stretches = [
                (rows, _stretch(changed[rows], local, len(members), first[rows[0]], width[rows[0]]))
                for rows, local in same_position.of(members)
            ]
            other = list(others.of(members))
            if stretches:
                values = incremental.evaluate_stretches(_one_hot(reference[members]), [s for _, s in stretches])
                logits = values[None]
                for rows, stretch in stretches:
                    of_changed[rows] = self._predictions(values[stretch])
            if other or not stretches:
                logits, tape = self._reference(incremental, reference[members], starts)
            of_reference[members] = self._predictions(logits)
            for rows, local in other:
                start, delta = first[rows], _delta(reference[windows[rows]], changed[rows], first[rows], width[rows[0]])
                of_changed[rows] = self._predictions(incremental.changed(tape, local, torch.from_numpy(start), delta))
        rest = np.flatnonzero(in_full)
        for rows in np.split(rest, range(batch_size, len(rest), batch_size)):
            if len(rows):
                of_changed[rows] = self._predictions(incremental.reference(_one_hot(changed[rows]))[0])
        return of_reference, of_changed

    def _predictions(self, logits):
        return self.model.module.activation(logits).numpy()

    @staticmethod
    def _reference(incremental, windows, starts) -> tuple[torch.Tensor, Tape]:
        """Reference pass of windows: each alone if `starts` is None, otherwise as parts of one sequence."""
        if starts is None:
            return incremental.reference(_one_hot(windows))
        length = windows.shape[1]
        sequence = np.full(starts[-1] + length, UNKNOWN, dtype=np.uint8)
        for window, start in zip(windows, starts):
            sequence[start : start + length] = window
        return incremental.shared_reference(_one_hot(sequence[None]), torch.from_numpy(starts), length)

    @staticmethod
    def _runs(incremental, positions, count, length) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Groups of windows to evaluate together: row numbers, and starts in one sequence that contains them or None.

        Overlapping windows of one contig and pooling phase are placed in the sequence as in the genome. Other windows
        follow each other. Outputs of convolutions across the borders between them belong to no window.
        """
        if positions is None or not incremental.shares:
            for low in range(0, count, WINDOWS):
                yield np.arange(low, min(low + WINDOWS, count)), None
            return
        pools = incremental.pools
        phase = positions[:, 1] % pools
        order = np.lexsort((positions[:, 1], phase, positions[:, 0]))
        step = np.diff(positions[order, 1])
        joined = (np.diff(positions[order, 0]) == 0) & (np.diff(phase[order]) == 0) & (step < length)
        starts = np.concatenate([[0], np.cumsum(np.where(joined, step, -(-length // pools) * pools))])
        cuts = np.flatnonzero(np.diff(starts // (WINDOWS * length))) + 1
        for group, start in zip(np.split(order, cuts), np.split(starts, cuts)):
            yield group, start - start[0]


def _strategy(incremental, first, width, shape):
    """How to evaluate each changed window.

    Parameters
    ----------
    incremental : regzoo.effects.incremental.Incremental
    first, width : numpy.ndarray, int64, shape (N,)
        First changed position and width of the change.
    shape : tuple of int
        Number and length of the reference windows.

    Returns
    -------
    alike : numpy.ndarray, bool, shape (N,)
        Evaluated as a stretch, together with the other changes at the same position.
    in_full : numpy.ndarray, bool, shape (N,)
        Evaluated in full. Windows that are neither are evaluated by their deltas.
    group : numpy.ndarray, int64, shape (N,)
        Index of the changed positions.
    """
    number, length = shape
    steps = {w: incremental.steps_worthwhile(w, length) for w in np.unique(width).tolist()}
    count = np.array([steps[w] for w in width.tolist()], dtype=np.int64)
    _, group, sizes = np.unique(first * length + width, return_inverse=True, return_counts=True)
    common = sizes >= max(FEWEST_ALIKE, FEWEST_ALIKE * number / WINDOWS)
    # Stretches avoid gathers. Deltas are faster only if they are short in all layers.
    alike = common[group] & (count < len(incremental.steps)) & (not incremental.shares)
    # The deltas of the few other changes would need a second reference pass.
    in_full = ~alike & ((count == 0) | (alike.any() & (count < len(incremental.steps))))
    return alike, in_full, group


def _stretch(changed, local, count, first, width):
    """Stretch of changed windows, shape (B, L), of the reference windows `local` among `count`."""
    windows = None if torch.equal(local, torch.arange(count)) else local
    return Stretch(windows, int(first), _one_hot(changed[:, first : first + width]))


def _delta(reference, changed, first, width):
    """One-hot of changed windows minus one-hot of their references, over the changed positions, shape (B, width, 4)."""
    spans = first[:, None] + np.arange(width)
    old, new = (np.take_along_axis(codes, spans, 1) for codes in (reference, changed))
    return _one_hot(new) - _one_hot(old)


class _Changes:
    """Changed windows, grouped by reference window and by a key.

    Parameters
    ----------
    members : numpy.ndarray, int
        Row numbers of changed windows.
    windows : numpy.ndarray, int, shape (N,)
        Reference window of each changed window.
    keys : numpy.ndarray, int, shape (N,)
        Rows of the same key are evaluated together.
    """

    def __init__(self, members, windows, keys):
        self.order = members[np.argsort(windows[members], kind="stable")]
        self.windows, self.keys = windows[self.order], keys

    def of(self, members):
        """Groups of changes of reference windows: row numbers, and int64 tensor of indices in `members`."""
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
    """First changed position and width of the change in each row. An unchanged row has width 1."""
    different = reference != changed
    length = different.shape[1]
    first = different.argmax(1)
    last = length - 1 - different[:, ::-1].argmax(1)
    some = different.any(1)
    return np.where(some, first, 0), np.where(some, last - first + 1, 1)
