"""Byte-pair encoding of DNA: DNABERT-2's from its tokenizer.json, one's own trained on sequences, and a hybrid with 6-mers."""

import json
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
    """DNABERT-2's kind of tokens, between [CLS] and [SEP]; a base that is not A, C, G or T is [UNK].

    Parameters
    ----------
    path : str or pathlib.Path
        A tokenizer.json.

    Raises
    ------
    ModelError
        If the file is missing or not a tokenizer with the special tokens that DNABERT-2 has; when a sequence is encoded,
        if the tokens do not cover its bases one after the other.
    """

    def __init__(self, path: str | Path):
        self.path = path
        try:
            self.model = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exceptions
            raise ModelError(f"{path}: not a tokenizer.json ({error})") from error
        self.model.no_truncation()
        self.model.no_padding()
        ids = [self.model.token_to_id(token) for token in SPECIAL]
        if None in ids:
            raise ModelError(f"{path}: this tokenizer has no {SPECIAL[ids.index(None)]}")
        self.unknown, self.cls, self.sep, self.pad, self.mask = ids
        self.vocabulary = [self.model.id_to_token(i) for i in range(self.model.get_vocab_size())]
        if None in self.vocabulary:
            raise ModelError(f"{path}: the vocabulary has no token with id {self.vocabulary.index(None)}")

    def _encode(self, codes, lengths):
        texts = [decode(row[:length]) for row, length in zip(codes, lengths)]
        try:
            encoded = self.model.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:
            raise ModelError(f"{self.path}: this tokenizer cannot encode DNA ({error})") from error
        counts = np.array([len(one) for one in encoded], dtype=np.int64)
        rows = np.repeat(np.arange(len(texts)), counts)
        ids = np.concatenate([np.asarray(one.ids, dtype=np.int64) for one in encoded] + [np.empty(0, np.int64)])
        # Tokens follow each other without a gap, and [UNK] stands for one base.
        sizes = self._sizes()[ids]
        covered = np.bincount(rows, sizes, len(texts))
        if not np.array_equal(covered, lengths):
            row = int(np.argmax(covered != lengths))
            raise ModelError(
                f"{self.path}: its tokens cover {covered[row]:.0f} of {lengths[row]} bases; not a tokenizer of DNA"
            )
        ends = np.cumsum(sizes)
        ends -= np.repeat(np.concatenate([[0], ends[np.cumsum(counts)[:-1] - 1]]), counts) if len(ids) else 0
        return self._assembled(rows, ends - sizes, ends, ids, len(texts))

    def _sizes(self):
        if not hasattr(self, "_token_sizes"):
            self._token_sizes = np.array([1 if token in SPECIAL else len(token) for token in self.vocabulary])
        return self._token_sizes


class HybridBPE(Tokenizer):
    """All 6-mers and the tokens of a BPE in one vocabulary; the longest token that fits is taken from the left.

    The vocabulary is that of Sapkota & Rahman 2025 (arXiv 2507.18570), which joins 6-mers with BPE tokens of 600 merges;
    the paper does not say how a sequence is cut, so that taking the longest is this project's choice.

    Parameters
    ----------
    path : str or pathlib.Path
        tokenizer.json of the BPE (`train_bpe` with merges=600).
    """

    unknown, cls, sep, pad, mask = range(5)

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
        return self._assembled(*(np.array(values, dtype=np.int64) for values in (rows, starts, ends, ids)), len(codes))


def train_bpe(sequences, path, vocabulary=None, merges=None, longest=32):
    """Train a BPE in DNABERT-2's layout and write its tokenizer.json.

    Parameters
    ----------
    sequences : iterable of numpy.ndarray, uint8
        Base codes; each is one word, so that pieces of a few hundred bases train quickest.
    path : str or pathlib.Path
    vocabulary : int, optional
        Number of tokens, special ones included.
    merges : int, optional
        Number of merges, instead.
    longest : int
        Bases of the longest token (32 in DNABERT-2's vocabulary).

    Returns
    -------
    BPE

    Raises
    ------
    InputError
        If there is no sequence, or neither or both of `vocabulary` and `merges` are given.
    """
    if (vocabulary is None) == (merges is None):
        raise InputError("give either the vocabulary's size or the number of merges")
    texts = [piece for codes in sequences for piece in decode(codes).split("N") if piece]
    if not texts:
        raise InputError("no sequence to train a tokenizer on")
    model = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    size = vocabulary or len(SPECIAL) + 4 + merges
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=list("ACGT"), max_token_length=longest,
        show_progress=False,
    )  # fmt: skip
    model.train_from_iterator(texts, trainer)
    model.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    with finished_file(Path(path)) as temporary:
        temporary.write_text(json.dumps(json.loads(model.to_str()), indent=0))
    return BPE(path)
