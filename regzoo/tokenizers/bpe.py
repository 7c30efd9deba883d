"""Byte-pair encoding of DNA: DNABERT-2's tokenizer, training of new ones, and a hybrid with 6-mers."""

import json
from collections.abc import Iterable
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers

from regzoo.errors import InputError, ModelError
from regzoo.output.files import finished_file
from regzoo.sequence.codes import decode
from regzoo.tokenizers.tokens import Tokenizer

SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")


class BPE(Tokenizer):
    """Byte-pair encoding as in DNABERT-2.

    [CLS] and [SEP] enclose a sequence. A base other than A, C, G and T becomes [UNK].

    Parameters
    ----------
    path : str or pathlib.Path
        A tokenizer.json.

    Raises
    ------
    ModelError
        If the file is missing, or is not a tokenizer with the special tokens of DNABERT-2. `encode` raises it if the
        tokens do not cover all bases of a sequence.
    """

    def __init__(self, path: str | Path):
        self.path = path
        try:
            self.model = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exceptions
            raise ModelError(f"{path}: not a tokenizer.json ({error})") from error
        self.model.no_truncation()
        self.model.no_padding()
        ids = [self.model.token_to_id(token) for token in SPECIAL]
        if None in ids:
            raise ModelError(f"{path}: this tokenizer has no token {SPECIAL[ids.index(None)]}")
        self.unknown, self.cls, self.sep, self.pad, self.mask = ids  # type: ignore[assignment]
        vocabulary = [self.model.id_to_token(i) for i in range(self.model.get_vocab_size())]
        if None in vocabulary:
            raise ModelError(f"{path}: the vocabulary has no token of id {vocabulary.index(None)}")
        self.vocabulary = [token for token in vocabulary if token is not None]

    def _encode(self, codes, lengths):
        texts = [decode(row[:length]) for row, length in zip(codes, lengths)]
        try:
            encoded = self.model.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:
            raise ModelError(f"{self.path}: this tokenizer cannot encode DNA ({error})") from error
        counts = np.array([len(one) for one in encoded], dtype=np.int64)
        rows = np.repeat(np.arange(len(texts)), counts)
        ids = np.concatenate([np.asarray(one.ids, dtype=np.int64) for one in encoded] + [np.empty(0, np.int64)])
        # Tokens must be contiguous; [UNK] stands for one base.
        sizes = self._sizes[ids]
        covered = np.bincount(rows, sizes, len(texts))
        if not np.array_equal(covered, lengths):
            row = int(np.argmax(covered != lengths))
            raise ModelError(
                f"{self.path}: not a tokenizer of DNA: its tokens cover {covered[row]:.0f} of {lengths[row]} bases"
            )
        ends = np.cumsum(sizes)
        ends -= np.repeat(np.concatenate([[0], ends[np.cumsum(counts)[:-1] - 1]]), counts) if len(ids) else 0
        return self._assembled(rows, ends - sizes, ends, ids, len(texts))

    @cached_property
    def _sizes(self):
        """Bases of each token, shape (vocabulary,)."""
        return np.array([1 if token in SPECIAL else len(token) for token in self.vocabulary])


class HybridBPE(Tokenizer):
    """Greedy longest-match tokenizer over all 6-mers and the tokens of a BPE.

    The vocabulary is that of Sapkota & Rahman 2025 (arXiv 2507.18570), the union of 6-mers and BPE tokens of 600
    merges. The paper does not specify how a sequence is segmented; greedy longest match from the left is a choice of
    this project.

    Parameters
    ----------
    path : str or pathlib.Path
        tokenizer.json of the BPE (`train_bpe` with merges=600).
    """

    unknown, cls, sep, pad, mask = 0, 1, 2, 3, 4

    def __init__(self, path: str | Path):
        bpe = BPE(path)
        words = [token for token in bpe.vocabulary if token not in SPECIAL]
        known = set(words)
        words += [kmer for kmer in map("".join, product("ACGT", repeat=6)) if kmer not in known]
        self.vocabulary = [*SPECIAL, *words]
        self._ids = {token: i for i, token in enumerate(self.vocabulary) if i >= len(SPECIAL)}
        self._longest = max(map(len, words))

    def _encode(self, codes, lengths):
        rows, starts, ends, ids = [], [], [], []
        for row, (sequence, length) in enumerate(zip(codes, lengths)):
            text, at = decode(sequence[:length]), 0
            while at < length:
                sizes = range(min(self._longest, int(length) - at), 0, -1)
                size = next((size for size in sizes if text[at : at + size] in self._ids), 0)
                ids.append(self._ids[text[at : at + size]] if size else self.unknown)
                rows.append(row)
                starts.append(at)
                at += max(size, 1)
                ends.append(at)
        rows, starts, ends, ids = np.array([rows, starts, ends, ids], dtype=np.int64)
        return self._assembled(rows, starts, ends, ids, len(codes))


def train_bpe(
    sequences: Iterable[np.ndarray],
    path: str | Path,
    vocabulary: int | None = None,
    merges: int | None = None,
    longest: int = 32,
) -> BPE:
    """Train a BPE in DNABERT-2's format and write its tokenizer.json.

    Parameters
    ----------
    sequences : iterable of numpy.ndarray, uint8, shape (length,)
        Base codes. Each sequence is one word to the trainer; pieces of a few hundred bases train fastest.
    path : str or pathlib.Path
        File to write.
    vocabulary : int, optional
        Number of tokens, including special tokens. Give either this or `merges`.
    merges : int, optional
        Number of merges.
    longest : int
        Largest number of bases in a token (32 in DNABERT-2's vocabulary).

    Returns
    -------
    BPE

    Raises
    ------
    InputError
        If there is no sequence, or not exactly one of `vocabulary` and `merges` is given.
    """
    if (vocabulary is None) == (merges is None):
        raise InputError("train_bpe: expected either vocabulary or merges")
    texts = [piece for codes in sequences for piece in decode(codes).split("N") if piece]
    if not texts:
        raise InputError("train_bpe: no sequence with a known base to train on")
    model = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    size = vocabulary or len(SPECIAL) + 4 + (merges or 0)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=list("ACGT"),
        max_token_length=longest,
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    model.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    with finished_file(Path(path)) as temporary:
        temporary.write_text(json.dumps(json.loads(model.to_str()), indent=0))
    return BPE(path)
