"""The whole evaluation of one set of predictions: a table by target, macro means and medians by assay, and its curves."""

import re

import numpy as np
import pandas as pd

from regzoo.evaluate.calibration import expected_calibration_error, reliability_curve
from regzoo.evaluate.metrics import AT_THRESHOLD, CORRELATIONS, METRICS, best_threshold, bootstrap, has_both_classes

_HISTONE = re.compile(r"^H(1|2[AB]|3|4)(\.|[A-Z]|K\d|$)")
_CURVES = 12  # most targets drawn


def assay(target):
    """'DNase', 'histone' or 'TF' of a name such as DeepSEA's 'K562|H3K4me3|None' or Basset's; else 'TF'."""
    mark = target.split("|")[1] if target.count("|") >= 2 else target
    if re.search("DNase|ATAC|DHS", mark, re.I):
        return "DNase"
    return "histone" if _HISTONE.match(mark) else "TF"


def evaluation_table(targets, labels, scores, thresholds=None, groups=None, samples=None):
    """Every metric of every target.

    Parameters
    ----------
    targets : list of str
    labels : numpy.ndarray, float, shape (N, targets)
        0, 1, or values of a regression; NaN where unknown.
    scores : numpy.ndarray, float, shape (N, targets)
    thresholds : dict of str to float, optional
        By target, chosen on other examples (`dev_thresholds`); without it only 0.5 is evaluated.
    groups : numpy.ndarray, shape (N,), optional
        Of the bootstrap, such as chromosomes.
    samples : int, optional
        As of `regzoo.evaluate.bootstrap`.

    Returns
    -------
    pandas.DataFrame
        A row a target, then the macro mean and, of several assays, the median of each, without intervals. Metrics are missing
        where a class is.
    """
    regression = not np.isin(labels[~np.isnan(labels)], (0, 1)).all()
    rows = []
    for index, target in enumerate(targets):
        known = ~np.isnan(labels[:, index])
        if not known.any():
            continue
        y, p = labels[known, index], scores[known, index]
        own = None if groups is None else groups[known]
        row = {"target": target, "examples": len(y)}
        if not regression:
            row["positive"] = int(y.sum())
            if not has_both_classes(y):
                rows.append(row)
                continue
        for name, entry in bootstrap(y, p, CORRELATIONS if regression else METRICS, samples, groups=own).items():
            row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
        if not regression:
            row |= _at(y, p, 0.5, "") | {"ece": expected_calibration_error(y, p)}
            if thresholds and target in thresholds:
                row |= {"threshold": thresholds[target]} | _at(y, p, thresholds[target], "_at_threshold")
        rows.append(row)
    table = pd.DataFrame(rows)
    # A mean of bounds bounds no mean.
    numeric = [name for name in table.columns[2:] if name != "positive" and not name.endswith(("_low", "_high"))]
    summaries = [{"target": "macro mean", "examples": table.examples.sum()} | table[numeric].mean().to_dict()]
    kinds = table.target.map(assay)
    if kinds.nunique() > 1:
        summaries += [
            {"target": f"median of {kind}", "examples": part.examples.sum()} | part[numeric].median().to_dict()
            for kind, part in table.groupby(kinds)
        ]
    return pd.concat([table, pd.DataFrame(summaries)], ignore_index=True)


def readable(table):
    """The table of `evaluation_table` in Markdown, intervals behind their metrics."""
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


def dev_thresholds(targets, labels, scores):
    """The score from which on calling examples positive gives the largest MCC, of each target whose known labels are of both classes."""
    return {target: best_threshold(y, p) for target, y, p in two_class_targets(targets, labels, scores)}


def two_class_targets(targets, labels, scores):
    """Name, known labels and their scores of each target that has both classes."""
    for target, y, p in zip(targets, labels.T, scores.T):
        known = ~np.isnan(y)
        if has_both_classes(y[known]):
            yield target, y[known], p[known]


def evaluation_figure(targets, labels, scores):
    """ROC, precision-recall and reliability curves of up to a dozen targets; of a regression, predictions against values.

    Parameters
    ----------
    targets, labels, scores
        As of `evaluation_table`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

    regression = not np.isin(labels[~np.isnan(labels)], (0, 1)).all()
    drawn = list(enumerate(targets[:_CURVES]))
    if regression:
        figure = Figure(figsize=(3 * len(drawn), 3), layout="constrained")
        for axis, (index, target) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn):
            known = ~np.isnan(labels[:, index])
            axis.hexbin(labels[known, index], scores[known, index], gridsize=40, mincnt=1, cmap="viridis")
            axis.set(title=target, xlabel="measured", ylabel="predicted")
        return figure
    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for index, target in drawn:
        known = ~np.isnan(labels[:, index])
        if not has_both_classes(labels[known, index]):
            continue
        y, p = labels[known, index], scores[known, index]
        RocCurveDisplay.from_predictions(y, p, name=target, ax=axes[0])
        PrecisionRecallDisplay.from_predictions(y, p, name=target, ax=axes[1])
        predicted, observed, _ = reliability_curve(y, p)
        axes[2].plot(predicted, observed, marker="o", markersize=3, label=target)
    axes[2].plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes[2].set(title="reliability", xlabel="mean prediction", ylabel="share of positives")
    for axis in axes:
        axis.legend(fontsize=6)
    return figure
