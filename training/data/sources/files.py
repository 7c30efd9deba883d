"""FASTA files and tables, and the folders of the GUE benchmark."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from regzoo.errors import InputError
from regzoo.evaluate.labelled import read_labelled
from regzoo.sequence.fasta import read_fasta
from training.data.records import column, numbers, read_table, table_sequences
from training.data.sources.base import Piece, Source
from training.section import Section


class GueData(Source):
    """The layout of the GUE benchmark: one sub-folder per target, with train, dev and test as .csv or .csv.gz."""

    format: Literal["gue"] = "gue"
    tasks: dict[str, str] = Field(min_length=1, description="target -> sub-folder")
    files: dict[str, str] = Field(
        {"train": "train", "dev": "dev", "test": "test"}, description="split -> name of its files, without suffix"
    )

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return list(self.tasks)

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        for target, folder in self.tasks.items():
            paths = {split: _csv(self.root / folder, name) for split, name in self.files.items()}
            if not any(paths.values()):
                raise InputError(f"{self.root / folder}: none of {', '.join(self.files.values())} as .csv or .csv.gz")
            for split, path in paths.items():
                if path:
                    found = read_labelled(path, self.length)
                    yield Piece(path, split, found.codes, {target: found.labels})


def _csv(folder, name):
    return next((p for p in (folder / f"{name}.csv.gz", folder / f"{name}.csv") if p.is_file()), None)


class LabelledFile(Section):
    """One FASTA file (.fa or .fasta, also with .gz) or table (any other name)."""

    path: str
    split: Literal["train", "dev", "test"] = "train"
    labels: dict[str, float | str | list[str]] = Field(
        min_length=1,
        description="target -> a number for all records, a column of a table, columns whose known values are "
        "averaged, or a regular expression for FASTA headers whose group is the label",
    )
    columns: list[str] | None = Field(None, description="names of the columns of a table without header")
    sequence: str = Field("sequence", description="column of sequences, or of overlapping k-mers")
    group: str | None = Field(None, description="column of groups, or a regular expression for FASTA headers")

    def read(self, root: Path) -> Piece:
        """Read the file; `root` is the data's folder."""
        path = root / self.path
        if re.search(r"\.(fa|fasta)(\.gz)?$", path.name):
            headers, sequences = read_fasta(path)
            labels = {target: self._of_headers(rule, headers, path) for target, rule in self.labels.items()}
            groups = [_match(self.group, header, path) for header in headers] if self.group else None
        else:
            table = read_table(path, self.columns)
            sequences = table_sequences(column(table, self.sequence, path), path)
            labels = {target: self._of_columns(rule, table, path) for target, rule in self.labels.items()}
            groups = list(column(table, self.group, path)) if self.group else None
        return Piece(path, self.split, sequences, labels, groups)

    @staticmethod
    def _of_columns(rule, table, path):
        if isinstance(rule, float):
            return np.full(len(table), rule, np.float32)
        columns = [rule] if isinstance(rule, str) else rule
        values = np.stack([numbers(column(table, name, path), path) for name in columns])
        known = ~np.isnan(values)
        total = np.where(known, values, 0).sum(axis=0)
        return np.divide(total, known.sum(axis=0), out=np.full(len(table), np.nan, np.float32), where=known.any(axis=0))

    @staticmethod
    def _of_headers(rule, headers, path):
        if isinstance(rule, list):
            raise InputError(f"{path}: labels from a list of columns need a table, and this is a FASTA file")
        if not isinstance(rule, str):
            return np.full(len(headers), rule, np.float32)
        try:
            return np.array([float(_match(rule, header, path)) for header in headers], np.float32)
        except ValueError as error:
            raise InputError(f"{path}: {rule!r} matches a label that is not a number: {error}") from error


class FilesData(Source):
    """FASTA files and tables with a rule for their labels: iEnhancer, DNABERT's k-mers, CLIP, reporter assays."""

    format: Literal["files"]
    files: list[LabelledFile] = Field(min_length=1)

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return list(dict.fromkeys(target for file in self.files for target in file.labels))

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        return (file.read(self.root) for file in self.files)


def _match(rule, header, path):
    found = re.search(rule, header)
    if not found:
        raise InputError(f"{path}, record {header!r}: no match of {rule!r}")
    return found.group(1)
