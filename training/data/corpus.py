"""Sequences to pretrain on, without those that overlap evaluation sets."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN, encode_checked
from training.data.overlap import is_among, kmer_hashes, window_hashes
from training.data.records import read_text
from training.data.sources import data_root
from training.recipe import Corpus

_SEQUENCE = re.compile(r"[ACGTUNacgtun]{20,}")
UNKNOWN_FRACTION = 0.1  # windows with a larger fraction of unknown bases are dropped
CHUNK = 20_000  # windows whose k-mers are hashed at once


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


def find_files(patterns: Iterable[str]) -> list[Path]:
    """Paths that match globs relative to REGZOO_DATA, in order; an InputError names a pattern without match."""
    root, found = data_root(""), []
    for pattern in patterns:
        paths = sorted(root.glob(pattern))
        if not paths:
            raise InputError(f"{root / pattern}: no such file; set REGZOO_DATA to the folder of the data")
        found += paths
    return found


def load_corpus(section: Corpus) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], dict[str, Any]]:
    """Training and held-out windows of a recipe's corpus.

    Training windows are dropped if they share a k-mer (`section.overlap_kmer`, on either strand) with a held-out or
    evaluation sequence, repeat another window, or have many unknown bases. All windows of the held-out files are kept.

    Parameters
    ----------
    section : training.recipe.Corpus

    Returns
    -------
    train, held_out : dict of int to numpy.ndarray, uint8, shape (N, length)
    report : dict
        Counts of windows and bases.

    Raises
    ------
    InputError
        If a file is not valid, or a sequence is shorter than `section.overlap_kmer`.
    """
    k = section.overlap_kmer
    train = cut_windows(find_files(section.train), section.window)
    held_out = cut_windows(find_files(section.held_out), section.window)
    evaluation = cut_windows(find_files(section.evaluation), 1 << 30)
    shortest = min(length for part in (train, held_out, evaluation) for length in part)
    if shortest < k:
        raise InputError(
            f"overlap_kmer is {k}, but there are sequences of {shortest} bases; use a smaller overlap_kmer"
        )
    hashes = [kmer_hashes(rows, k).ravel() for part in (held_out, evaluation) for rows in part.values()]
    avoid = np.sort(np.concatenate(hashes))
    report = {"read": _count(train)}
    dropped = {"evaluation": 0, "repeated": 0, "unknown": 0}
    for length, rows in train.items():
        known = (rows == UNKNOWN).mean(axis=1) <= UNKNOWN_FRACTION
        apart = np.concatenate(
            [
                ~is_among(kmer_hashes(part, k), avoid).any(axis=1)
                for part in np.array_split(rows, -(-len(rows) // CHUNK))
            ]
        )
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
