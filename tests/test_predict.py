"""`regzoo predict`: formats hold the model's own numbers, and bad input is named and leaves nothing."""

import gzip
import os

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.errors import InputError, OutputError, RegzooError
from regzoo.prediction import predict
from regzoo.sequence import Genome, read_bed, reverse_complement
from regzoo.zoo import load_model
from tests.conftest import BED, FASTA, MODEL, ROOT, full_pass, run

TARGETS = [f"tf{i}" for i in range(5)]


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def codes():
    bed, genome = read_bed(BED), Genome(FASTA)
    return genome.windows([genome.number(str(c)) for c in bed.contigs], bed.resized(101), 101)


def test_every_format_holds_the_predictions(tmp_path, model, codes):
    expected, bed = full_pass(model, codes), read_bed(BED)
    for suffix in ("tsv", "tsv.gz", "parquet", "h5"):
        found = predict(model, BED, FASTA, batch_size=3, output=tmp_path / f"o.{suffix}")
        assert found.statuses == {"ok": len(bed)} and found.padded == found.unknown == 0
    read = [pd.read_csv(tmp_path / name, sep="\t") for name in ("o.tsv", "o.tsv.gz")]
    for table in (*read, pd.read_parquet(tmp_path / "o.parquet")):
        assert list(table.window_start) == list(bed.resized(101)) and set(table.window_end - table.window_start) == {
            101
        }
        np.testing.assert_allclose(table[TARGETS], expected, atol=2e-6)
        assert list(table.start) == list(bed.starts) and list(table.name) == list(bed.names)
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_allclose(file["predictions"], expected, atol=2e-6)
        assert [t.decode() for t in file["targets"]] == TARGETS


def test_bedgraph_holds_the_windows_that_were_read_in_order(tmp_path, model):
    """Shuffled intervals of other lengths than the window: overlapping, alike, and over the contig's start."""
    spans = [("chr2", 500, 520), ("chr1", 2000, 2400), ("chr1", 0, 20), ("chr1", 2030, 2380), ("chr1", 2000, 2400)]
    bed = tmp_path / "x.bed.gz"
    bed.write_bytes(gzip.compress("".join(f"{c}\t{s}\t{e}\n" for c, s, e in spans).encode()))
    predict(model, bed, FASTA, targets=["tf3"], output=tmp_path / "o.bedgraph")
    predict(model, bed, FASTA, targets=["tf3"], output=tmp_path / "o.tsv")
    windows = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    lines = (tmp_path / "o.bedgraph").read_text().splitlines()
    assert lines[0] == f'track type=bedGraph name="tf3" description="{model.name}"'
    rows = [(c, int(s), int(e), float(v)) for c, s, e, v in (line.split("\t") for line in lines[1:])]
    assert rows == sorted(rows) and all(a[0] != b[0] or a[2] <= b[1] for a, b in zip(rows, rows[1:]))
    got = {(c, i): v for c, s, e, v in rows for i in range(s, e)}
    covering = {}
    for row in windows.itertuples():
        for i in range(max(0, row.window_start), row.window_end):
            covering.setdefault((row.chrom, i), []).append(row.tf3)
    assert got.keys() == covering.keys()
    for place, values in covering.items():
        assert got[place] == pytest.approx(np.mean(values), rel=2e-6)


def test_several_models_side_by_side(tmp_path, model, codes):
    other = load_model("Basset/tf-human", device="cpu")
    found = predict([model, other, model], BED, FASTA, targets=["tf3", "tf0", "tf3"], output=tmp_path / "o.tsv")
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    names = [f"{m.name}:{t}" for m in (model, other) for t in ("tf3", "tf0")]
    assert list(table)[-5:] == ["status", *names] and found.statuses == {"ok": len(table)}
    expected = np.concatenate([m.predict(codes)[:, [3, 0]] for m in (model, other)], axis=1)
    np.testing.assert_allclose(table[names], expected, atol=2e-6)


def test_models_are_given_as_paths(tmp_path, codes):
    """Two folders of one name, as GROUP/tf-human are, and one of them twice."""
    folders = [ROOT / "models" / group / "tf-human" for group in ("MotifResNet", "Basset")]
    predict([*folders, folders[0]], BED, FASTA, targets=["tf3"], output=tmp_path / "o.tsv")
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    for folder in folders:
        expected = load_model(folder, device="cpu").predict(codes)[:, 3]
        np.testing.assert_allclose(table[f"{folder}:tf3"], expected, atol=2e-6)


def test_models_of_different_lengths_read_their_own_windows(tmp_path, model, profile_model):
    predict([MODEL, profile_model], BED, FASTA, output=tmp_path / "o.parquet")
    table, long = pd.read_parquet(tmp_path / "o.parquet"), load_model(profile_model, device="cpu")
    for one in (model, long):
        start = table[f"{one.name}:window_start"]
        assert set(table[f"{one.name}:window_end"] - start) == {one.input_length}
        windows = Genome(FASTA).windows(np.array([int(c[3]) - 1 for c in table.chrom]), start, one.input_length)
        expected = one.predict(windows).reshape(len(table), -1)
        np.testing.assert_allclose(
            table[[c for c in table if c.startswith(one.name) and "window" not in c]], expected, atol=2e-6
        )


def test_what_cannot_be_predicted_is_a_row_with_its_reason(tmp_path, model):
    """Intervals of another assembly, contigs that the FASTA lacks, windows over an end, unknown bases."""
    fasta, bed = tmp_path / "g.fa", tmp_path / "x.bed"
    fasta.write_text(">chr1\n" + "ACGTTGCA" * 50 + "N" + "ACGTTGCA" * 50 + "\n")
    bed.write_text(
        "chr1\t395\t410\tn\nchr1\t801\t820\toff\nchr7\t5\t9\tmissing\nchr1\t100\t200\tfine\nchr1\t790\t800\tend\n"
    )
    for suffix in ("tsv", "parquet", "h5", "bedgraph"):
        found = predict(model, bed, fasta, targets=["tf0"], output=tmp_path / f"o.{suffix}")
        assert found.statuses == {"ok": 3, "interval off its contig": 1, "contig not in the FASTA": 1}
        assert (found.padded, found.unknown) == (1, 1)
    with h5py.File(tmp_path / "o.h5") as file:
        stored = pd.DataFrame(
            {"status": [s.decode() for s in file["intervals/status"]], "tf0": file["predictions"][:, 0]}
        )
    for table in (pd.read_csv(tmp_path / "o.tsv", sep="\t"), pd.read_parquet(tmp_path / "o.parquet"), stored):
        assert list(table.status) == ["ok", "interval off its contig", "contig not in the FASTA", "ok", "ok"]
        assert table.tf0.isna().tolist() == [False, True, True, False, False]
    bed.write_text("chr1\t900\t910\nchr1\t801\t820\n")
    with pytest.raises(
        InputError, match="x.bed, line 1: chr1:900-910 lies off its contig, which has 801 .* 2 intervals"
    ):
        predict(model, bed, fasta, output=tmp_path / "none.tsv")
    assert not (tmp_path / "none.tsv").exists()


def test_values_that_are_no_numbers_have_a_status(tmp_path):
    broken = load_model(MODEL, device="cpu")
    next(broken.module.parameters()).data.fill_(float("nan"))
    found = predict(broken, BED, FASTA, output=tmp_path / "o.tsv")
    assert found.statuses == {"prediction not finite": len(read_bed(BED))}


def test_rna_is_read_as_dna(tmp_path, model):
    rna = tmp_path / "rna.fa"
    rna.write_text(FASTA.read_text().replace("T", "U").replace("t", "u"))
    for fasta, name in ((FASTA, "dna.tsv"), (rna, "rna.tsv")):
        predict(model, BED, fasta, output=tmp_path / name)
    assert (tmp_path / "dna.tsv").read_bytes() == (tmp_path / "rna.tsv").read_bytes()


def test_windows_around_summits(tmp_path, model):
    rest = "p\t0\t+\t1\t2\t3"
    peaks = tmp_path / "x.narrowPeak"
    peaks.write_text(f"chr1\t1000\t1400\t{rest}\t50\nchr1\t3000\t3400\t{rest}\t-1\n")
    (tmp_path / "x.bed").write_text(peaks.read_text())
    for path, centre, first in (
        (peaks, None, 1050),
        (tmp_path / "x.bed", None, 1200),
        (tmp_path / "x.bed", "summit", 1050),
        (peaks, "middle", 1200),
    ):
        predict(model, path, FASTA, targets=["tf0"], centre=centre, output=tmp_path / "o.tsv")
        table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
        assert list(table.window_start) == [first - 50, 3200 - 50] and list(table.start) == [1000, 3000]
        windows = Genome(FASTA).windows(np.zeros(2, int), table.window_start, 101)
        np.testing.assert_allclose(table.tf0, full_pass(model, windows)[:, 0], atol=2e-6)


def test_standard_input_and_output(tmp_path, monkeypatch):
    done = CliRunner().invoke(
        app, ["predict", "-", "-f", str(FASTA), "-m", MODEL, "-o", "-", "-q"], input=BED.read_text()
    )
    predict(MODEL, BED, FASTA, output=tmp_path / "o.tsv")
    assert done.exit_code == 0 and done.stdout == (tmp_path / "o.tsv").read_text()
    assert done.stderr == "92 intervals -> standard output\n         92  ok\n"


def test_an_input_is_never_the_output(tmp_path, model):
    bed = tmp_path / "x.tsv"
    bed.write_text("chr1\t100\t200\n")
    with pytest.raises(OutputError, match="is the input"):
        predict(model, bed, FASTA, output=bed)
    assert bed.read_text() == "chr1\t100\t200\n"


def test_the_strand_column_is_used_by_models_of_rna_or_on_request(tmp_path, codes):
    bed = tmp_path / "minus.bed"
    bed.write_text(BED.read_text().replace("\t+", "\t-"))
    rna = load_model("MotifResNet/utr3-mpra", device="cpu")
    expected = {True: rna.predict(reverse_complement(codes)), False: rna.predict(codes)}
    assert rna.stranded and np.abs(expected[True] - expected[False]).max() > 0.1
    for asked, used in ((None, True), (True, True), (False, False)):
        predict(rna, bed, FASTA, use_strand=asked, output=tmp_path / "o.tsv")
        table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
        np.testing.assert_allclose(table[rna.targets], expected[used], atol=2e-6)


BAD = {
    "missing": (None, "no such BED file"),
    "empty": ("", "no interval"),
    "end before start": ("chr1\t9\t5\n", "line 1: end 5 is not after start 9"),
    "letters": ("chr1\ta\t5\n", "line 1: start 'a'"),
    "contig": ("chrX\t1\t5\n", "line 1: .*no contig 'chrX'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_beds_are_named_and_leave_nothing(kind, tmp_path, model):
    content, message = BAD[kind]
    bed = tmp_path / "bad.bed"
    if content is not None:
        bed.write_text(content)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match=message) as error:
        predict(model, bed, FASTA, output=tmp_path / "o.tsv")
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
def test_the_command_refuses(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["predict", str(BED), "-f", str(FASTA), *arguments, "-q"])
    assert isinstance(done.exception, RegzooError) and message in str(done.exception)
    assert os.listdir(tmp_path) == []


def test_errors_are_shown_without_a_traceback(tmp_path):
    _, err = run("regzoo", "predict", "none.bed", "-f", FASTA, "-m", MODEL, "-o", "o.tsv", "-q", expect=1, cwd=tmp_path)
    assert err == "error: none.bed: no such BED file\n" and os.listdir(tmp_path) == []


def test_a_window_over_the_end_is_refused_when_strict(tmp_path, model):
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t100\t200\nchr1\t0\t10\n")
    with pytest.raises(InputError, match="line 2: the window chr1:-45-56 extends beyond"):
        predict(model, bed, FASTA, strict=True, output=tmp_path / "o.tsv")
    found = predict(model, bed, FASTA, output=tmp_path / "o.tsv")
    assert found.statuses == {"ok": 2} and found.padded == 1


def test_profiles_are_a_column_a_bin(tmp_path, profile_model):
    predict(profile_model, BED, FASTA, targets=["b"], output=tmp_path / "o.tsv")
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    model, genome, bed = load_model(profile_model, device="cpu"), Genome(FASTA), read_bed(BED)
    numbers = np.array([genome.number(c) for c in bed.contigs])
    expected = full_pass(model, genome.windows(numbers, bed.resized(512), 512))[:, 1]
    columns = [f"b:{i}" for i in range(expected.shape[1])]
    np.testing.assert_allclose(table[columns], expected, rtol=1e-5)
