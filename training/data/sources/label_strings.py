"""Tables whose rows hold a sequence and a string of labels, one character for each task."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from pydantic import Field

from regzoo.errors import InputError
from training.data.records import column, read_table, table_sequences
from training.data.sources.base import Piece, Source

#: The label that each character of a label string stands for.
LABELS = {"0": 0.0, "1": 1.0, ".": np.nan}


class LabelStringsData(Source):
    """One table for each split, with the columns `sequence`, `labels` and, if there is one, `source`.

    `labels` has one character for each task: 1 (bound), 0 (not bound) or '.' (ambiguous; masked). The tasks are the
    rows of another table, in the order of the characters. The columns `names` of that table, joined by '_', name the
    targets.
    """

    format: Literal["label_strings"]
    files: dict[Literal["train", "dev", "test"], str] = {
        "train": "train.tsv.gz",
        "dev": "valid.tsv.gz",
        "test": "test.tsv.gz",
    }
    tasks: str = Field("tasks.tsv", description="table with one row per task")
    names: list[str] = Field(["TF", "cell"], min_length=1, description="columns of `tasks` that name a target")

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        path = self.root / self.tasks
        table = read_table(path)
        parts = [column(table, name, path) for name in self.names]
        names = ["_".join(row) for row in zip(*parts)]
        for line, name in zip(table.index, names):
            if names.index(name) != line - table.index[0]:
                raise InputError(
                    f"{path}, line {line}: a second task of the name {name!r}; name the targets by more columns"
                )
        return names

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        targets = self.targets
        for split, file in self.files.items():
            path = self.root / file
            table = read_table(path)
            labels = _labels(column(table, "labels", path), len(targets), path)
            sequences = table_sequences(column(table, "sequence", path), path)
            sources = table["source"].to_numpy(dtype=str) if "source" in table else None
            yield Piece(path, split, sequences, dict(zip(targets, labels.T)), sources=sources)


def _labels(strings, tasks, path):
    """Labels of a column of label strings, float32, shape (N, tasks)."""
    for line, text in strings.items():
        if len(text) != tasks:
            raise InputError(f"{path}, line {line}: {len(text)} labels, but {tasks} tasks")
        if wrong := set(text) - LABELS.keys():
            raise InputError(f"{path}, line {line}: label {min(wrong)!r}; expected 0, 1 or '.'")
    characters = np.array(strings.to_list(), dtype=f"S{tasks}").view("S1").reshape(-1, tasks)
    values = np.full(256, np.nan, dtype=np.float32)
    for character, value in LABELS.items():
        values[ord(character)] = value
    return values[characters.view(np.uint8)]
