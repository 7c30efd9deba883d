"""Thresholds and temperatures of validation data: calls and calibrated probabilities of every command."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import regzoo
from regzoo.calibration import FILE
from regzoo.cli import app
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.sequence import read_bed
from tests.conftest import BED, FASTA, MODEL, ROOT, VCF

FITTED = {
    "tf0": {"threshold": 0.6, "temperature": 2.0, "examples": 10, "positive": 4},
    "tf3": {"threshold": 0.7, "temperature": 0.5, "examples": 10, "positive": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of a model with two of its targets calibrated."""
    path = tmp_path_factory.mktemp("zoo") / "own"
    shutil.copytree(ROOT / "models" / MODEL, path)
    write(path, {"fitted_on": "dev", "targets": FITTED})
    return path


@pytest.fixture(scope="module")
def model(folder):
    return regzoo.load_model(folder, device="cpu")


def write(folder, content):
    (folder / FILE).write_text(yaml.safe_dump(content))


def by_hand(p, temperature):
    """p^(1/T) / (p^(1/T) + (1-p)^(1/T)), which divides log odds by T."""
    p = np.asarray(p, dtype=np.float64)
    a, b = p ** (1 / temperature), (1 - p) ** (1 / temperature)
    return a / (a + b)


def test_predict_calls_classes_and_calibrates(model, tmp_path):
    plain = regzoo.predict(model, BED, FASTA, targets=["tf3", "tf0"])
    called = regzoo.predict(model, BED, FASTA, targets=["tf3", "tf0"], threshold_from="validation", calibrated=True)
    assert list(called) == [*plain, "call:tf3", "call:tf0"]
    for name, fitted in (("tf3", FITTED["tf3"]), ("tf0", FITTED["tf0"])):
        np.testing.assert_allclose(called[name], by_hand(plain[name], fitted["temperature"]), atol=1e-6)
        assert list(called[f"call:{name}"]) == list((plain[name] >= fitted["threshold"]).astype(float))
    assert 0 < called["call:tf0"].mean() < 1
    windows = ["ACGTA" * 20 + "C", "TTGAC" * 20 + "N"]
    two = regzoo.predict(model, windows, targets=["tf0"], threshold_from="validation")
    assert list(two["call:tf0"]) == list((model.predict(windows)[:, 0] >= 0.6).astype(float))
    with pytest.raises(OutputError, match="bedGraph holds predictions only, no calls"):
        regzoo.predict(model, BED, FASTA, targets=["tf0"], threshold_from="validation", output=tmp_path / "x.bedgraph")


def test_an_interval_without_prediction_has_no_call(model):
    bed = read_bed(BED)
    rows = pd.DataFrame({"chrom": ["chrX", str(bed.contigs[0])], "start": [5, 500], "end": [9, 600]})
    found = regzoo.predict(model, rows, FASTA, targets=["tf0"], threshold_from="validation")
    assert np.isnan(found["call:tf0"][0]) and found["call:tf0"][1] in (0, 1)


def test_scan_has_a_threshold_for_each_target(model):
    options = {"regions": "chr1:1-6,000", "step": 25, "targets": ["tf3", "tf0"]}
    found = regzoo.scan(model, FASTA, threshold_from="validation", **options)
    assert found.attrs["thresholds"] == {"tf3": 0.7, "tf0": 0.6} and set(found.target) == {"tf3", "tf0"}
    parts = [
        regzoo.scan(model, FASTA, threshold=FITTED[name]["threshold"], **options | {"targets": [name]})
        for name in ("tf3", "tf0")
    ]
    expected = pd.concat(parts).sort_values(["chrom", "start", "target"], ignore_index=True)
    columns = ["chrom", "start", "end", "target", "value", "summit", "windows"]
    shown = found.sort_values(["chrom", "start", "target"], ignore_index=True)
    pd.testing.assert_frame_equal(shown[columns], expected[columns])
    scaled = regzoo.scan(model, FASTA, threshold_from="validation", calibrated=True, **options)
    pd.testing.assert_frame_equal(
        scaled[["start", "end", "target", "windows"]], found[["start", "end", "target", "windows"]]
    )
    temperatures = found.target.map(lambda name: FITTED[name]["temperature"])
    np.testing.assert_allclose(scaled.value, by_hand(found.value, temperatures), atol=1e-5)
    assert scaled.attrs["thresholds"]["tf3"] == pytest.approx(by_hand(0.7, 0.5))


def test_alleles_are_called_with_it(model):
    options = {"targets": ["tf3", "tf0"]}
    plain = regzoo.alleles(model, VCF, FASTA, **options)
    found = regzoo.alleles(model, VCF, FASTA, threshold_from="validation", calibrated=True, **options)
    key = ["record", "alt", "target"]
    both = plain.merge(found, on=key, suffixes=("", "_own"))
    both = both[both.status == "scored"]
    for name, fitted in FITTED.items():
        rows = both[both.target == name]
        before, after = rows.value_ref >= fitted["threshold"], rows.value_alt >= fitted["threshold"]
        expected = np.select([~before & after, before & ~after, before & after], ["gain", "loss", "class"], "none")
        assert list(rows.call_own) == list(expected)
        np.testing.assert_allclose(rows.value_alt_own, by_hand(rows.value_alt, fitted["temperature"]), atol=1e-6)
    np.testing.assert_array_equal(both["diff"], both["diff_own"])
    assert (both.call != both.call_own).any()


def test_the_commands_take_the_options(folder, tmp_path):
    for command, more in (("predict", []), ("scan", ["-r", "chr1:1-3,000"]), ("alleles", ["--step", "0"])):
        given = {"predict": [str(BED), "-f", str(FASTA)], "scan": [str(FASTA)], "alleles": [str(VCF), "-f", str(FASTA)]}
        out = tmp_path / f"{command}.tsv"
        options = [
            "-m",
            str(folder),
            "-t",
            "tf0",
            "--threshold-from",
            "validation",
            "--calibrated",
            "-q",
            "-o",
            str(out),
        ]
        done = CliRunner().invoke(app, [command, *given[command], *options, *more])
        assert done.exit_code == 0, done.output
        assert len(pd.read_csv(out, sep="\t"))


REFUSED = {
    "a target without": ({"targets": ["tf1"]}, ModelError, "has no target 'tf1', whose validation data have only one"),
    "another source": ({"threshold_from": "test"}, InputError, "no source of thresholds 'test'; there are validation"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("command", [regzoo.predict, regzoo.scan, regzoo.alleles])
def test_what_is_refused(command, kind, model):
    more, error, message = REFUSED[kind]
    inputs = {regzoo.predict: (BED, FASTA), regzoo.scan: (FASTA,), regzoo.alleles: (VCF, FASTA)}[command]
    with pytest.raises(error, match=message):
        command(model, *inputs, **{"targets": ["tf0"], "threshold_from": "validation"} | more)


def test_models_without_a_calibration_say_so(model, folder, tmp_path):
    inputs = {regzoo.predict: (BED, FASTA), regzoo.scan: (FASTA,), regzoo.alleles: (VCF, FASTA)}
    own = regzoo.Model.from_module(model.module.net, 101, 5, name="mine", device="cpu")
    for command, given in inputs.items():
        with pytest.raises(ModelError, match="mine: no thresholds and temperatures from validation come with"):
            command(own, *given, calibrated=True)
        with pytest.raises(ModelError, match="predicts values, not probabilities"):
            command("MotifResNet/utr3-mpra", *given, threshold_from="validation")
    for command in (regzoo.scan, regzoo.alleles):
        with pytest.raises(InputError, match="give either"):
            command(model, *inputs[command], targets=["tf0"], threshold=0.3, threshold_from="validation")


BAD = {
    "a threshold": ({"targets": {"tf0": FITTED["tf0"] | {"threshold": 1.5}}}, "targets.tf0.threshold"),
    "a temperature": ({"targets": {"tf0": FITTED["tf0"] | {"temperature": 0}}}, "targets.tf0.temperature"),
    "a target": ({"targets": {"tf9": FITTED["tf0"]}}, "targets.tf9: the model has no such target"),
    "no target": ({"targets": {}}, "targets"),
    "a split": ({"targets": FITTED, "fitted_on": "test"}, "fitted_on"),
    "a key": ({"targets": FITTED, "fitted": "dev"}, "fitted: .*did you mean 'fitted_on'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_calibration_is_not_trusted(kind, folder, tmp_path):
    content, message = BAD[kind]
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    write(copy, content)
    with pytest.raises(ModelError, match=f"{FILE}: {message}"):
        regzoo.predict(copy, ["ACGTA" * 20 + "C"], calibrated=True)
    assert len(regzoo.predict(copy, ["ACGTA" * 20 + "C"]))  # it is read only where it is needed
