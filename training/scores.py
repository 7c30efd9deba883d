"""Metrics of a model's predictions on the splits of its data."""

import numpy as np

from regzoo.evaluate import evaluate_predictions


def dev_line(data, examples, predictions):
    """For the log: each metric by target, and the score that chooses: the mean AUROC, or the mean Pearson correlation."""
    metrics = evaluate_splits(data, {"dev": examples}, {"dev": predictions}, samples=2)["dev"]
    names = next(iter(metrics.values())).keys()
    dev = {name: [round(target[name]["value"], 4) for target in metrics.values()] for name in names}
    return {"dev": dev, "score": float(np.mean(dev["pearson" if data.task == "regression" else "auroc"]))}


def evaluate_splits(data, splits, predictions, samples=1000):
    """Metrics with bootstrap intervals, by split and target, on the rows that are labelled.

    Parameters
    ----------
    data : training.data.sources.Source
    splits : dict of str to training.data.Examples
    predictions : dict of str to numpy.ndarray, float32, shape (N, targets)
        Of each split's rows; only these splits are evaluated.
    samples : int
        Bootstrap resamples.

    Returns
    -------
    dict
        split -> target -> metric -> {'value', 'low', 'high'}; a target without labelled rows is left out.
    """
    result = {}
    for split, scores in predictions.items():
        result[split] = {}
        for index, target in enumerate(data.targets):
            labels = splits[split].labels[:, index]
            known = ~np.isnan(labels)
            if known.any():
                result[split][target] = evaluate_predictions(
                    labels[known], scores[known, index], data.task == "regression", samples
                )
    return result
