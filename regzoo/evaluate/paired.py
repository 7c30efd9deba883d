"""Comparison of two models on the same examples: DeLong's test of two AUROCs, and the paired bootstrap."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from regzoo.evaluate.metrics import CORRELATIONS, auroc, checked, resamples


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> dict[str, float]:
    """Test the difference of two AUROCs on the same examples (DeLong, DeLong & Clarke-Pearson 1988).

    Parameters
    ----------
    labels : array_like, shape (N,)
        0 or 1.
    first, second : array_like, shape (N,)
        Scores of two models.

    Returns
    -------
    dict
        'difference' (first - second), 'z', and two-sided 'p'. p is 1 if both scores give the same ranking.

    Raises
    ------
    InputError
        If the lengths differ, or the labels have only one class.

    Notes
    -----
    Computed from midranks (Sun & Xu 2014) in O(N log N).
    """
    labels, first = checked(labels, first)
    _, second = checked(labels, second)
    positive = labels > 0.5
    m, n = int(positive.sum()), int((~positive).sum())
    areas, of_positives, of_negatives = [], [], []
    for scores in (first, second):
        whole = rankdata(scores)
        of_positives.append((whole[positive] - rankdata(scores[positive])) / n)
        of_negatives.append(1 - (whole[~positive] - rankdata(scores[~positive])) / m)
        areas.append(of_positives[-1].mean())
    covariance = np.cov(of_positives) / m + np.cov(of_negatives) / n
    difference = areas[0] - areas[1]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance <= 1e-18:
        return {"difference": float(difference), "z": 0.0, "p": 1.0}
    z = difference / np.sqrt(variance)
    return {"difference": float(difference), "z": float(z), "p": float(2 * norm.sf(abs(z)))}


def paired_bootstrap(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    metric: Any = auroc,
    samples: int = 1000,
    seed: int = 1,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> dict[str, float]:
    """Difference of a metric between two models, with a bootstrap interval over shared resamples.

    Parameters
    ----------
    labels, first, second
        See `delong`. With `pearson` or `spearman`, labels may be any values.
    metric : callable
        Function of (labels, scores, weights).
    samples, seed, level, groups
        See `regzoo.evaluate.bootstrap`.

    Returns
    -------
    dict
        'difference' (first - second), 'low', 'high', and 'p': twice the smaller of the fractions of resamples with a
        difference <= 0 and >= 0, at least 1 / samples.

    Raises
    ------
    InputError
        If the lengths differ, or the labels have only one class.
    """
    classes = metric not in CORRELATIONS.values()
    labels, first = checked(labels, first, classes)
    _, second = checked(labels, second, classes)
    whole = np.ones((1, len(labels)))
    difference = metric(labels, first, whole)[0] - metric(labels, second, whole)[0]
    differences = np.concatenate(
        [
            metric(labels, first, weights) - metric(labels, second, weights)
            for weights in resamples(len(labels), samples, seed, groups)
        ]
    )
    differences = differences[np.isfinite(differences)]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    p = 2 * min((differences <= 0).mean(), (differences >= 0).mean())
    return {
        "difference": float(difference),
        "low": float(low),
        "high": float(high),
        "p": float(min(1, max(p, 1 / samples))),
    }
