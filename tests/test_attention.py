"""Attention by base against matrices and loops written out."""

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.sequence import Genome, decode, encode
from regzoo.zoo import load_language_model
from tests.conftest import FASTA

TEXTS = ["ACGTTGCATGACTCAGGTCTTTACGGA", "TTGACGTCAGGAC", "ACGTTGCATGACTCAGGTCTTTACGGT"]
MODELS = ["LM/nt-mini", "LM/dnabert2-mini", "LM/dnabert6-mini"]


def matrices(lm, text):
    tokens = lm.tokenizer.encode(encode(text)[None])
    with torch.no_grad():
        layers = [found[0].numpy() for found in lm.net.encoder.attentions(torch.from_numpy(tokens.ids))]
    return layers, tokens.starts[0], tokens.ends[0]


def by_base(values, starts, ends, length):
    result = np.zeros(length)
    for base in range(length):
        covering = [values[t] for t in range(len(values)) if starts[t] <= base < ends[t]]
        result[base] = np.mean(covering)
    return result


@pytest.mark.parametrize("name", MODELS)
def test_attention_of_each_base_is_the_mean_of_its_tokens(name):
    lm = load_language_model(name, "cpu")
    got = regzoo.attention(name, TEXTS, device="cpu", batch_size=1)
    some = regzoo.attention(lm, TEXTS, layers=[1, -1], heads=[2, 1], device="cpu")
    rolled = regzoo.attention(lm, TEXTS, rollout=True, device="cpu")
    for i, text in enumerate(TEXTS):
        layers, starts, ends = matrices(lm, text)
        expected = by_base(layers[-1][:, 0].mean(0), starts, ends, len(text))
        np.testing.assert_allclose(got[i].contributions[:, 0], expected, rtol=1e-4)
        chosen = (layers[0][:2, 0].mean(0) + layers[-1][:2, 0].mean(0)) / 2
        np.testing.assert_allclose(some[i].contributions[:, 0], by_base(chosen, starts, ends, len(text)), rtol=1e-4)
        total = np.eye(len(starts))
        for layer in layers:
            total = (layer.mean(0) / 2 + np.eye(len(starts)) / 2) @ total
        np.testing.assert_allclose(rolled[i].contributions[:, 0], by_base(total[0], starts, ends, len(text)), rtol=1e-4)
        assert decode(got[i].reference) == text and got[i].targets == ["attention"]


def test_files_of_intervals_hold_the_attention_of_their_sequence(tmp_path):
    bed = tmp_path / "loci.bed"
    bed.write_text("chr1\t1500\t1600\nchr2\t100\t160\n")
    codes = [Genome(FASTA).codes(c)[s:e] for c, s, e in (("chr1", 1500, 1600), ("chr2", 100, 160))]
    expected = [found.contributions[:, 0] for found in regzoo.attention("NT-mini/tf-human", [decode(c) for c in codes])]
    paths = [tmp_path / name for name in ("a.h5", "a.tsv", "a.bw")]
    arguments = [part for path in paths for part in ("-o", str(path))]
    done = CliRunner().invoke(
        app, ["attention", str(bed), "--genome", str(FASTA), "--model", "NT-mini/tf-human", "-q", *arguments]
    )
    assert done.exit_code == 0, done.output
    table = pd.read_csv(paths[1], sep="\t")
    assert list(table.columns) == ["chrom", "pos", "name", "ref", "attention"]
    np.testing.assert_allclose(table.attention, np.concatenate(expected), rtol=1e-3)
    assert table.pos.tolist() == [*range(1501, 1601), *range(101, 161)]
    assert "".join(table.ref) == "".join(map(decode, codes))
    with h5py.File(paths[0]) as file:
        np.testing.assert_allclose(file["windows/000001/contributions"][:, 0], expected[1], rtol=1e-5)
    import pybigtools

    values = pybigtools.open(str(paths[2])).values("chr2", 100, 160)
    np.testing.assert_allclose(values, expected[1], rtol=1e-4)


def test_a_picture_of_one_sequence(tmp_path):
    assert regzoo.attention("LM/dnabert2-mini", TEXTS[:1], output=tmp_path / "a.svg") == 1
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("model", "inputs", "options", "error", "message"),
    [
        ("LM/caduceus-mini", TEXTS, {}, ModelError, "no attention"),
        ("MotifResNet/tf-human", TEXTS, {}, ModelError, "not a language model"),
        ("LM/nt-mini", TEXTS, {"layers": [9]}, InputError, r"no layer 9; this model has layers 1 to \d"),
        ("LM/nt-mini", TEXTS, {"layers": [0]}, InputError, "no layer 0"),
        ("LM/nt-mini", TEXTS, {"heads": [99]}, InputError, "no head 99"),
        ("LM/nt-mini", TEXTS, {"layers": [1], "rollout": True}, InputError, "either rollout or layers"),
        ("LM/nt-mini", ["ACGT" * 4000], {}, InputError, "0 has .* tokens, and attention is read of at most"),
        ("LM/nt-mini", TEXTS, {"output": "x.npz"}, OutputError, "no hypothetical contributions"),
        ("LM/nt-mini", TEXTS, {"output": "x.png"}, OutputError, "a picture shows one window"),
        ("LM/nt-mini", TEXTS, {"output": "x.bw"}, InputError, "expected"),
    ],
)
def test_what_is_refused(model, inputs, options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        regzoo.attention(model, inputs, **options)
    assert list(tmp_path.iterdir()) == []
