"""AUROC, average precision, MCC and other metrics, also of many bootstrap resamples at once.

>>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
0.75

A resample is a vector of how often each example was drawn. Every metric takes such weights, shape (B, N), and returns B
values from one sort of the scores; without weights it returns one number.
"""

from functools import wraps

import numpy as np

from regzoo.errors import InputError

_CELLS = 2**20  # numbers of a chunk of resamples: 8 MB, which a core's caches nearly hold


def _metric(function):
    """Make `weights` optional: without them, check labels and scores, and return one float."""

    @wraps(function)
    def metric(labels, scores, weights=None, *options):
        if weights is not None:
            return function(labels, scores, weights, *options)
        labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
        if labels.ndim != 1 or labels.shape != scores.shape or not len(labels):
            raise InputError(f"labels {labels.shape} and scores {scores.shape} must be of one shape (N,), N at least 1")
        if not (np.isfinite(labels).all() and np.isfinite(scores).all()):
            raise InputError("labels and scores must be finite; leave out examples that are not known")
        return float(function(labels, scores, np.ones((1, len(labels))), *options)[0])

    return metric


def _sorted_counts(labels, scores, weights):
    """Cumulative weighted positives and negatives, shape (B, groups), by falling score; ties are one group."""
    if (scores[1:] > scores[:-1]).any():
        order = np.argsort(-scores, kind="stable")
        labels, scores, weights = labels[order], scores[order], weights[:, order]
    true = np.cumsum(weights * (labels > 0.5), axis=1)
    false = np.cumsum(weights, axis=1) - true
    ends = np.append(np.diff(scores) != 0, True)
    return (true, false) if ends.all() else (true[:, ends], false[:, ends])


@_metric
def auroc(labels, scores, weights):
    """Area under the ROC curve of each resample, shape (B,); ties count one half. NaN without both classes."""
    true, false = _sorted_counts(labels, scores, weights)
    rise = np.diff(false, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        ahead = np.einsum("bi,bi->b", rise, true) - np.einsum("bi,bi->b", rise, np.diff(true, axis=1, prepend=0)) / 2
        return ahead / (true[:, -1] * false[:, -1])


@_metric
def average_precision(labels, scores, weights):
    """Average precision (precision summed over rises of recall) of each resample, shape (B,)."""
    true, false = _sorted_counts(labels, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("bi,bi->b", np.diff(true, axis=1, prepend=0), _ratio(true, true + false)) / true[:, -1]


def _ratio(above, below):
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def _at_threshold(formula):
    """The metric of `scores >= threshold` that a formula of true and false positives, true and false negatives is."""

    def metric(labels, scores, weights, threshold=0.5):
        truth, called = labels > 0.5, scores >= threshold
        cells = (truth & called, ~truth & called, ~truth & ~called, truth & ~called)
        return formula(*(weights @ cell.astype(float) for cell in cells))

    metric.__name__, metric.__doc__ = formula.__name__, formula.__doc__
    checked = _metric(metric)
    checked.formula = formula
    return checked


@_at_threshold
def mcc(tp, fp, tn, fn):
    """Matthews correlation of `scores >= threshold` with the labels, of each resample, shape (B,); 0 where undefined."""
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


@_at_threshold
def accuracy(tp, fp, tn, fn):
    """Fraction of examples that `scores >= threshold` classifies correctly, of each resample, shape (B,)."""
    return _ratio(tp + tn, tp + fp + tn + fn)


@_at_threshold
def precision(tp, fp, tn, fn):
    """Fraction of examples called positive that are positive, of each resample, shape (B,); 0 where none is called."""
    return _ratio(tp, tp + fp)


@_at_threshold
def recall(tp, fp, tn, fn):
    """Fraction of positives that are called positive, of each resample, shape (B,); 0 where there is none."""
    return _ratio(tp, tp + fn)


@_at_threshold
def f1(tp, fp, tn, fn):
    """Harmonic mean of precision and recall, of each resample, shape (B,); 0 where undefined."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


@_metric
def pearson(labels, scores, weights):
    """Pearson correlation of each resample, shape (B,); 0 where one side does not vary."""
    return _correlation(np.broadcast_to(labels, weights.shape), np.broadcast_to(scores, weights.shape), weights)


@_metric
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
    labels, scores = np.asarray(labels), np.asarray(scores)
    tp, fp = (count[0] for count in _sorted_counts(labels, scores, np.ones((1, len(labels)))))
    values = metric.formula(tp, fp, fp[-1] - fp, tp[-1] - tp)[::-1]  # of calling each distinct score and those above it
    distinct = np.unique(scores)
    thresholds = np.concatenate([[distinct[0]], (distinct[1:] + distinct[:-1]) / 2])
    return float(thresholds[np.argmax(values)])


def resamples(count, samples=1000, seed=1, groups=None):
    """How often each example is drawn in each bootstrap resample.

    Parameters
    ----------
    count, samples, seed : int
    groups : numpy.ndarray, shape (count,), optional
        Whole groups, such as chromosomes, are drawn in the place of examples.

    Yields
    ------
    numpy.ndarray, float64, shape (B, count)
        The next resamples, as many as make `_CELLS` numbers, so that memory does not grow with `samples`.
    """
    rng = np.random.default_rng(seed)
    member = None if groups is None else np.unique(groups, return_inverse=True)[1]
    number = count if groups is None else member.max() + 1
    size = max(1, _CELLS // count)
    for start in range(0, samples, size):
        drawn = np.empty((min(size, samples - start), number))
        for row in drawn:
            row[:] = np.bincount(rng.integers(0, number, number), minlength=number)
        yield drawn if member is None else drawn[:, member]


def bootstrap(labels, scores, metrics=METRICS, samples=None, seed=1, level=0.95, groups=None):
    """Each metric with its percentile bootstrap interval over examples, or over groups of them.

    Parameters
    ----------
    labels : numpy.ndarray, shape (N,)
        0 or 1, or with `CORRELATIONS` any values.
    scores : numpy.ndarray, shape (N,)
        Probabilities, or values.
    metrics : dict of str to callable
        Functions of (labels, scores, weights).
    samples : int, optional
        Number of resamples. Without it 1,000, but no more than make 10⁸ draws of an example, and at least 100.
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
    samples = samples or max(100, min(1000, 10**8 // len(labels)))
    order = np.argsort(-scores, kind="stable")  # once for all resamples
    labels, scores, groups = labels[order], scores[order], None if groups is None else np.asarray(groups)[order]
    parts = [
        [metric(labels, scores, drawn) for metric in metrics.values()]
        for drawn in resamples(len(labels), samples, seed, groups)
    ]
    tail, result = 100 * (1 - level) / 2, {}
    for (name, metric), values in zip(metrics.items(), np.concatenate(parts, axis=1)):
        low, high = np.nanpercentile(values, [tail, 100 - tail])
        value = metric(labels, scores, np.ones((1, len(labels))))[0]
        result[name] = {"value": float(value), "low": float(low), "high": float(high)}
    return result


def checked(labels, scores, classes=True):
    """Both as float64, or an InputError if their lengths differ or, of classes, only one is there."""
    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise InputError(f"labels of shape {labels.shape} do not go with scores of shape {scores.shape}")
    if classes and not has_both_classes(labels):
        raise InputError("only one class in the labels: no metric of a classifier is defined")
    return labels, scores


def has_both_classes(labels):
    """Whether there are positives and negatives among labels of 0 and 1."""
    return 0 < np.sum(labels) < len(labels)


def evaluate_predictions(labels, scores, regression=False, samples=None):
    """The metrics that a model card gives, with 95% intervals: `METRICS`, or `CORRELATIONS` of a regression; see `bootstrap`."""
    return bootstrap(labels, scores, CORRELATIONS if regression else METRICS, samples)
