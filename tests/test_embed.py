"""Embeddings against the network run on one sequence at a time, and language models behind the zoo's other doors."""

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from regzoo import embedding
from regzoo.cli import app
from regzoo.effects.mutate import saturation_mutagenesis
from regzoo.effects.pipeline import score_variants
from regzoo.embedding import embed, vectors_of
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.sequence import Genome, read_bed
from regzoo.zoo import load_language_model, load_model
from tests.conftest import BED, FASTA, MODEL, VCF


@pytest.fixture
def bed(tmp_path):
    path = tmp_path / "r.bed"
    path.write_text("chr1\t100\t160\nchr2\t5\t25\tpeak\t7\nchr1\t2000\t2055\tpeak\nchr1\t300\t360\n")
    return path


def alone(lm, codes):
    tokens = lm.tokenizer.encode(codes[None])
    with torch.inference_mode():
        return tokens, lm.net.encode(torch.from_numpy(tokens.ids))[0].numpy()


def sequences(bed):
    genome, intervals = Genome(FASTA), read_bed(bed)
    return [genome.codes(str(c))[s:e] for c, s, e in zip(intervals.contigs, intervals.starts, intervals.ends)]


@pytest.mark.parametrize("per", ["mean", "cls", "max", "token", "base"])
def test_vectors_equal_those_of_one_sequence_at_a_time(per, language_model, bed, tmp_path):
    lm = load_language_model(language_model)
    assert embed(language_model, bed, FASTA, per=per, output=tmp_path / "o.h5") == 4
    embed(language_model, bed, FASTA, per=per, output=tmp_path / "o.parquet")
    frame = pd.read_parquet(tmp_path / "o.parquet")
    with h5py.File(tmp_path / "o.h5") as file:
        names, contigs = (np.array([n.decode() for n in file[key]]) for key in ("name", "chrom"))
        vectors = file["embedding"][()]
        spans = np.stack([file["start"][()], file["end"][()]], axis=1)
    np.testing.assert_array_equal(np.stack(frame.embedding), vectors)
    assert list(frame.name) == list(names) and list(frame.chrom) == list(contigs)
    regions = [
        ("chr1:100-160", "chr1", 100),
        ("peak", "chr2", 5),
        ("peak", "chr1", 2000),
        ("chr1:300-360", "chr1", 300),
    ]
    for codes, (name, contig, start) in zip(sequences(bed), regions):
        tokens, hidden = alone(lm, codes)
        own = tokens.ends[0] > tokens.starts[0]
        if per == "token":
            expected, at = hidden[own], np.stack([tokens.starts[0][own], tokens.ends[0][own]], axis=1)
        elif per == "base":
            covering = [(tokens.starts[0] <= b) & (b < tokens.ends[0]) for b in range(len(codes))]
            expected = np.stack([hidden[c].mean(0) for c in covering])
            at = np.stack([np.arange(len(codes)), np.arange(1, len(codes) + 1)], axis=1)
        else:
            expected = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0)}[per][None]
            at = np.array([[0, len(codes)]])
        rows = (names == name) & (contigs == contig)
        np.testing.assert_allclose(vectors[rows], expected, atol=1e-4)
        np.testing.assert_array_equal(spans[rows], at + start)


@pytest.mark.parametrize("per", ["mean", "cls", "max", "token", "base"])
def test_long_sequences_are_read_in_pieces(per, language_model, tmp_path, monkeypatch):
    """Of every kind of tokens: pieces are cut between tokens, and vectors are those of the pieces alone."""
    monkeypatch.setattr(embedding, "MOST_TOKENS", 64)  # the k-mers' model has this limit of its own
    lm = load_language_model(language_model)
    (tmp_path / "r.bed").write_text("chr1\t1000\t1700\n")
    seen = []
    codes = np.array(Genome(FASTA).codes("chr1")[1000:1700])
    embed(language_model, tmp_path / "r.bed", FASTA, per=per, output=tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        vectors, starts, ends = (file[key][()] for key in ("embedding", "start", "end"))
    tokens = lm.tokenizer.encode(codes[None])
    own = np.flatnonzero(tokens.ends[0] > tokens.starts[0])
    room = 64 - (tokens.ids.shape[1] - len(own))
    assert len(own) > room
    pieces = [own[i : i + room] for i in range(0, len(own), room)]
    spans = [(tokens.starts[0][piece[0]], tokens.ends[0][piece[-1]]) for piece in pieces]
    parts = [alone(lm, codes[start:end]) for start, end in spans]
    assert max(hidden.shape[0] for _, hidden in parts) <= 64
    if per in ("mean", "cls", "max"):
        pooled = np.stack([{"mean": h.mean(0), "cls": h[0], "max": h.max(0)}[per] for _, h in parts])
        counts = [len(h) for _, h in parts]
        expected = pooled.max(0) if per == "max" else np.average(pooled, axis=0, weights=counts)
        assert (starts, ends) == (1000, 1700)
        np.testing.assert_allclose(vectors[0], expected, atol=1e-4)
        vectors_of(lm, [codes, codes[:30]], per, advance=seen.append)
        assert sum(seen) == 730
        return
    each = np.concatenate([h[t.ends[0] > t.starts[0]] for t, h in parts])
    if per == "token":
        np.testing.assert_allclose(vectors, each, atol=1e-4)
        np.testing.assert_array_equal(starts - 1000, tokens.starts[0][own])
        np.testing.assert_array_equal(ends - 1000, tokens.ends[0][own])
        return
    covering = (tokens.starts[0][own] <= np.arange(700)[:, None]) & (np.arange(700)[:, None] < tokens.ends[0][own])
    np.testing.assert_allclose(vectors, covering @ each / covering.sum(1, keepdims=True), atol=1e-4)
    np.testing.assert_array_equal(starts, np.arange(1000, 1700))


def test_groups_hold_few_bases(monkeypatch, language_model, bed, tmp_path):
    embed(language_model, bed, FASTA, output=tmp_path / "one.h5")
    monkeypatch.setattr(embedding, "_GROUP_BASES", 70)
    embed(language_model, bed, FASTA, output=tmp_path / "several.h5")
    with h5py.File(tmp_path / "one.h5") as one, h5py.File(tmp_path / "several.h5") as several:
        np.testing.assert_allclose(one["embedding"], several["embedding"], atol=1e-5)
        assert list(one["name"]) == list(several["name"])


def test_layers(language_model, bed, tmp_path):
    lm = load_language_model(language_model)
    embed(language_model, bed, FASTA, per="mean", layer=1, output=tmp_path / "o.h5")
    tokens = lm.tokenizer.encode(sequences(bed)[0][None])
    with torch.inference_mode():
        expected = lm.net.encode(torch.from_numpy(tokens.ids), layer=1)[0].mean(0)
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_allclose(file["embedding"][0], expected, atol=1e-4)


def test_a_language_model_is_a_model_of_the_zoo(language_model, tmp_path):
    """Windows in, embeddings out: predictions, variant scores and mutagenesis come from the same forward pass."""
    model = load_model(language_model, device="cpu")
    codes = np.stack([Genome(FASTA).codes("chr1")[s : s + 60] for s in (0, 100, 777)])
    lm = load_language_model(language_model)
    expected = np.stack([alone(lm, row)[1].mean(0) for row in codes])
    np.testing.assert_allclose(model.predict(codes), expected, atol=1e-4)
    score_variants(language_model, VCF, FASTA, output=tmp_path / "o.tsv", scores=("diff",), summaries=("l2",))
    assert (pd.read_csv(tmp_path / "o.tsv", sep="\t")["diff:l2"] > 0).all()
    saturation_mutagenesis(language_model, ["chr1:1000-1003"], FASTA, targets=["d0"], output=tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        effects = file["loci/000000/effects"][()]
    genome, start = Genome(FASTA).codes("chr1"), (999 + 1003) // 2 - 30
    changed = np.array(genome[start : start + 60])
    changed[999 - start] = (genome[999] + 1) % 4
    reference, alternate = model.predict(np.stack([genome[start : start + 60], changed]))[:, 0]
    assert effects[0, changed[999 - start], 0] == pytest.approx(alternate - reference, abs=1e-4)


def test_what_is_refused(language_model, tmp_path):
    lm = load_language_model(language_model)
    fasta = tmp_path / "x.fa"
    fasta.write_text(">fine\nACGTACGTACGT\n>unknown\nNNNNNNNNNN\n")
    with pytest.raises(InputError, match="x.fa: unknown has no base"):
        embed(language_model, fasta, output=tmp_path / "o.h5")
    if lm.tokenizer.shortest > 1:
        fasta.write_text(">fine\nACGTACGTACGT\n>short\nAC\n")
        with pytest.raises(InputError, match="x.fa: short has 2 bases, but a token needs 3"):
            embed(language_model, fasta, output=tmp_path / "o.h5")
    with pytest.raises(OutputError, match="unknown suffix"):
        embed(language_model, fasta, output=tmp_path / "o.csv")
    with pytest.raises(OutputError, match="is the input"):
        embed(language_model, tmp_path / "x.h5", FASTA, output=tmp_path / "x.h5")
    with pytest.raises(InputError, match="no choice of vectors 'median'"):
        embed(language_model, fasta, per="median", output=tmp_path / "o.h5")
    (tmp_path / "r.bed").write_text("chr1\t10\t50\nchr1\t23990\t24050\n")
    with pytest.raises(InputError, match="r.bed, line 2: chr1:23990-24050 reaches over the contig's end at 24000"):
        embed(language_model, tmp_path / "r.bed", FASTA, output=tmp_path / "o.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.bed", "x.fa"]


def test_other_models_are_no_language_models():
    with pytest.raises(ModelError, match="MotifResNet/tf-human: not a language model"):
        load_language_model(MODEL)


def test_the_command(language_model, tmp_path):
    paths = [str(BED), "-f", str(FASTA), "-m", language_model, "-o", str(tmp_path / "o.parquet")]
    done = CliRunner().invoke(app, ["embed", *paths, "-q"])
    assert done.exit_code == 0 and done.stderr.endswith(f"92 sequences -> {tmp_path}/o.parquet\n")
