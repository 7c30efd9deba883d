"""Sequences and labels from FASTA files and tables, plain or gzipped; errors name the record."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.sequence.codes import encode_checked
from regzoo.sequence.fasta import read_text

_SEQUENCE = re.compile(r"[ACGTUNacgtun]{20,}")
MISSING = {"", "NA", "NaN", "nan", "."}


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table as text.

    Parameters
    ----------
    path : pathlib.Path
        Comma-separated if its name ends with .csv or .csv.gz, else tab-separated.
    columns : list of str, optional
        Names of the columns, for a file without header.

    Returns
    -------
    pandas.DataFrame of str, indexed by line number

    Raises
    ------
    InputError
        If the file cannot be read, has no rows, or a line has another number of fields than the first.
    """
    separator = "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"
    lines = list(csv.reader(read_text(path).splitlines(), delimiter=separator))
    names = columns or (lines[0] if lines else [])
    first = 1 if columns else 2
    rows = lines[first - 1 :]
    for number, row in enumerate(rows, start=first):
        if len(row) != len(names):
            raise InputError(f"{path}, line {number}: {len(row)} fields, but {len(names)} are expected")
    if not rows:
        raise InputError(f"{path}: no rows")
    return pd.DataFrame(rows, columns=names, index=range(first, first + len(rows)))


def column(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    """A column of a table; an InputError names the columns if it is missing."""
    if name not in table:
        raise InputError(f"{path}: no column {name!r}; it has {', '.join(map(repr, table.columns))}")
    return table[name]


def numbers(values: pd.Series, path: Path) -> np.ndarray:
    """A column as float32, with NaN for missing values; an InputError names the line of an invalid value."""
    text = values.where(~values.isin(MISSING), "nan")
    result = pd.to_numeric(text, errors="coerce")
    wrong = result.isna() & (text != "nan")
    if wrong.any():
        line = wrong.idxmax()
        raise InputError(f"{path}, line {line}: {values.name} is {values[line]!r}, which is not a number")
    return result.to_numpy(dtype=np.float32)


def table_sequences(values: pd.Series, path: Path) -> list[np.ndarray]:
    """Base codes of a column of sequences. Overlapping k-mers between blanks, as in DNABERT's files, are joined."""
    return [encode_checked(_joined(text.split(), path, line), f"{path}, line {line}") for line, text in values.items()]


def _joined(words, path, line):
    if not words:
        raise InputError(f"{path}, line {line}: no sequence")
    for before, word in zip(words, words[1:]):
        if len(word) != len(before) or before[1:] != word[:-1]:
            raise InputError(f"{path}, line {line}: {before} {word} are not overlapping k-mers")
    return words[0] + "".join(word[-1] for word in words[1:])


def read_sequences(path: Path) -> list[np.ndarray]:
    """Read every sequence of a FASTA file or of a table, plain or gzipped.

    Parameters
    ----------
    path : pathlib.Path
        In a table, every field of 20 or more letters of DNA or RNA, and nothing else, is a sequence.

    Returns
    -------
    list of numpy.ndarray, uint8
        Base codes.

    Raises
    ------
    InputError
        If the file cannot be read or has no sequence.
    """
    text = read_text(path)
    if text.startswith(">"):
        records = re.split(r"^>.*\n", text, flags=re.M)[1:]
        sequences = ["".join(record.split()) for record in records]
    else:
        sequences = [
            field for line in text.splitlines() for field in re.split(r"[\t,]", line) if _SEQUENCE.fullmatch(field)
        ]
    if not sequences:
        raise InputError(f"{path}: no sequence in it")
    return [encode_checked(sequence, f"{path}, sequence {i}") for i, sequence in enumerate(sequences, 1)]


def cut_windows(paths: Iterable[Path], longest: int) -> dict[int, np.ndarray]:
    """Cut the sequences of files into windows, by length.

    Parameters
    ----------
    paths : iterable of pathlib.Path
    longest : int
        Longer sequences are cut into pieces of this length; a shorter last piece is left out.

    Returns
    -------
    dict of int to numpy.ndarray, uint8, shape (N, length)
    """
    windows: dict[int, list[np.ndarray]] = {}
    for path in paths:
        for codes in read_sequences(path):
            pieces = len(codes) // longest
            rows = codes[: pieces * longest].reshape(pieces, longest) if pieces else codes[None]
            windows.setdefault(rows.shape[1], []).append(rows)
    return {length: np.concatenate(parts) for length, parts in sorted(windows.items())}
