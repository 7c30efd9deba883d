"""Baselines of every trained model: linear models and support vector machines on k-mers."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from regzoo.sequence.codes import reverse_complement
from training.data import load_examples
from training.data.holdout import cluster_ids
from training.data.sources import Source
from training.estimators import fit_linear, fit_svr, predict_rows
from training.recipe import PROSE, load_recipe
from training.run import write_text
from training.scores import evaluate_splits


def kmer_counts(codes: np.ndarray, k: int = 6, stranded: bool = False, presence: bool = False) -> csr_matrix:
    """Counts of k-mers in windows.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    k : int
    stranded : bool
        Count k-mers of the given strand only; otherwise a k-mer and its reverse complement are one.
    presence : bool
        1 for every count above 0.

    Returns
    -------
    scipy.sparse.csr_matrix, float32, shape (N, distinct k-mers)
        k-mers with an unknown base are not counted.
    """
    every = np.array(list(itertools.product(range(4), repeat=k)), dtype=np.uint8)
    places = 4 ** np.arange(k - 1, -1, -1)
    number = every @ places
    if not stranded:
        number = np.minimum(number, reverse_complement(every) @ places)
    kinds, column = np.unique(number, return_inverse=True)
    windows = np.lib.stride_tricks.sliding_window_view(codes, k, axis=1)
    known = (windows < 4).all(axis=2)
    values = column[np.where(known, windows @ places, 0)]
    rows = np.repeat(np.arange(len(codes)), values.shape[1]).reshape(values.shape)
    counts = csr_matrix(
        (np.ones(known.sum(), dtype=np.float32), (rows[known], values[known])), shape=(len(codes), len(kinds))
    )
    counts.sum_duplicates()
    if presence:
        counts.data[:] = 1
    return counts


def fit_baseline(recipe_path: str | Path) -> dict[str, Any]:
    """Fit and evaluate the baselines of a recipe's data; they are kept in runs/baselines for all recipes with the same
    data.

    Classification: logistic regression on 6-mer presence. Regression: ridge regression and a support vector machine on
    the square roots of 5-mer counts.

    Parameters
    ----------
    recipe_path : str or pathlib.Path

    Returns
    -------
    dict
        name -> split -> target -> metric -> {'value', 'low', 'high'}
    """
    data = load_recipe(recipe_path, "fit", "probe").data
    if found := read_baseline(recipe_path, data):
        return found
    splits, _ = load_examples(data)
    regression = data.task == "regression"
    features = {}
    for split, part in splits.items():
        counts = kmer_counts(part.codes, 5 if regression else 6, data.stranded, presence=not regression)
        features[split] = [np.sqrt(counts.toarray()) if regression else counts]
    names = ["ridge on 5-mers", "SVR on 5-mers"] if regression else ["logistic regression on 6-mers"]
    result, groups = {}, cluster_ids(data.holdout, splits["train"].codes)
    for name in names:
        predictors = []
        for labels in splits["train"].labels.T:
            known = np.flatnonzero(~np.isnan(labels))
            x, y, together = features["train"][0][known], labels[known], groups[known]
            if name.startswith("SVR"):
                predictors.append(fit_svr(x, y, together))
            else:
                predictors.append(_linear(*fit_linear(x, y, regression, together)[:2], regression))
        result[name] = evaluate_splits(data, splits, predict_rows(splits, features, predictors))
    path = _path(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"data": _fixed(data), "baselines": result}, indent=1))
    return result


def read_baseline(recipe_path: str | Path, data: Source) -> dict[str, Any]:
    """Result of `fit_baseline` for the same data, or an empty dict."""
    older = Path("runs") / Path(recipe_path).resolve().parent.name / "baseline.json"  # its place in older runs
    for path in (_path(data), older):
        content = json.loads(path.read_text()) if path.exists() else {}
        if content and content["data"] == _fixed(data):
            return content["baselines"]
    return {}


def _path(data):
    """Named by a digest of the data section without its texts."""
    text = json.dumps(_fixed(data), sort_keys=True)
    return Path("runs") / "baselines" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _fixed(data):
    return data.model_dump(mode="json", exclude=PROSE["data"])


def _linear(coefficients, intercept, regression):
    def predict(features):
        values = features @ coefficients + intercept
        return values if regression else 1 / (1 + np.exp(-values))

    return predict
