"""Windows of a model's length around variants and sequences, and what a model says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from regzoo.effects.scores import logit
from regzoo.evaluate.compare import scalar
from regzoo.model import Model
from regzoo.sequence.codes import UNKNOWN, fitted, reverse_complement


def allele_windows(
    refs: Sequence[np.ndarray], alts: Sequence[np.ndarray], indices: ArrayLike, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Windows of both alleles, with the variant as close to index (length - 1) // 2 as the sequences permit.

    A sequence longer than the window is cut and a shorter one padded with unknown bases. Both alleles have the same
    number of bases before the variant.

    Parameters
    ----------
    refs, alts : sequence of numpy.ndarray, uint8
        Base codes of both alleles, N arrays.
    indices : array_like, int, shape (N,)
        Index of the first base in which the two differ.
    length : int
        Window length.

    Returns
    -------
    ref, alt : numpy.ndarray, uint8, shape (N, length)
    """
    windows = np.full((2, len(refs), length), UNKNOWN, dtype=np.uint8)
    for row, (ref, alt, index) in enumerate(zip(refs, alts, np.asarray(indices))):
        spare = min(len(ref), len(alt)) - length
        start = int(np.clip(index - (length - 1) // 2, min(0, spare), max(0, spare)))
        for side, codes in enumerate((ref, alt)):
            piece = codes[max(start, 0) : start + length]
            windows[side, row, max(-start, 0) : max(-start, 0) + len(piece)] = piece
    return windows[0], windows[1]


def centred_windows(sequences: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Sequences cut or padded around their centres.

    Parameters
    ----------
    sequences : sequence of numpy.ndarray, uint8
        Base codes, N arrays.
    length : int
        Window length.

    Returns
    -------
    numpy.ndarray, uint8, shape (N, length)
    """
    return np.concatenate([fitted(codes[None], length) for codes in sequences])


def readout(model: Model, windows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Logits of a model of probabilities, or predicted values of any other model, averaged over both strands.

    A stranded model reads the strand given. Each distinct window is predicted once.

    Parameters
    ----------
    model : Model
    windows : numpy.ndarray, uint8, shape (N, input_length)
    batch_size : int
        Windows per batch.

    Returns
    -------
    numpy.ndarray, float64, shape (N, targets)
    """
    both = not (model.stranded or model.module.reverse_complement)
    sides = [windows, reverse_complement(windows)] if both else [windows]
    unique, inverse = np.unique(np.concatenate(sides), axis=0, return_inverse=True)
    predicted = scalar(model.predict(unique, batch_size))
    values = logit(predicted) if model.outputs == "probabilities" else predicted.astype(np.float64)
    return values[inverse.reshape(len(sides), len(windows))].mean(axis=0)
