"""Predictions for pairs of reference and changed windows, by the cheaper of incremental and full evaluation."""

import numpy as np
import torch

from regzoo.effects.incremental import Incremental
from regzoo.sequence.codes import reverse_complement

#: Reference windows whose activations are held at once (2.4 MB each in DeepSEA).
WINDOWS = 32
#: Changed windows gathered before their dense layers are multiplied.
CHANGES = 4096
#: A change is evaluated incrementally while its convolutions cost less than this share of a full pass: gathers and
#: additions, which the count of products leaves out, take about as long as the rest at that share.
WORTHWHILE = 0.5

_ONE_HOT = torch.cat([torch.eye(4), torch.zeros(1, 4)])


class Evaluator:
    """Predictions of a model for reference windows and changed versions of them.

    Parameters
    ----------
    model : regzoo.zoo.Model
    incremental : bool
        False evaluates every window in full.
    """

    def __init__(self, model, incremental=True):
        self.model = model
        on_cpu = model.device.type == "cpu"
        self.incremental = Incremental(model.module.net) if incremental and on_cpu else None

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
            As `Model.predict` gives them.
        """
        if self.incremental is None:
            return self.model.predict(reference, batch_size), self.model.predict(changed, batch_size)
        sides = self._one_strand(reference, windows, changed, places, batch_size)
        if self.model.module.reverse_complement:
            turned = None if places is None else places * [1, -1]
            other = reverse_complement(reference), windows, reverse_complement(changed), turned, batch_size
            sides = [(a + b) / 2 for a, b in zip(sides, self._one_strand(*other))]
        return tuple(sides)

    @torch.inference_mode()
    def _one_strand(self, reference, windows, changed, places, batch_size):
        targets, length = len(self.model.targets), reference.shape[1]
        results = [np.empty((len(rows), targets), dtype=np.float32) for rows in (reference, changed)]
        first, width = _extent(reference[windows], changed)
        shares = {w: self.incremental.saved(w, length) for w in np.unique(width)}
        full = np.array([shares[w] > WORTHWHILE for w in width], dtype=bool)
        changes = _Changes(windows, first, width, changed, np.flatnonzero(~full))
        for members, starts in self._runs(places, len(reference), length):
            logits, tape = self._reference(reference, members, starts)
            results[0][members] = self._predictions(logits)
            for rows, local, place, delta in changes.of(members, reference):
                results[1][rows] = self._predictions(self.incremental.changed(tape, local, place, delta))
        rest = np.flatnonzero(full)
        for start in range(0, len(rest), batch_size):
            rows = rest[start : start + batch_size]
            results[1][rows] = self._predictions(self.incremental.reference(_one_hot(changed[rows]))[0])
        return results

    def _predictions(self, logits):
        return self.model.module.activation(logits).numpy()

    def _reference(self, reference, members, starts):
        """Reference pass of windows, one by one where `starts` is None, else as pieces of the sequence they cover."""
        if starts is None:
            return self.incremental.reference(_one_hot(reference[members]))
        length = reference.shape[1]
        sequence = np.empty(starts[-1] + length, dtype=np.uint8)
        for window, start in zip(reference[members], starts):
            sequence[start : start + length] = window
        return self.incremental.shared_reference(_one_hot(sequence[None]), torch.from_numpy(starts), length)

    def _runs(self, places, count, length):
        """Groups of windows that are evaluated together: (members, starts within what they cover, or None)."""
        single = np.arange(count)
        if places is not None and self.incremental.shares:
            phase = places[:, 1] % self.incremental.pools
            order = np.lexsort((places[:, 1], phase, places[:, 0]))
            contig, start = places[order, 0], places[order, 1]
            apart = (np.diff(contig) != 0) | (np.diff(phase[order]) != 0) | (np.diff(start) >= length)
            cuts = np.flatnonzero(apart) + 1
            runs = [run for group in np.split(order, cuts) for run in _split(group, places[:, 1], length)]
            single = np.array([run[0] for run in runs if len(run) == 1], dtype=int)
            for run in runs:
                if len(run) > 1:
                    yield run, places[run, 1] - places[run[0], 1]
        for low in range(0, len(single), WINDOWS):
            yield single[low : low + WINDOWS], None


class _Changes:
    """Changed windows by their reference window, in batches of one width."""

    def __init__(self, windows, first, width, changed, members):
        order = members[np.argsort(windows[members], kind="stable")]
        self.order, self.keys = order, windows[order]
        self.windows, self.first, self.width, self.changed = windows, first, width, changed

    def of(self, members, reference):
        """Yield (rows, window within `members`, first changed position, delta) of the changes of some windows."""
        low, high = np.searchsorted(self.keys, members), np.searchsorted(self.keys, members, side="right")
        rows = np.concatenate([self.order[a:b] for a, b in zip(low, high)])
        local = np.repeat(np.arange(len(members)), high - low)
        for size in np.unique(self.width[rows]):
            same = np.flatnonzero(self.width[rows] == size)
            for start in range(0, len(same), CHANGES):
                chosen = same[start : start + CHANGES]
                batch = rows[chosen]
                spans = self.first[batch, None] + np.arange(size)
                new = np.take_along_axis(self.changed[batch], spans, 1)
                old = np.take_along_axis(reference[self.windows[batch]], spans, 1)
                places = torch.from_numpy(local[chosen]), torch.from_numpy(self.first[batch])
                yield batch, *places, _one_hot(new) - _one_hot(old)


def _one_hot(codes):
    """One-hot tensor, channels last, of base codes of any shape."""
    return _ONE_HOT[torch.from_numpy(codes.astype(np.int64))]


def _split(group, starts, length):
    """Cut a run of windows into ones that cover at most WINDOWS windows' length."""
    cells = (starts[group] - starts[group[0]]) // (WINDOWS * length)
    return np.split(group, np.flatnonzero(np.diff(cells)) + 1)


def _extent(reference, changed):
    """First changed position and width of the changed stretch of each row; an unchanged row has width 1."""
    different = reference != changed
    length = different.shape[1]
    first = different.argmax(1)
    last = length - 1 - different[:, ::-1].argmax(1)
    some = different.any(1)
    return np.where(some, first, 0), np.where(some, last - first + 1, 1)
