"""Is one model better than another on the same examples? DeLong's test of two AUROCs, and the paired bootstrap."""

import numpy as np
from scipy.stats import norm, rankdata

from regzoo.evaluate.metrics import CORRELATIONS, auroc, checked, resamples


def delong(labels, first, second):
    """Difference of two AUROCs of the same examples, with its variance by DeLong, DeLong & Clarke-Pearson 1988.

    Parameters
    ----------
    labels : numpy.ndarray, shape (N,)
        0 or 1.
    first, second : numpy.ndarray, shape (N,)
        Scores of two models.

    Returns
    -------
    dict
        'difference' (first - second), 'z' and the two-sided 'p'; p is 1 where the scores order the examples alike.

    Raises
    ------
    InputError
        If lengths differ or only one class is there.

    Notes
    -----
    By midranks (Sun & Xu 2014), in O(N log N).
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


def paired_bootstrap(labels, first, second, metric=auroc, samples=1000, seed=1, level=0.95, groups=None):
    """Difference of a metric between two models, with its interval over resamples that both share.

    Parameters
    ----------
    labels, first, second
        As of `delong`; with `pearson` or `spearman`, labels may be any values.
    metric : callable
        Function of (labels, scores, weights).
    samples, seed, level, groups
        As of `regzoo.evaluate.bootstrap`.

    Returns
    -------
    dict
        'difference' (first - second), 'low', 'high', and 'p', twice the smaller share of resamples on a side of zero.
    """
    classes = metric not in CORRELATIONS.values()
    labels, first = checked(labels, first, classes)
    _, second = checked(labels, second, classes)
    whole = np.ones((1, len(labels)))
    difference = metric(labels, first, whole)[0] - metric(labels, second, whole)[0]
    spread = np.concatenate(
        [
            metric(labels, first, drawn) - metric(labels, second, drawn)
            for drawn in resamples(len(labels), samples, seed, groups)
        ]
    )
    spread = spread[np.isfinite(spread)]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(spread, [tail, 100 - tail])
    p = 2 * min((spread <= 0).mean(), (spread >= 0).mean())
    return {
        "difference": float(difference),
        "low": float(low),
        "high": float(high),
        "p": float(min(1, max(p, 1 / samples))),
    }
