"""Fixtures: a home, a cache and a Kipoi configuration of the tests' own, and small inputs that the tests make."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_HOME = tempfile.mkdtemp(prefix="regzoo-tests-")
os.environ |= {"HOME": _HOME, "REGZOO_CACHE": f"{_HOME}/cache", "OMP_NUM_THREADS": "1"}  # a process a core

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from regzoo.nets import build  # noqa: E402
from regzoo.register import register  # noqa: E402
from regzoo.sequence import Genome, one_hot  # noqa: E402
from regzoo.tokenizers import train_bpe  # noqa: E402
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


def full_pass(model, codes):
    """Predictions by the module's own forward pass, which shares no code with incremental evaluation."""
    with torch.inference_mode():
        return model.module(torch.from_numpy(one_hot(np.asarray(codes)))).numpy()


@pytest.fixture(scope="session")
def profile_model(tmp_path_factory):
    """A small Basenji that predicts rates in bins, with random weights, as a model directory."""
    folder = tmp_path_factory.mktemp("zoo") / "Basenji" / "random"
    folder.mkdir(parents=True)
    arguments = {
        "input_length": 512,
        "n_targets": 2,
        "width": 8,
        "tower_width": 8,
        "residual_width": 4,
        "residual_blocks": 2,
        "pools": [4, 4],
        "profile": True,
    }
    torch.manual_seed(0)
    save_file(build("basenji", **arguments).state_dict(), folder / "model.safetensors")
    (folder / "targets.txt").write_text("a\nb\n")
    args = {
        "architecture": "basenji",
        "arguments": arguments,
        "targets": "targets.txt",
        "weights": "model.safetensors",
        "activation": "softplus",
    }
    (folder / "model.yaml").write_text(yaml.safe_dump({"args": args}))
    return str(folder)


LANGUAGE_MODELS = {
    "bpe": ({"kind": "bpe", "path": "tokenizer.json"}, {"kind": "transformer", "token_types": 2}),
    "six_mers": ({"kind": "six_mers"}, {"kind": "transformer", "norm": "pre", "positions": "rotary", "gate": "silu"}),
    "kmers": (
        {"kind": "kmers", "k": 3},
        {"kind": "transformer", "gate": "none", "positions": "learned", "max_positions": 64, "limit": 64},
    ),
    "single": ({"kind": "single"}, {"kind": "caduceus"}),
}


@pytest.fixture(scope="session", params=LANGUAGE_MODELS)
def language_model(request, tmp_path_factory):
    """A small language model of each kind of tokens, with random weights, as a model directory."""
    folder = tmp_path_factory.mktemp("zoo") / "LM" / request.param
    folder.mkdir(parents=True)
    tokenizer, network = LANGUAGE_MODELS[request.param]
    if "path" in tokenizer:
        genome = Genome(FASTA)
        pieces = np.array(genome.codes("chr1")).reshape(-1, 100)
        train_bpe(list(pieces), folder / "tokenizer.json", vocabulary=200)
    sizes = {"hidden": 24, "layers": 2, "heads": 2}
    sizes |= {"state": 8} if request.param == "single" else {"feed_forward": 32}
    arguments = {"input_length": 60, "tokenizer": tokenizer, "network": network | sizes}
    torch.manual_seed(0)
    built = arguments | (
        {"tokenizer": tokenizer | {"path": str(folder / "tokenizer.json")}} if "path" in tokenizer else {}
    )
    net = build("language_model", **built)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = {k: v.contiguous() for k, v in net.state_dict().items() if k != "lm.decoder.weight"}
    save_file(state, folder / "model.safetensors")
    (folder / "targets.txt").write_text("".join(f"d{i}\n" for i in range(net.lm.hidden)))
    args = {
        "architecture": "language_model",
        "arguments": arguments,
        "targets": "targets.txt",
        "weights": "model.safetensors",
        "activation": "identity",
    }
    (folder / "model.yaml").write_text(yaml.safe_dump({"args": args}))
    return str(folder)
