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

    def predict(self, reference, windows, changed, batch_size=64):
        """Predictions of both sides.

        Parameters
        ----------
        reference : numpy.ndarray, uint8, shape (W, L)
            Base codes.
        windows : numpy.ndarray, int, shape (N,)
            The reference window of each changed one.
        changed : numpy.ndarray, uint8, shape (N, L)
        batch_size : int
            Windows in one full pass.

        Returns
        -------
        reference, changed : numpy.ndarray, float32, shapes (W, targets) and (N, targets)
            As `Model.predict` gives them.
        """
        if self.incremental is None:
            return self.model.predict(reference, batch_size), self.model.predict(changed, batch_size)
        sides = self._one_strand(reference, windows, changed, batch_size)
        if self.model.module.reverse_complement:
            other = self._one_strand(reverse_complement(reference), windows, reverse_complement(changed), batch_size)
            sides = [(a + b) / 2 for a, b in zip(sides, other)]
        return tuple(sides)

    @torch.inference_mode()
    def _one_strand(self, reference, windows, changed, batch_size):
        targets, length = len(self.model.targets), reference.shape[1]
        results = [np.empty((len(rows), targets), dtype=np.float32) for rows in (reference, changed)]
        first, width = _extent(reference[windows], changed)
        shares = {w: self.incremental.saved(w, length) for w in np.unique(width)}
        full = np.array([shares[w] > WORTHWHILE for w in width], dtype=bool)
        order = np.argsort(windows, kind="stable")
        bounds = np.searchsorted(windows[order], np.arange(0, len(reference) + WINDOWS, WINDOWS))
        for block, low in enumerate(range(0, len(reference), WINDOWS)):
            part = slice(low, low + WINDOWS)
            codes = torch.from_numpy(reference[part].astype(np.int64))
            logits, tapes = self.incremental.reference(_ONE_HOT[codes])
            results[0][part] = self.model.module.activation(logits).numpy()
            members = order[bounds[block] : bounds[block + 1]]
            members = members[~full[members]]
            for size in np.unique(width[members]):
                same = members[width[members] == size]
                for start in range(0, len(same), CHANGES):
                    rows = same[start : start + CHANGES]
                    local = torch.from_numpy(windows[rows] - low)
                    place = torch.from_numpy(first[rows])
                    spans = first[rows, None] + np.arange(size)
                    new = torch.from_numpy(np.take_along_axis(changed[rows], spans, 1).astype(np.int64))
                    old = codes[local[:, None], torch.from_numpy(spans)]
                    logits = self.incremental.changed(tapes, local, place, _ONE_HOT[new] - _ONE_HOT[old])
                    results[1][rows] = self.model.module.activation(logits).numpy()
        rest = np.flatnonzero(full)
        for start in range(0, len(rest), batch_size):
            rows = rest[start : start + batch_size]
            logits, _ = self.incremental.reference(_ONE_HOT[torch.from_numpy(changed[rows].astype(np.int64))])
            results[1][rows] = self.model.module.activation(logits).numpy()
        return results


def _extent(reference, changed):
    """First changed position and width of the changed stretch of each row; an unchanged row has width 1."""
    different = reference != changed
    length = different.shape[1]
    first = different.argmax(1)
    last = length - 1 - different[:, ::-1].argmax(1)
    some = different.any(1)
    return np.where(some, first, 0), np.where(some, last - first + 1, 1)
