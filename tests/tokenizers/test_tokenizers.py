"""Tokenizers against golden ids of the authors' tokenizers, regular expressions and strings; offsets of tokens."""

import json
import re

import numpy as np
import pytest

from regzoo.errors import InputError, ModelError
from regzoo.sequence import encode
from regzoo.tokenizers import BPE, HybridBPE, OverlappingKmers, SingleBases, SixMers, per_base, train_bpe
from tests.conftest import ROOT, shared_data

GOLDEN = json.loads((ROOT / "tests" / "golden" / "tokenization.json").read_text())


def random_sequences(count, letters, rng, low=6, high=120):
    return ["".join(rng.choice(list(letters), rng.integers(low, high))) for _ in range(count)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(["TATAAA", "CG", "A", "T", "GGGCGG"], 40)) for _ in range(200)]
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    return train_bpe([encode(t) for t in texts], path, merges=60), path


def test_six_mers_equal_golden_ids():
    tokens = SixMers().encode([encode(entry["sequence"]) for entry in GOLDEN])
    for row, entry in enumerate(GOLDEN):
        assert tokens.ids[row, tokens.mask[row]].tolist() == entry["nt"]
        assert (tokens.ids[row, ~tokens.mask[row]] == SixMers.pad).all()


def test_bpe_equals_golden_ids():
    bpe = BPE(shared_data("tokenizers", "dnabert2_tokenizer.json"))
    assert len(bpe) == 4096 and (bpe.unknown, bpe.cls, bpe.sep, bpe.pad, bpe.mask) == (0, 1, 2, 3, 4)
    tokens = bpe.encode([encode(entry["sequence"]) for entry in GOLDEN])
    for row, entry in enumerate(GOLDEN):
        assert tokens.ids[row, tokens.mask[row]].tolist() == entry["dnabert2"]


@pytest.mark.parametrize("version", [1, 2])
def test_six_mers_equal_regular_expression(version):
    """The rule of the authors' JAX tokenizer: [ACGT]{6} or one letter, from the left."""
    tokenizer = SixMers(version)
    assert len(tokenizer) == {1: 4105, 2: 4107}[version]
    ids = {token: i for i, token in enumerate(tokenizer.vocabulary)}
    rng = np.random.default_rng(version)
    texts = random_sequences(300, "ACGTACGTACGTACGTACGTN", rng, 1) + ["N", "NNNNNN", "ACGTA", "ACGTAC", "NACGTACN"]
    tokens = tokenizer.encode([encode(t) for t in texts])
    for row, text in enumerate(texts):
        words = re.findall("[ACGT]{6}|[ACGTN]", text)
        assert tokens.ids[row, tokens.mask[row]].tolist() == [tokenizer.cls] + [ids[w] for w in words]
        spans = list(zip(tokens.starts[row, tokens.mask[row]], tokens.ends[row, tokens.mask[row]]))[1:]
        assert [text[a:b] for a, b in spans] == words


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_overlapping_kmers_equal_strings(k):
    tokenizer = OverlappingKmers(k)
    assert len(tokenizer) == 4**k + 5
    texts = random_sequences(100, "ACGTACGTN", np.random.default_rng(k))
    tokens = tokenizer.encode([encode(t) for t in texts])
    for row, text in enumerate(texts):
        kmers = [text[i : i + k] for i in range(len(text) - k + 1)]
        ids = [1 if "N" in word else tokenizer.vocabulary.index(word) for word in kmers]
        assert tokens.ids[row, tokens.mask[row]].tolist() == [tokenizer.cls, *ids, tokenizer.sep]
        assert tokens.starts[row, 1 : 1 + len(kmers)].tolist() == list(range(len(kmers)))


def test_single_bases():
    tokens = SingleBases().encode(encode("ACGTN")[None])
    assert [SingleBases.vocabulary[i] for i in tokens.ids[0]] == list("ACGTN")


@pytest.mark.parametrize("kind", [BPE, HybridBPE])
def test_tokens_cover_each_base_once_and_match_its_letters(kind, trained):
    tokenizer = kind(trained[1])
    texts = random_sequences(50, "ACGTN", np.random.default_rng(5), 1)
    tokens = tokenizer.encode([encode(t) for t in texts])
    for row, text in enumerate(texts):
        assert (tokens.ids[row, 0], tokens.ids[row, tokens.lengths[row] - 1]) == (tokenizer.cls, tokenizer.sep)
        inner = slice(1, tokens.lengths[row] - 1)
        words = [tokenizer.vocabulary[i] for i in tokens.ids[row, inner]]
        assert "".join("N" if word == "[UNK]" else word for word in words) == text
        assert [text[a:b] for a, b in zip(tokens.starts[row, inner], tokens.ends[row, inner])] == [
            "N" if word == "[UNK]" else word for word in words
        ]


def test_bpe_offsets_equal_library_offsets(trained):
    texts = random_sequences(30, "ACGTN", np.random.default_rng(6), 1)
    tokens = trained[0].encode([encode(t) for t in texts])
    for row, text in enumerate(texts):
        offsets = trained[0].model.encode(text).offsets
        assert list(zip(tokens.starts[row], tokens.ends[row]))[1 : len(offsets) - 1] == offsets[1:-1]


def test_trained_bpe_learns_frequent_words(trained):
    tokenizer, _ = trained
    assert len(tokenizer) == 5 + 4 + 60 and tokenizer.vocabulary[:5] == ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    assert any("TATAAA" in token for token in tokenizer.vocabulary)
    hybrid = HybridBPE(trained[1])
    assert {"AAAAAA", "TATAAA"} < set(hybrid.vocabulary) and len(set(hybrid.vocabulary)) == len(hybrid)


def test_per_base_values():
    texts = ["ACGTACGTA", "ACGTACG"]
    tokens = OverlappingKmers(3).encode([encode(t) for t in texts])
    values = np.random.default_rng(0).normal(size=(*tokens.ids.shape, 2))
    got = per_base(tokens, values, 9)
    for row, text in enumerate(texts):
        for base in range(9):
            covering = [values[row, 1 + i] for i in range(len(text) - 2) if i <= base < i + 3]
            expected = np.mean(covering, axis=0) if covering else [np.nan] * 2
            np.testing.assert_allclose(got[row, base], expected)
    six = SixMers().encode(encode("ACGTACGTA")[None])
    spread = per_base(six, np.arange(six.ids.shape[1])[None], 9)
    assert spread.tolist() == [[1.0] * 6 + [2.0, 3.0, 4.0]]


def test_invalid_input_is_rejected(tmp_path):
    with pytest.raises(InputError, match="sequence 2 has 4 bases; OverlappingKmers needs at least 6"):
        OverlappingKmers(6).encode([encode("ACGTACGT"), encode("ACGT")])
    with pytest.raises(InputError, match="sequence 1 has 0 bases"):
        SixMers().encode([encode("")])
    with pytest.raises(InputError, match="k is 7; expected 3, 4, 5 or 6"):
        OverlappingKmers(7)
    with pytest.raises(ModelError, match="no.json: not a tokenizer.json"):
        BPE(tmp_path / "no.json")
    with pytest.raises(InputError, match="no sequence"):
        train_bpe([], tmp_path / "t.json", merges=5)
