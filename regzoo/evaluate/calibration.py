"""Whether a probability means what it says: expected calibration error, the reliability curve, temperature scaling."""

import numpy as np
from scipy.optimize import minimize_scalar

from regzoo.effects.scores import logit
from regzoo.evaluate.metrics import checked


def reliability_curve(labels, scores, bins=10):
    """Predicted against observed share of positives, in bins of equal width.

    Parameters
    ----------
    labels : numpy.ndarray, shape (N,)
    scores : numpy.ndarray, shape (N,)
        Probabilities.
    bins : int

    Returns
    -------
    predicted, observed : numpy.ndarray, shape (bins,)
        NaN where a bin is empty.
    counts : numpy.ndarray, int64, shape (bins,)
    """
    labels, scores = checked(labels, scores)
    place = np.minimum((scores * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted, observed = (np.bincount(place, values, minlength=bins) / counts for values in (scores, labels))
    return predicted, observed, counts


def expected_calibration_error(labels, scores, bins=10):
    """Mean over examples of the distance of predicted and observed share in their bin (Guo et al. 2017)."""
    predicted, observed, counts = reliability_curve(labels, scores, bins)
    return float(np.nansum(np.abs(predicted - observed) * counts) / counts.sum())


def temperature(labels, scores):
    """The number by which to divide logits so that the likelihood is largest (Guo et al. 2017); choose it on validation."""
    labels, scores = checked(labels, scores)
    logits = logit(scores)

    def loss(log_temperature):
        z = logits / np.exp(log_temperature)
        return np.mean(np.logaddexp(0, z) - labels * z)

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def scaled(scores, temperature):
    """Probabilities after their logits are divided by a temperature."""
    return 1 / (1 + np.exp(-logit(scores) / temperature))
