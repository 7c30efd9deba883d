"""Networks of other projects, with random weights, against their own full passes.

Run with the packages installed beside this project, without their pinned dependencies:

    pip install --no-deps --target foreign bpnet-lite tangermeme memelite numba llvmlite pyBigWig enformer-pytorch
    einops \
        torchmetrics lightning-utilities discrete-key-value-bottleneck-pytorch vector-quantize-pytorch einx polars
        polars-runtime-32
    PYTHONPATH=foreign pytest -m slow tests/test_foreign.py
"""

import numpy as np
import pytest
import torch

import regzoo
from regzoo.sequence import decode, one_hot
from tests.conftest import FASTA

pytestmark = pytest.mark.slow


def bpnet():
    bpnetlite = pytest.importorskip("bpnetlite.bpnet")
    net = bpnetlite.BPNet(n_filters=16, n_layers=4, n_outputs=2, n_control_tracks=0)
    return bpnetlite.CountWrapper(net), 1000, 1


def enformer():
    package = pytest.importorskip("enformer_pytorch")
    sizes = {"dim": 96, "depth": 1, "heads": 2, "target_length": 4, "dim_divisible_by": 8}
    net = package.Enformer(package.EnformerConfig(output_heads={"human": 5}, **sizes))

    class Human(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.transpose(1, 2), head="human").transpose(1, 2)

    return Human(), 1024, 5


@pytest.mark.parametrize("make", [bpnet, enformer])
def test_variants_and_mutations_equal_full_passes(make):
    torch.manual_seed(0)
    net, length, count = make()
    model = regzoo.Model.from_module(net, length, count, "identity", device="cpu")
    codes = regzoo.Genome(FASTA).codes("chr1")
    positions = np.arange(6000, 6008)
    alternates = [(codes[p - 1] + 1) % 4 for p in positions]
    reference = np.stack([codes[p - length // 2 : p + length - length // 2] for p in positions])
    changed = reference.copy()
    changed[:, length // 2 - 1] = alternates
    with torch.no_grad():
        ref, alt = (model.module(torch.from_numpy(one_hot(rows))).numpy() for rows in (reference, changed))
    expected = alt - ref if ref.ndim == 2 else (alt - ref).mean(axis=2)
    texts = [f"chr1:{p}:{decode(codes[p - 1 : p])}:{'ACGT'[alt]}" for p, alt in zip(positions, alternates)]
    scored = regzoo.score_variants(model, texts, FASTA, scores=["diff"])
    scale = np.abs(ref).max()
    np.testing.assert_allclose(scored.filter(like="diff"), expected, atol=1e-6 * max(1, scale))
    found = regzoo.saturation_mutagenesis(model, "chr1:6000-6003", FASTA)
    assert found.effects.shape == (4, 5, count) and np.isfinite(found.effects).all()
