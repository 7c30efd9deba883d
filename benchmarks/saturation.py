"""Saturation mutagenesis of one window: incremental evaluation against the batched full pass and tangermeme.

    python benchmarks/saturation.py [--models deepsea basset beluga basenji motif_resnet] [--threads 2] [--precision
    bf16]

Random weights of the official architectures (the arithmetic does not depend on them). Every single-base substitution of
the window's central 1,000 bases; the median of several rounds; the largest difference from the full float32 pass is
printed. tangermeme is timed when it is installed, with its full evaluation and with its own incremental path, which it
takes by itself only for long jobs. The limit counts multiply-adds: full pass / (changed inputs x kernel + dense slice),
with the steps that are cheaper in full counted in full. One-base deletions of the same bases, joined of two reference
windows, follow in a table of their own.
"""

import argparse
import statistics
import time
from unittest import mock

import numpy as np
import torch

from regzoo.effects.evaluator import Evaluator
from regzoo.nets import build
from regzoo.sequence.codes import one_hot
from regzoo.zoo import Model, ZooModule

LENGTHS = {"deepsea": 1000, "basset": 600, "beluga": 2000, "basenji": 8192, "motif_resnet": 101}
SPAN = 1000
ROUNDS = 3


def seconds(function, rounds=ROUNDS):
    """Median time of a function and its last result."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def every_substitution(reference):
    """Changed windows of the central bases, and where they change."""
    length = len(reference)
    span = min(length, SPAN)
    place = np.repeat(np.arange(span) + (length - span) // 2, 3)
    changed = np.repeat(reference[None], len(place), axis=0)
    changed[np.arange(len(place)), place] = (reference[place] + np.tile([1, 2, 3], span)) % 4
    return changed, place


def limit(incremental, length):
    """Full multiply-adds over those of one changed base, dense layer included."""
    lengths = incremental.lengths(length)
    full = [step.cost(positions)[0] for step, positions in zip(incremental.steps, lengths)]
    count, width, changed = incremental.steps_worthwhile(1, length), 1, 0
    for step in incremental.steps[:count]:
        products, width = step.cost(width)
        changed += products
    changed += sum(full[count:])
    dense = 0 if incremental.dense is None else incremental.dense.weight.numel()
    share = min(1, width / lengths[-1]) if count == len(full) else 1
    return (sum(full) + dense) / (changed + dense * share)


def random_model(name):
    """An architecture with random weights."""
    torch.manual_seed(0)
    network = build(name, input_length=LENGTHS[name]).eval()
    outputs = [layer for layer in network.modules() if hasattr(layer, "weight")][-1].weight.shape[0]
    return Model(name, ZooModule(network).eval(), LENGTHS[name], [str(i) for i in range(outputs)])


def compare(name, precision):
    """One row of the first table."""
    length, model = LENGTHS[name], random_model(name)
    reference = np.random.default_rng(0).integers(0, 4, length).astype(np.uint8)
    changed, place = every_substitution(reference)
    windows = np.zeros(len(changed), dtype=np.int64)
    evaluator = Evaluator(model, precision=precision)
    evaluator.predict(reference[None], windows, changed)
    fast, (wild, incremental) = seconds(lambda: evaluator.predict(reference[None], windows, changed))
    slow, full = seconds(lambda: model.predict(changed, batch_size=64), rounds=1)
    peers = [
        tangermeme_time(model.module, reference, int(place.min()), int(place.max()) + 1, own) for own in (False, True)
    ]
    effect = full - model.predict(reference[None])
    error = np.abs(incremental - wild - effect).max()
    row = [f"{slow:.2f}", *("–" if peer is None else f"{peer:.2f}" for peer in peers), f"{fast:.3f}"]
    row += [f"{slow / fast:.1f}x", *("–" if peer is None else f"{peer / fast:.1f}x" for peer in peers)]
    row.append(f"{limit(evaluator.incremental, length):.1f}x")
    row += [f"{error:.0e}", f"{np.abs(effect).max():.0e}"]
    print(f"| {name}, {length} bp | " + " | ".join(row) + " |", flush=True)


def deletions(name, precision):
    """One row of the second table."""
    model, codes = random_model(name), np.random.default_rng(0).integers(0, 4, LENGTHS[name] + 1).astype(np.uint8)
    length = LENGTHS[name]
    window, later, span = codes[:-1], codes[1:], min(length, SPAN)
    place = np.arange(span) + (length - span) // 2
    evaluator, nothing = Evaluator(model, precision=precision), np.empty((span, 0), dtype=np.uint8)
    evaluator.predict_joined(window, later, place, nothing)
    fast, joined = seconds(lambda: evaluator.predict_joined(window, later, place, nothing))
    changed = np.where(np.arange(length) < place[:, None], window, later)
    slow, full = seconds(lambda: model.predict(changed, batch_size=64), rounds=1)
    error = np.abs(joined - full).max()
    print(f"| {name}, {length} bp | {slow:.2f} | {fast:.3f} | {slow / fast:.1f}x | {error:.0e} |", flush=True)


def tangermeme_time(module, reference, start, end, fast):
    """Seconds of tangermeme's saturation mutagenesis of the same bases, with or without its incremental path."""
    try:
        from tangermeme import saturation_mutagenesis
    except ImportError:
        return None
    x = torch.from_numpy(one_hot(reference[None]))
    options = {"start": start, "end": end, "device": "cpu", "batch_size": 64, "raw_outputs": True, "fast": fast}
    with mock.patch.object(saturation_mutagenesis, "_FAST_MIN_SECONDS", 0.0):
        return seconds(lambda: saturation_mutagenesis.saturation_mutagenesis(module, x, **options), rounds=1)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(LENGTHS), choices=list(LENGTHS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        "| model | full pass, s | tangermeme full, s | tangermeme fast, s | incremental, s | against full | "
        "against tangermeme full | against tangermeme fast | limit by products | "
        "largest error of an effect | largest effect |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name in args.models:
        compare(name, args.precision)
    print(
        "\n| one-base deletions of | full pass, s | joined, s | against full | largest error |\n|---|---|---|---|---|"
    )
    for name in args.models:
        deletions(name, args.precision)


if __name__ == "__main__":
    main()
