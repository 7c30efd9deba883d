"""Metrics of classification and regression, with bootstrap intervals.

>>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
0.75

A bootstrap resample is a vector of weights: how often each example was drawn. Metrics accept B such vectors, shape (B,
N), and return B values from one sort of the scores. Without weights they return one number.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from regzoo.errors import InputError

_CELLS = 2**20  # weights per chunk of resamples: 8 MB, about the size of a core's caches


def _metric(function: Callable[..., np.ndarray]) -> Any:
    """Make `weights` optional. Without weights, validate labels and scores and return one float."""

    @wraps(function)
    def metric(labels, scores, weights=None, *options):
        if weights is not None:
            return function(labels, scores, weights, *options)
        labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
        if labels.ndim != 1 or labels.shape != scores.shape or not len(labels):
            raise InputError(
                f"expected labels and scores of one shape (N,), N > 0; got {labels.shape} and {scores.shape}"
            )
        if not (np.isfinite(labels).all() and np.isfinite(scores).all()):
            raise InputError("labels and scores must be finite; remove examples without a label or score")
        return float(function(labels, scores, np.ones((1, len(labels))), *options)[0])

    return metric


def _sorted_counts(labels, scores, weights):
    """Cumulative weighted positives and negatives, shape (B, groups), by decreasing score; ties are one group."""
    if (scores[1:] > scores[:-1]).any():
        order = np.argsort(-scores, kind="stable")
        labels, scores, weights = labels[order], scores[order], weights[:, order]
    true = np.cumsum(weights * (labels > 0.5), axis=1)
    false = np.cumsum(weights, axis=1) - true
    ends = np.append(np.diff(scores) != 0, True)
    return (true, false) if ends.all() else (true[:, ends], false[:, ends])


@_metric
def auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each resample, shape (B,). Ties count one half. NaN if a class is missing."""
    true, false = _sorted_counts(labels, scores, weights)
    rise = np.diff(false, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        ahead = np.einsum("bi,bi->b", rise, true) - np.einsum("bi,bi->b", rise, np.diff(true, axis=1, prepend=0)) / 2
        return ahead / (true[:, -1] * false[:, -1])


@_metric
def average_precision(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision (sum of precision times increase of recall) of each resample, shape (B,)."""
    true, false = _sorted_counts(labels, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("bi,bi->b", np.diff(true, axis=1, prepend=0), _ratio(true, true + false)) / true[:, -1]


def _ratio(above, below):
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def _at_threshold(formula):
    """Metric of the classification `scores >= threshold`, from a formula of the confusion matrix (tp, fp, tn, fn)."""

    def metric(labels, scores, weights, threshold=0.5):
        truth, predicted = labels > 0.5, scores >= threshold
        cells = (truth & predicted, ~truth & predicted, ~truth & ~predicted, truth & ~predicted)
        return formula(*(weights @ cell.astype(float) for cell in cells))

    metric.__name__, metric.__doc__ = formula.__name__, formula.__doc__
    checked = _metric(metric)
    checked.formula = formula
    return checked


@_at_threshold
def mcc(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient at a threshold, of each resample, shape (B,); 0 if undefined."""
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


@_at_threshold
def accuracy(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Fraction of correctly classified examples at a threshold, of each resample, shape (B,)."""
    return _ratio(tp + tn, tp + fp + tn + fn)


@_at_threshold
def precision(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Fraction of predicted positives that are positive, of each resample, shape (B,); 0 if none is predicted."""
    return _ratio(tp, tp + fp)


@_at_threshold
def recall(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Fraction of positives that are predicted positive, of each resample, shape (B,); 0 without positives."""
    return _ratio(tp, tp + fn)


@_at_threshold
def f1(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall, of each resample, shape (B,); 0 if undefined."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


@_metric
def pearson(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson correlation of each resample, shape (B,); 0 if labels or scores are constant."""
    return _correlation(np.broadcast_to(labels, weights.shape), np.broadcast_to(scores, weights.shape), weights)


@_metric
def spearman(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman correlation of each resample, shape (B,): Pearson correlation of ranks, with mean ranks for ties."""
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


def best_threshold(labels: ArrayLike, scores: ArrayLike, metric: Any = mcc) -> float:
    """Threshold that maximises a metric. Choose it on validation examples.

    Parameters
    ----------
    labels, scores : array_like, shape (N,)
    metric : callable
        A value of `AT_THRESHOLD`.

    Returns
    -------
    float
        Midpoint between the lowest positive score and the next lower score.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    tp, fp = (count[0] for count in _sorted_counts(labels, scores, np.ones((1, len(labels)))))
    values = metric.formula(tp, fp, fp[-1] - fp, tp[-1] - tp)[::-1]  # by distinct score
    distinct = np.unique(scores)
    thresholds = np.concatenate([[distinct[0]], (distinct[1:] + distinct[:-1]) / 2])
    return float(thresholds[np.argmax(values)])


def resamples(count: int, samples: int = 1000, seed: int = 1, groups: ArrayLike | None = None) -> Iterator[np.ndarray]:
    """Weights of bootstrap resamples.

    Parameters
    ----------
    count : int
        Number of examples.
    samples : int
        Number of resamples.
    seed : int
    groups : array_like, shape (count,), optional
        Group of each example, such as its chromosome. Whole groups are drawn instead of examples.

    Yields
    ------
    numpy.ndarray, float64, shape (B, count)
        How often each example was drawn, for the next B resamples. B is chosen to bound the memory.
    """
    rng = np.random.default_rng(seed)
    member = None if groups is None else np.unique(groups, return_inverse=True)[1]
    number = count if member is None else int(member.max()) + 1
    size = max(1, _CELLS // count)
    for start in range(0, samples, size):
        drawn = np.empty((min(size, samples - start), number))
        for row in drawn:
            row[:] = np.bincount(rng.integers(0, number, number), minlength=number)
        yield drawn if member is None else drawn[:, member]


def bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    metrics: dict[str, Any] = METRICS,
    samples: int | None = None,
    seed: int = 1,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics with percentile bootstrap intervals.

    Parameters
    ----------
    labels : array_like, shape (N,)
        0 or 1; any values with `CORRELATIONS`.
    scores : array_like, shape (N,)
        Probabilities or values.
    metrics : dict of str to callable
        Functions of (labels, scores, weights).
    samples : int, optional
        Number of resamples. By default 1,000, reduced to as few as 100 if N exceeds 10⁵.
    seed : int
    level : float
        Coverage of the interval.
    groups : array_like, shape (N,), optional
        See `resamples`.

    Returns
    -------
    dict of str to dict
        'value', 'low' and 'high' for each metric.

    Raises
    ------
    InputError
        If the lengths differ, or the labels have only one class.
    """
    labels, scores = checked(labels, scores, classes=not metrics.keys() <= CORRELATIONS.keys())
    samples = samples or max(100, min(1000, 10**8 // len(labels)))
    order = np.argsort(-scores, kind="stable")  # once, not per resample
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


def checked(labels: ArrayLike, scores: ArrayLike, classes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Validate labels and scores.

    Parameters
    ----------
    labels, scores : array_like, shape (N,)
    classes : bool
        Whether the labels are classes, 0 and 1, and both must occur.

    Returns
    -------
    labels, scores : numpy.ndarray, float64, shape (N,)

    Raises
    ------
    InputError
        If the shapes differ, or the labels have only one class.
    """
    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise InputError(f"expected labels and scores of one shape (N,); got {labels.shape} and {scores.shape}")
    if classes and not has_both_classes(labels):
        raise InputError("only one class in the labels; metrics of a classifier need both")
    return labels, scores


def has_both_classes(labels: np.ndarray) -> bool:
    """Whether labels of 0 and 1 have both positives and negatives."""
    return bool(0 < np.sum(labels) < len(labels))


def evaluate_predictions(
    labels: ArrayLike, scores: ArrayLike, regression: bool = False, samples: int | None = None
) -> dict[str, dict[str, float]]:
    """Metrics of a model card with 95% intervals: `METRICS`, or `CORRELATIONS` for a regression. See `bootstrap`."""
    return bootstrap(labels, scores, CORRELATIONS if regression else METRICS, samples)
