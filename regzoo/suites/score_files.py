"""Scores that were computed elsewhere: a table with a row for each row of a suite's data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.suites.protocol import Task

_SUFFIXES = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".parquet")


def is_score_file(model: Any) -> bool:
    """Whether a model is given as a file of scores, by its suffix."""
    return isinstance(model, (str, Path)) and str(model).endswith(_SUFFIXES)


def read_scores(path: str | Path, tasks: Sequence[Task]) -> tuple[str, list[str], list[Task], list[np.ndarray]]:
    """Read a file of scores.

    Parameters
    ----------
    path : str or pathlib.Path
        Columns data_set, id, and one for each target.
    tasks : sequence of Task
        Data sets of the suite. The file may leave out whole data sets.

    Returns
    -------
    name : str
        The file's name.
    targets : list of str
    tasks : list of Task
        Data sets that the file has.
    scores : list of numpy.ndarray, float, shape (N, targets)
        In the order of the rows of each data set.

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing or not numeric, or its rows are not those of its data sets.
    """
    table = _read(Path(path))
    targets = [name for name in table.columns if name not in ("data_set", "id")]
    if not {"data_set", "id"} <= set(table.columns) or not targets:
        raise InputError(f"{path}: expected columns data_set, id and one or more of scores; found {list(table)[:6]}")
    for target in targets:
        if not pd.api.types.is_numeric_dtype(table[target]) or not np.isfinite(table[target]).all():
            raise InputError(f"{path}: column {target!r}: expected a finite number in each row")
    known = {task.name: task for task in tasks}
    for name in table.data_set.unique():
        if name not in known:
            raise InputError(f"{path}: no data set {name!r} in this suite; there are {', '.join(known)}")
    own = [task for task in tasks if (table.data_set == task.name).any()]
    if not own:
        raise InputError(f"{path}: no row after the header")
    return Path(path).name, targets, own, [_of_task(path, table, task, targets) for task in own]


def _read(path):
    if not path.is_file():
        raise InputError(f"{path}: no such file of scores")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).astype({"data_set": str, "id": str}, errors="ignore")
        separator = "," if ".csv" in path.suffixes else "\t"
        return pd.read_csv(path, sep=separator, dtype={"data_set": str, "id": str})
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot read this file of scores ({error})") from error


def _of_task(path, table, task, targets):
    part = table[table.data_set == task.name]
    where = f"{path}, data set {task.name}"
    repeated = part.id[part.id.duplicated()]
    if len(repeated):
        raise InputError(f"{where}: id {repeated.iloc[0]!r} occurs more than once; expected one row for each id")
    for ids, others, text in ((part.id, task.ids, "is not in the data set"), (task.ids, part.id, "has no row")):
        missing = sorted(set(ids) - set(others))
        if missing:
            raise InputError(
                f"{where}: {len(missing):,} ids do not match; {missing[0]!r} {text}. `--rows FILE` writes the ids"
            )
    return part.set_index("id").loc[task.ids, targets].to_numpy(float)
