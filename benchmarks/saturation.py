"""Saturation mutagenesis of one window: incremental evaluation against the batched full pass and tangermeme.

    python benchmarks/saturation.py [--models deepsea basset beluga] [--threads 2]

Random weights of the official architectures (the arithmetic does not depend on them), float32. Every single-base
substitution of a window; the median of several rounds; the largest difference from the full pass is printed. tangermeme is
timed when it is installed. The limit counts multiply-adds: full pass / (changed inputs x kernel + dense slice).
"""

import argparse
import statistics
import time

import numpy as np
import torch

from regzoo.effects.evaluator import Evaluator
from regzoo.nets import build
from regzoo.sequence.codes import one_hot
from regzoo.zoo import Model, ZooModule

LENGTHS = {"deepsea": 1000, "basset": 600, "beluga": 2000}
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
    """Changed windows, shape (3L, L)."""
    length = len(reference)
    changed = np.repeat(reference[None], 3 * length, axis=0)
    place = np.repeat(np.arange(length), 3)
    changed[np.arange(3 * length), place] = (reference[place] + np.tile([1, 2, 3], length)) % 4
    return changed


def limit(evaluator, length):
    """Full multiply-adds over those of one changed base, dense layer included."""
    from regzoo.effects.incremental import _cost

    incremental = evaluator.incremental
    full, positions = _cost(incremental.steps, length)
    changed, width = _cost(incremental.steps, 1)
    weights = incremental.dense.weight
    return (full + weights.numel()) / (changed + weights.numel() * min(1, width / positions))


def compare(name):
    """One row of the table."""
    length = LENGTHS[name]
    torch.manual_seed(0)
    network = build(name).eval()
    model = Model(name, ZooModule(network).eval(), length, [str(i) for i in range(network.layers[-1].out_features)])
    reference = np.random.default_rng(0).integers(0, 4, length).astype(np.uint8)
    changed = every_substitution(reference)
    windows = np.zeros(len(changed), dtype=np.int64)
    evaluator = Evaluator(model)
    evaluator.predict(reference[None], windows, changed)
    fast, (_, incremental) = seconds(lambda: evaluator.predict(reference[None], windows, changed))
    slow, full = seconds(lambda: model.predict(changed, batch_size=64), rounds=1)
    peer = tangermeme_time(model.module, reference)
    error = np.abs(incremental - full).max()
    row = [f"{slow:.2f}", peer and f"{peer:.2f}" or "not installed", f"{fast:.3f}", f"{slow / fast:.1f}x"]
    row += [peer and f"{peer / fast:.1f}x" or "–", f"{limit(evaluator, length):.1f}x", f"{error:.0e}"]
    print(f"| {name}, {length} bp | " + " | ".join(row) + " |", flush=True)


def tangermeme_time(module, reference):
    """Seconds of tangermeme's saturation mutagenesis on the same window, or None."""
    try:
        from tangermeme.saturation_mutagenesis import saturation_mutagenesis
    except ImportError:
        return None
    x = torch.from_numpy(one_hot(reference[None]))
    return seconds(lambda: saturation_mutagenesis(module, x, device="cpu", batch_size=64, raw_outputs=True), rounds=1)[
        0
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(LENGTHS), choices=list(LENGTHS))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| model | full pass, s | tangermeme, s | incremental, s | against full | against tangermeme | limit by products | "
          "largest difference |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name in args.models:
        compare(name)


if __name__ == "__main__":
    main()
