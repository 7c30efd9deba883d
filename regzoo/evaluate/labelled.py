"""Labelled sequences: CSV files as those of the GUE benchmark (Zhou et al. 2023), or with measured values."""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import encode, encode_many, fitted


@dataclass
class Labelled:
    """Sequences and their labels.

    Attributes
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    labels : numpy.ndarray, float32, shape (N,)
        0 or 1, or values.
    regression : bool
        Whether they are values.
    """

    codes: np.ndarray
    labels: np.ndarray
    regression: bool


def read_labelled(path, length=None):
    """Sequences and labels of one file.

    Parameters
    ----------
    path : pathlib.Path
        CSV, plain or gzipped, headed `sequence,label` with labels 0 and 1, or `sequence,value` with numbers.
    length : int, optional
        Centre sequences of any length in windows of this one.

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        If the file cannot be read, or a row is not a sequence and its label, of the first row's length without `length`.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    sequences, labels = [], []
    try:
        with opener(path, "rt", newline="") as handle:
            rows = csv.reader(handle)
            header = next(rows, None)
            if header not in (["sequence", "label"], ["sequence", "value"]):
                raise InputError(f"{path}: the first line must be 'sequence,label' or 'sequence,value', found {header}")
            regression = header[1] == "value"
            for row in rows:
                if len(row) != 2 or not (_is_number(row[1]) if regression else row[1] in ("0", "1")):
                    kinds = "'sequence,NUMBER'" if regression else "'sequence,0' or 'sequence,1'"
                    raise InputError(f"{path}, line {rows.line_num}: expected {kinds}, found {row}")
                if not length and sequences and len(row[0]) != len(sequences[0]):
                    raise InputError(
                        f"{path}, line {rows.line_num}: {len(row[0])} bases, but {len(sequences[0])} in the first row"
                    )
                sequences.append(row[0])
                labels.append(float(row[1]))
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot read this file ({error})") from error
    if not sequences:
        raise InputError(f"{path}: no example in it")
    if length:
        codes = np.concatenate([fitted(encode(sequence)[None], length) for sequence in sequences])
    else:
        codes = encode_many(sequences)
    return Labelled(codes, np.array(labels, dtype=np.float32), regression)


def _is_number(text):
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def read_sets(data):
    """Labelled sets by target, of texts TARGET=FILE.

    Raises
    ------
    InputError
        If a text is not of this form, or a file is not usable or has one class only.
    """
    sets = {}
    for text in data:
        target, _, path = text.partition("=")
        if not path:
            raise InputError(f"data {text!r}: expected TARGET=FILE, e.g. tf0=test.csv")
        if not Path(path).is_file():
            raise InputError(f"{path}: no such data file")
        sets[target] = read_labelled(Path(path))
        if len(np.unique(sets[target].labels)) < 2:
            raise InputError(f"{path}: only one class in the labels")
    return sets
