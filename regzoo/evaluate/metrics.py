"""AUROC, average precision and MCC of many resamples at once.

A resample is a vector of how often each example was drawn, so every metric takes weights, shape (B, N), and gives B
values from one sort of the scores.
"""

import numpy as np

from regzoo.errors import InputError


def _sorted_counts(labels, scores, weights):
    """Cumulative weighted positives and negatives, shape (B, groups), by falling score; ties are one group."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    positive = labels[order] > 0.5
    ordered = weights[:, order]
    true = np.cumsum(ordered * positive, axis=1)[:, ends]
    false = np.cumsum(ordered * ~positive, axis=1)[:, ends]
    return true, false


def auroc(labels, scores, weights):
    """Area under the ROC curve of each resample, shape (B,); ties count one half. NaN without both classes."""
    true, false = _sorted_counts(labels, scores, weights)
    start = np.zeros((len(true), 1))
    rise = np.diff(np.hstack([start, false]), axis=1)
    middle = (np.hstack([start, true[:, :-1]]) + true) / 2
    with np.errstate(invalid="ignore"):
        return (rise * middle).sum(axis=1) / (true[:, -1] * false[:, -1])


def average_precision(labels, scores, weights):
    """Average precision (precision summed over rises of recall) of each resample, shape (B,)."""
    true, false = _sorted_counts(labels, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(true / (true + false))
        rise = np.diff(np.hstack([np.zeros((len(true), 1)), true]), axis=1)
        return (rise * precision).sum(axis=1) / true[:, -1]


def mcc(labels, scores, weights, threshold=0.5):
    """Matthews correlation of `scores >= threshold` with the labels, of each resample, shape (B,); 0 where undefined."""
    truth, called = labels > 0.5, scores >= threshold
    tp, tn = weights @ (truth & called), weights @ (~truth & ~called)
    fp, fn = weights @ (~truth & called), weights @ (truth & ~called)
    norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.divide(tp * tn - fp * fn, norm, out=np.zeros_like(norm), where=norm > 0)


METRICS = {"mcc": mcc, "auroc": auroc, "average_precision": average_precision}


def bootstrap(labels, scores, metrics=METRICS, samples=1000, seed=1, level=0.95):
    """Each metric with its percentile bootstrap interval over examples.

    Parameters
    ----------
    labels : numpy.ndarray, shape (N,)
        0 or 1.
    scores : numpy.ndarray, shape (N,)
        Probabilities.
    metrics : dict of str to callable
        Functions of (labels, scores, weights).
    samples : int
        Number of resamples.
    seed : int
    level : float
        Coverage of the interval.

    Returns
    -------
    dict of str to dict
        'value', 'low' and 'high' for each metric.

    Raises
    ------
    InputError
        If the lengths differ or only one class is there.
    """
    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise InputError(f"labels of shape {labels.shape} do not go with scores of shape {scores.shape}")
    if not 0 < labels.sum() < len(labels):
        raise InputError("only one class in the labels: no metric of a classifier is defined")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=samples).astype(float)
    tail = 100 * (1 - level) / 2
    result = {}
    for name, metric in metrics.items():
        low, high = np.nanpercentile(metric(labels, scores, drawn), [tail, 100 - tail])
        value = metric(labels, scores, np.ones((1, len(labels))))[0]
        result[name] = {"value": float(value), "low": float(low), "high": float(high)}
    return result
