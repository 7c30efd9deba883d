"""Every command and every Python snippet of the README, run as written, and what they make."""

import os
import re
import subprocess

import pandas as pd

from tests.conftest import BIN, ROOT


def test_commands_and_python_of_the_readme_run(tmp_path):
    text = (ROOT / "README.md").read_text()
    example = tmp_path / "dataloaders" / "sequence"
    example.mkdir(parents=True)
    for name in ("example.fa", "example.bed", "example.vcf"):  # a copy: the commands write beside them
        (example / "example").mkdir(exist_ok=True)
        (example / "example" / name).write_bytes((ROOT / "dataloaders/sequence/example" / name).read_bytes())
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    blocks = re.findall(r"```(bash|python)\n(.*?)```", text, re.S)
    assert [kind for kind, _ in blocks] == ["bash", "python", "bash", "python"]
    for kind, code in blocks:
        command = ["bash", "-ec", code] if kind == "bash" else [str(BIN / "python"), "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
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
