"""Embeddings against the network run on one sequence at a time, and language models behind the zoo's other doors."""

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from regzoo.effects import score_vcf
from regzoo.effects.mutate import mutate_loci
from regzoo.embed import embed
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.nets.lookup import load_language_model
from regzoo.sequence import Genome, read_bed
from regzoo.tokenizers import OverlappingKmers
from regzoo.zoo import load_model
from tests.conftest import BED, FASTA, MODEL, VCF, run


@pytest.fixture
def bed(tmp_path):
    path = tmp_path / "r.bed"
    path.write_text("chr1\t100\t160\nchr2\t5\t25\nchr1\t2000\t2055\nchr1\t300\t360\n")
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
    assert embed(FASTA, language_model, tmp_path / "o.h5", bed, per, progress=False) == 4
    embed(FASTA, language_model, tmp_path / "o.parquet", bed, per, progress=False)
    frame = pd.read_parquet(tmp_path / "o.parquet")
    with h5py.File(tmp_path / "o.h5") as file:
        names, vectors = np.array([n.decode() for n in file["name"]]), file["embedding"][()]
        spans = np.stack([file["start"][()], file["end"][()]], axis=1)
    np.testing.assert_array_equal(np.stack(frame.embedding), vectors)
    assert list(frame.name) == list(names)
    for codes, name in zip(sequences(bed), ["chr1:100-160", "chr2:5-25", "chr1:2000-2055", "chr1:300-360"]):
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
        np.testing.assert_allclose(vectors[names == name], expected, atol=1e-4)
        np.testing.assert_array_equal(spans[names == name], at)


def test_long_sequences_are_read_in_pieces_or_refused(language_model, tmp_path):
    lm = load_language_model(language_model)
    (tmp_path / "r.bed").write_text("chr1\t1000\t1150\n")
    embed(FASTA, language_model, tmp_path / "o.h5", tmp_path / "r.bed", "base", progress=False)
    with h5py.File(tmp_path / "o.h5") as file:
        vectors = file["embedding"][()]
    assert len(vectors) == 150 and np.isfinite(vectors).all()
    if isinstance(lm.tokenizer, OverlappingKmers):
        codes = Genome(FASTA).codes("chr1")[1000:1150]
        tokens, hidden = alone(lm, codes[62 : 62 + 64])  # the second piece of 62 k-mers
        own = (tokens.starts[0] <= 10) & (10 < tokens.ends[0])
        np.testing.assert_allclose(vectors[72], hidden[own].mean(0), atol=1e-4)


def test_layers(language_model, bed, tmp_path):
    lm = load_language_model(language_model)
    embed(FASTA, language_model, tmp_path / "o.h5", bed, "mean", layer=1, progress=False)
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
    score_vcf(VCF, FASTA, language_model, tmp_path / "o.tsv", progress=False, scores=("diff",), summaries=("l2",))
    assert (pd.read_csv(tmp_path / "o.tsv", sep="\t")["diff:l2"] > 0).all()
    mutate_loci(FASTA, language_model, tmp_path / "o.h5", loci=["chr1:1000-1003"], targets=["d0"], progress=False)
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
        embed(fasta, language_model, tmp_path / "o.h5", progress=False)
    if lm.tokenizer.shortest > 1:
        fasta.write_text(">fine\nACGTACGTACGT\n>short\nAC\n")
        with pytest.raises(InputError, match="x.fa: short has 2 bases, but a token needs 3"):
            embed(fasta, language_model, tmp_path / "o.h5", progress=False)
    with pytest.raises(OutputError, match="unknown suffix"):
        embed(fasta, language_model, tmp_path / "o.csv")
    with pytest.raises(InputError, match="no choice of vectors 'median'"):
        embed(fasta, language_model, tmp_path / "o.h5", per="median")
    (tmp_path / "r.bed").write_text("chr1\t10\t50\nchr1\t23990\t24050\n")
    with pytest.raises(InputError, match="r.bed, line 2: chr1:23990-24050 reaches over the contig's end at 24000"):
        embed(FASTA, language_model, tmp_path / "o.h5", tmp_path / "r.bed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.bed", "x.fa"]


def test_other_models_are_no_language_models():
    with pytest.raises(ModelError, match="MotifResNet/tf-human: not a language model"):
        load_language_model(MODEL)


def test_the_command(language_model, tmp_path):
    _, err = run("regzoo", "embed", "-f", FASTA, "-b", BED, "-m", language_model, "-o", tmp_path / "o.parquet", "-q")
    assert err.endswith(f"92 sequences -> {tmp_path}/o.parquet\n")
