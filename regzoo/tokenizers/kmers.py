"""k-mer and single-base tokens, as array arithmetic on base codes."""

from itertools import product
from typing import Literal

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN
from regzoo.tokenizers.tokens import Tokenizer

#: Base code -> digit in the order A, T, C, G of the published vocabularies.
_DIGITS = np.array([0, 2, 3, 1, 0], dtype=np.int64)


def _kmers(k):
    return ["".join(letters) for letters in product("ATCG", repeat=k)]


def _values(codes, k):
    """Number of the k-mer that starts at each position, shape (N, L - k + 1), and whether all its bases are known."""
    digits, known = _DIGITS[codes], codes < UNKNOWN
    places = codes.shape[1] - k + 1
    value = np.zeros((len(codes), places), dtype=np.int64)
    whole = np.ones((len(codes), places), dtype=bool)
    for i in range(k):
        value = value * 4 + digits[:, i : i + places]
        whole &= known[:, i : i + places]
    return value, whole


class OverlappingKmers(Tokenizer):
    """DNABERT's tokens: a k-mer at every base, between [CLS] and [SEP]; one with an unknown base is [UNK].

    Parameters
    ----------
    k : int
        3 to 6.

    Raises
    ------
    InputError
        If there is no DNABERT of such k.
    """

    pad, unknown, cls, sep, mask = range(5)

    def __init__(self, k: Literal[3, 4, 5, 6] = 6):
        if k not in (3, 4, 5, 6):
            raise InputError(f"overlapping k-mers are 3 to 6 bases long, not {k}")
        self.k = self.shortest = k
        self.vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_kmers(k)]

    def _encode(self, codes, lengths):
        value, whole = _values(codes, self.k)
        ids = np.where(whole, value + 5, self.unknown)
        rows, starts = np.nonzero(np.arange(ids.shape[1]) <= (lengths - self.k)[:, None])
        return self._assembled(rows, starts, starts + self.k, ids[rows, starts], len(codes))


class SixMers(Tokenizer):
    """The Nucleotide Transformer's tokens: 6-mers from the left, single letters for what is left over and around N.

    Parameters
    ----------
    version : int
        2 has <eos> and <bos> in its vocabulary, 1 has not; neither puts them around a sequence, only <cls> in front.
    """

    unknown, pad, mask, cls = range(4)
    k = 6

    def __init__(self, version: Literal[1, 2] = 2):
        special = ["<unk>", "<pad>", "<mask>", "<cls>", *(["<eos>", "<bos>"] if version == 2 else [])]
        self.special = len(special)
        self.vocabulary = [*special, *_kmers(6), *"ATCGN"]

    def _encode(self, codes, lengths):
        place = np.arange(codes.shape[1])
        inside = place < lengths[:, None]
        known = (codes < UNKNOWN) & inside
        # Position in the stretch of known bases that a base lies in, and the stretch's length.
        before = np.maximum.accumulate(np.where(known, -1, place), axis=1)
        after = np.minimum.accumulate(np.where(known, codes.shape[1], place)[:, ::-1], axis=1)[:, ::-1]
        offset, stretch = place - before - 1, after - before - 1
        in_kmer = known & (offset < stretch // 6 * 6)
        rows, starts = np.nonzero(inside & (~in_kmer | (offset % 6 == 0)))
        is_kmer = in_kmer[rows, starts]
        letters = np.where(known, _DIGITS[codes], 4)[rows, starts] + 4096
        if codes.shape[1] >= 6:
            value = _values(codes, 6)[0]
            letters = np.where(is_kmer, value[rows, np.minimum(starts, value.shape[1] - 1)], letters)
        return self._assembled(rows, starts, starts + np.where(is_kmer, 6, 1), letters + self.special, len(codes))


class SingleBases(Tokenizer):
    """One token a base and nothing around: the ids of HyenaDNA's and Caduceus's character tokenizer."""

    cls, sep, bos, mask, pad, reserved, unknown = range(7)
    cls = sep = None
    vocabulary = ["[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]", *"ACGTN"]

    def _encode(self, codes, lengths):
        rows, starts = np.nonzero(np.arange(codes.shape[1]) < lengths[:, None])
        return self._assembled(rows, starts, starts + 1, codes[rows, starts].astype(np.int64) + 7, len(codes))
