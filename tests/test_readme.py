"""Every command and every Python snippet of the README, run as written, and what they make."""

import re
import subprocess
import sys

import pandas as pd
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.kipoi import command
from tests.conftest import ROOT

# Bash parses the commands and writes folder and arguments of each; they are then run in this process.
RECORD = """record() { printf '%s\\0' "$PWD" "$@" >> "$COMMANDS"; printf '\\0' >> "$COMMANDS"; }
regzoo() { record regzoo "$@"; }
kipoi() { record kipoi "$@"; }
"""


def run_shell(code, folder, monkeypatch):
    record = folder / "commands"
    subprocess.run(
        ["/bin/bash", "-ec", RECORD + code],
        cwd=folder,
        env={"PATH": "/nonexistent", "COMMANDS": str(record)},
        check=True,
    )
    found = [text.split("\0") for text in record.read_text().split("\0\0") if text]
    record.unlink()
    for where, program, *arguments in found:
        monkeypatch.chdir(where)
        if program == "regzoo":
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 0, f"{arguments}\n{done.output}"
        else:
            monkeypatch.setattr("sys.argv", ["kipoi"])  # Kipoi changes it
            command.main(arguments)
    return [program for _, program, *_ in found]


def run_python(code, folder, monkeypatch):
    """In a process of its own for `import kipoi`, which has to work there without any other import."""
    if "import kipoi" in code:
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    else:
        monkeypatch.chdir(folder)
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_commands_and_python_of_the_readme_run(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    example = tmp_path / "dataloaders" / "sequence"
    example.mkdir(parents=True)
    for name in ("example.fa", "example.bed", "example.vcf"):  # a copy: the commands write beside them
        (example / "example").mkdir(exist_ok=True)
        (example / "example" / name).write_bytes((ROOT / "dataloaders/sequence/example" / name).read_bytes())
    blocks = re.findall(r"```(bash|python)\n(.*?)```", text, re.S)
    assert [kind for kind, _ in blocks] == ["bash", "python", "bash", "python"]
    programs = []
    for kind, code in blocks:
        if kind == "bash":
            programs += run_shell(code, tmp_path, monkeypatch)
        else:
            run_python(code, tmp_path, monkeypatch)
    assert len(programs) == len(re.findall(r"^(?:regzoo|kipoi) ", "".join(c for k, c in blocks if k == "bash"), re.M))
    ours, kipois = (
        pd.read_csv(path, sep="\t") for path in (example / "example/predictions.tsv", tmp_path / "kipoi.tsv")
    )
    assert len(ours) == len(kipois) == 92 and (ours.status == "ok").all()
    assert (ours.tf3 - kipois["preds/3"]).abs().max() < 1e-5
    scores = pd.read_csv(example / "example/scores.tsv", sep="\t")
    assert (scores[scores.id.str.startswith("breaks_ap1")]["diff:tf3"].dropna() < 0).all()
    assert scores[scores.id.str.startswith("breaks_ap1")]["diff:tf3"].notna().any()
    words = pd.read_csv(example / "example/alleles.tsv", sep="\t").set_index("id").effect
    assert words["breaks_ets_28"].startswith("loses GABPA_MCF-7 (0.60 → 0.03), percentile 99.99")
    assert (tmp_path / "scored.vcf").read_text().startswith("##fileformat=VCF")
    assert all((folder / "locus.png").stat().st_size > 10_000 for folder in (tmp_path, example / "example"))
