"""What the suites share: the rows of a data set, the choice of a target on one half, and metrics on the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from regzoo.errors import InputError
from regzoo.evaluate.metrics import auroc, average_precision, bootstrap, pearson, resamples, spearman


def direction(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fraction of scores with the right sign, of each resample, shape (B,). A score of 0 counts one half.

    Parameters
    ----------
    labels : numpy.ndarray, shape (N,)
        1 for a positive effect, 0 for a negative one.
    scores : numpy.ndarray, float, shape (N,)
    weights : numpy.ndarray, float, shape (B, N)
        See `regzoo.evaluate.metrics.resamples`.

    Returns
    -------
    numpy.ndarray, float, shape (B,)
    """
    return weights @ (0.5 + (labels - 0.5) * np.sign(scores)) / weights.sum(axis=1)


METRICS = {
    "direction": direction,
    "pearson": pearson,
    "spearman": spearman,
    "auroc": auroc,
    "average_precision": average_precision,
}
COLUMNS = ("suite", "model", "target", "data_set", "metric", "value", "low", "high", "n", "choice", "note")


@dataclass
class Measure:
    """A metric of a data set.

    Attributes
    ----------
    metric : str
        A key of `METRICS`. 'direction' is the fraction of effects whose sign is that of the measured effect.
    labels : numpy.ndarray, float, shape (N,)
        Measured values, or 0 and 1 for 'auroc' and 'average_precision'.
    magnitude : bool
        Whether the metric is of the magnitude of the scores.
    """

    metric: str
    labels: np.ndarray
    magnitude: bool = False

    def pair(self, scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels and scores of some rows, as the metric takes them.

        Parameters
        ----------
        scores : numpy.ndarray, float, shape (N,)
        rows : numpy.ndarray, bool, shape (N,)

        Returns
        -------
        labels, scores : numpy.ndarray, float, shape (rows.sum(),)
        """
        labels, scores = self.labels[rows], np.asarray(scores, dtype=float)[rows]
        if self.metric == "direction":
            return (labels > 0).astype(float), scores
        return labels, np.abs(scores) if self.magnitude else scores

    def value(self, scores: np.ndarray, rows: np.ndarray) -> float:
        """The metric on some rows; NaN if it is not defined.

        Parameters
        ----------
        scores : numpy.ndarray, float, shape (N,)
        rows : numpy.ndarray, bool, shape (N,)

        Returns
        -------
        float
        """
        return float(METRICS[self.metric](*self.pair(scores, rows), np.ones((1, int(rows.sum()))))[0])


@dataclass
class Task:
    """Rows of one data set, which a model or a file scores.

    Attributes
    ----------
    name : str
    ids : list of str
        Distinct name of each row.
    measures : list of Measure
        The target is chosen by the first.
    half : numpy.ndarray, bool, shape (N,)
        Rows on which the target is chosen. The others are reported.
    choice : str
        How the rows were halved.
    published : dict of str to numpy.ndarray, float, shape (N,)
        Published scores of the same rows.
    """

    name: str
    ids: list[str]
    measures: list[Measure]
    half: np.ndarray
    choice: str
    published: dict[str, np.ndarray] = field(default_factory=dict, kw_only=True)

    def columns(self) -> dict[str, list[str]]:
        """Name -> text of each row: what a table of the rows shows beside the ids."""
        return {}


def halves(groups: ArrayLike, seed: int = 0) -> np.ndarray:
    """Divide rows into halves that share no group.

    Groups are drawn in random order, and each goes to the smaller half.

    Parameters
    ----------
    groups : array_like, shape (N,)
        Group of each row, such as its chromosome.
    seed : int

    Returns
    -------
    numpy.ndarray, bool, shape (N,)
    """
    _, member, counts = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    sizes, first = [0, 0], np.zeros(len(counts), dtype=bool)
    for group in np.random.default_rng(seed).permutation(len(counts)):
        first[group] = sizes[0] <= sizes[1]
        sizes[not first[group]] += counts[group]
    return first[member]


def best_column(measure: Measure, scores: np.ndarray, rows: np.ndarray) -> int:
    """Index of the target with the largest value of a metric.

    Parameters
    ----------
    measure : Measure
    scores : numpy.ndarray, float, shape (N, targets)
    rows : numpy.ndarray, bool, shape (N,)
        Rows on which the metric is computed.

    Returns
    -------
    int
    """
    values = np.array([measure.value(column, rows) for column in scores.T])
    return int(np.nanargmax(values)) if not np.isnan(values).all() else 0


def report(
    tasks: Sequence[Task], targets: Sequence[str], values: Iterable[np.ndarray], fixed: bool = False
) -> list[dict[str, Any]]:
    """Metrics of one model on data sets, for each the target that is best on the first half.

    Parameters
    ----------
    tasks : sequence of Task
    targets : sequence of str
    values : iterable of numpy.ndarray, float, shape (N, targets)
        Scores of the rows of each data set.
    fixed : bool
        Report every target on all rows, instead of choosing one.

    Returns
    -------
    list of dict
        Rows of the result, with keys target, data_set, metric, value, low, high, n and choice.
    """
    return [row for task, scores in zip(tasks, values) for row in _report(task, targets, scores, fixed)]


def _report(task, targets, scores, fixed):
    if fixed:
        everything = np.ones(len(task.ids), dtype=bool)
        return [
            row
            for name, column in zip(targets, scores.T)
            for row in metric_rows(task, name, column, everything, "given; all rows")
        ]
    if len(targets) == 1:
        return metric_rows(task, targets[0], scores[:, 0], ~task.half, f"only one; {task.choice}")
    best = best_column(task.measures[0], scores, task.half)
    text = f"best {task.measures[0].metric} of {len(targets)} on {task.half.sum():,} other rows; {task.choice}"
    return metric_rows(task, targets[best], scores[:, best], ~task.half, text)


def metric_rows(task: Task, target: str, scores: np.ndarray, rows: np.ndarray, choice: str) -> list[dict[str, Any]]:
    """Every metric of one column of scores, with 95% bootstrap intervals.

    Parameters
    ----------
    task : Task
    target : str
    scores : numpy.ndarray, float, shape (N,)
    rows : numpy.ndarray, bool, shape (N,)
        Rows that are reported.
    choice : str
        How the target was chosen.

    Returns
    -------
    list of dict
        See `report`.

    Raises
    ------
    InputError
        If the rows have only one class.
    """
    found = []
    for measure in task.measures:
        labels, values = measure.pair(scores, rows)
        about = {"target": target, "data_set": task.name, "n": len(labels), "choice": choice}
        found.append(about | {"metric": measure.metric} | _interval(task.name, measure.metric, labels, values))
        if measure.metric == "direction":
            told = values != 0
            right = int(((labels > 0) == (values > 0))[told].sum())
            p = binomtest(right, int(told.sum())).pvalue if told.any() else 1.0
            found.append(about | {"metric": "sign_test_p", "value": p, "low": np.nan, "high": np.nan})
    return found


def _interval(name, metric, labels, scores):
    """Value and 95% bootstrap interval of a metric."""
    try:
        return bootstrap(labels, scores, {metric: METRICS[metric]})[metric]
    except InputError as error:
        raise InputError(f"data set {name}, {metric}: {error}") from error


def mean_interval(values: ArrayLike, groups: ArrayLike) -> dict[str, float]:
    """Mean with its 95% bootstrap interval, whole groups drawn.

    Parameters
    ----------
    values : array_like, float, shape (N,)
    groups : array_like, shape (N,)

    Returns
    -------
    dict of str to float
        'value', 'low' and 'high'.
    """
    values = np.asarray(values, dtype=float)
    drawn = np.concatenate(list(resamples(len(values), groups=groups)))
    low, high = np.percentile(drawn @ values / drawn.sum(axis=1), [2.5, 97.5])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def score_table(task: Task) -> pd.DataFrame:
    """The rows of a data set as a table with columns data_set, id and those of `Task.columns`.

    Parameters
    ----------
    task : Task

    Returns
    -------
    pandas.DataFrame
    """
    return pd.DataFrame({"data_set": task.name, "id": task.ids} | task.columns())
