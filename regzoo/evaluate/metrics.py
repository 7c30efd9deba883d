"""AUROC, average precision, MCC and their like, of many resamples at once.

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


def _confusion(labels, scores, weights, threshold):
    """Weighted true and false positives, true and false negatives of `scores >= threshold`, shape (B,) each."""
    truth, called = labels > 0.5, scores >= threshold
    cells = (truth & called, ~truth & called, ~truth & ~called, truth & ~called)
    return (weights @ cell.astype(float) for cell in cells)


def _ratio(above, below):
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def mcc(labels, scores, weights, threshold=0.5):
    """Matthews correlation of `scores >= threshold` with the labels, of each resample, shape (B,); 0 where undefined."""
    tp, fp, tn, fn = _confusion(labels, scores, weights, threshold)
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def accuracy(labels, scores, weights, threshold=0.5):
    """Share of examples that `scores >= threshold` calls rightly, of each resample, shape (B,)."""
    tp, fp, tn, fn = _confusion(labels, scores, weights, threshold)
    return _ratio(tp + tn, tp + fp + tn + fn)


def precision(labels, scores, weights, threshold=0.5):
    """Share of called examples that are positive, of each resample, shape (B,); 0 where none is called."""
    tp, fp, _, _ = _confusion(labels, scores, weights, threshold)
    return _ratio(tp, tp + fp)


def recall(labels, scores, weights, threshold=0.5):
    """Share of positives that are called, of each resample, shape (B,); 0 where there is none."""
    tp, _, _, fn = _confusion(labels, scores, weights, threshold)
    return _ratio(tp, tp + fn)


def f1(labels, scores, weights, threshold=0.5):
    """Harmonic mean of precision and recall, of each resample, shape (B,); 0 where undefined."""
    tp, fp, _, fn = _confusion(labels, scores, weights, threshold)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def pearson(labels, scores, weights):
    """Pearson correlation of each resample, shape (B,); 0 where one side does not vary."""
    return _correlation(np.broadcast_to(labels, weights.shape), np.broadcast_to(scores, weights.shape), weights)


def spearman(labels, scores, weights):
    """Spearman correlation of each resample, shape (B,): Pearson's of the ranks within it, ties at their mean."""
    return _correlation(_ranks(labels, weights), _ranks(scores, weights), weights)


def _ranks(values, weights):
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(group[order]) != 0, True))
    upto = np.cumsum(weights[:, order], axis=1)[:, ends]
    before = np.hstack([np.zeros((len(weights), 1)), upto[:, :-1]])
    return ((upto + before) / 2)[:, group]


def _correlation(a, b, weights):
    total = weights.sum(axis=1, keepdims=True)
    a = a - (a * weights).sum(axis=1, keepdims=True) / total
    b = b - (b * weights).sum(axis=1, keepdims=True) / total
    below = np.sqrt((weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1))
    return _ratio((weights * a * b).sum(axis=1), below)


METRICS = {"mcc": mcc, "auroc": auroc, "average_precision": average_precision}
CORRELATIONS = {"pearson": pearson, "spearman": spearman}
AT_THRESHOLD = {"mcc": mcc, "f1": f1, "accuracy": accuracy, "precision": precision, "recall": recall}


def best_threshold(labels, scores, metric=mcc):
    """The score from which on calling examples positive makes a metric largest; choose it on validation examples.

    Parameters
    ----------
    labels, scores : numpy.ndarray, shape (N,)
    metric : callable
        A value of `AT_THRESHOLD`.

    Returns
    -------
    float
        Half way to the next lower score.
    """
    values = np.unique(scores)
    thresholds = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    ones = np.ones((1, len(labels)))
    return float(thresholds[np.argmax([metric(labels, scores, ones, threshold)[0] for threshold in thresholds])])


def resamples(count, samples=1000, seed=1, groups=None):
    """How often each example is drawn in each bootstrap resample, float64, shape (samples, count).

    Parameters
    ----------
    count, samples, seed : int
    groups : numpy.ndarray, shape (count,), optional
        Whole groups, such as chromosomes, are drawn in the place of examples.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return rng.multinomial(count, np.full(count, 1 / count), size=samples).astype(float)
    _, member = np.unique(groups, return_inverse=True)
    number = member.max() + 1
    return rng.multinomial(number, np.full(number, 1 / number), size=samples).astype(float)[:, member]


def bootstrap(labels, scores, metrics=METRICS, samples=1000, seed=1, level=0.95, groups=None):
    """Each metric with its percentile bootstrap interval over examples, or over groups of them.

    Parameters
    ----------
    labels : numpy.ndarray, shape (N,)
        0 or 1, or with `CORRELATIONS` any values.
    scores : numpy.ndarray, shape (N,)
        Probabilities, or values.
    metrics : dict of str to callable
        Functions of (labels, scores, weights).
    samples : int
        Number of resamples.
    seed : int
    level : float
        Coverage of the interval.
    groups : numpy.ndarray, shape (N,), optional
        As of `resamples`.

    Returns
    -------
    dict of str to dict
        'value', 'low' and 'high' for each metric.

    Raises
    ------
    InputError
        If the lengths differ or only one class is there.
    """
    labels, scores = checked(labels, scores, classes=not metrics.keys() <= CORRELATIONS.keys())
    drawn = resamples(len(labels), samples, seed, groups)
    tail = 100 * (1 - level) / 2
    result = {}
    for name, metric in metrics.items():
        low, high = np.nanpercentile(metric(labels, scores, drawn), [tail, 100 - tail])
        value = metric(labels, scores, np.ones((1, len(labels))))[0]
        result[name] = {"value": float(value), "low": float(low), "high": float(high)}
    return result


def checked(labels, scores, classes=True):
    """Both as float64, or an InputError if their lengths differ or, of classes, only one is there."""
    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise InputError(f"labels of shape {labels.shape} do not go with scores of shape {scores.shape}")
    if classes and not 0 < labels.sum() < len(labels):
        raise InputError("only one class in the labels: no metric of a classifier is defined")
    return labels, scores


def evaluate_predictions(labels, scores, regression=False, samples=1000):
    """The metrics that a model card gives, with 95% intervals: `METRICS`, or `CORRELATIONS` of a regression."""
    return bootstrap(labels, scores, CORRELATIONS if regression else METRICS, samples)
