"""Calibration of probabilities: expected calibration error, reliability curve and temperature scaling."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from regzoo.effects.scores import logit
from regzoo.evaluate.metrics import checked


def reliability_curve(
    labels: ArrayLike, scores: ArrayLike, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean predicted probability and observed fraction of positives, in bins of equal width.

    Parameters
    ----------
    labels : array_like, shape (N,)
        0 or 1.
    scores : array_like, shape (N,)
        Probabilities.
    bins : int

    Returns
    -------
    predicted, observed : numpy.ndarray, float64, shape (bins,)
        NaN for an empty bin.
    counts : numpy.ndarray, int64, shape (bins,)
        Number of examples in each bin.

    Raises
    ------
    InputError
        If the lengths differ or the labels have only one class.
    """
    labels, scores = checked(labels, scores)
    index = np.minimum((scores * bins).astype(int), bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted, observed = (np.bincount(index, values, minlength=bins) / counts for values in (scores, labels))
    return predicted, observed, counts


def expected_calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017); parameters and errors are those of `reliability_curve`."""
    predicted, observed, counts = reliability_curve(labels, scores, bins)
    return float(np.nansum(np.abs(predicted - observed) * counts) / counts.sum())


def temperature(labels: ArrayLike, scores: ArrayLike) -> float:
    """Temperature of maximum likelihood, by which to divide logits (Guo et al. 2017). Fit it on validation examples.

    Parameters
    ----------
    labels : array_like, shape (N,)
        0 or 1.
    scores : array_like, shape (N,)
        Probabilities.

    Raises
    ------
    InputError
        If the lengths differ or the labels have only one class.
    """
    labels, scores = checked(labels, scores)
    logits = logit(scores)

    def loss(log_temperature):
        z = logits / np.exp(log_temperature)
        return np.mean(np.logaddexp(0, z) - labels * z)

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def scaled(scores: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Probabilities with their logits divided by a temperature, or by one for each column; same shape as `scores`."""
    return 1 / (1 + np.exp(-logit(scores) / temperature))
