"""Scan of contiguous sequence: windows that share their convolutions against independent windows.

    python -m benchmarks.scan [--models deepsea basset] [--steps 64 200] [--windows 256] [--threads 2]

Random weights of the official architectures (the arithmetic does not depend on them) and random sequence. Independent
windows take the faster pass of `Model.predict`. Both are timed in turn in one process. The table holds the median of
several rounds, the gain by the number of multiply-adds of direct evaluation, and the largest difference between the
predictions. `period` is the distance of windows of one pooling phase, which share.
"""

import argparse
import math
import statistics
import time

import numpy as np
import torch

from benchmarks.saturation import LENGTHS, random_model
from regzoo.scanning.options import Options, tracks_of
from regzoo.scanning.predictions import Predictor

ROUNDS = 5


def operations(shared, predictor, starts, length):
    """Multiply-adds of independent windows over those of windows that share their convolutions."""
    trunk = {}

    def products(size):
        if size not in trunk:
            sizes = shared.lengths(size)
            trunk[size] = sum(step.cost(positions)[0] for step, positions in zip(shared.steps, sizes))
        return trunk[size]

    dense = shared.dense.weight.numel() * len(starts)
    runs = [starts[run] for run in predictor._runs(starts, shared.pools)]
    together = sum(products(int(run[-1] - run[0]) + length) for run in runs)
    return (len(starts) * products(length) + dense) / (together + dense)


def row(name, step, count):
    """One row of the table."""
    model = random_model(name)
    options = Options(model, step, None, None, None, None, "float32", 64)
    if options.shared is None:
        print(f"| {name}, {LENGTHS[name]} bp | {step} | – | – | – | windows do not share | – | – | – |", flush=True)
        return
    predictor = Predictor(options, tracks_of(model, (), None))
    starts = np.arange(count) * step
    codes = np.random.default_rng(0).integers(0, 4, starts[-1] + model.input_length).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(codes, model.input_length)[starts]
    kinds = {"shared": lambda: predictor(codes, starts), "independent": lambda: model.predict(windows)}
    times, found = {kind: [] for kind in kinds}, {}
    for i in range(ROUNDS + 1):
        for kind, function in kinds.items():
            start = time.perf_counter()
            found[kind] = function()
            if i:  # the first round makes the plans
                times[kind].append(1000 * (time.perf_counter() - start) / count)
    shared, independent = (statistics.median(times[kind]) for kind in ("shared", "independent"))
    period, error = math.lcm(step, options.shared.pools), np.abs(found["shared"] - found["independent"]).max()
    limit = operations(options.shared, predictor, starts, model.input_length)
    print(
        f"| {name}, {LENGTHS[name]} bp | {step} | {period} | {independent:.2f} | {shared:.2f} | "
        f"{independent / shared:.1f}x | {limit:.1f}x | {independent / shared / limit:.0%} | {error:.0e} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["deepsea", "basset", "beluga", "basenji"])
    parser.add_argument("--steps", nargs="+", type=int, default=[64, 200])
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        "| model | step | period | independent, ms per window | shared, ms per window | gain | by operation count | "
        "share of it | largest difference |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name in args.models:
        for step in args.steps:
            row(name, step, args.windows)


if __name__ == "__main__":
    main()
