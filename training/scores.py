"""Metrics of a model's predictions on the splits of its data."""

from typing import Any

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, evaluate_predictions, has_both_classes
from training.data import Examples
from training.data.sources import Source


def check_dev(data: Source, examples: Examples) -> None:
    """Raise an InputError if no target can be evaluated on dev, so that epochs cannot be compared."""
    known = [labels[~np.isnan(labels)] for labels in examples.labels.T]
    if not any(len(labels) and (data.task == "regression" or has_both_classes(labels)) for labels in known):
        what = "labelled rows" if data.task == "regression" else "both classes"
        raise InputError(f"{data.root}: no target has {what} in dev, so that epochs cannot be compared")


def metrics_table(targets: dict[str, Any]) -> str:
    """Metrics of a split (target -> metric -> {'value', 'low', 'high'}) as a Markdown table with 95% intervals."""
    rows = [
        {"target": target}
        | {name: f"{m['value']:.3f} ({m['low']:.3f} to {m['high']:.3f})" for name, m in metrics.items()}
        for target, metrics in targets.items()
    ]
    return pd.DataFrame(rows).to_markdown(index=False)


def dev_line(data: Source, examples: Examples, predictions: np.ndarray) -> dict[str, Any]:
    """A line of the log: metrics of each target, and the score, which is the mean AUROC or Pearson correlation."""
    metrics = evaluate_splits(data, {"dev": examples}, {"dev": predictions}, samples=2)["dev"]
    names = next(iter(metrics.values())).keys()
    dev = {name: [round(target[name]["value"], 4) for target in metrics.values()] for name in names}
    return {"dev": dev, "score": float(np.mean(dev["pearson" if data.task == "regression" else "auroc"]))}


def evaluate_splits(
    data: Source, splits: dict[str, Examples], predictions: dict[str, np.ndarray], samples: int | None = None
) -> dict[str, Any]:
    """Metrics of labelled rows with bootstrap intervals, by split and target.

    Parameters
    ----------
    data : training.data.sources.Source
    splits : dict of str to training.data.Examples
    predictions : dict of str to numpy.ndarray, float32, shape (N, targets)
        Predictions of the splits to evaluate.
    samples : int, optional
        Bootstrap resamples; as of `regzoo.evaluate.bootstrap`.

    Returns
    -------
    dict
        split -> target -> metric -> {'value', 'low', 'high'}, without targets that have no labelled rows or one class
        only.
    """
    result: dict[str, Any] = {}
    regression = data.task == "regression"
    for split, scores in predictions.items():
        result[split] = {}
        for index, target in enumerate(data.targets):
            labels = splits[split].labels[:, index]
            known = ~np.isnan(labels)
            if known.any() and (regression or has_both_classes(labels[known])):
                result[split][target] = evaluate_predictions(labels[known], scores[known, index], regression, samples)
    return result


def source_table(data: Source, examples: Examples, predictions: np.ndarray) -> pd.DataFrame:
    """Metrics of each target within each source of a split's rows.

    Parameters
    ----------
    data : training.data.sources.Source
    examples : training.data.Examples
        Must have `sources`.
    predictions : numpy.ndarray, float32, shape (N, targets)

    Returns
    -------
    pandas.DataFrame
        One row for each source and target that can be evaluated: `source`, `target`, `rows` (labelled ones), `positive`
        (fraction; NaN for regressions), `predicted` (mean prediction) and the metrics, without intervals.
    """
    regression, rows = data.task == "regression", []
    metrics = CORRELATIONS if regression else METRICS
    sources = np.asarray(examples.sources)
    for source in np.unique(sources):
        own = sources == source
        for index, target in enumerate(data.targets):
            labels, scores = examples.labels[own, index], predictions[own, index]
            known = ~np.isnan(labels)
            labels, scores = labels[known], scores[known]
            if not len(labels) or not (regression or has_both_classes(labels)):
                continue
            row = {"source": source, "target": target, "rows": len(labels)}
            row |= {"positive": np.nan if regression else labels.mean(), "predicted": scores.mean()}
            ones = np.ones((1, len(labels)))
            rows.append(row | {name: metric(labels, scores, ones)[0] for name, metric in metrics.items()})
    return pd.DataFrame(rows, columns=["source", "target", "rows", "positive", "predicted", *metrics])


def source_means(table: pd.DataFrame, examples: Examples) -> dict[str, dict[str, Any]]:
    """Means over the targets of a `source_table`, for the card: source -> rows, targets, and the means of other
    columns.
    """
    means: dict[str, dict[str, Any]] = {}
    for source, part in table.groupby("source"):
        values = part.drop(columns=["source", "target", "rows"]).mean().dropna()
        rows = int(np.count_nonzero(np.asarray(examples.sources) == source))
        means[str(source)] = {"rows": rows, "targets": len(part)} | {str(k): round(v, 4) for k, v in values.items()}
    return means
