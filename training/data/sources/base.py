"""Base of the data formats: a section of a recipe that reads its files."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from regzoo.errors import InputError
from training.section import Section

SPLITS = ("train", "dev", "test")


@dataclass
class Piece:
    """Labelled sequences of one file.

    Attributes
    ----------
    path : pathlib.Path
        The file, for messages.
    split : str
        'train', 'dev' or 'test'.
    sequences : list of numpy.ndarray, uint8, or numpy.ndarray, uint8, shape (N, L)
    labels : dict of str to numpy.ndarray, float32, shape (N,)
        Labels of each target; NaN where a label is missing.
    groups : sequence of str, optional
        Group of each record; `holdout: {by: group}` keeps a group in one split.
    sources : numpy.ndarray of str, shape (N,), optional
        Source of each record; `evaluate` also computes metrics within each source.
    """

    path: Path
    split: str
    sequences: Sequence[np.ndarray] | np.ndarray
    labels: dict[str, np.ndarray]
    groups: Sequence[str] | np.ndarray | None = None
    sources: np.ndarray | None = None


class Holdout(Section):
    """Parts of the training rows that are held out, in whole groups."""

    by: Literal["random", "cluster", "group"] = Field(
        "cluster",
        description="cluster: rows that share a k-mer; group: groups that the files name; random: single rows, "
        "stratified by their labels",
    )
    dev: float = Field(0.1, ge=0, lt=1, description="fraction of rows")
    test: float = Field(0.0, ge=0, lt=1, description="fraction of rows")
    kmer: int = Field(40, gt=0, description="length of the k-mers that join rows to clusters")
    seed: int = 1


class Source(Section):
    """What all formats have in common. Paths are relative to REGZOO_DATA, or to the working directory if it is not
    set.
    """

    folder: str = Field(description="folder of the files; for format `built`, the file")
    title: str = Field("", description="a few words for the tables of models")
    description: str = Field("", description="for the model card: what the data is, its source and licence")
    cite_as: str = Field("", description="for model.yaml: publications of the data")
    keywords: list[str] = Field([], description="tags in model.yaml, e.g. DNA binding")
    task: Literal["binary", "multiclass", "regression"] = "binary"
    length: int | None = Field(
        None, gt=0, description="window length in bases; sequences are cut to their centre or padded with N"
    )
    stranded: bool = Field(
        False, description="sequences have a direction (RNA, promoters): reverse complements are not used"
    )
    overlap_kmer: int = Field(
        40, gt=0, description="drop training rows that share a k-mer of this length with dev or test"
    )
    evaluation: list[str] = Field(
        [],
        description="globs of other data that the model will be evaluated on; training rows that overlap are dropped",
    )
    rare_targets: bool = Field(
        False, description="accept targets with one class only in dev or test; they have no metrics there"
    )
    holdout: Holdout | None = None

    @property
    def root(self) -> Path:
        """Path of the folder."""
        return data_root(self.folder)

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        raise NotImplementedError

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        raise NotImplementedError


def data_root(folder: str) -> Path:
    """`folder` relative to REGZOO_DATA, or to the working directory if that is not set."""
    root = os.environ.get("REGZOO_DATA")
    return Path(root) / folder if root else Path(folder)


def find_files(patterns: Iterable[str]) -> list[Path]:
    """Paths that match globs relative to REGZOO_DATA, in order; an InputError names a pattern without match."""
    root, found = data_root(""), []
    for pattern in patterns:
        paths = sorted(root.glob(pattern))
        if not paths:
            raise InputError(f"{root / pattern}: no such file; set REGZOO_DATA to the folder of the data")
        found += paths
    return found
