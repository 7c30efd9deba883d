"""Sequences to pretrain on: from files of any of the data sets' formats, without what the evaluation sets hold."""

import re

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN, encode_checked
from training.data.overlap import is_among, kmer_hashes, window_hashes
from training.data.records import read_text
from training.data.sources import data_root

_SEQUENCE = re.compile(r"[ACGTUNacgtun]{20,}")
UNKNOWN_SHARE = 0.1  # windows with more unknown bases are left out


def read_sequences(path):
    """Every sequence of a FASTA file or of a table, plain or gzipped.

    Parameters
    ----------
    path : pathlib.Path
        Of a table's line, fields that are nothing but 20 or more letters of DNA or RNA count.

    Returns
    -------
    list of numpy.ndarray, uint8
        Base codes.

    Raises
    ------
    InputError
        If the file cannot be read or holds no sequence.
    """
    text = read_text(path)
    if text.startswith(">"):
        records = re.split(r"^>.*\n", text, flags=re.M)[1:]
        sequences = ["".join(record.split()) for record in records]
    else:
        sequences = [field for line in text.splitlines() for field in re.split(r"[\t,]", line)
                     if _SEQUENCE.fullmatch(field)]  # fmt: skip
    if not sequences:
        raise InputError(f"{path}: no sequence in it")
    return [encode_checked(sequence, f"{path}, sequence {i}") for i, sequence in enumerate(sequences, 1)]


def cut_windows(paths, longest):
    """Windows of files, by length.

    Parameters
    ----------
    paths : iterable of pathlib.Path
    longest : int
        Longer sequences are cut into pieces of this length; a rest is left out.

    Returns
    -------
    dict of int to numpy.ndarray, uint8, shape (N, length)
    """
    windows = {}
    for path in paths:
        for codes in read_sequences(path):
            pieces = len(codes) // longest
            rows = codes[: pieces * longest].reshape(pieces, longest) if pieces else codes[None]
            windows.setdefault(rows.shape[1], []).append(rows)
    return {length: np.concatenate(parts) for length, parts in sorted(windows.items())}


def find_files(patterns):
    """Paths that globs under REGZOO_DATA match, in order; an InputError names a pattern without any."""
    root, found = data_root(""), []
    for pattern in patterns:
        paths = sorted(root.glob(pattern))
        if not paths:
            raise InputError(f"{root / pattern}: no such file; set REGZOO_DATA to the folder that holds the data")
        found += paths
    return found


def load_corpus(section):
    """Training and held-out windows of a recipe's corpus.

    Training windows that share a k-mer (`section.overlap_kmer`, either strand) with any held-out or evaluation sequence
    are left out, as are repeated ones and those of many unknown bases. Held-out windows are all that their files hold.

    Parameters
    ----------
    section : training.pretrain.Corpus

    Returns
    -------
    train, held_out : dict of int to numpy.ndarray, uint8, shape (N, length)
    report : dict
        Counts of windows and bases.

    Raises
    ------
    InputError
        If a file is not usable, or a sequence is shorter than the k-mer by which overlap is told.
    """
    k = section.overlap_kmer
    train = cut_windows(find_files(section.train), section.window)
    held_out = cut_windows(find_files(section.held_out), section.window)
    evaluation = cut_windows(find_files(section.evaluation), 1 << 30)
    shortest = min(length for part in (train, held_out, evaluation) for length in part)
    if shortest < k:
        raise InputError(
            f"overlap_kmer is {k}, but there are sequences of {shortest} bases, whose overlap it cannot tell"
        )
    avoid = [kmer_hashes(rows, k).ravel() for part in (held_out, evaluation) for rows in part.values()]
    avoid = np.sort(np.concatenate(avoid))
    report = {"read": _count(train)}
    dropped = {"evaluation": 0, "repeated": 0, "unknown": 0}
    for length, rows in train.items():
        known = (rows == UNKNOWN).mean(axis=1) <= UNKNOWN_SHARE
        apart = np.concatenate([~is_among(kmer_hashes(part, k), avoid).any(axis=1)
                                for part in np.array_split(rows, -(-len(rows) // 20_000))])  # fmt: skip
        _, first = np.unique(window_hashes(rows), return_index=True)
        single = np.zeros(len(rows), dtype=bool)
        single[first] = True
        for name, good in (("unknown", known), ("evaluation", apart), ("repeated", single)):
            dropped[name] += int((~good).sum())
        train[length] = rows[known & apart & single]
    report |= {"left out": dropped, "train": _count(train), "held out": _count(held_out)}
    return {n: rows for n, rows in train.items() if len(rows)}, held_out, report


def _count(windows):
    return {"windows": sum(map(len, windows.values())), "bases": sum(rows.size for rows in windows.values())}
