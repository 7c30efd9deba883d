"""Labelled sequences: CSV files as those of the GUE benchmark (Zhou et al. 2023), `sequence,label` with labels 0 and 1."""

import csv
import gzip

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import encode, encode_many, fitted


def read_labelled(path, length=None):
    """Sequences and labels of one file.

    Parameters
    ----------
    path : pathlib.Path
        CSV, plain or gzipped.
    length : int, optional
        Centre sequences of any length in windows of this one.

    Returns
    -------
    codes : numpy.ndarray, uint8, shape (N, L)
    labels : numpy.ndarray, float32, shape (N,)

    Raises
    ------
    InputError
        If the file cannot be read, or a row is not `sequence,0|1`, of the first row's length without `length`.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    sequences, labels = [], []
    try:
        with opener(path, "rt", newline="") as handle:
            rows = csv.reader(handle)
            header = next(rows, None)
            if header != ["sequence", "label"]:
                raise InputError(f"{path}: the first line must be 'sequence,label', found {header}")
            for row in rows:
                if len(row) != 2 or row[1] not in ("0", "1"):
                    raise InputError(
                        f"{path}, line {rows.line_num}: expected 'sequence,0' or 'sequence,1', found {row}"
                    )
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
    return codes, np.array(labels, dtype=np.float32)
