"""Fixtures: a home, a cache and a Kipoi configuration of the tests' own, and small inputs that the tests make."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_HOME = tempfile.mkdtemp(prefix="regzoo-tests-")
os.environ |= {"HOME": _HOME, "REGZOO_CACHE": f"{_HOME}/cache", "OMP_NUM_THREADS": "1"}  # a process a core

import pytest  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from regzoo.nets import build  # noqa: E402
from regzoo.register import register  # noqa: E402
from regzoo.zoo import catalogue, zoo_folder  # noqa: E402

register()
torch.set_num_threads(1)  # the default run uses one process a core

ROOT = zoo_folder()
EXAMPLE = ROOT / "dataloaders" / "sequence" / "example"
FASTA, BED, VCF = (EXAMPLE / f"example.{suffix}" for suffix in ("fa", "bed", "vcf"))
MODEL = "MotifResNet/tf-human"
SHIPPED = [name for name, entry in catalogue().items() if entry["status"] == "trained"]
BIN = Path(sys.executable).parent
LOADER = {"intervals_file": str(BED), "fasta_file": str(FASTA)}


def shared_data(*parts):
    """A file of the real data, or a skip that says why: ../shared/data or REGZOO_DATA."""
    path = Path(os.environ.get("REGZOO_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no real data at {path}; set REGZOO_DATA")
    return path


def run(command, *arguments, expect=0, cwd=None, env=None):
    """Run a command of this environment; gives its standard output and error as text."""
    done = subprocess.run(
        [str(BIN / command), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


@pytest.fixture(scope="session")
def profile_model(tmp_path_factory):
    """A small Basenji that predicts rates in bins, with random weights, as a model directory."""
    folder = tmp_path_factory.mktemp("zoo") / "Basenji" / "random"
    folder.mkdir(parents=True)
    arguments = {"input_length": 512, "n_targets": 2, "width": 8, "tower_width": 8, "residual_width": 4,
                 "residual_blocks": 2, "pools": [4, 4], "profile": True}  # fmt: skip
    torch.manual_seed(0)
    save_file(build("basenji", **arguments).state_dict(), folder / "model.safetensors")
    (folder / "targets.txt").write_text("a\nb\n")
    args = {"architecture": "basenji", "arguments": arguments, "targets": "targets.txt",
            "weights": "model.safetensors", "activation": "softplus"}  # fmt: skip
    (folder / "model.yaml").write_text(yaml.safe_dump({"args": args}))
    return str(folder)
