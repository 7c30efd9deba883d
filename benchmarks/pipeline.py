"""The pipeline around the network: alleles per second of `score_variants` when the network is one linear layer.

    python benchmarks/pipeline.py --genome GENOME.fa --variants VARIANTS.vcf.gz [--threads 1] [--repeats 5] [--profile]

The network is a linear layer over windows of 1,000 bases, evaluated in full for both alleles, one target. The limit is
cyvcf2's bare iteration over the same file. The second limit is the network alone: predictions for as many windows,
already encoded. Threads are those of torch. Run it with `taskset -c 0` for one core; reading, scoring and writing
overlap on more. Each number is the fastest of the repeats. CPU seconds include those of all threads.
"""

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

import cyvcf2
import numpy as np
import torch
from torch import nn

from regzoo.effects.pipeline import score_variants
from regzoo.model import Model
from regzoo.sequence import Genome, open_vcf

LENGTH = 1000
OUTPUTS = ("parquet", "tsv", "vcf", "vcf.gz", "h5")


class Linear(nn.Module):
    """One linear layer; not a Sequential, for which alternates would be evaluated by their differences."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4 * LENGTH, 1)

    def forward(self, x):
        return self.layer(x.flatten(1))


def fastest(function, repeats):
    """Least wall and CPU seconds of several runs."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [min(values) for values in zip(*times)]


def read_all(path):
    """Number of alleles."""
    with open_vcf(path) as vcf:
        return sum(len(batch.alleles) for batch in vcf.batches())


def show_profile(function):
    profile = cProfile.Profile()
    profile.runcall(function)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome", required=True)
    parser.add_argument("--variants", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--profile", action="store_true", help="also show where the main thread spends its time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model, genome = Model.from_module(Linear(), LENGTH, 1, "identity", device="cpu"), Genome(args.genome)
    count = read_all(args.variants)
    windows = np.random.default_rng(0).integers(0, 4, (2048, LENGTH), dtype=np.uint8)

    def network():
        for _ in range(2 * count // len(windows)):
            model.predict(windows, args.batch_size)

    with tempfile.TemporaryDirectory() as folder:

        def ours(suffix):
            options = {"batch_size": args.batch_size, "output": Path(folder) / f"o.{suffix}"}
            return lambda: score_variants(model, args.variants, genome, **options)

        runs = {
            "cyvcf2, bare iteration": lambda: sum(1 for _ in cyvcf2.VCF(args.variants)),
            "reading alone": lambda: read_all(args.variants),
            "network alone, both alleles": network,
            **{f"score_variants to .{suffix}": ours(suffix) for suffix in OUTPUTS},
        }
        print(f"{count} alleles, torch threads: {args.threads}\n\n| | alleles/s | alleles/CPU s |\n|---|---|---|")
        for name, function in runs.items():
            wall, cpu = fastest(function, args.repeats)
            print(f"| {name} | {count / wall:,.0f} | {count / cpu:,.0f} |", flush=True)
        if args.profile:
            show_profile(ours("tsv"))


if __name__ == "__main__":
    main()
