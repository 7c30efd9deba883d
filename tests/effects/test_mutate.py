"""Saturation mutagenesis against separately changed windows, in all output formats."""

import gzip
import resource
import sys
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import regzoo.kipoi  # noqa: F401 - makes kipoi_veff importable
from regzoo.cli import app
from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutate import ALLELES, INSERTIONS, Saturation, saturation_mutagenesis
from regzoo.effects.picture import draw
from regzoo.errors import InputError, OutputError, RegzooError
from regzoo.evaluate.compare import compare
from regzoo.evaluate.transfer import transfer
from regzoo.nets import build
from regzoo.sequence import Genome, decode, encode_many, reverse_complement
from regzoo.zoo import Model, ZooModule, load_model
from tests.conftest import FASTA, MODEL, full_pass, run


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


def expected_changes(model, contig, start, end, alleles, predict):
    """Effects of all changes, made with string operations."""
    length = model.input_length
    padded = "N" * length + contig + "N" * (length + 1)
    pieces = 1 if end - start <= length else -(-(end - start) // (length // 2))
    cuts = np.linspace(start, end, pieces + 1).astype(int)
    texts, references = [], []
    for low, high in zip(cuts, cuts[1:]):
        first = (low + high) // 2 - length // 2 + length
        for at in range(low + length, high + length):
            for allele in alleles:
                new = allele[1] + padded[at] if allele[0] == "+" else allele.replace("-", "")
                text = padded[:at] + new + padded[at + 1 :]
                texts.append(text[first : first + length])
        count = (high - low) * len(alleles)
        references.append(np.repeat(predict(encode_many([padded[first : first + length]])), count, axis=0))
    return predict(encode_many(texts)) - np.concatenate(references)


# Of one window, over either end of the contig, one base, and one base more than a window holds.
@pytest.mark.parametrize(
    ("start", "end", "insertions"),
    [(1550, 1651, False), (0, 30, True), (23_990, 24_000, True), (1000, 1001, True), (3000, 3102, True)],
)
def test_effects_equal_separately_changed_windows(start, end, insertions, model):
    genome = Genome(FASTA)
    result = saturation_mutagenesis(model, f"chr1:{start + 1}-{end}", genome, insertions=insertions)
    assert result.alleles == (ALLELES + INSERTIONS if insertions else ALLELES)
    assert result.effects.shape == (end - start, len(result.alleles), 5)
    expected = expected_changes(
        model, decode(genome.codes("chr1")), start, end, result.alleles, partial(full_pass, model)
    )
    assert np.abs(result.effects.reshape(-1, 5) - expected).max() <= 1e-5
    own = result.reference
    assert np.abs(result.effects[np.arange(len(own)), own]).max() <= 1e-6


@pytest.mark.parametrize("strands", ["forward", "reverse", "mean"])
def test_joined_windows_on_both_strands(strands):
    """A DeepSEA network, for which deletions and insertions are evaluated by joining two reference windows."""
    torch.manual_seed(2)
    net = build("deepsea", input_length=1000, n_targets=3, channels=(16, 24, 32), hidden=20)
    model = Model("test", ZooModule(net).eval(), 1000, ["a", "b", "c"])
    evaluator, genome = Evaluator(model), Genome(FASTA)
    assert evaluator.incremental.steps_worthwhile(1, 1000, spliced=True) == len(evaluator.incremental.steps)

    def predict(codes):
        forward, reverse = full_pass(model, codes), full_pass(model, reverse_complement(codes))
        return {"forward": forward, "reverse": reverse, "mean": (forward + reverse) / 2}[strands]

    result = saturation_mutagenesis(model, "chr1:2001-2080", genome, insertions=True, strands=strands)
    expected = expected_changes(model, decode(genome.codes("chr1")), 2000, 2080, result.alleles, predict)
    assert np.abs(result.effects.reshape(-1, 3) - expected).max() <= 1e-6 < np.abs(expected).max()


def test_formats_agree(tmp_path, model):
    bed = tmp_path / "loci.bed"
    bed.write_text("chr1\t1580\t1620\tap1\nchr2\t10\t20\tother\n")
    for suffix in ("h5", "tsv"):
        assert saturation_mutagenesis(model, bed, FASTA, targets=["tf3"], output=tmp_path / f"o.{suffix}") == 2
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert len(table) == (40 + 10) * 4
    with h5py.File(tmp_path / "o.h5") as file:
        group = file["loci/000000"]
        assert (group.attrs["contig"], group.attrs["start"], group.attrs["name"]) == ("chr1", 1580, "ap1")
        for row in table[table.name == "ap1"].itertuples():
            column = [a.decode() for a in file["alleles"]].index(row.alt)
            assert row[6] == pytest.approx(group["effects"][row.pos - 1 - 1580, column, 0], abs=1e-6)
            assert group["reference"][row.pos - 1 - 1580].decode() == row.ref


def test_planted_motif_has_strongest_effects(tmp_path):
    arguments = ["mutate", "chr1:1,551-1,651", "-f", str(FASTA), "-m", MODEL, "-t", "tf3", "--insertions", "-q"]
    outputs = [tmp_path / f"o.{suffix}" for suffix in ("tsv", "png", "svg", "pdf", "h5")]
    done = CliRunner().invoke(app, [*arguments, *(part for output in outputs for part in ("-o", str(output)))])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    strongest = table.loc[table["diff:tf3"].nsmallest(10).index].pos
    assert strongest.between(1595, 1606).all()  # position of the planted GATGACTCATCC
    assert all(output.stat().st_size > 10_000 for output in outputs)


def test_pictures_are_wrapped_and_show_the_reference():
    genome = Genome(FASTA)
    effects = np.random.default_rng(0).normal(size=(130, 5, 1))
    figure = draw(Saturation("chr1", 1500, "site", genome.codes("chr1")[1500:1630], effects, targets=["tf3"]), ["tf3"])
    axes = [axis for part in figure.subfigs for axis in part.axes if axis.get_label() != "<colorbar>"]
    letters = [
        "".join(label.get_text() for label in child.get_xticklabels()) for axis in axes for child in axis.child_axes
    ]
    sequence = decode(genome.codes("chr1")[1500:1630])
    assert letters == [sequence[:65], sequence[65:]]
    assert [axis.get_ylabel() for axis in axes[::2]] == ["−mean diff"] * 2
    assert {axis.get_xlim() for axis in axes} == {(-0.5, 64.5)} and axes[0].get_ylim() == axes[2].get_ylim()
    assert [axis.get_xticklabels()[0].get_text() for axis in axes[1::2]] == ["1,510", "1,570"]
    assert max(figure.get_size_inches()) < 11
    shown = np.concatenate([axis.images[0].get_array() for axis in axes[1::2]], axis=1)
    np.testing.assert_array_equal(shown, effects[:, :, 0].T)


def test_pictures_without_packages_or_too_large_are_rejected(tmp_path, model, monkeypatch):
    with pytest.raises(OutputError, match="5 targets of 1000 bases take 45 rows, but a picture has at most 40"):
        saturation_mutagenesis(model, ["chr1:1-1000"], FASTA, output=tmp_path / "o.png")
    monkeypatch.setitem(sys.modules, "logomaker", None)  # simulates a missing package
    for suffix in ("png", "svg", "pdf"):
        with pytest.raises(OutputError, match="not installed; run: pip install logomaker"):
            saturation_mutagenesis(model, ["chr1:1-20"], FASTA, output=tmp_path / f"o.{suffix}")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OutputError, match="pip install matplotlib"):
        compare([MODEL], ["tf0=x.csv"], output=[tmp_path / "o.png"])
    with pytest.raises(OutputError, match="pip install matplotlib"):
        transfer([MODEL], ["tf0=x.csv"], output=[tmp_path / "o.png"])
    assert list(tmp_path.iterdir()) == []


def test_repeated_targets_and_outputs_are_ignored(tmp_path, model):
    out = tmp_path / "o.tsv"
    saturation_mutagenesis(model, ["chr1:1600-1602"], FASTA, targets=["tf3", "tf3"], output=[out, out])
    table = pd.read_csv(out, sep="\t")
    assert list(table)[5:] == ["diff:tf3"] and len(table) == 3 * 4
    bed = tmp_path / "r.tsv"
    bed.write_text("chr1\t1\t5\n")
    with pytest.raises(OutputError, match="is the input"):
        saturation_mutagenesis(model, bed, FASTA, output=bed)


def test_unknown_bases_have_no_effects(tmp_path, model):
    fasta = tmp_path / "n.fa"
    fasta.write_text(">chr1\n" + "ACGTTGCANNRACGTACGTTT" * 10 + "\n")
    result = saturation_mutagenesis(model, "chr1:1-21", Genome(fasta))
    unknown = [i for i, base in enumerate("ACGTTGCANNRACGTACGTTT") if base in "NR"]
    assert np.isnan(result.effects[unknown]).all() and np.isfinite(np.delete(result.effects, unknown, 0)).all()
    assert saturation_mutagenesis(model, ["chr1:1-21"], fasta, targets=["tf0"], output=tmp_path / "o.svg") == 1


def test_kipoi_draws_mutation_map(tmp_path, model):
    from kipoi_veff import MutationMapPlotter

    bed, out = tmp_path / "r.bed", tmp_path / "o.mutmap.h5"
    bed.write_text("chr1\t1550\t1651\tap1\nchr2\t100\t140\n")
    assert saturation_mutagenesis(model, bed, FASTA, targets=["tf3", "tf0"], output=out) == 2
    entries = MutationMapPlotter(fname=str(out)).mutation_map
    result = saturation_mutagenesis(model, "chr2:101-140", Genome(FASTA))
    stored = entries[1]["seq"]["diff"]["tf0"]
    np.testing.assert_allclose(stored["mutation_map"], result.effects[:, :4, 0].T, atol=1e-7)
    assert stored["ref_seq"] == decode(result.reference)
    run(
        "kipoi",
        "veff",
        "plot_mutation_map",
        "-f",
        out,
        "--input_entry",
        "0",
        "--model_seq_input",
        "seq",
        "--scoring_key",
        "diff",
        "--model_output",
        "tf3",
        "-o",
        tmp_path / "map.png",
    )
    assert (tmp_path / "map.png").stat().st_size > 5000


def test_full_disk_while_writing_mutation_map_is_an_output_error(tmp_path, model):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OutputError, match="o.mutmap.h5: cannot write"):
            saturation_mutagenesis(model, "chr1:1551-1650", FASTA, output=tmp_path / "o.mutmap.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


BAD_REGIONS = {
    "empty": ("", "no interval"),
    "end before start": ("chr1\t10\t5\n", "line 1: end 5 is not after start 10"),
    "letters": ("chr1\t10\t20\nchr1\tx\t20\n", "line 2: start 'x'"),
    "two columns": ("chr1\t10\n", "line 1: 2 columns"),
    "no such contig": ("chr1\t10\t20\nchr7\t10\t20\n", "line 2: .*chr7"),
    "over the end": ("chr1\t23990\t24001\n", "line 1: locus chr1:23991-24001 does not lie on its contig of 24000"),
}


@pytest.mark.parametrize("kind", BAD_REGIONS)
def test_bad_regions_are_rejected_and_leave_nothing(kind, tmp_path, model):
    content, message = BAD_REGIONS[kind]
    bed = tmp_path / "bad.bed"
    bed.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        saturation_mutagenesis(model, bed, FASTA, output=[tmp_path / "o.tsv", tmp_path / "o.h5"])
    assert "bad.bed" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.bed"]


def test_truncated_regions_and_genome_without_sequence(tmp_path, model):
    bed = tmp_path / "r.bed.gz"
    bed.write_bytes(gzip.compress(b"chr1\t1\t50\n" * 1000)[:-9])
    with pytest.raises(InputError, match="r.bed.gz: truncated"):
        saturation_mutagenesis(model, bed, FASTA, output=tmp_path / "o.tsv")
    (tmp_path / "e.fa").write_text("")
    with pytest.raises(InputError, match="e.fa"):
        saturation_mutagenesis(model, ["chr1:1-5"], tmp_path / "e.fa", output=tmp_path / "o.tsv")
    with pytest.raises(OutputError, match="cannot write"):
        saturation_mutagenesis(model, ["chr1:1-5"], FASTA, output=tmp_path / "missing" / "o.tsv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.fa", "r.bed.gz"]


def test_invalid_input_is_rejected(tmp_path, model):
    bed = tmp_path / "two.bed"
    bed.write_text("chr1\t1\t5\nchr1\t10\t15\n")
    with pytest.raises(OutputError, match="one locus, but there are 2"):
        saturation_mutagenesis(model, bed, FASTA, output=tmp_path / "o.png")
    with pytest.raises(OutputError, match="unknown suffix"):
        saturation_mutagenesis(model, bed, FASTA, output=tmp_path / "o.txt")
    with pytest.raises(InputError, match="does not lie on its contig of 24000"):
        saturation_mutagenesis(model, ["chr1:23,990-24,001"], FASTA, output=tmp_path / "o.tsv")
    with pytest.raises(InputError, match="no score 'dif'"):
        saturation_mutagenesis(model, bed, FASTA, score="dif", output=tmp_path / "o.tsv")
    with pytest.raises(InputError, match="no target 'tf9'"):
        saturation_mutagenesis(model, bed, FASTA, targets=["tf9"], output=tmp_path / "o.tsv")
    with pytest.raises(RegzooError, match="did you mean 'MotifResNet/tf-human'"):
        saturation_mutagenesis("MotifResnet/tf_human", bed, FASTA, output=tmp_path / "o.tsv")
    for text in ("chr1", "chr1:²-9", "chr1:1-" + "9" * 5000):
        with pytest.raises(InputError, match="expected CONTIG:START-END"):
            saturation_mutagenesis(model, [text], FASTA, output=tmp_path / "o.tsv")
    assert [p.name for p in tmp_path.iterdir()] == ["two.bed"]
