"""Evaluation of predictions: a table of metrics by target, with means and medians by assay, and curves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from regzoo.evaluate.calibration import expected_calibration_error, reliability_curve
from regzoo.evaluate.metrics import AT_THRESHOLD, CORRELATIONS, METRICS, best_threshold, bootstrap, has_both_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HISTONE = re.compile(r"^H(1|2[AB]|3|4)(\.|[A-Z]|K\d|$)")
_CURVES = 12  # largest number of targets drawn


def assay(target: str) -> str:
    """Assay of a target, from its name: 'DNase', 'histone' or otherwise 'TF'.

    Names may be those of DeepSEA, such as 'K562|H3K4me3|None', or of Basset.
    """
    mark = target.split("|")[1] if target.count("|") >= 2 else target
    if re.search("DNase|ATAC|DHS", mark, re.I):
        return "DNase"
    return "histone" if _HISTONE.match(mark) else "TF"


def _is_regression(labels):
    """Whether known labels have values other than 0 and 1."""
    return not np.isin(labels[~np.isnan(labels)], (0, 1)).all()


def evaluation_table(
    targets: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    thresholds: dict[str, float] | None = None,
    groups: np.ndarray | None = None,
    samples: int | None = None,
) -> pd.DataFrame:
    """Table of all metrics by target.

    Parameters
    ----------
    targets : sequence of str
    labels : numpy.ndarray, float, shape (N, targets)
        0 or 1, or measured values; NaN if unknown.
    scores : numpy.ndarray, float, shape (N, targets)
    thresholds : dict of str to float, optional
        Threshold by target, chosen on other examples (`dev_thresholds`). By default only the threshold 0.5 is
        evaluated.
    groups : numpy.ndarray, shape (N,), optional
        Groups for the bootstrap, such as chromosomes.
    samples : int, optional
        See `regzoo.evaluate.bootstrap`.

    Returns
    -------
    pandas.DataFrame
        One row per target that has a known label, then the macro mean and, if there are several assays, the median of
        each assay. The means and medians have no intervals. Metrics are missing for a target with only one class.
    """
    regression = _is_regression(labels)
    rows = []
    for index, target in enumerate(targets):
        known = ~np.isnan(labels[:, index])
        if known.any():
            own = None if groups is None else groups[known]
            threshold = thresholds.get(target) if thresholds else None
            row = _row(labels[known, index], scores[known, index], regression, threshold, own, samples)
            rows.append({"target": target} | row)
    return _with_summaries(pd.DataFrame(rows))


def _row(labels, scores, regression, threshold, groups, samples):
    """Metrics of one target."""
    row: dict[str, Any] = {"examples": len(labels)}
    if not regression:
        row["positive"] = int(labels.sum())
        if not has_both_classes(labels):
            return row
    metrics = CORRELATIONS if regression else METRICS
    for name, entry in bootstrap(labels, scores, metrics, samples, groups=groups).items():
        row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
    if not regression:
        row |= _at(labels, scores, 0.5, "") | {"ece": expected_calibration_error(labels, scores)}
        if threshold is not None:
            row |= {"threshold": threshold} | _at(labels, scores, threshold, "_at_threshold")
    return row


def _with_summaries(table):
    """A table of targets, followed by the macro mean and medians by assay."""
    # A mean of interval bounds is not a bound of the mean.
    numeric = [name for name in table.columns[2:] if name != "positive" and not name.endswith(("_low", "_high"))]
    summaries = [{"target": "macro mean", "examples": table.examples.sum()} | table[numeric].mean().to_dict()]
    kinds = table.target.map(assay)
    if kinds.nunique() > 1:
        summaries += [
            {"target": f"median of {kind}", "examples": part.examples.sum()} | part[numeric].median().to_dict()
            for kind, part in table.groupby(kinds)
        ]
    return pd.concat([table, pd.DataFrame(summaries)], ignore_index=True)


def readable(table: pd.DataFrame) -> str:
    """Table of `evaluation_table` in Markdown, with the interval after each metric."""
    cells = pd.DataFrame({"target": table.target})
    for name in table.columns[1:]:
        if not name.endswith(("_low", "_high")):
            low, high = (table.get(f"{name}_{end}", [np.nan] * len(table)) for end in ("low", "high"))
            digits = 0 if name in ("examples", "positive") else 3
            cells[name.replace("_", " ")] = [_cell(digits, *values) for values in zip(table[name], low, high)]
    return cells.to_markdown(index=False, disable_numparse=True)


def _cell(digits, value, low, high):
    if np.isnan(value):
        return "–"
    return f"{value:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")


def _at(labels, scores, threshold, suffix):
    ones = np.ones((1, len(labels)))
    return {f"{name}{suffix}": float(f(labels, scores, ones, threshold)[0]) for name, f in AT_THRESHOLD.items()}


def dev_thresholds(targets: Sequence[str], labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Threshold of the largest MCC, for each target with both classes. Parameters are those of `evaluation_table`."""
    return {target: best_threshold(y, p) for target, y, p in two_class_targets(targets, labels, scores)}


def two_class_targets(
    targets: Sequence[str], labels: np.ndarray, scores: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, known labels and their scores, for each target with both classes."""
    for target, y, p in zip(targets, labels.T, scores.T):
        known = ~np.isnan(y)
        if has_both_classes(y[known]):
            yield target, y[known], p[known]


def evaluation_figure(targets: Sequence[str], labels: np.ndarray, scores: np.ndarray) -> Figure:
    """Plot ROC, precision-recall and reliability curves or, for a regression, predicted against measured values.

    At most the first 12 targets are drawn.

    Parameters
    ----------
    targets, labels, scores
        See `evaluation_table`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    targets = targets[:_CURVES]
    return _scatter(targets, labels, scores) if _is_regression(labels) else _curves(targets, labels, scores)


def _scatter(targets, labels, scores):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(targets), 3), layout="constrained")
    axes = figure.subplots(1, len(targets), squeeze=False)[0]
    for axis, target, y, p in zip(axes, targets, labels.T, scores.T):
        known = ~np.isnan(y)
        axis.hexbin(y[known], p[known], gridsize=40, mincnt=1, cmap="viridis")
        axis.set(title=target, xlabel="measured", ylabel="predicted")
    return figure


def _curves(targets, labels, scores):
    from matplotlib.figure import Figure
    from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for target, y, p in two_class_targets(targets, labels, scores):
        RocCurveDisplay.from_predictions(y, p, name=target, ax=axes[0])
        PrecisionRecallDisplay.from_predictions(y, p, name=target, ax=axes[1])
        predicted, observed, _ = reliability_curve(y, p)
        axes[2].plot(predicted, observed, marker="o", markersize=3, label=target)
    axes[2].plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes[2].set(title="reliability", xlabel="mean prediction", ylabel="fraction of positives")
    for axis in axes:
        axis.legend(fontsize=6)
    return figure
