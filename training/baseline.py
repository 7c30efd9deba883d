"""The floor that every trained model is held against: logistic regression on strand-blind k-mer presence."""

import itertools
import json

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from regzoo.evaluate import bootstrap
from regzoo.sequence.codes import reverse_complement
from training.data import load_examples
from training.fit import run_folder, write_text
from training.probe import load_probe_recipe
from training.recipe import load_recipe, recipe_kind

STRENGTHS = (0.003, 0.01, 0.03, 0.1)  # inverse penalties, chosen on dev


def kmer_presence(codes, k=6):
    """Which k-mers a window holds on either strand.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    k : int

    Returns
    -------
    scipy.sparse.csr_matrix, float32, shape (N, distinct k-mers up to strand)
        k-mers with an unknown base are left out.
    """
    every = np.array(list(itertools.product(range(4), repeat=k)), dtype=np.uint8)
    places = 4 ** np.arange(k - 1, -1, -1)
    number = np.minimum(every @ places, reverse_complement(every) @ places)
    kinds, column = np.unique(number, return_inverse=True)
    windows = np.lib.stride_tricks.sliding_window_view(codes, k, axis=1)
    known = (windows < 4).all(axis=2)
    values = column[np.where(known, windows @ places, 0)]
    rows = np.repeat(np.arange(len(codes)), values.shape[1]).reshape(values.shape)
    pairs = np.unique(np.stack([rows[known], values[known]]), axis=1)
    return csr_matrix((np.ones(pairs.shape[1], dtype=np.float32), pairs), shape=(len(codes), len(kinds)))


def fit_baseline(recipe_path):
    """Fit and evaluate the baseline of a recipe's data; written to baseline.json in the run's folder.

    Parameters
    ----------
    recipe_path : str or pathlib.Path

    Returns
    -------
    dict
        split -> target -> metric -> {'value', 'low', 'high'}
    """
    load = load_probe_recipe if recipe_kind(recipe_path) == "probe" else load_recipe
    recipe = load(recipe_path)
    splits, _ = load_examples(recipe.data)
    result = {split: {} for split in splits if split != "train"}
    for index, target in enumerate(recipe.data.tasks):
        codes, labels = splits["train"].of_target(index)
        features = kmer_presence(codes)
        dev_codes, dev_labels = splits["dev"].of_target(index)
        dev_features = kmer_presence(dev_codes)
        fitted = [LogisticRegression(C=c, max_iter=500).fit(features, labels) for c in STRENGTHS]
        best = max(fitted, key=lambda model: np.mean(model.predict(dev_features) == dev_labels))
        for split in result:
            codes, labels = splits[split].of_target(index)
            if len(codes):
                result[split][target] = bootstrap(labels, best.predict_proba(kmer_presence(codes))[:, 1])
    folder = run_folder(recipe_path)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "baseline.json", json.dumps(result, indent=1))
    return result
