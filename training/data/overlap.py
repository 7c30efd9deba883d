"""Overlap between sets of sequences, blind to strand: canonical hashes of whole windows and of k-mers."""

import numpy as np

from regzoo.sequence.codes import reverse_complement

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio (Knuth's multiplicative hashing)


def kmer_hashes(codes, k):
    """Strand-blind 64-bit hashes of every k-mer.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    k : int
        At most L; k = L hashes whole windows.

    Returns
    -------
    numpy.ndarray, uint64, shape (N, L - k + 1)
        The smaller of the polynomial hashes of a k-mer and of its reverse complement.
    """
    with np.errstate(over="ignore"):
        forward = _rolling(codes, k)
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
    """Which rows share a k-mer, on either strand, with any row of `others`.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    others : numpy.ndarray, uint8, shape (M, L')
    k : int

    Returns
    -------
    numpy.ndarray, bool, shape (N,)
    """
    known = np.unique(kmer_hashes(others, min(k, others.shape[1])))
    return np.isin(kmer_hashes(codes, min(k, codes.shape[1])), known).any(axis=1)
