"""The DeepSEA training bundle (Zhou & Troyanskaya 2015): train.mat, valid.mat and test.mat, MATLAB 5 or 7.3 (HDF5)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from pydantic import Field
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from regzoo.errors import InputError
from regzoo.sequence.codes import from_one_hot
from regzoo.zoo import read_targets, zoo_folder
from training.data.sources.base import Piece, Source

#: split -> file, and prefix of its variables.
FILES = {"train": ("train.mat", "train"), "dev": ("valid.mat", "valid"), "test": ("test.mat", "test")}
OFFICIAL = "models/DeepSEA/predict/targets.txt"
CHUNK = 20_000  # windows converted to base codes at once
_TO_ACGT = [0, 2, 1, 3]  # the bundle's channels are A, G, C, T


class DeepseaData(Source):
    """One-hot windows of 1,000 bases with 919 labels each."""

    format: Literal["deepsea"]
    target_names: str | None = Field(
        None, description="file of names, one per line; the official model's 919 without it"
    )

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        path = self.root / self.target_names if self.target_names else zoo_folder() / OFFICIAL
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected target names, one per line")
        return read_targets(path)

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        for split, (file, prefix) in FILES.items():
            path = self.root / file
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file; the DeepSEA training bundle has train.mat, valid.mat and test.mat"
                )
            codes, labels = read_mat(path, f"{prefix}xdata", f"{prefix}data")
            if labels.shape[1] != len(self.targets):
                raise InputError(f"{path}: {labels.shape[1]} labels per window, but {len(self.targets)} target names")
            yield Piece(path, split, codes, dict(zip(self.targets, labels.T)))


def read_mat(path: Path, windows: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Read base codes and labels from a file of the bundle.

    Parameters
    ----------
    path : pathlib.Path
        MATLAB 5 (arrays N x 4 x L and N x targets) or 7.3 (HDF5, with the axes reversed).
    windows, labels : str
        Names of the two variables.

    Returns
    -------
    codes : numpy.ndarray, uint8, shape (N, L)
    labels : numpy.ndarray, uint8, shape (N, targets)

    Raises
    ------
    InputError
        If the file or a variable cannot be read, or a shape is not as expected.
    """
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            _check(path, file, windows, labels)
            data = file[windows]  # L x 4 x N
            if data.ndim != 3 or data.shape[1] != 4:
                raise InputError(f"{path}: {windows} has shape {data.shape}; L x 4 x N is expected")
            parts = [
                from_one_hot(data[:, :, at : at + CHUNK].transpose(2, 1, 0)[:, _TO_ACGT])
                for at in range(0, data.shape[2], CHUNK)
            ]
            return np.concatenate(parts), file[labels][()].T.astype(np.uint8)
    try:
        _check(path, [name for name, _, _ in whosmat(path)], windows, labels)
        content = loadmat(path, variable_names=[windows, labels])
    except (MatReadError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{path}: not a MATLAB file ({error})") from error
    data = content[windows]
    if data.ndim != 3 or data.shape[1] != 4:
        raise InputError(f"{path}: {windows} has shape {data.shape}; N x 4 x L is expected")
    parts = [from_one_hot(data[at : at + CHUNK][:, _TO_ACGT]) for at in range(0, len(data), CHUNK)]
    return np.concatenate(parts), content[labels].astype(np.uint8)


def _check(path, names, windows, labels):
    missing = [name for name in (windows, labels) if name not in names]
    if missing:
        raise InputError(f"{path}: no variable {missing[0]!r}; it has {', '.join(names)}")
