"""What all of a recipe's data formats have in common: each is a section that reads itself into pieces."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from training.section import Section

SPLITS = ("train", "dev", "test")


@dataclass
class Piece:
    """Labelled sequences of one file.

    Attributes
    ----------
    path : pathlib.Path
        For messages.
    split : str
        'train', 'dev' or 'test'.
    sequences : list of numpy.ndarray, uint8, or numpy.ndarray, uint8, shape (N, L)
    labels : dict of str to numpy.ndarray, float32, shape (N,)
        By target; NaN where a label is missing.
    groups : list of str, optional
        Records of one group stay in one split.
    """

    path: Path
    split: str
    sequences: list
    labels: dict
    groups: list | None = None


class Holdout(Section):
    """Parts of the training rows that are held out, whole groups at a time."""

    by: Literal["random", "cluster", "group"] = Field(
        "cluster",
        description="cluster: rows that share a k-mer; group: as the files say; random: rows, alike in label patterns",
    )
    dev: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.0, ge=0, lt=1)
    kmer: int = Field(40, gt=0, description="of clusters")
    seed: int = 1


class Source(Section):
    """What all formats have in common. Paths are under REGZOO_DATA if that is set, else under the working directory."""

    folder: str = Field(description="that holds the files, or a built set's file")
    title: str = Field("", description="what it is of, in a few words, for the tables of models")
    description: str = Field("", description="for the model card: what it is, source, licence")
    task: Literal["binary", "multiclass", "regression"] = "binary"
    length: int | None = Field(None, gt=0, description="sequences of another length are centred in windows of this one")
    stranded: bool = Field(
        False, description="a sequence has a direction, as RNA or a promoter has: no reverse complements"
    )
    overlap_kmer: int = Field(
        40, gt=0, description="drop training rows that share a k-mer of this length with dev or test"
    )
    rare_targets: bool = Field(
        False, description="a target may have one class only in dev or test, and has no metrics there then"
    )
    holdout: Holdout | None = None

    @property
    def root(self):
        return data_root(self.folder)


def data_root(folder):
    """`folder` under REGZOO_DATA, else as it is (relative to the working directory)."""
    root = os.environ.get("REGZOO_DATA")
    return Path(root) / folder if root else Path(folder)
