"""Labelled sequences from CSV files, in the format of the GUE benchmark (Zhou et al. 2023) or with measured values."""

import csv
import io
import logging
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN, encode_checked, fitted
from regzoo.sequence.files import open_bytes

logger = logging.getLogger(__name__)


@dataclass
class Labelled:
    """Labelled sequences.

    Attributes
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
        Base codes. Shorter sequences are centred and padded with unknown bases.
    labels : numpy.ndarray, float32, shape (N,)
        0 or 1, or measured values.
    regression : bool
        Whether the labels are measured values.
    lengths : numpy.ndarray, int64, shape (N,)
        Length of each sequence in the file.
    unknown : int
        Number of bases in the file other than A, C, G, T and U.
    """

    codes: np.ndarray
    labels: np.ndarray
    regression: bool
    lengths: np.ndarray
    unknown: int

    def cut(self, length: int) -> int:
        """Number of sequences longer than a window, which are cut at both ends."""
        return int((self.lengths > length).sum())

    def padded(self, length: int) -> int:
        """Number of sequences shorter than a window, which are padded with unknown bases."""
        return int((self.lengths < length).sum())


def read_labelled(path: str | Path, length: int | None = None, mixed: bool = False) -> Labelled:
    """Read the sequences and labels of one file.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV, plain or gzipped, with header `sequence,label` (0 or 1) or `sequence,value` (numbers). U is read as T.
    length : int, optional
        Centre sequences of any length in windows of this length.
    mixed : bool
        If `length` is not given, centre sequences of different lengths in windows of the longest length.

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        If the file cannot be read, a row is not a DNA or RNA sequence with its label, or lengths differ and neither
        `length` nor `mixed` is given. The message names the line.
    """
    sequences: list[np.ndarray] = []
    labels: list[float] = []
    try:
        with open_bytes(path) as source, io.TextIOWrapper(source, encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle)
            header = next(rows, None)
            if header not in (["sequence", "label"], ["sequence", "value"]):
                raise InputError(f"{path}: the first line must be 'sequence,label' or 'sequence,value', found {header}")
            regression = header[1] == "value"
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                codes, label = _example(row, regression, where)
                if not (length or mixed) and sequences and len(codes) != len(sequences[0]):
                    raise InputError(f"{where}: {len(codes)} bases, but {len(sequences[0])} in the first row")
                sequences.append(codes)
                labels.append(label)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(f"{path}: cannot read this file ({error})") from error
    if not sequences:
        raise InputError(f"{path}: no example after the header")
    return _labelled(sequences, labels, regression, length)


def _example(row, regression, where):
    """Base codes and label of one row."""
    if len(row) != 2 or not (_is_number(row[1]) if regression else row[1] in ("0", "1")):
        kinds = "'sequence,NUMBER'" if regression else "'sequence,0' or 'sequence,1'"
        raise InputError(f"{where}: expected {kinds}, found {row}")
    codes = encode_checked(row[0].strip(), where)
    if not len(codes):
        raise InputError(f"{where}: the sequence is empty")
    return codes, float(row[1])


def _labelled(sequences, labels, regression, length):
    """`Labelled` of base codes, centred in windows of one length (by default that of the longest sequence)."""
    lengths = np.array([len(codes) for codes in sequences])
    width = length or int(lengths.max())
    windows = np.concatenate([fitted(codes[None], width) for codes in sequences])
    unknown = sum(int(np.count_nonzero(codes == UNKNOWN)) for codes in sequences)
    return Labelled(windows, np.array(labels, dtype=np.float32), regression, lengths, unknown)


def _is_number(text):
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def read_sets(data: Any) -> dict[str, Labelled]:
    """Read labelled data sets.

    Sequences of one data set may differ in length.

    Parameters
    ----------
    data : dict, or str or list of str
        NAME -> file (see `read_labelled`), data frame with columns sequence and label (or value), or pair (sequences,
        labels). Or strings NAME=FILE.

    Returns
    -------
    dict of str to Labelled

    Raises
    ------
    InputError
        If a string has another form, a name is repeated, or a data set is not valid or has only one class.
    """
    pairs = list(data.items()) if isinstance(data, dict) else [_pair(text) for text in listed(data)]
    if not pairs:
        raise InputError("no labelled data is given")
    sets: dict[str, Labelled] = {}
    for name, source in pairs:
        if name in sets:
            raise InputError(f"data {name!r} is given twice; expected one file per name")
        if isinstance(source, (str, Path)):
            if not Path(source).is_file():
                raise InputError(f"{source}: no such data file")
            sets[name], where = read_labelled(Path(source), mixed=True), source
        else:
            sets[name], where = _from_memory(name, source), f"data {name!r}"
        if len(np.unique(sets[name].labels)) < 2:
            raise InputError(f"{where}: only one class in the labels")
    return sets


def listed(data: str | Iterable[str]) -> list[str]:
    """One string or several as a list."""
    return [data] if isinstance(data, str) else list(data)


def _pair(text):
    name, _, path = str(text).partition("=")
    if not (name and path):
        raise InputError(f"data {text!r}: expected TARGET=FILE, such as tf0=test.csv")
    return name, path


def _from_memory(name, source):
    """`Labelled` of a data frame or a pair (sequences, labels)."""
    if hasattr(source, "columns"):
        kind = next((column for column in ("label", "value") if column in source.columns), None)
        if kind is None or "sequence" not in source.columns:
            raise InputError(
                f"data {name!r}: expected columns sequence and label (or value), found {list(source.columns)[:6]}"
            )
        sequences, labels = source["sequence"].tolist(), np.asarray(source[kind], dtype=float)
    else:
        try:
            sequences, labels = source
        except (TypeError, ValueError):
            raise InputError(f"data {name!r}: expected a file, a data frame, or a pair (sequences, labels)") from None
        sequences, labels, kind = list(sequences), np.asarray(labels, dtype=float), None
    if len(sequences) != len(labels) or not len(labels):
        raise InputError(
            f"data {name!r}: {len(sequences)} sequences and {len(labels)} labels; expected equal numbers, at least one"
        )
    if not np.isfinite(labels).all():
        raise InputError(f"data {name!r}: row {int(np.argmin(np.isfinite(labels)))} has no finite label")
    regression = kind == "value" or not np.isin(labels, (0, 1)).all()
    if regression and kind == "label":
        raise InputError(f"data {name!r}: labels must be 0 or 1; call the column 'value' for measured values")
    codes = [encode_checked(str(text).strip(), f"data {name!r}, row {i}") for i, text in enumerate(sequences)]
    return _labelled(codes, labels, regression, None)


def log_fit(sets: dict[str, Labelled], lengths: dict[str, int]) -> None:
    """Log the number of unknown bases of each data set, and of sequences cut or padded for each model.

    Parameters
    ----------
    sets : dict of str to Labelled
    lengths : dict of str to int
        Model -> window length in bases.
    """
    for name, labelled in sets.items():
        count = len(labelled.labels)
        if labelled.unknown:
            logger.warning(
                "%s: %s of %s bases are unknown", name, f"{labelled.unknown:,}", f"{labelled.lengths.sum():,}"
            )
        for model, length in lengths.items():
            for number, change in (
                (labelled.cut(length), "cut at both ends"),
                (labelled.padded(length), "padded with N"),
            ):
                if number:
                    text = f"{number:,} of {count:,} sequences {change} to the {length} bases of {model}"
                    logger.warning("%s: %s", name, text)
