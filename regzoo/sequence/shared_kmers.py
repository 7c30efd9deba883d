"""Overlap between sets of sequences on either strand, by hashes of windows and of k-mers."""

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from regzoo.sequence.codes import UNKNOWN, reverse_complement

CHUNK = 20_000
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio (Knuth's multiplicative hashing)


def kmer_hashes(codes: np.ndarray, k: int, stranded: bool = False) -> np.ndarray:
    """64-bit hashes of all k-mers; those of a k-mer and its reverse complement are equal.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    k : int
        At most L. With k = L, whole windows are hashed.
    stranded : bool
        Hash the given strand only.

    Returns
    -------
    numpy.ndarray, uint64, shape (N, L - k + 1)
        The smaller of the polynomial hashes of a k-mer and its reverse complement.
    """
    with np.errstate(over="ignore"):
        forward = _rolling(codes, k)
        if stranded:
            return forward
        backward = _rolling(reverse_complement(codes), k)[:, ::-1]
    return np.minimum(forward, backward)


def _rolling(codes, k):
    values = codes.astype(np.uint64) + np.uint64(1)
    width = codes.shape[1] - k + 1
    total = np.zeros((len(codes), width), dtype=np.uint64)
    for offset in range(k):
        total = total * _MULTIPLIER + values[:, offset : offset + width]
    # Mix the high bits into the low ones, which depend on the last letters only.
    total ^= total >> np.uint64(29)
    return total * _MULTIPLIER


def shares_kmer(codes: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """Find the rows that share a k-mer with any row of `others`, on either strand; k-mers with an unknown base are
    ignored.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    others : numpy.ndarray, uint8, shape (M, L')
    k : int
        At most the shorter of L and L' is used.

    Returns
    -------
    numpy.ndarray, bool, shape (N,)
    """
    k = min(k, codes.shape[1], others.shape[1])
    known = np.unique(np.concatenate([kmer_hashes(part, k)[_known(part, k)] for part in _chunks(others)]))
    return np.concatenate(
        [(is_among(kmer_hashes(part, k), known) & _known(part, k)).any(axis=1) for part in _chunks(codes)]
    )


def window_hashes(codes: np.ndarray, stranded: bool = False) -> np.ndarray:
    """One hash of each window, uint64, shape (N,), as of `kmer_hashes`."""
    return np.concatenate([kmer_hashes(part, codes.shape[1], stranded)[:, 0] for part in _chunks(codes)])


def is_among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Compute `np.isin` for a sorted `known` that is much longer than `values`."""
    order = np.argsort(values, axis=None)  # searches in rising order read neighbouring memory
    wanted = values.ravel()[order]
    found = np.zeros(values.size, dtype=bool)
    if len(known):
        found[order] = known[np.minimum(np.searchsorted(known, wanted), len(known) - 1)] == wanted
    return found.reshape(values.shape)


def _chunks(codes):
    """Split rows into parts whose hashes fit into memory."""
    return np.array_split(codes, max(1, -(-len(codes) // CHUNK)))


def _known(codes, k):
    """Find the k-mers without unknown base, bool, shape (N, L - k + 1)."""
    unknown = np.cumsum(np.pad(codes == UNKNOWN, ((0, 0), (1, 0))), axis=1)
    return unknown[:, k:] == unknown[:, :-k]


def clusters(codes: np.ndarray, k: int) -> np.ndarray:
    """Cluster rows by shared k-mers: the connected components of rows that share a k-mer on either strand.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    k : int

    Returns
    -------
    numpy.ndarray, int, shape (N,)
        The cluster of each row.
    """
    k = min(k, codes.shape[1])
    row, column = np.nonzero(_known(codes, k))
    kinds, column = np.unique(kmer_hashes(codes, k)[row, column], return_inverse=True)
    size = len(codes) + len(kinds)
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column + len(codes))), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(codes)]


def near_duplicates(parts: Iterable[np.ndarray], similarity: float, k: int = 16, size: int = 64) -> np.ndarray:
    """Find rows that are similar to an earlier one, by bottom-k sketches of their k-mers (Broder 1997).

    Parameters
    ----------
    parts : iterable of numpy.ndarray, uint8, shape (n, L)
        Rows in chunks; only their sketches are kept.
    similarity : float
        Smallest estimated Jaccard index of the k-mer sets of two similar rows.
    k : int
        Random windows share almost no 16-mers.
    size : int
        Hashes kept for each row. The standard error of the estimate is at most 0.5 / sqrt(size).

    Returns
    -------
    numpy.ndarray, bool, shape (N,)
        True where an earlier row that is itself False is similar.
    """
    sketches: list[np.ndarray] = []
    holders: dict[int, list[int]] = {}
    result: list[bool] = []
    for codes in parts:
        hashes = np.where(_known(codes, k), kmer_hashes(codes, k), np.iinfo(np.uint64).max)
        sketches += [np.unique(row)[:size] for row in hashes]
        for i in range(len(result), len(sketches)):
            result.append(_resembles_earlier(i, sketches, holders, similarity, size))
            if not result[i]:
                for value in sketches[i].tolist():
                    holders.setdefault(value, []).append(i)
    return np.array(result, dtype=bool)


def _resembles_earlier(i, sketches, holders, similarity, size):
    own = sketches[i]
    candidates, shared = np.unique([j for value in own.tolist() for j in holders.get(value, ())], return_counts=True)
    # Rows that share fewer hashes cannot be similar, because the sketch of the union is as long as that of a row.
    for j in candidates[shared >= similarity * min(len(own), size)].astype(int):
        union = np.union1d(own, sketches[j])[:size]
        if (np.isin(union, own) & np.isin(union, sketches[j])).mean() >= similarity:
            return True
    return False
