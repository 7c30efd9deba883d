"""Metrics of a model's predictions on the splits of its data."""

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, evaluate_predictions, has_both_classes


def check_dev(data, examples):
    """Raise an InputError if no target has labels on dev by which epochs can be compared."""
    known = [labels[~np.isnan(labels)] for labels in examples.labels.T]
    if not any(len(labels) and (data.task == "regression" or has_both_classes(labels)) for labels in known):
        what = "labelled rows" if data.task == "regression" else "both classes"
        raise InputError(f"{data.root}: no target has {what} in dev, so that epochs cannot be compared")


def metrics_table(targets):
    """Metrics of a split, target -> metric -> {'value', 'low', 'high'}, as a Markdown table with 95% intervals."""
    rows = [
        {"target": target}
        | {name: f"{m['value']:.3f} ({m['low']:.3f} to {m['high']:.3f})" for name, m in metrics.items()}
        for target, metrics in targets.items()
    ]
    return pd.DataFrame(rows).to_markdown(index=False)


def dev_line(data, examples, predictions):
    """For the log: each metric by target, and the score that chooses: the mean AUROC, or the mean Pearson correlation."""
    metrics = evaluate_splits(data, {"dev": examples}, {"dev": predictions}, samples=2)["dev"]
    names = next(iter(metrics.values())).keys()
    dev = {name: [round(target[name]["value"], 4) for target in metrics.values()] for name in names}
    return {"dev": dev, "score": float(np.mean(dev["pearson" if data.task == "regression" else "auroc"]))}


def evaluate_splits(data, splits, predictions, samples=None):
    """Metrics with bootstrap intervals, by split and target, on the rows that are labelled.

    Parameters
    ----------
    data : training.data.sources.Source
    splits : dict of str to training.data.Examples
    predictions : dict of str to numpy.ndarray, float32, shape (N, targets)
        Of each split's rows; only these splits are evaluated.
    samples : int, optional
        Bootstrap resamples; as of `regzoo.evaluate.bootstrap`.

    Returns
    -------
    dict
        split -> target -> metric -> {'value', 'low', 'high'}; a target without labelled rows, or of classes with one alone,
        is left out.
    """
    result, regression = {}, data.task == "regression"
    for split, scores in predictions.items():
        result[split] = {}
        for index, target in enumerate(data.targets):
            labels = splits[split].labels[:, index]
            known = ~np.isnan(labels)
            if known.any() and (regression or has_both_classes(labels[known])):
                result[split][target] = evaluate_predictions(labels[known], scores[known, index], regression, samples)
    return result


def source_table(data, examples, predictions) -> pd.DataFrame:
    """Metrics of each target within each source of a split's rows.

    Parameters
    ----------
    data : training.data.sources.Source
    examples : training.data.Examples
        With `sources`.
    predictions : numpy.ndarray, float32, shape (N, targets)

    Returns
    -------
    pandas.DataFrame
        A row for each source and target with both classes, or with values of a regression: `source`, `target`, `rows` (labelled
        ones), `positive` (fraction; NaN of a regression) and the metrics, without intervals.
    """
    regression, rows = data.task == "regression", []
    metrics = CORRELATIONS if regression else METRICS
    for source in np.unique(examples.sources):
        own = examples.sources == source
        for index, target in enumerate(data.targets):
            labels, scores = examples.labels[own, index], predictions[own, index]
            known = ~np.isnan(labels)
            labels, scores = labels[known], scores[known]
            if not len(labels) or not (regression or has_both_classes(labels)):
                continue
            row = {"source": source, "target": target, "rows": len(labels)}
            row["positive"] = np.nan if regression else labels.mean()
            ones = np.ones((1, len(labels)))
            rows.append(row | {name: metric(labels, scores, ones)[0] for name, metric in metrics.items()})
    return pd.DataFrame(rows, columns=["source", "target", "rows", "positive", *metrics])


def source_means(table, examples) -> dict:
    """Means over targets of a `source_table`, for the card: source -> rows, targets, and the mean of every other column."""
    means = {}
    for source, part in table.groupby("source"):
        values = part.drop(columns=["source", "target", "rows"]).mean()
        means[source] = {"rows": int((examples.sources == source).sum()), "targets": len(part)}
        means[source] |= {name: round(float(value), 4) for name, value in values.items() if value == value}
    return means
