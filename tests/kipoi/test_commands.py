"""The `kipoi` command on every model that ships weights, through every writer and subcommand."""

import json
import logging
import os
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from regzoo.sequence import Genome, read_bed
from regzoo.zoo import catalogue, load_model
from tests.conftest import BED, EXAMPLE, FASTA, LOADER, MODEL, ROOT, SHIPPED, VCF, run

ARGS = f"--dataloader_args={json.dumps(LOADER)}"


@pytest.fixture(scope="module")
def expected():
    """Predictions on the example without Kipoi."""
    model, bed, genome = load_model(MODEL, device="cpu"), read_bed(BED), Genome(FASTA)
    numbers = [genome.number(str(c)) for c in bed.contigs]
    return model.predict(genome.windows(numbers, bed.resized(model.input_length), model.input_length))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    outputs = [folder / f"out.{suffix}" for suffix in ("tsv", "h5", "bed", "parquet")]
    run("kipoi", "predict", MODEL, "--source", "regzoo", ARGS, "-o", *outputs)
    return folder


LISTED = {name for name, entry in catalogue().items() if entry["status"] != "recipe"}


def test_tsv(predicted, expected):
    table = pd.read_csv(predicted / "out.tsv", sep="\t")
    np.testing.assert_allclose(table[[f"preds/{i}" for i in range(5)]], expected, atol=1e-6)


def test_hdf5(predicted, expected):
    with h5py.File(predicted / "out.h5") as file:
        np.testing.assert_allclose(file["preds"], expected, atol=1e-6)
        assert [c.decode() for c in file["metadata/ranges/chr"]] == list(read_bed(BED).contigs)


def test_bed_holds_the_windows(predicted, expected):
    table = pd.read_csv(predicted / "out.bed", sep="\t")
    np.testing.assert_allclose(table[[f"preds/{i}" for i in range(5)]], expected, atol=1e-6)
    bed = read_bed(BED)
    assert list(table.start) == list(bed.resized(101)) and list(table.name) == list(bed.names)


def test_parquet(predicted, expected):
    table = pd.read_parquet(predicted / "out.parquet")
    np.testing.assert_allclose(table[[f"preds/{i}" for i in range(5)]], expected, atol=1e-6)


def test_source_dir_and_workers(tmp_path, expected):
    out = tmp_path / "out.tsv"
    run("kipoi", "predict", f"models/{MODEL}", "--source", "dir", ARGS, "-o", out, "-n", "2", cwd=ROOT)
    table = pd.read_csv(out, sep="\t")
    np.testing.assert_allclose(table[[f"preds/{i}" for i in range(5)]], expected, atol=1e-6)


def test_a_writer_that_kipoi_lacks_is_refused_and_nothing_is_left(tmp_path):
    _, err = run("kipoi", "predict", MODEL, "--source", "regzoo", ARGS, "-o", tmp_path / "out.zarr", expect=1)
    assert "use .tsv, .bed, .h5 or .parquet" in err or "not from" in err
    bad = json.dumps({**LOADER, "fasta_file": str(BED)})
    _, err = run(
        "kipoi", "predict", MODEL, "--source", "regzoo", f"--dataloader_args={bad}", "-o", tmp_path / "o.h5", expect=1
    )
    assert "error: " in err and "example.bed: not a FASTA file" in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_ls_lists_the_catalogue():
    out, _ = run("kipoi", "ls", "--source", "regzoo", "all")
    assert set(out.split()) == LISTED


# One of each kind; every model's expected predictions are checked without commands in tests/test_project.py.
@pytest.mark.parametrize("name", [MODEL, "LM/nt-mini", "NT-mini/utr3-mpra"])
def test_info_example_and_test(name, kipoi_command, tmp_path, monkeypatch, caplog):
    out, _ = kipoi_command("info", name, "--source", "regzoo")
    assert "intervals_file" in out and "regzoo" in out
    with monkeypatch.context() as there:
        there.chdir(tmp_path)
        out, _ = kipoi_command("get-example", name, "--source", "regzoo", "-o", "example")
    arguments = json.loads(out.strip().splitlines()[-1])
    assert (tmp_path / arguments["fasta_file"]).read_bytes() == FASTA.read_bytes()
    monkeypatch.chdir(ROOT)
    logging.getLogger().addHandler(caplog.handler)  # the first import of Kipoi's command removes it
    caplog.set_level("INFO")
    for arguments in ((name, "--source", "regzoo"), (f"models/{name}", "--source", "dir")):
        caplog.clear()
        kipoi_command("test", *arguments)
        assert "All predictions match" in caplog.text and "WARNING" not in caplog.text


def test_kipoi_test_in_a_process_of_its_own():
    out, err = run("kipoi", "test", MODEL, "--source", "regzoo")
    assert "All predictions match" in out and "WARNING" not in out + err


def test_a_wrong_expectation_fails_kipoi_test(tmp_path):
    wrong = tmp_path / "wrong.h5"
    with h5py.File(ROOT / "models" / MODEL / "expected.h5") as good, h5py.File(wrong, "w") as bad:
        bad["inputs"], bad["preds"] = good["inputs"][()], good["preds"][()] + 0.01
    run("kipoi", "test", MODEL, "--source", "regzoo", "-e", wrong, expect=1)


def test_preproc(tmp_path):
    out = tmp_path / "inputs.h5"
    arguments = json.dumps({**LOADER, "length": 33})
    run(
        "kipoi",
        "preproc",
        "dataloaders/sequence",
        "--source",
        "dir",
        f"--dataloader_args={arguments}",
        "-o",
        out,
        cwd=ROOT,
    )
    with h5py.File(out) as file:
        assert file["inputs"].shape == (len(read_bed(BED)), 4, 33)


@pytest.mark.slow
def test_the_official_conformance_test_passes(tmp_path):
    """`kipoi test-source` builds conda environments; a stub offers this environment in their place."""
    prefix = tmp_path / "conda"
    (prefix / "envs").mkdir(parents=True)
    (prefix / "envs" / "regzoo").symlink_to(sys.prefix)
    information = json.dumps(
        {"envs": [str(prefix / "envs" / "regzoo")], "conda_prefix": str(prefix), "root_prefix": str(prefix)}
    )
    (prefix / "conda").write_text(f"#!/bin/sh\n[ \"$1\" = info ] && echo '{information}' || exit 1\n")
    (prefix / "conda").chmod(0o755)
    out, err = run(
        "kipoi", "test-source", "regzoo", "--all", "--common_env", env={"PATH": f"{prefix}:{os.environ['PATH']}"}
    )
    assert f"All tests ({len(LISTED)}) passed" in out + err
    assert (out + err).count("All predictions match") == len(SHIPPED)


def test_the_common_environment_names_every_model():
    tested = yaml.safe_load((ROOT / "models" / "shared" / "envs" / "models.yaml").read_text())
    assert tested == {"regzoo": SHIPPED}


def test_registering_keeps_what_is_there(tmp_path):
    config = tmp_path / ".kipoi" / "config.yaml"
    config.parent.mkdir()
    config.write_text(
        "model_sources:\n  mine:\n    type: local\n    local_path: /data/models\nenv_db_path: /x/envs.json\n"
    )
    run("regzoo", "register", env={"HOME": str(tmp_path)})
    content = yaml.safe_load(config.read_text())
    assert content["env_db_path"] == "/x/envs.json"
    assert content["model_sources"]["mine"]["local_path"] == "/data/models"
    assert content["model_sources"]["regzoo"] == {"type": "local", "local_path": str(ROOT / "models")}
    config.write_text("model_sources: [")
    _, err = run("regzoo", "register", env={"HOME": str(tmp_path)}, expect=1)
    assert "config.yaml: not valid YAML" in err and config.read_text() == "model_sources: ["


def test_the_example_is_what_its_script_makes(tmp_path):
    run("python", EXAMPLE / "make_example.py", tmp_path)
    for path in (FASTA, BED, VCF):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_doctor_finds_nothing_wrong_and_says_what_is(tmp_path):
    out, err = run("regzoo", "doctor")
    assert "kipoi_veff" not in err  # no warning of its own order of imports
    assert "FAIL" not in out
    out, _ = run("regzoo", "doctor", env={"HOME": str(tmp_path)}, expect=1)
    assert "run `regzoo register`" in out


def test_doctor_sees_that_another_install_overwrote_the_command(tmp_path, monkeypatch):
    from regzoo import doctor

    command = tmp_path / "kipoi"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    command.write_text("#!/x/regzoo/.venv/bin/python\nfrom kipoi.__main__ import main\nmain()\n")
    check = doctor._command()
    assert not check.passed and "was overwritten" in check.found and "regzoo kipoi" in check.fix
    command.write_text("#!/x/bin/python\nfrom regzoo.kipoi.command import main\nmain()\n")
    assert doctor._command().passed
