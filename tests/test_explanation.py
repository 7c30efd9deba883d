"""Attributions against captum, finite differences and exact mutagenesis, and the files that hold them."""

import h5py
import numpy as np
import pandas as pd
import pybigtools
import pytest
import torch
from captum.attr import DeepLift, IntegratedGradients
from scipy.stats import pearsonr
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.effects.evaluator import Evaluator
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.explanation import explain
from regzoo.sequence import decode, one_hot, reverse_complement
from regzoo.sequence.shuffle import shuffled_dinucleotides
from tests.conftest import FASTA

LOCUS = "chr1:1,560-1,640"
CNN = "EnhancerNet/promoter-core"  # stranded, of layers that DeepLIFT has rules for
BOTH = "Basset/tf-human"  # mean of both strands


@pytest.fixture(scope="module")
def genome():
    return regzoo.Genome(FASTA)


def window(genome, model, locus=LOCUS):
    first, last = (int(text.replace(",", "")) for text in locus.split(":")[1].split("-"))
    start = (first - 1 + last) // 2 - model.input_length // 2
    return start, np.array(genome.codes("chr1")[start : start + model.input_length])


def baselines(codes, count, seed=0):
    return shuffled_dinucleotides(np.repeat(codes[None], count, axis=0), np.random.default_rng(seed))


def tensor(codes):
    return torch.from_numpy(one_hot(codes))


@pytest.mark.parametrize("name", [CNN, BOTH, "MotifResNet/utr3-mpra"])
def test_integrated_gradients_equal_captums_and_are_complete(name, genome):
    model = regzoo.load_model(name, device="cpu")
    found = explain(model, LOCUS, genome, targets=model.targets[1:2], references=3, steps=20)
    start, codes = window(genome, model)
    shuffled = baselines(codes, 3)

    def logit(x):
        net = model.module.net
        return (net(x) + net(x.flip(1, 2))) / 2 if model.module.reverse_complement else net(x)

    x, x0 = tensor(np.repeat(codes[None], 3, axis=0)), tensor(shuffled)
    expected = IntegratedGradients(logit).attribute(x, x0, target=1, n_steps=20, method="gausslegendre")
    np.testing.assert_allclose(found.contributions[:, 0], expected.sum(1).mean(0).numpy(), atol=2e-5)
    assert found.start == start and (found.reference == codes).all()
    with torch.no_grad():
        difference = logit(x[:1])[0, 1] - logit(x0)[:, 1].mean()
    assert found.prediction[0] - found.baseline[0] == pytest.approx(float(difference), abs=1e-5)
    assert found.completeness[0] == pytest.approx(float(expected.sum((1, 2)).mean()) - float(difference), abs=1e-4)
    fine = explain(model, LOCUS, genome, targets=model.targets[1:2], references=1, steps=400)
    assert abs(fine.completeness[0]) < 0.02  # what few steps miss is the quadrature's error


@pytest.mark.parametrize("name", [CNN, BOTH])
def test_deeplift_equals_captums_and_is_complete(name, genome):
    model = regzoo.load_model(name, device="cpu")
    found = explain(model, LOCUS, genome, targets=model.targets[:1], references=4, method="deeplift")
    assert abs(found.completeness[0]) < 1e-4
    if name == BOTH:  # captum's contributions do not sum to the difference of the outputs there
        return
    _, codes = window(genome, model)
    x, x0 = tensor(np.repeat(codes[None], 4, axis=0)), tensor(baselines(codes, 4))
    expected = DeepLift(model.module.net).attribute(x, x0, target=0).sum(1).mean(0).detach().numpy()
    np.testing.assert_allclose(found.contributions[:, 0], expected, atol=1e-5)


def test_taylor_reports_its_correlation_with_exact_mutagenesis(genome, tmp_path, caplog):
    model, loci = regzoo.load_model(CNN, device="cpu"), [LOCUS, "chr1:1,700-1,760", "chr1:2,000-2,060"]
    options = {"targets": model.targets[:2]}
    found = explain(model, loci, genome, method="taylor", **options)
    exact = explain(model, loci, genome, method="saturation", **options)
    assert exact[0].saturation_correlation is None
    for column, value in enumerate(found[0].saturation_correlation):
        pairs = [(a.contributions[:, column], b.contributions[:, column]) for a, b in zip(found, exact)]
        assert value == pytest.approx(np.median([pearsonr(*pair)[0] for pair in pairs]), abs=1e-5)
        assert f"{model.targets[column]} {value:.3f}" in caplog.text
    assert "exact mutagenesis (median of 3 windows)" in caplog.text
    explain(model, loci, genome, method="taylor", output=tmp_path / "o.h5", checked=2, **options)
    assert "median of 2 windows" in caplog.text
    with h5py.File(tmp_path / "o.h5") as file:
        assert file.attrs["saturation_correlation"].shape == (2,)
    caplog.clear()
    (skipped, *_) = explain(model, loci, genome, method="taylor", checked=0, **options)
    assert skipped.saturation_correlation is None and not caplog.text


def test_many_windows_are_explained_as_one_is(genome):
    """Batches of windows against one window at a time, with the same shuffles for each."""
    model = regzoo.load_model(BOTH, device="cpu")
    loci = [f"chr1:{start}-{start + 60}" for start in range(1500, 1900, 100)]
    for method in ("gradient", "deeplift", "integrated_gradients"):
        together = explain(model, loci, genome, method=method, targets=["tf3"], references=3, steps=4)
        rng = np.random.default_rng(0)
        for one in together:
            x = tensor(one.reference[None])
            x0 = tensor(shuffled_dinucleotides(np.repeat(one.reference[None], 3, axis=0), rng))
            with torch.no_grad():
                logits = [(model.module.net(v) + model.module.net(v.flip(1, 2)))[:, 3].mean() / 2 for v in (x, x0)]
            assert one.prediction[0] == pytest.approx(float(logits[0]), abs=1e-4)
            if method != "gradient":
                assert one.baseline[0] == pytest.approx(float(logits[1]), abs=1e-4)
        alone = explain(model, loci[0], genome, method=method, targets=["tf3"], references=3, steps=4)
        np.testing.assert_allclose(alone.contributions, together[0].contributions, atol=1e-5)


def test_gradients_equal_finite_differences(genome):
    model = regzoo.load_model("MotifResNet/utr3-mpra", device="cpu")
    _, codes = window(genome, model)
    x, step = tensor(codes[None]), 1e-3
    found = explain(model, LOCUS, genome, method="gradient", targets=model.targets[2:3])
    for position, base in ((3, 0), (50, 2), (77, 3)):
        change = torch.zeros_like(x)
        change[0, base, position] = step
        with torch.no_grad():
            difference = (model.module.net(x + change) - model.module.net(x - change))[0, 2] / (2 * step)
        assert found.hypothetical[position, base, 0] == pytest.approx(float(difference), abs=1e-4)


def test_saturation_is_exact_mutagenesis_and_taylor_is_close(genome):
    model = regzoo.load_model("MotifResNet/tf-human", device="cpu")
    exact = explain(model, LOCUS, genome, method="saturation", targets=["tf3"])
    start, _ = window(genome, model)
    changed = regzoo.saturation_mutagenesis(
        model, f"chr1:{start + 1}-{start + 101}", genome, score="logit", targets=["tf3"]
    )
    expected = -changed.effects[:, :4, 0].sum(axis=1) / 3
    np.testing.assert_allclose(exact.contributions[:, 0], expected, atol=2e-5)
    taylor = explain(model, LOCUS, genome, method="taylor", targets=["tf3"])
    assert np.corrcoef(taylor.contributions[:, 0], exact.contributions[:, 0])[0, 1] > 0.7
    top = np.argsort(-exact.contributions[:, 0])[:5] + start + 1
    assert ((top >= 1595) & (top <= 1606)).all()  # where GATGACTCATCC is planted


def test_saturation_predicts_the_substitutions_and_nothing_else(monkeypatch):
    asked, predict = [], Evaluator.predict
    monkeypatch.setattr(Evaluator, "predict", lambda self, *args: asked.append(args[2]) or predict(self, *args))
    monkeypatch.setattr(Evaluator, "predict_joined", None)  # deletions
    text = "N" + "".join(np.random.default_rng(0).choice(list("ACGT"), 99)) + "N"
    some, none = explain("MotifResNet/tf-human", [text, "N" * 101], method="saturation", targets=["tf3"], device="cpu")
    (changed,) = asked
    assert len(np.unique(changed, axis=0)) == len(changed) == 3 * 99
    assert not some.contributions[[0, -1]].any() and some.contributions[1:-1].all()
    assert not none.contributions.any() and not none.hypothetical.any()


@pytest.mark.parametrize("method", ["gradient", "taylor", "saturation", "integrated_gradients", "deeplift"])
def test_the_reverse_strand_is_that_of_the_reverse_complement(method, genome, tmp_path):
    """A window on '-' against the same model on a genome that is the reverse complement."""
    model = regzoo.load_model(CNN, device="cpu")
    sequence = genome.codes("chr1")[1000:1400]
    for name, codes in (("f", sequence), ("r", reverse_complement(sequence[None])[0])):
        (tmp_path / f"{name}.fa").write_text(f">c\n{decode(codes)}\n")
    minus = pd.DataFrame({"chrom": ["c"], "start": [100], "end": [170], "strand": ["-"]})
    plus = pd.DataFrame({"chrom": ["c"], "start": [230], "end": [300], "strand": ["+"]})
    options = {"method": method, "targets": model.targets[:1], "references": 2, "steps": 8}
    [one], [other] = (
        explain(model, minus, tmp_path / "f.fa", **options),
        explain(model, plus, tmp_path / "r.fa", **options),
    )
    assert decode(one.reference) == decode(reverse_complement(other.reference[None])[0])
    np.testing.assert_allclose(one.contributions, other.contributions[::-1], atol=1e-5)
    np.testing.assert_allclose(one.hypothetical, other.hypothetical[::-1, ::-1], atol=1e-5)
    [forward] = explain(model, minus, tmp_path / "f.fa", use_strand=False, **options)
    assert np.abs(forward.contributions - one.contributions).max() > 1e-4


def test_every_file_holds_the_same(genome, tmp_path):
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t1550\t1650\tsite\nchr1\t1600\t1640\tnear\nchr2\t10\t20\tend\n")
    model = regzoo.load_model("MotifResNet/tf-human", device="cpu")
    outputs = [tmp_path / f"o.{suffix}" for suffix in ("h5", "npz", "tsv", "parquet", "bw")]
    options = {"method": "gradient", "targets": ["tf3"]}
    assert explain(model, bed, genome, output=outputs, **options) == 3
    expected = explain(model, bed, genome, **options)
    table = pd.concat([one.to_frame() for one in expected], ignore_index=True)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "o.tsv", sep="\t"), table, rtol=1e-5, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "o.parquet"), table)
    arrays = np.load(tmp_path / "o.npz")
    for i, one in enumerate(expected):
        np.testing.assert_array_equal(arrays["one_hot"][i], one_hot(one.reference))
        np.testing.assert_array_equal(arrays["hypothetical_contribs"][i], one.hypothetical[:, :, 0].T)
    with h5py.File(tmp_path / "o.h5") as file:
        group = file["windows/000001"]
        np.testing.assert_array_equal(group["contributions"], expected[1].contributions)
        assert (group.attrs["contig"], group.attrs["start"], group.attrs["name"]) == ("chr1", expected[1].start, "near")
    mean = table[(table.chrom == "chr1")].groupby("pos")["tf3"].mean()
    values = pybigtools.open(str(tmp_path / "o.bw")).values("chr1", int(mean.index[0]) - 1, int(mean.index[-1]))
    np.testing.assert_allclose(values, mean, rtol=1e-5, atol=1e-7)
    end = expected[2]
    assert end.start < 0 and (end.contributions[: -end.start] == 0).all()


def test_the_command_and_its_picture(tmp_path):
    out = [tmp_path / "o.png", tmp_path / "o.tsv"]
    done = CliRunner().invoke(
        app,
        [
            "explain",
            LOCUS,
            "-f",
            str(FASTA),
            "-m",
            CNN,
            "-t",
            "all",
            "--method",
            "gradient",
            "-q",
            "-o",
            str(out[0]),
            "-o",
            str(out[1]),
        ],
    )
    assert done.exit_code == 0 and done.stderr == f"1 windows -> {out[0]}, {out[1]}\n"
    assert out[0].stat().st_size > 5_000 and len(pd.read_csv(out[1], sep="\t")) == 70


def test_language_models_have_mutagenesis_alone(language_model, genome):
    found = explain(language_model, "chr1:1,000-1,060", genome, method="saturation", targets=["d0"])
    assert np.abs(found.contributions).max() > 0
    with pytest.raises(ModelError, match="use method 'saturation'"):
        explain(language_model, LOCUS, genome)


def test_what_is_refused(genome, tmp_path):
    for options, error, message in (
        ({"method": "magic"}, InputError, "no method 'magic'"),
        ({"steps": 0}, InputError, "steps: expected 1 or more"),
        ({"targets": ["x"]}, InputError, "no target 'x'"),
        ({"output": tmp_path / "o.txt"}, OutputError, "unknown suffix"),
        ({"output": tmp_path / "o.npz"}, OutputError, "holds one target, but there are 5"),
    ):
        with pytest.raises(error, match=message):
            explain("MotifResNet/tf-human", LOCUS, genome, **options)
    with pytest.raises(ModelError, match="Hybrid/tf-human: DeepLIFT has no rule for LayerNorm; use 'integrated_grad"):
        explain("Hybrid/tf-human", LOCUS, genome, method="deeplift")
    with pytest.raises(OutputError, match="a picture shows one window, but there are 2"):
        explain(CNN, [LOCUS, LOCUS], genome, output=tmp_path / "o.png")
    with pytest.raises(InputError, match="lies off its contig"):
        explain(CNN, ["chr1:99,000-99,010"], genome)
    with pytest.raises(InputError, match="no target"):
        explain(CNN, LOCUS, genome, method="gradient").plot(targets=["x"])
    assert list(tmp_path.iterdir()) == []


def test_sequences_are_explained_as_their_windows_of_a_genome_are(genome, tmp_path):
    model = regzoo.load_model(CNN, device="cpu")
    start, codes = window(genome, model)
    expected = explain(model, LOCUS, genome, method="taylor")
    text = decode(codes)
    fasta = tmp_path / "windows.fa"
    fasta.write_text(f">first\n{text}\n>second\n{'ACGT' * 30}"[: len(text) * 2 + 16] + "\n")
    (found,) = explain(model, [text], method="taylor")
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=1e-6)
    assert found.name == "0" and found.start == 0
    records = explain(model, fasta, method="saturation")
    np.testing.assert_allclose(
        records[0].contributions, explain(model, LOCUS, genome, method="saturation").contributions, atol=2e-5
    )
    assert [one.name for one in records] == ["first", "second"]
    with pytest.raises(InputError, match="0 has 5 bases, but"):
        explain(model, ["ACGTA"])
    with pytest.raises(OutputError, match="needs a genome"):
        explain(model, [text], output=tmp_path / "x.bw", targets=model.targets[:1])


def test_both_alleles_and_their_difference(genome, tmp_path, caplog):
    """Each allele as its own sequence, made by hand."""
    model = regzoo.load_model(CNN, device="cpu")
    length, contig = model.input_length, decode(genome.codes("chr1"))
    vcf = tmp_path / "v.vcf"
    alt = {"A": "C", "C": "G", "G": "T", "T": "A"}[contig[1599]]
    vcf.write_text(
        "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t1600\tsnv\t{contig[1599]}\t{alt}\t.\t.\t.\nchr1\t1700\t.\t{contig[1699]}\t{contig[1699]}TT,<DEL>\t.\t.\t.\n"
    )
    found = explain(model, vcf, genome, method="gradient")
    insertion = f"chr1:1700:{contig[1699]}:{contig[1699]}TT"
    assert [one.name for one in found] == [
        "snv_ref",
        "snv_alt",
        "snv_difference",
        f"{insertion}_ref",
        f"{insertion}_alt",
    ]
    assert "1 alleles are left out: 1 symbolic allele" in caplog.text
    first = found[0].start
    reference = contig[first : first + length]
    changed = reference[: 1599 - first] + alt + reference[1600 - first :]
    expected = explain(model, [reference, changed], method="gradient")
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one.contributions, other.contributions, atol=1e-6)
    difference = expected[1].contributions - expected[0].contributions
    np.testing.assert_allclose(found[2].contributions, difference, atol=1e-6)
    assert np.abs(difference).max() > 1e-3
    first = found[3].start
    grown = contig[first:1700] + "TT" + contig[1700 : first + length]
    (longer,) = explain(model, [grown[:length]], method="gradient")
    np.testing.assert_allclose(found[4].contributions, longer.contributions, atol=1e-6)
    text = f"chr1:1600:{contig[1599]}:{alt}"
    assert [one.name for one in explain(model, text, genome, method="gradient")] == [
        f"{text}_{side}" for side in ("ref", "alt", "difference")
    ]
    fine = explain(model, text, genome, steps=64, references=3)
    np.testing.assert_array_equal(fine[0].baseline, fine[1].baseline)  # of the same shuffled references
    np.testing.assert_allclose(fine[2].contributions.sum(axis=0), fine[1].prediction - fine[0].prediction, atol=0.05)
    vcf.write_text(
        "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t1600\ttwo\t{contig[1599]}\t{alt},{contig[1599]}TT\t.\t.\t.\n"
    )
    names = [one.name for one in explain(model, vcf, genome, method="gradient")]
    assert len(set(names)) == 5 and f"two:{contig[1599]}:{alt}_difference" in names
