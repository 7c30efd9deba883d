"""Suite 'probe': frozen embeddings of language models, read by a random forest (Feng et al. 2025)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from regzoo.embedding import vectors_of
from regzoo.nets.language_models import LanguageModel
from regzoo.sequence import decode, encode
from regzoo.suites.data import DataFolder
from regzoo.suites.protocol import Measure, Task, metric_rows

_FOLDS = 5
_GROUP = 1024  # sequences embedded at once
_K = 4  # of the k-mers of the baseline
BASELINE = f"{_K}-mer frequencies"
_MODELS = ("DNABERT-2", "NT-v2", "HyenaDNA", "Caduceus-Ph", "GROVER")
_TF, _PROM = "gue/tf/{}/{}.csv.gz", "gue/prom/{}/{}.csv.gz"

#: Data set -> training file, test file (None: cross-validation), AUROCs of Feng et al. in the order of `_MODELS`.
_SETS = {
    "tf 0": (_TF.format(0, "train"), _TF.format(0, "test"), (0.838, 0.832, 0.830, 0.880, 0.862)),
    "tf 1": (_TF.format(1, "train"), _TF.format(1, "test"), (0.821, 0.809, 0.821, 0.869, 0.850)),
    "tf 2 (dev)": (_TF.format(2, "train"), _TF.format(2, "dev"), (0.790, 0.797, 0.788, 0.825, 0.816)),
    "tf 3 (dev)": (_TF.format(3, "train"), _TF.format(3, "dev"), (0.726, 0.710, 0.715, 0.773, 0.763)),
    "tf 4 (dev)": (_TF.format(4, "train"), _TF.format(4, "dev"), (0.920, 0.915, 0.916, 0.929, 0.931)),
    "promoter all 70 bp": (
        _PROM.format("prom_core_all", "train"),
        _PROM.format("prom_core_all", "test"),
        (0.831, 0.853, 0.832, 0.875, 0.851),
    ),
    "promoter all 300 bp (trained on dev)": (
        _PROM.format("prom_300_all", "dev"),
        _PROM.format("prom_300_all", "test"),
        (0.943, 0.945, 0.939, 0.952, 0.940),
    ),
    "promoter TATA 70 bp (dev)": (
        _PROM.format("prom_core_tata", "train"),
        _PROM.format("prom_core_tata", "dev"),
        (0.778, 0.795, 0.783, 0.810, 0.796),
    ),
    "promoter TATA 300 bp": (
        _PROM.format("prom_300_tata", "train"),
        _PROM.format("prom_300_tata", "test"),
        (0.765, 0.779, 0.808, 0.760, 0.780),
    ),
    "enhancers Cohn (cross-validated)": (
        "enhancers_promoters/human_enhancers_cohn_test.tsv.gz",
        None,
        (0.822, 0.789, 0.775, 0.821, 0.816),
    ),
}


@dataclass
class ProbeTask(Task):
    """Labelled sequences of a training and a test set.

    Attributes
    ----------
    sequences : list of numpy.ndarray, uint8
        Base codes.
    labels : numpy.ndarray, float, shape (N,)
        0 or 1.
    seed : int
        Of the random forest.
    """

    sequences: list[np.ndarray]
    labels: np.ndarray
    seed: int

    def columns(self) -> dict[str, list[str]]:
        """The sequences as text."""
        return {"sequence": [decode(codes) for codes in self.sequences]}


def tasks(data: DataFolder, seed: int = 0, training_rows: int = 10_000) -> list[Task]:
    """Data sets of the suite. `Task.half` marks the training rows; where there are none, rows are cross-validated.

    Parameters
    ----------
    data : DataFolder
    seed : int
        Seed of the choice of training rows, and of the random forest.
    training_rows : int
        Most training rows of a data set.

    Returns
    -------
    list of ProbeTask

    Raises
    ------
    InputError
        If a file is missing or has another digest.
    """
    found: list[Task] = []
    for name, (train, test, _) in _SETS.items():
        table = data.table(train)
        choice = f"random forest; {_FOLDS}-fold cross-validation"
        if test is None:
            table = table.assign(train=False)
        else:
            table = table.sample(min(training_rows, len(table)), random_state=seed).sort_index()
            choice = f"random forest; {len(table):,} training rows"
            table = pd.concat([table.assign(train=True), data.table(test).assign(train=False)])
        ids = [f"{'train' if is_train else 'test'}:{row}" for row, is_train in zip(table.index, table.train)]
        labels, half = table.label.to_numpy(float), table.train.to_numpy(bool)
        sequences = [encode(text) for text in table.sequence]
        found.append(ProbeTask(name, ids, [Measure("auroc", labels)], half, choice, sequences, labels, seed))
    return found


def scores(model: LanguageModel, task: ProbeTask, batch_size: int = 64) -> np.ndarray:
    """Mean token embeddings of the sequences.

    Parameters
    ----------
    model : LanguageModel
    task : ProbeTask
    batch_size : int
        Sequences of 64 tokens in one pass.

    Returns
    -------
    numpy.ndarray, float32, shape (N, hidden)
    """
    return embedded(model, task.sequences, batch_size)


def embedded(model: LanguageModel, sequences: Sequence[np.ndarray], batch_size: int = 64) -> np.ndarray:
    """Mean token embeddings.

    Parameters
    ----------
    model : LanguageModel
    sequences : sequence of numpy.ndarray, uint8
        Base codes, N arrays.
    batch_size : int
        Sequences of 64 tokens in one pass.

    Returns
    -------
    numpy.ndarray, float32, shape (N, hidden)
    """
    found = []
    for start in range(0, len(sequences), _GROUP):
        pieces = vectors_of(model, sequences[start : start + _GROUP], "mean", batch_size=batch_size)
        found += [vectors[0] for _, _, vectors in pieces]
    return np.stack(found)


def baseline(task: ProbeTask) -> np.ndarray:
    """Features of a baseline, shape (N, 256): frequencies of 4-mers."""
    return frequencies(task.sequences)


def frequencies(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Frequencies of 4-mers among those without an unknown base.

    Parameters
    ----------
    sequences : sequence of numpy.ndarray, uint8
        Base codes, N arrays.

    Returns
    -------
    numpy.ndarray, float, shape (N, 256)
    """
    powers = 4 ** np.arange(_K)
    found = np.zeros((len(sequences), 4**_K))
    for row, codes in enumerate(sequences):
        windows = np.lib.stride_tricks.sliding_window_view(codes, _K).astype(int)
        known = windows[(windows < 4).all(axis=1)] @ powers
        found[row] = np.bincount(known, minlength=4**_K) / max(1, len(known))
    return found


def report(
    tasks: Sequence[ProbeTask], targets: Sequence[str] | None, values: Iterable[np.ndarray], fixed: bool = False
) -> list[dict[str, Any]]:
    """AUROC of a random forest on embeddings.

    Parameters
    ----------
    tasks : sequence of ProbeTask
    targets : sequence of str, or None
        Names of the dimensions; None for the baseline.
    values : iterable of numpy.ndarray, float, shape (N, dimensions)
        Embeddings of the rows of each data set.
    fixed : bool
        Not used.

    Returns
    -------
    list of dict
        See `regzoo.suites.protocol.report`.
    """
    found = []
    for task, features in zip(tasks, values):
        forest = RandomForestClassifier(random_state=task.seed, n_jobs=torch.get_num_threads())
        train, predicted = task.half, np.zeros(len(task.ids))
        if train.any():
            forest.fit(features[train], task.labels[train])
            predicted[~train] = forest.predict_proba(features[~train])[:, 1]
        else:
            folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=task.seed)
            predicted = cross_val_predict(forest, features, task.labels, cv=folds, method="predict_proba")[:, 1]
        name = BASELINE if targets is None else "mean embedding"
        found += metric_rows(task, name, predicted, ~train, task.choice)
    return found


def published(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """AUROCs that Feng et al. 2025 report, with their models' names.

    Parameters
    ----------
    tasks : sequence of Task
        Data sets to report.

    Returns
    -------
    list of dict
    """
    about = {"target": "mean embedding", "metric": "auroc", "low": np.nan, "high": np.nan, "n": None}
    about |= {"choice": "random forest", "note": "published, on a test set that may differ"}
    return [
        about | {"model": f"published: {model}", "data_set": task.name, "value": value}
        for task in tasks
        for model, value in zip(_MODELS, _SETS[task.name][2])
    ]
