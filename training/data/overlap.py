"""Overlap between sets of sequences, blind to strand: canonical hashes of whole windows and of k-mers."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from regzoo.sequence.codes import UNKNOWN, reverse_complement

CHUNK = 20_000
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio (Knuth's multiplicative hashing)


def kmer_hashes(codes, k, stranded=False):
    """64-bit hashes of every k-mer, blind to strand.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    k : int
        At most L; k = L hashes whole windows.
    stranded : bool
        Tell strands apart, as of RNA.

    Returns
    -------
    numpy.ndarray, uint64, shape (N, L - k + 1)
        The smaller of the polynomial hashes of a k-mer and of its reverse complement.
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
    # Mix the high bits down: a polynomial's low bits depend on the last letters alone.
    total ^= total >> np.uint64(29)
    return total * _MULTIPLIER


def shares_kmer(codes, others, k):
    """Which rows share a k-mer, on either strand, with any row of `others`; k-mers with an unknown base are passed over.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    others : numpy.ndarray, uint8, shape (M, L')
    k : int
        Cut to the shorter of L and L'.

    Returns
    -------
    numpy.ndarray, bool, shape (N,)
    """
    k = min(k, codes.shape[1], others.shape[1])
    known = np.unique(np.concatenate([kmer_hashes(part, k)[_known(part, k)] for part in _chunks(others)]))
    return np.concatenate([
        (is_among(kmer_hashes(part, k), known) & _known(part, k)).any(axis=1) for part in _chunks(codes)
    ])  # fmt: skip


def window_hashes(codes, stranded=False):
    """One hash of each whole window, uint64, shape (N,); as of `kmer_hashes`."""
    return np.concatenate([kmer_hashes(part, codes.shape[1], stranded)[:, 0] for part in _chunks(codes)])


def is_among(values, known):
    """`np.isin` for a sorted `known` that is much longer than `values`."""
    order = np.argsort(values, axis=None)  # neighbouring searches then touch neighbouring memory
    wanted = values.ravel()[order]
    found = np.zeros(values.size, dtype=bool)
    if len(known):
        found[order] = known[np.minimum(np.searchsorted(known, wanted), len(known) - 1)] == wanted
    return found.reshape(values.shape)


def _chunks(codes):
    """Rows in parts whose hashes take little memory."""
    return np.array_split(codes, max(1, -(-len(codes) // CHUNK)))


def _known(codes, k):
    """Which k-mers hold no unknown base, bool, shape (N, L - k + 1)."""
    unknown = np.cumsum(np.pad(codes == UNKNOWN, ((0, 0), (1, 0))), axis=1)
    return unknown[:, k:] == unknown[:, :-k]


def clusters(codes, k):
    """Homology clusters: rows that share a k-mer, on either strand, are in one, as are rows that share one with the same row, and so on.

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


def near_duplicates(parts, similarity, k=16, size=64):
    """Rows that are nearly the same as an earlier one, by bottom-k sketches of their k-mers (Broder 1997).

    Parameters
    ----------
    parts : iterable of numpy.ndarray, uint8, shape (n, L)
        The rows in chunks, of which only the sketches are kept.
    similarity : float
        Jaccard index of two rows' sets of k-mers, as the sketches estimate it, from which on they are nearly the same.
    k : int
        Of the k-mers; random windows share next to none of 16.
    size : int
        Hashes kept of a row; the estimate's standard error is at most 0.5 / sqrt(size).

    Returns
    -------
    numpy.ndarray, bool, shape (N,)
        True where an earlier row, itself kept, is that similar.
    """
    sketches, holders, result = [], {}, []
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
    # Rows that share fewer hashes cannot be that similar, since the union's sketch is as long as a row's.
    for j in candidates[shared >= similarity * min(len(own), size)].astype(int):
        union = np.union1d(own, sketches[j])[:size]
        if (np.isin(union, own) & np.isin(union, sketches[j])).mean() >= similarity:
            return True
    return False
