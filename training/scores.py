"""Metrics of a model's predictions on the splits of its data."""

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.evaluate.metrics import evaluate_predictions, has_both_classes


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
