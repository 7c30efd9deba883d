"""k-mer and single-base tokenizers, implemented as array arithmetic on base codes."""

from itertools import product
from typing import Literal

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN
from regzoo.tokenizers.tokens import Tokenizer

#: Base code -> digit. The published vocabularies are in the order A, T, C, G.
_DIGITS = np.array([0, 2, 3, 1, 0], dtype=np.int64)


def _kmers(k):
    return ["".join(letters) for letters in product("ATCG", repeat=k)]


def _values(codes, k):
    """Index of the k-mer at each position and whether all its bases are known, each of shape (N, L - k + 1)."""
    digits, known = _DIGITS[codes], codes < UNKNOWN
    count = codes.shape[1] - k + 1
    value = np.zeros((len(codes), count), dtype=np.int64)
    whole = np.ones((len(codes), count), dtype=bool)
    for i in range(k):
        value = value * 4 + digits[:, i : i + count]
        whole &= known[:, i : i + count]
    return value, whole


class OverlappingKmers(Tokenizer):
    """Overlapping k-mers as in DNABERT: one token per position, enclosed by [CLS] and [SEP].

    A k-mer with an unknown base becomes [UNK].

    Parameters
    ----------
    k : int
        3 to 6.

    Raises
    ------
    InputError
        If `k` is not in this range.
    """

    pad, unknown, cls, sep, mask = 0, 1, 2, 3, 4

    def __init__(self, k: Literal[3, 4, 5, 6] = 6):
        if k not in (3, 4, 5, 6):
            raise InputError(f"k is {k}; expected 3, 4, 5 or 6")
        self.k = self.shortest = k
        self.vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_kmers(k)]

    def _encode(self, codes, lengths):
        value, whole = _values(codes, self.k)
        ids = np.where(whole, value + 5, self.unknown)
        rows, starts = np.nonzero(np.arange(ids.shape[1]) <= (lengths - self.k)[:, None])
        return self._assembled(rows, starts, starts + self.k, ids[rows, starts], len(codes))


class SixMers(Tokenizer):
    """Non-overlapping 6-mers from the left, as in the Nucleotide Transformer, after <cls>.

    Stretches of fewer than 6 known bases, before an N or at the end, become single letters.

    Parameters
    ----------
    version : int
        Version of the Nucleotide Transformer. The vocabulary of version 2 has <eos> and <bos>, which are not used.
    """

    unknown, pad, mask, cls = 0, 1, 2, 3
    k = 6

    def __init__(self, version: Literal[1, 2] = 2):
        special = ["<unk>", "<pad>", "<mask>", "<cls>", *(["<eos>", "<bos>"] if version == 2 else [])]
        self.special = len(special)
        self.vocabulary = [*special, *_kmers(6), *"ATCGN"]

    def _encode(self, codes, lengths):
        position = np.arange(codes.shape[1])
        inside = position < lengths[:, None]
        known = (codes < UNKNOWN) & inside
        # Offset of each base in its stretch of known bases, and length of the stretch.
        before = np.maximum.accumulate(np.where(known, -1, position), axis=1)
        after = np.minimum.accumulate(np.where(known, codes.shape[1], position)[:, ::-1], axis=1)[:, ::-1]
        offset, stretch = position - before - 1, after - before - 1
        in_kmer = known & (offset < stretch // 6 * 6)
        rows, starts = np.nonzero(inside & (~in_kmer | (offset % 6 == 0)))
        is_kmer = in_kmer[rows, starts]
        letters = np.where(known, _DIGITS[codes], 4)[rows, starts] + 4096
        if codes.shape[1] >= 6:
            value = _values(codes, 6)[0]
            letters = np.where(is_kmer, value[rows, np.minimum(starts, value.shape[1] - 1)], letters)
        return self._assembled(rows, starts, starts + np.where(is_kmer, 6, 1), letters + self.special, len(codes))


class SingleBases(Tokenizer):
    """One token per base, without special tokens around, with the ids of HyenaDNA's and Caduceus's tokenizers."""

    mask, pad, unknown = 3, 4, 6
    vocabulary = ["[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]", *"ACGTN"]

    def _encode(self, codes, lengths):
        rows, starts = np.nonzero(np.arange(codes.shape[1]) < lengths[:, None])
        return self._assembled(rows, starts, starts + 1, codes[rows, starts].astype(np.int64) + 7, len(codes))
