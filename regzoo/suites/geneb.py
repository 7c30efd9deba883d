"""Suite 'geneb': logistic regression on frozen embeddings, with all or few training rows (Ledneva et al. 2026)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from regzoo.errors import InputError
from regzoo.evaluate.metrics import resamples
from regzoo.sequence.codes import encode_checked
from regzoo.suites.data import DataFolder
from regzoo.suites.probe import BASELINE, ProbeTask, baseline, scores
from regzoo.suites.protocol import Task

__all__ = ["BASELINE", "baseline", "published", "report", "scores", "tasks"]

#: The protocol (github.com/darlednik/GENEB, embedding_pipeline): seeds of the draws, and iterations of the regression.
SEEDS = (13, 17, 42, 123, 997)
_ITERATIONS = 1000
#: Regime -> training rows of each class; None is all.
REGIMES: dict[str, int | None] = {"full": None, "10shot": 10, "1shot": 1}
_GUE = "leannmlindsey_GUE_"
#: Task -> training and test file. Of the other tasks, files in the folder 'geneb' are read.
_SETS = {
    f"{_GUE}human_tf_0": ("gue/tf/0/train.csv.gz", "gue/tf/0/test.csv.gz"),
    f"{_GUE}human_tf_1": ("gue/tf/1/train.csv.gz", "gue/tf/1/test.csv.gz"),
    f"{_GUE}prom_core_all": ("gue/prom/prom_core_all/train.csv.gz", "gue/prom/prom_core_all/test.csv.gz"),
    f"{_GUE}prom_300_tata": ("gue/prom/prom_300_tata/train.csv.gz", "gue/prom/prom_300_tata/test.csv.gz"),
}
#: Task -> MCC in the three regimes, of the submission splicebert-1024nt (commit e14bb82).
_SPLICEBERT = {
    f"{_GUE}human_tf_0": (0.6678, 0.3592, 0.0770),
    f"{_GUE}human_tf_1": (0.7204, 0.4321, 0.2480),
    f"{_GUE}prom_core_all": (0.6221, 0.4595, 0.1555),
    f"{_GUE}prom_300_tata": (0.5988, 0.1944, 0.0426),
}


def tasks(data: DataFolder) -> list[Task]:
    """Tasks whose files are at hand: four of GUE, and the files geneb/TASK.csv of the data folder.

    Parameters
    ----------
    data : DataFolder
        A file geneb/TASK.csv (or .csv.gz) has the columns text (or sequence), label, and split ('train' or 'test';
        other rows are not used).

    Returns
    -------
    list of ProbeTask

    Raises
    ------
    InputError
        If a file is missing, has another digest, or is not such a table, or a cell of it is empty.
    """
    found = []
    for name, files in _SETS.items():
        parts = [data.table(file).assign(split=split) for file, split in zip(files, ("train", "test"))]
        found.append(_task(name, pd.concat(parts), str(data.folder / files[0])))
    for path in sorted((data.folder / "geneb").glob("*.csv*")):
        name = path.name.split(".csv")[0]
        if name in [task.name for task in found[len(_SETS) :]]:
            raise InputError(f"{path}: there is another file of the task {name!r}; keep one of them")
        if name not in _SETS:
            found.append(_task(name, _own_table(data, f"geneb/{path.name}"), str(path)))
    return found


def _own_table(data, name):
    path, content = data.folder / name, io.BytesIO(data.own_file(name))
    try:  # a class may be called NA or None
        table = pd.read_csv(content, keep_default_na=False, low_memory=False).rename(columns={"text": "sequence"})
    except ValueError as error:
        raise InputError(f"{path}: cannot read this table ({error})") from error
    for column in ("sequence", "label", "split"):
        if column not in table:
            raise InputError(f"{path}: no column {column!r}; expected text (or sequence), label and split")
        empty = np.flatnonzero(table[column].isna() | (table[column].astype(str).str.strip() == ""))
        if len(empty):
            raise InputError(f"{path}, row {empty[0]}: no {column}; fill the cell in, or remove the row")
    return table[table.split.isin(["train", "test"])]


def _task(name, table, source):
    train = (table.split == "train").to_numpy()
    classes = sorted(set(table.label))
    if not train.any() or train.all() or len(set(table.label[train])) < 2:
        raise InputError(f"{source}: expected training rows of two or more classes, and test rows")
    labels = np.searchsorted(classes, table.label).astype(float)
    sequences = [encode_checked(str(text), f"{source}, row {row}") for row, text in zip(table.index, table.sequence)]
    ids = [f"{split}:{row}" for row, split in zip(table.index, table.split)]
    return ProbeTask(name, ids, [], train, "as published", sequences, labels, 0)


def report(
    tasks: Sequence[ProbeTask], targets: Sequence[str], values: Iterable[np.ndarray], fixed: bool = False
) -> list[dict[str, Any]]:
    """MCC, accuracy and macro F1 of a logistic regression on embeddings in the three regimes.

    Parameters
    ----------
    tasks : sequence of ProbeTask
    targets : sequence of str
        Not used.
    values : iterable of numpy.ndarray, float, shape (N, dimensions)
        Embeddings of the rows of each task.
    fixed : bool
        Not used.

    Returns
    -------
    list of dict
        See `regzoo.suites.protocol.report`. A value is the mean over the published seeds; the interval is that of the
        test rows, resampled together for all seeds.
    """
    found = []
    for task, features in zip(tasks, values):
        train, labels = task.half, task.labels.astype(int)
        for regime, shots in REGIMES.items():
            predicted = [
                _predicted(features[train], labels[train], features[~train], shots, seed)
                for seed in (SEEDS if shots else SEEDS[:1])  # with all rows, the regression does not depend on the seed
            ]
            rows = f"{train.sum():,} training rows" if shots is None else f"{shots} of each class, {len(SEEDS)} draws"
            about = {"target": regime, "data_set": task.name, "n": int((~train).sum())}
            about |= {"choice": f"logistic regression, {rows}"}
            for metric, value in _metrics(labels[~train], predicted, int(labels.max()) + 1).items():
                found.append(about | {"metric": metric} | value)
    return found


def _predicted(train, labels, test, shots, seed):
    """Predicted classes of the test rows, trained on all rows or on some of each class."""
    rows = np.arange(len(labels))
    if shots is not None:
        draw = np.random.RandomState(seed)
        own = [np.flatnonzero(labels == one) for one in np.unique(labels)]
        rows = np.concatenate([draw.choice(one, size=min(shots, len(one)), replace=False) for one in own])
    return LogisticRegression(max_iter=_ITERATIONS).fit(train[rows], labels[rows]).predict(test)


def _metrics(labels, predicted, classes):
    """Metrics of several predictions of the same rows, averaged, with 95% bootstrap intervals over the rows."""
    drawn = np.concatenate([np.ones((1, len(labels))), *resamples(len(labels))])
    tables = [_confusion(labels, one, drawn, classes) for one in predicted]
    found = {}
    for name, metric in (("mcc", mcc), ("accuracy", _accuracy), ("macro_f1", _macro_f1)):
        values = np.mean([metric(table) for table in tables], axis=0)
        low, high = np.percentile(values[1:], [2.5, 97.5])
        found[name] = {"value": float(values[0]), "low": float(low), "high": float(high)}
    return found


def _confusion(labels, predicted, weights, classes):
    """Weighted confusion matrices, shape (B, classes, classes)."""
    cells = np.eye(classes * classes)[labels * classes + predicted]
    return (weights @ cells).reshape(-1, classes, classes)


def mcc(tables: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient of several classes (Gorodkin 2004); 0 if undefined.

    Parameters
    ----------
    tables : numpy.ndarray, float, shape (B, C, C)
        Confusion matrices: rows are classes, columns predicted classes.

    Returns
    -------
    numpy.ndarray, float, shape (B,)
    """
    total, right = tables.sum(axis=(1, 2)), np.trace(tables, axis1=1, axis2=2)
    true, said = tables.sum(axis=2), tables.sum(axis=1)
    above = right * total - (true * said).sum(axis=1)
    below = np.sqrt((total**2 - (said**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1)))
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _accuracy(tables):
    return np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2))


def _macro_f1(tables):
    """Mean over the classes that occur or are predicted; 0 for a class that is never both."""
    both = 2 * np.diagonal(tables, axis1=1, axis2=2)
    sizes = tables.sum(axis=1) + tables.sum(axis=2)
    known = sizes > 0
    return np.divide(both, sizes, out=np.zeros_like(both), where=known).sum(axis=1) / known.sum(axis=1)


def published(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """MCC of one submitted model, for scale.

    Parameters
    ----------
    tasks : sequence of Task
        Data sets to report.

    Returns
    -------
    list of dict
    """
    about = {"model": "published: SpliceBERT 1024nt", "metric": "mcc", "low": np.nan, "high": np.nan, "n": None}
    about |= {"choice": "logistic regression", "note": "a submission to the leaderboard"}
    return [
        about | {"data_set": task.name, "target": regime, "value": value}
        for task in tasks
        for regime, value in zip(REGIMES, _SPLICEBERT.get(task.name, ()))
    ]


def submission(table: pd.DataFrame, model: str, parameters: int | None, version: str) -> dict[str, Any]:
    """A file for the leaderboard, of the layout of the repository's submissions.

    Parameters
    ----------
    table : pandas.DataFrame
        `regzoo.Benchmark.table` of this suite.
    model : str
    parameters : int or None
    version : str
        Of regzoo.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If the table has no rows of the model.
    """
    own = table[table.model == model]
    if own.empty:
        raise InputError(f"no results of {model!r} to submit")
    keys = {"mcc": "MCC", "accuracy": "Acc", "macro_f1": "F1"}
    results: dict[str, dict] = {regime: {} for regime in REGIMES}
    for row in own.itertuples():
        results[row.target].setdefault(row.data_set, {})[keys[row.metric]] = row.value
    meta = {"display": model, "params": parameters, "zero_shot": False, "provenance": "self-reported"}
    return {
        "schema_version": "1.0",
        "model_id": model.replace("/", "-").lower(),
        "harness_version": f"regzoo-{version}, protocol of GENEB-0.1.0",
        "meta": meta,
        "results": results,
    }
