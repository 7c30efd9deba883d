"""Scan of contiguous sequence: windows that share their convolutions against independent windows.

    python -m benchmarks.scan [--models deepsea basset] [--steps 64 200] [--windows 256] [--threads 2]

Random weights of the official architectures (the arithmetic does not depend on them) and random sequence. Independent
windows take the faster pass of `Model.predict`. Both are timed in turn in one process. The table holds the median of
several rounds and the largest difference between the predictions. `period` is the distance of windows of one pooling
phase, which share.
"""

import argparse
import math
import statistics
import time

import numpy as np
import torch

from benchmarks.saturation import LENGTHS, random_model
from regzoo.scanning import _Options, _Predictor, _tracks

ROUNDS = 5


def row(name, step, count):
    """One row of the table."""
    model = random_model(name)
    options = _Options(model, step, None, None, None, None, "float32", 64)
    if options.shared is None:
        print(f"| {name}, {LENGTHS[name]} bp | {step} | – | – | – | windows do not share | – |", flush=True)
        return
    predictor = _Predictor(options, _tracks(model, (), None))
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
    print(
        f"| {name}, {LENGTHS[name]} bp | {step} | {period} | {independent:.2f} | {shared:.2f} | "
        f"{independent / shared:.1f}x | {error:.0e} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["deepsea", "basset", "beluga"])
    parser.add_argument("--steps", nargs="+", type=int, default=[64, 200])
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        "| model | step | period | independent, ms per window | shared, ms per window | gain | largest difference |\n"
        "|---|---|---|---|---|---|---|"
    )
    for name in args.models:
        for step in args.steps:
            row(name, step, args.windows)


if __name__ == "__main__":
    main()
