"""DeepLIFT on all architectures: complete, or refused by the name of a layer; rules by hand and against tangermeme."""

import numpy as np
import pytest
import torch
from torch import nn

from regzoo.errors import ModelError
from regzoo.nets import build
from regzoo.nets.blocks import AttentionPooling
from regzoo.nets.deeplift import layers_without_rule, multipliers
from regzoo.nets.frozen import frozen, without_first

SMALL = {
    "basset": {"input_length": 120, "n_targets": 3, "channels": [8, 8, 8], "kernels": [9, 5, 3], "hidden": 12},
    "deepsea": {"input_length": 200, "n_targets": 3, "channels": [6, 8, 8], "hidden": 12},
    "beluga": {"input_length": 420, "n_targets": 3, "channels": [6, 8, 8], "hidden": 12},
    "dragonn": {"input_length": 60, "n_targets": 3, "channels": [6, 6, 6]},
    "enhancer_net": {"input_length": 80, "n_targets": 3, "channels": [8, 6], "hidden": [12, 8]},
    "motif_resnet": {"input_length": 60, "n_targets": 3, "motifs": 12, "width": 8},
    "basenji": {
        "input_length": 128,
        "n_targets": 3,
        "width": 8,
        "tower_width": 8,
        "pools": [4, 2],
        "residual_width": 6,
        "residual_blocks": 2,
        "final_width": 8,
    },
}


def network(name, **changes):
    """A network of random weights, whose batch norms are not the identity."""
    torch.manual_seed(0)
    net = build(name, **SMALL[name] | changes).eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d):
            for value, low, high in (
                (layer.running_mean, -0.3, 0.3),
                (layer.running_var, 0.5, 2),
                (layer.weight.data, 0.5, 1.5),
                (layer.bias.data, -0.3, 0.3),
            ):
                value.uniform_(low, high)
    return net


def windows(length, count=5, seed=0):
    codes = np.random.default_rng(seed).integers(0, 4, (count, length))
    return torch.eye(4)[codes].transpose(1, 2).contiguous()


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in SMALL), ("motif_resnet", {"activation": "gelu"}), ("basenji", {"profile": True})],
)
def test_contributions_sum_to_the_change_of_the_output(name, changes):
    net = network(name, **changes)
    assert layers_without_rule(net) == []
    length = SMALL[name]["input_length"]
    x, x0 = windows(length), windows(length, seed=1)
    for one in (net, frozen(net)):
        found = multipliers(one, x, x0, [0, 2])
        with torch.no_grad():
            change = net(x) - net(x0)
        change = (change.mean(dim=2) if change.ndim == 3 else change)[:, [0, 2]]
        assert change.abs().max() > 1e-4
        total = (found * (x - x0)[..., None]).sum(dim=(1, 2))
        np.testing.assert_allclose(total, change, atol=1e-3 * float(change.abs().max()))
    assert not any(layer._forward_hooks for layer in net.modules())


def test_layers_without_a_rule_are_named_and_functions_are_noticed():
    torch.manual_seed(0)
    assert layers_without_rule(build("hybrid", input_length=60, n_targets=2)) == ["LayerNorm"]

    class Largest(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 5, 7)

        def forward(self, x):
            return self.conv(x).amax(dim=2)

    assert layers_without_rule(Largest()) == []
    with pytest.raises(ModelError, match="computes something outside of its layers"):
        multipliers(Largest(), windows(40), windows(40, seed=1), [0])


def test_layers_in_place_and_layers_called_twice():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv1d(4, 8, 5), nn.ReLU(), nn.Conv1d(8, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    relu = nn.ReLU(inplace=True)
    shared = nn.Sequential(plain[0], relu, plain[2], relu, plain[4], plain[5])
    x, x0 = windows(20), windows(20, seed=1)
    expected = multipliers(plain, x, x0, [1])
    torch.testing.assert_close(multipliers(shared, x, x0, [1]), expected)
    assert relu.inplace


def test_attention_pooling_shares_its_change_between_weights_and_values():
    """By hand: a product's change is divided equally, and weights that do not change leave a weighted mean."""

    class Pooled(nn.Module):
        def __init__(self, scores):
            super().__init__()
            self.scores, self.pooling = scores, AttentionPooling()

        def forward(self, x):
            return self.pooling(self.scores(x), x[:, 1:2])

    x, x0 = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 4, 6)
    fixed = nn.Conv1d(4, 1, 1)
    nn.init.zeros_(fixed.weight)
    found = multipliers(Pooled(fixed), x, x0, [0])[..., 0]
    np.testing.assert_allclose(found[:, 1], np.full((3, 6), 1 / 6), atol=1e-6)
    moving = nn.Conv1d(4, 1, 1, bias=False)
    with torch.no_grad():
        moving.weight.copy_(torch.tensor([[[2.0], [0], [0], [0]]]))
    found = multipliers(Pooled(moving), x, x0, [0])[..., 0] * x
    weights = torch.softmax(2 * x[:, 0], dim=1)
    np.testing.assert_allclose(found[:, 1], (weights + 1 / 6) / 2 * x[:, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 0].sum(1), ((weights - 1 / 6) * x[:, 1]).sum(1) / 2, atol=1e-5)


@pytest.mark.parametrize("name", ["basset", "beluga", "dragonn", "enhancer_net"])
def test_multipliers_equal_those_of_tangermeme(name):
    module = pytest.importorskip("tangermeme.deep_lift_shap")
    net = network(name)
    length = SMALL[name]["input_length"]
    x, x0 = windows(length), windows(length, seed=1)
    expected = module.deep_lift_shap(net, x, target=1, references=x0[:, None], hypothetical=True, device="cpu")
    found = multipliers(net, x, x0, [1])[..., 0]
    found = found - (found * x0).sum(dim=1, keepdim=True)
    np.testing.assert_allclose(found, expected.detach(), atol=2e-5)


@pytest.mark.parametrize("name", SMALL)
def test_copies_for_gradients_compute_the_same(name):
    net = network(name)
    x = windows(SMALL[name]["input_length"])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    copied = frozen(net)
    first, rest = without_first(copied, SMALL[name]["input_length"])
    assert type(first) is (nn.Identity if name == "basenji" else nn.Conv1d)  # Basenji begins with a GELU
    with torch.no_grad():
        expected = net(x)
        torch.testing.assert_close(copied(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rest(first(x)), expected, rtol=1e-4, atol=1e-5)
    assert not any(one.requires_grad for one in copied.parameters())
    assert all(one.requires_grad for one in net.parameters())
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
