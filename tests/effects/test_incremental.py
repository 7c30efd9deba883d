"""Incremental against full evaluation: random small networks, changes at any position, and all architectures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from regzoo.effects import incremental as incremental_module
from regzoo.effects.evaluator import Evaluator
from regzoo.nets import build
from regzoo.nets.blocks import Exponential, Residual
from regzoo.zoo import Model, ZooModule
from tests.conftest import full_pass


def settle(network, seed=0):
    """Network in evaluation mode, with random batch norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.uniform_(-0.3, 0.3, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def as_model(network, length, targets, both_strands=False):
    module = ZooModule(network, "sigmoid", both_strands).eval()
    return Model("test", module, length, [f"t{i}" for i in range(targets)])


def compare(model, reference, windows, changed, tolerance=1e-5):
    expected = full_pass(model, reference), full_pass(model, changed)
    for got, full in zip(Evaluator(model).predict(reference, windows, changed), expected):
        assert np.abs(got - full).max() <= tolerance


def edits(rng, length, count, windows=3):
    """Reference windows with unknown bases, and changed windows: substitutions of 1 to 5 bases, shifts, no change."""
    reference = rng.integers(0, 5, (windows, length)).astype(np.uint8)
    which = rng.integers(0, windows, count)
    changed = reference[which].copy()
    for row in range(count):
        width = int(rng.choice([0, 1, 1, 2, 5]))
        start = int(rng.choice([0, length - max(width, 1), rng.integers(0, length)]))
        changed[row, start : start + width] = rng.integers(0, 5, len(changed[row, start : start + width]))
        if rng.random() < 0.15:  # a deletion shifts the bases after it
            changed[row, start:-1] = changed[row, start + 1 :]
    return reference, which, changed


@st.composite
def networks(draw):
    """A random Sequential of layers with rules, followed by a dense layer or a layer without a rule."""
    length, width, left = draw(st.integers(24, 60)), 4, draw(st.integers(1, 3))
    size, layers = length, []
    for _ in range(left):
        out, kernel, dilation = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 2))
        padding = draw(st.sampled_from(["valid", "same", 1]))
        reach = (kernel - 1) * dilation
        after = size if padding == "same" else size - reach + (2 if padding == 1 else 0)
        if after < 4:
            break
        layers.append(nn.Conv1d(width, out, kernel, padding=padding, dilation=dilation, bias=draw(st.booleans())))
        size, width = after, out
        if draw(st.booleans()):
            layers.append(nn.BatchNorm1d(width))
        kind = draw(st.sampled_from([nn.ReLU(), nn.Threshold(0, 1e-6), nn.GELU(), Exponential(), nn.Identity()]))
        layers += [kind, nn.Dropout(0.2)]
        if draw(st.booleans()):
            kernel, dilation = draw(st.sampled_from([3, 5])), draw(st.integers(1, 3))
            body = [nn.BatchNorm1d(width), nn.GELU(), nn.Conv1d(width, 3, kernel, padding="same", dilation=dilation)]
            body += [nn.Dropout(0.1), nn.Conv1d(3, width, 1)]
            layers.append(Residual(*body, Residual(nn.Tanh())) if draw(st.booleans()) else Residual(*body))
        pool = draw(st.integers(1, 4))
        if pool > 1 and size // pool >= 2:
            layers.append(nn.MaxPool1d(pool))
            size //= pool
    if draw(st.booleans()):
        layers += [nn.AvgPool1d(2), nn.Flatten(), nn.Linear(width * (size // 2), 3)]  # no rule for AvgPool1d
    else:
        layers += [nn.Flatten(), nn.Linear(width * size, 5), nn.ReLU(), nn.Linear(5, 3)]
    return length, nn.Sequential(*layers)


def compare_joined(model, rng, count=30):
    """Windows joined at different positions, against full evaluation of the joined codes."""
    length = model.input_length
    left, right = rng.integers(0, 5, (2, length)).astype(np.uint8)
    for width in (0, 1, 3):
        start = np.concatenate([[0, length - width], rng.integers(0, length - width + 1, count)])
        inserted = rng.integers(0, 5, (len(start), width)).astype(np.uint8)
        windows = [np.concatenate([left[:at], new, right[at + width :]]) for at, new in zip(start, inserted)]
        got = Evaluator(model).predict_joined(left, right, start, inserted)
        assert np.abs(got - full_pass(model, np.stack(windows))).max() <= 1e-5


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 2**31), st.booleans())
def test_random_networks(made, seed, both_strands):
    length, network = made
    torch.manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    model = as_model(settle(network, seed), length, 3, both_strands)
    overhead = incremental_module.OVERHEAD
    try:
        # Force incremental evaluation even where full evaluation is cheaper.
        incremental_module.OVERHEAD = [overhead, 0.01, 0.5][seed % 3]
        compare(model, *edits(np.random.default_rng(seed), length, 40))
        compare_joined(model, np.random.default_rng(seed))
    finally:
        incremental_module.OVERHEAD = overhead


ARCHITECTURES = {
    "deepsea": (300, {"channels": (16, 24, 32), "hidden": 20}),
    "beluga": (330, {"channels": (8, 12, 16), "hidden": 20}),
    "basset": (600, {"channels": (30, 20, 20), "hidden": 25}),
    "motif_resnet": (101, {"motifs": 16, "width": 12}),
    "hybrid": (101, {"motifs": 16, "width": 16, "layers": 2}),
    "enhancer_net": (200, {"channels": (20, 12), "hidden": (16, 8)}),
    "basenji": (1024, {"width": 12, "tower_width": 16, "residual_width": 8, "residual_blocks": 3, "pools": (4, 4, 2)}),
}


@pytest.mark.parametrize("both_strands", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_architectures(name, both_strands):
    length, arguments = ARCHITECTURES[name]
    torch.manual_seed(1)
    network = settle(build(name, input_length=length, n_targets=4, **arguments))
    model = as_model(network, length, 4, both_strands)
    compare(model, *edits(np.random.default_rng(2), length, 150))
    compare_joined(model, np.random.default_rng(2))


def test_saturation_of_one_window():
    torch.manual_seed(1)
    length = 300
    model = as_model(
        settle(build("deepsea", input_length=length, n_targets=2, channels=(8, 8, 8), hidden=6)), length, 2
    )
    reference = np.random.default_rng(0).integers(0, 4, (1, length)).astype(np.uint8)
    changed = np.repeat(reference, 3 * length, axis=0)
    place = np.repeat(np.arange(length), 3)
    changed[np.arange(3 * length), place] = (changed[np.arange(3 * length), place] + np.tile([1, 2, 3], length)) % 4
    compare(model, reference, np.zeros(3 * length, dtype=np.int64), changed)
    incremental = Evaluator(model).incremental
    assert incremental.dense is not None and incremental.steps_worthwhile(1, length) == len(incremental.steps)


@pytest.mark.parametrize("both_strands", [False, True])
@pytest.mark.parametrize("name", ["deepsea", "basset"])
def test_overlapping_windows_share_convolutions_exactly(name, both_strands, monkeypatch):
    length, arguments = ARCHITECTURES[name]
    torch.manual_seed(1)
    model = as_model(settle(build(name, input_length=length, n_targets=4, **arguments)), length, 4, both_strands)
    rng = np.random.default_rng(3)
    genomes = [rng.integers(0, 5, 4 * length).astype(np.uint8) for _ in range(2)]
    places = np.stack([rng.integers(0, 2, 60), rng.integers(0, 3 * length, 60)], axis=1)
    places[30:, 1] = places[30:, 1] // 48 * 48  # many windows in one phase
    places = np.unique(places, axis=0)
    reference = np.stack([genomes[c][s : s + length] for c, s in places])
    windows = rng.integers(0, len(places), 200)
    changed = reference[windows].copy()
    at = rng.integers(0, length, 200)
    changed[np.arange(200), at] = (changed[np.arange(200), at] + 1) % 4
    evaluator, lengths = Evaluator(model), []
    shared = evaluator.incremental.shared_reference
    monkeypatch.setattr(
        evaluator.incremental, "shared_reference", lambda x, *rest: lengths.append(x.shape[1]) or shared(x, *rest)
    )
    got = evaluator.predict(reference, windows, changed, places)
    for result, expected in zip(got, (full_pass(model, reference), full_pass(model, changed))):
        assert np.abs(result - expected).max() <= 1e-5
    assert lengths and max(lengths) > length


def test_windows_of_padded_networks_do_not_share_convolutions():
    network = settle(build("basset", input_length=101, n_targets=2, padding="same", pools=(2, 3, 3), hidden=8))
    assert not Evaluator(as_model(network, 101, 2)).incremental.shares
    assert not Evaluator(as_model(settle(build("motif_resnet", input_length=101)), 101, 1)).incremental.shares


def test_batch_norm_without_running_statistics_has_no_rule():
    network = nn.Sequential(nn.Conv1d(4, 3, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Flatten()).eval()
    steps, rest = incremental_module.plan(network)
    assert len(steps) == 1 and rest == [network[1], network[2]]


def test_layers_without_a_rule_are_logged_once(caplog):
    incremental_module._log_once.cache_clear()
    caplog.set_level("INFO", "regzoo")
    network = nn.Sequential(nn.Conv1d(4, 3, 3), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(3 * 9, 2)).eval()
    for _ in range(2):
        compare(as_model(network, 20, 2), *edits(np.random.default_rng(0), 20, 10))
    assert [r.getMessage() for r in caplog.records] == [
        "variant effects: the last layers (AvgPool1d, Flatten, Linear) are evaluated in full, because they have no "
        "incremental rule"
    ]


@pytest.mark.parametrize("both_strands", [False, True])
@pytest.mark.parametrize("name", ["motif_resnet", "basset", "hybrid"])
def test_changes_at_one_position_are_evaluated_layer_by_layer(name, both_strands, monkeypatch):
    """Networks wide enough for Fourier transforms; substitutions, two alternates of one window, and a longer change."""
    arguments = {
        "motif_resnet": {"motifs": 64, "width": 64},
        "basset": {"channels": (48, 48, 48), "padding": "same", "pools": (2, 2, 2), "hidden": 16},
        "hybrid": {"motifs": 64, "width": 64, "layers": 1},
    }[name]
    torch.manual_seed(1)
    model = as_model(settle(build(name, input_length=101, n_targets=3, **arguments)), 101, 3, both_strands)
    rng = np.random.default_rng(5)
    reference = rng.integers(0, 5, (70, 101)).astype(np.uint8)
    windows = np.concatenate([np.arange(70), np.arange(0, 70, 2), [3, 4]])
    changed = reference[windows].copy()
    changed[:, 49] = (changed[:, 49] + 1 + (np.arange(len(windows)) >= 70)) % 4
    changed[-2:, 80:95] = (changed[-2:, 80:95] + 1) % 4
    evaluator, stretches = Evaluator(model), []
    evaluate = evaluator.incremental.evaluate_stretches
    monkeypatch.setattr(
        evaluator.incremental, "evaluate_stretches", lambda x, parts: stretches.append(len(parts)) or evaluate(x, parts)
    )
    got = evaluator.predict(reference, windows, changed)
    for result, expected in zip(got, (full_pass(model, reference), full_pass(model, changed))):
        assert np.abs(result - expected).max() <= 1e-5
    if name == "motif_resnet":  # in the other networks, changes stay short in all layers
        assert sum(stretches) >= 2


def test_spans_are_gathered_from_memory_of_either_order():
    x = torch.arange(3 * 7 * 2.0).view(3, 7, 2)
    rows, start = torch.tensor([2, 0, 1]), torch.tensor([-1, 3, 5])
    position = (start[:, None] + torch.arange(4)).clamp(0, 6)
    for reference in (x, x.transpose(0, 1).contiguous().transpose(0, 1)):
        assert torch.equal(incremental_module.gather(reference, rows, start, 4), x[rows[:, None], position])
