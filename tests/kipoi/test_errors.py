"""Errors of the `kipoi` command: a message without a traceback for wrong input, the traceback for anything else."""

import importlib.util
import json

import pytest

import regzoo.kipoi  # noqa: F401 - before kipoi_veff
from regzoo.kipoi import command
from tests.conftest import FASTA, MODEL, VCF

NO_INTERVALS = json.dumps({"fasta_file": str(FASTA)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "No/Model", "--source", "regzoo"], "error: model No/Model doesn't exist"),
        (
            ["predict", MODEL, "--source", "regzoo", f"--dataloader_args={NO_INTERVALS}", "-o", "o.tsv"],
            "missing 1 required positional argument: 'intervals_file'; `kipoi info MODEL` lists the arguments",
        ),
        (
            [
                "veff",
                "score_variants",
                MODEL,
                "--source",
                "regzoo",
                f"--dataloader_args={NO_INTERVALS}",
                "-i",
                str(VCF),
                "-o",
                "o.vcf",
                "-s",
                "nosuch",
            ],
            "error: No scoring method was chosen",
        ),
        (["predict", MODEL, "--source", "regzoo", "--dataloader_args={", "-o", "o.tsv"], "not valid YAML"),
    ],
)
def test_wrong_input(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kipoi"])
    with pytest.raises(SystemExit, match=message):
        command.main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_keep_their_traceback(monkeypatch):
    def fail(arguments):
        raise ValueError("a defect")

    monkeypatch.setattr(command, "_run", fail)
    with pytest.raises(ValueError, match="a defect"):
        command.main(["ls"])


def test_a_missing_plugin_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "interpret" in name else found(name))
    with pytest.raises(SystemExit, match="`kipoi interpret` needs the package kipoi_interpret"):
        command.main(["interpret", "grad"])
