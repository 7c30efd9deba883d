"""Strands: which ones a score reads, and predictions of the reverse strand in the order of the forward one."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

    Array = TypeVar("Array", "np.ndarray", "torch.Tensor")


def reverse_complement_one_hot(x: "torch.Tensor") -> "torch.Tensor":
    """Reverse complement of one-hot windows (torch.Tensor, shape (N, 4, L), channels A, C, G, T)."""
    return x.flip(1, 2)


def to_forward(predictions: "Array") -> "Array":
    """Predictions of reverse complements, with bins in the order of the forward strand.

    Parameters
    ----------
    predictions : numpy.ndarray or torch.Tensor, shape (N, targets) or (N, targets, bins)

    Returns
    -------
    Same type and shape. Scalars per target are unchanged; the bins of a profile are reversed.
    """
    if predictions.ndim < 3:
        return predictions
    if hasattr(predictions, "flip"):  # torch has no negative steps
        return predictions.flip(2)
    return predictions[:, :, ::-1]


def strand_mean(forward: "Array", reverse: "Array") -> "Array":
    """Mean of the predictions of windows and of their reverse complements; `reverse` is as the network gives it."""
    return (forward + to_forward(reverse)) / 2


def strands_read(strands: str, merge_strands: bool) -> tuple[bool, ...]:
    """Which strands are evaluated for a score.

    Parameters
    ----------
    strands : str
        A key of `regzoo.options.STRANDS`.
    merge_strands : bool
        Whether the model's own definition merges the scores of both strands.

    Returns
    -------
    tuple of bool
        One entry for each evaluation: False reads the windows as given, True their reverse complements.
    """
    if strands == "reverse":
        return (True,)
    both = strands in ("mean", "max") or (strands == "model" and merge_strands)
    return (False, True) if both else (False,)
