"""Labelled sequences: CSV files as those of the GUE benchmark (Zhou et al. 2023), or with measured values."""

import csv
import io
import logging
import zlib
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
    """Sequences and their labels.

    Attributes
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
        Shorter sequences stand in the middle of unknown bases.
    labels : numpy.ndarray, float32, shape (N,)
        0 or 1, or values.
    regression : bool
        Whether they are values.
    lengths : numpy.ndarray, int64, shape (N,)
        Bases of each sequence in the file.
    unknown : int
        Bases of all sequences in the file that are not A, C, G, T or U.
    """

    codes: np.ndarray
    labels: np.ndarray
    regression: bool
    lengths: np.ndarray
    unknown: int

    def cut(self, length):
        """How many sequences are longer than a window, so that bases at both ends are not read."""
        return int((self.lengths > length).sum())

    def padded(self, length):
        """How many sequences are shorter than a window, so that unknown bases surround them."""
        return int((self.lengths < length).sum())


def read_labelled(path, length=None, mixed=False):
    """Sequences and labels of one file.

    Parameters
    ----------
    path : pathlib.Path
        CSV, plain or gzipped, headed `sequence,label` with labels 0 and 1, or `sequence,value` with numbers. U is read as T.
    length : int, optional
        Centre sequences of any length in windows of this one.
    mixed : bool
        Without `length`, centre sequences of different lengths in windows of the longest one's.

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        If the file cannot be read, a row is not a sequence of DNA or RNA and its label, or without `length` and `mixed` a
        sequence is not as long as the first; the line is named.
    """
    sequences, labels = [], []
    try:
        with open_bytes(path) as source, io.TextIOWrapper(source, encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle)
            header = next(rows, None)
            if header not in (["sequence", "label"], ["sequence", "value"]):
                raise InputError(f"{path}: the first line must be 'sequence,label' or 'sequence,value', found {header}")
            regression = header[1] == "value"
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if len(row) != 2 or not (_is_number(row[1]) if regression else row[1] in ("0", "1")):
                    kinds = "'sequence,NUMBER'" if regression else "'sequence,0' or 'sequence,1'"
                    raise InputError(f"{where}: expected {kinds}, found {row}")
                codes = encode_checked(row[0].strip(), where)
                if not len(codes):
                    raise InputError(f"{where}: the sequence is empty")
                if not (length or mixed) and sequences and len(codes) != len(sequences[0]):
                    raise InputError(f"{where}: {len(codes)} bases, but {len(sequences[0])} in the first row")
                sequences.append(codes)
                labels.append(float(row[1]))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(f"{path}: cannot read this file ({error})") from error
    if not sequences:
        raise InputError(f"{path}: no example in it")
    return _labelled(sequences, labels, regression, length)


def _labelled(sequences, labels, regression, length):
    """Sequences, lists of codes, centred in windows of one length; of the longest one's without it."""
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
    """Labelled sets by name.

    Sequences of one set may differ in length: they are centred in each model's window.

    Parameters
    ----------
    data : dict, or str or list of str
        NAME -> file (as `read_labelled` reads it), data frame with columns sequence and label (or value), or a pair
        (sequences, labels). Or texts NAME=FILE.

    Raises
    ------
    InputError
        If a text has another form, a name is given twice, or a set is not usable or has one class only.
    """
    pairs = list(data.items()) if isinstance(data, dict) else [_pair(text) for text in listed(data)]
    if not pairs:
        raise InputError("no labelled data is given")
    sets: dict[str, Labelled] = {}
    for name, source in pairs:
        if name in sets:
            raise InputError(f"data {name!r} is given twice; one file for each name")
        if isinstance(source, (str, Path)):
            if not Path(source).is_file():
                raise InputError(f"{source}: no such data file")
            sets[name], where = read_labelled(Path(source), mixed=True), source
        else:
            sets[name], where = _from_memory(name, source), f"data {name!r}"
        if len(np.unique(sets[name].labels)) < 2:
            raise InputError(f"{where}: only one class in the labels")
    return sets


def listed(data):
    """One text, or several, as a list."""
    return [data] if isinstance(data, str) else list(data)


def _pair(text):
    name, _, path = str(text).partition("=")
    if not (name and path):
        raise InputError(f"data {text!r}: expected TARGET=FILE, such as tf0=test.csv")
    return name, path


def _from_memory(name, source):
    """A labelled set of a data frame or a pair (sequences, labels)."""
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
        raise InputError(f"data {name!r}: {len(sequences)} sequences and {len(labels)} labels")
    if not np.isfinite(labels).all():
        raise InputError(f"data {name!r}: row {int(np.argmin(np.isfinite(labels)))} has no finite label")
    regression = kind == "value" or not np.isin(labels, (0, 1)).all()
    if regression and kind == "label":
        raise InputError(f"data {name!r}: labels must be 0 and 1; name the column value for measured values")
    codes = [encode_checked(str(text).strip(), f"data {name!r}, row {i}") for i, text in enumerate(sequences)]
    return _labelled(codes, labels, regression, None)


def log_fit(sets, lengths):
    """Log, for each data set, how many sequences are cut or padded in each model's window, and how many bases are unknown.

    Parameters
    ----------
    sets : dict of str to Labelled
    lengths : dict of str to int
        Model -> bases of its window.
    """
    for name, labelled in sets.items():
        count = len(labelled.labels)
        if labelled.unknown:
            logger.warning(
                "%s: %s of %s bases are unknown", name, f"{labelled.unknown:,}", f"{labelled.lengths.sum():,}"
            )
        for model, length in lengths.items():
            for number, done in (
                (labelled.cut(length), "cut at both ends"),
                (labelled.padded(length), "padded with N"),
            ):
                if number:
                    logger.warning(
                        "%s: %s of %s sequences %s to the %s bases of %s",
                        name,
                        f"{number:,}",
                        f"{count:,}",
                        done,
                        length,
                        model,
                    )
