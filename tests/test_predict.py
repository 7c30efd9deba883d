"""`regzoo predict`: formats hold the model's own numbers, and bad input is named and leaves nothing."""

import gzip
import os

import h5py
import numpy as np
import pandas as pd
import pytest

from regzoo.errors import InputError
from regzoo.predict import predict_bed
from regzoo.sequence import Genome, read_bed, reverse_complement
from regzoo.zoo import load_model
from tests.conftest import BED, FASTA, MODEL, run

TARGETS = [f"tf{i}" for i in range(5)]


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def codes():
    bed, genome = read_bed(BED), Genome(FASTA)
    return genome.windows([genome.number(str(c)) for c in bed.contigs], bed.resized(101), 101)


def test_every_format_holds_the_predictions(tmp_path, model, codes):
    expected, bed = model.predict(codes), read_bed(BED)
    for suffix in ("tsv", "parquet", "h5"):
        assert predict_bed(BED, FASTA, model, tmp_path / f"o.{suffix}", progress=False, batch_size=3) == len(bed)
    for table in (pd.read_csv(tmp_path / "o.tsv", sep="\t"), pd.read_parquet(tmp_path / "o.parquet")):
        np.testing.assert_allclose(table[TARGETS], expected, atol=2e-6)
        assert list(table.start) == list(bed.starts) and list(table.name) == list(bed.names)
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_allclose(file["predictions"], expected, atol=2e-6)
        assert [t.decode() for t in file["targets"]] == TARGETS


def test_bedgraph_of_a_chosen_target_on_a_gzipped_bed(tmp_path, model, codes):
    bed = tmp_path / "x.bed.gz"
    bed.write_bytes(gzip.compress(BED.read_bytes()))
    run("regzoo", "predict", bed, "-f", FASTA, "-m", MODEL, "-t", "tf3", "-o", tmp_path / "o.bedgraph", "-q")
    table = pd.read_csv(tmp_path / "o.bedgraph", sep="\t", skiprows=1, header=None)
    np.testing.assert_allclose(table[3], model.predict(codes)[:, 3], atol=2e-6)


def test_the_strand_column_is_used_by_models_of_rna_or_on_request(tmp_path, codes):
    bed = tmp_path / "minus.bed"
    bed.write_text(BED.read_text().replace("\t+", "\t-"))
    rna = load_model("MotifResNet/utr3-mpra", device="cpu")
    expected = {True: rna.predict(reverse_complement(codes)), False: rna.predict(codes)}
    assert rna.stranded and np.abs(expected[True] - expected[False]).max() > 0.1
    for asked, used in ((None, True), (True, True), (False, False)):
        predict_bed(bed, FASTA, rna, tmp_path / "o.tsv", use_strand=asked, progress=False)
        table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
        np.testing.assert_allclose(table[rna.targets], expected[used], atol=2e-6)


BAD = {
    "missing": (None, "no such BED file"),
    "empty": ("", "no interval"),
    "end before start": ("chr1\t9\t5\n", "line 1: end 5 is not after start 9"),
    "letters": ("chr1\ta\t5\n", "line 1: start 'a'"),
    "contig": ("chr1\t1\t5\nchrX\t1\t5\n", "line 2: .*no contig 'chrX'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_beds_are_named_and_leave_nothing(kind, tmp_path, model):
    content, message = BAD[kind]
    bed = tmp_path / "bad.bed"
    if content is not None:
        bed.write_text(content)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match=message) as error:
        predict_bed(bed, FASTA, model, tmp_path / "o.tsv", progress=False)
    assert "bad.bed" in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "Motifresnet/tf", "-o", "o.tsv"], "did you mean 'MotifResNet/tf-human'?"),
        (["-m", MODEL, "-o", "o.xlsx"], "o.xlsx: unknown suffix; use one of .tsv"),
        (["-m", MODEL, "-o", "nowhere/o.tsv"], "nowhere/o.tsv: cannot write there"),
        (["-m", MODEL, "-o", "o.bedgraph"], "choose one"),
        (["-m", MODEL, "-o", "o.tsv", "-t", "tf7"], "has no target 'tf7'; it has tf0, tf1"),
    ],
)
def test_the_command_refuses_without_a_traceback(arguments, message, tmp_path):
    _, err = run("regzoo", "predict", BED, "-f", FASTA, *arguments, "-q", expect=1, cwd=tmp_path)
    assert err.startswith("error: ") and message in err and "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_a_window_over_the_end_is_refused_when_strict(tmp_path, model):
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t100\t200\nchr1\t0\t10\n")
    with pytest.raises(InputError, match="line 2: the window chr1:-45-56 reaches over"):
        predict_bed(bed, FASTA, model, tmp_path / "o.tsv", strict=True, progress=False)
    assert predict_bed(bed, FASTA, model, tmp_path / "o.tsv", progress=False) == 2


def test_profiles_are_a_column_a_bin(tmp_path, profile_model):
    predict_bed(BED, FASTA, profile_model, tmp_path / "o.tsv", ["b"], progress=False)
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    model, genome, bed = load_model(profile_model, device="cpu"), Genome(FASTA), read_bed(BED)
    numbers = np.array([genome.number(c) for c in bed.contigs])
    expected = model.predict(genome.windows(numbers, bed.resized(512), 512))[:, 1]
    columns = [f"b:{i}" for i in range(expected.shape[1])]
    np.testing.assert_allclose(table[columns], expected, rtol=1e-5)
