"""Sequences to pretrain on, without those that overlap evaluation sets."""

from typing import Any

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.shared_kmers import is_among, kmer_hashes, window_hashes
from training.data.records import cut_windows
from training.data.sources import find_files
from training.recipe import Corpus

UNKNOWN_FRACTION = 0.1  # windows with a larger fraction of unknown bases are dropped
CHUNK = 20_000  # windows whose k-mers are hashed at once


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
