"""Windows per second and memory of the shared dataloader against kipoiseq and pyfaidx, with a plain copy as the limit.

    python benchmarks/loader.py [--windows 20000] [--memory-bases 1000000000]

One process, one run: each contender is timed several times in turn and the median is given. Memory is the peak
resident size of a fresh process that opens one contig and reads windows all over it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

LENGTH, BATCH, ROUNDS = 1000, 64, 5


def write_fasta(path, bases, line=60):
    """One contig of random bases, written in pieces."""
    rng = np.random.default_rng(1)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    with open(path, "wb") as out:
        out.write(b">chr1\n")
        for start in range(0, bases, 6_000_000):
            count = min(6_000_000, bases - start) // line * line
            block = np.full((count // line, line + 1), ord("\n"), dtype=np.uint8)
            block[:, :line] = letters[rng.integers(0, 4, (count // line, line), dtype=np.uint8)]
            out.write(block.tobytes())


def write_bed(path, bases, windows):
    """Windows at random places."""
    starts = np.random.default_rng(2).integers(0, bases - LENGTH - 60, windows)
    path.write_text("".join(f"chr1\t{s}\t{s + LENGTH}\n" for s in starts))
    return starts


def contenders(fasta, bed, starts):
    """Name -> function that yields batches of one-hot windows, and how many windows it should be timed on."""
    import pyfaidx
    from kipoiseq.dataloaders import SeqIntervalDl

    from regzoo.kipoi import SequenceDataset
    from regzoo.sequence import Genome, encode_many, one_hot

    ours = SequenceDataset(str(bed), str(fasta))
    theirs = SeqIntervalDl(str(bed), str(fasta), alphabet_axis=0, dtype=np.float32)
    faidx = pyfaidx.Fasta(str(fasta), as_raw=True, sequence_always_upper=True)
    genome = Genome(fasta)
    encoded = one_hot(genome.windows(np.zeros(len(starts), int), starts, LENGTH)[:4096])

    def batched(dataset):
        for batch in dataset.batch_iter(batch_size=BATCH):
            yield batch["inputs"]

    def by_pyfaidx():
        contig = faidx["chr1"]
        for i in range(0, len(starts), BATCH):
            yield one_hot(encode_many([contig[int(s) : int(s) + LENGTH] for s in starts[i : i + BATCH]]))

    def plain_copy():
        for i in range(0, len(starts), BATCH):
            j = i % (len(encoded) - BATCH)
            yield encoded[j : j + BATCH].copy()

    return {
        "this dataloader": lambda: batched(ours),
        "kipoiseq SeqIntervalDl": lambda: batched(theirs),
        "pyfaidx + this one-hot": by_pyfaidx,
        "copy of ready one-hot (limit)": plain_copy,
    }


def count(batches, limit):
    """Windows per second over about `limit` windows."""
    seen, start = 0, time.perf_counter()
    for batch in batches:
        seen += len(batch)
        if seen >= limit:
            break
    return seen / (time.perf_counter() - start)


def time_all(windows):
    """Print the table of rates."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REGZOO_CACHE"] = f"{folder}/cache"
        fasta, bed = Path(folder) / "g.fa", Path(folder) / "w.bed"
        write_fasta(fasta, 20_000_000)
        starts = write_bed(bed, 20_000_000, windows)
        rates = {}
        for name, make in contenders(fasta, bed, starts).items():
            limit = 4096 if "kipoiseq" in name else windows
            count(make(), min(limit, 1024))
            rates[name] = [count(make(), limit) for _ in range(ROUNDS)]
    peer = statistics.median(rates["kipoiseq SeqIntervalDl"])
    print(f"\n{LENGTH} bp, batches of {BATCH}, median of {ROUNDS} rounds (lowest – highest)")
    print("| loader | windows/s | against kipoiseq |\n|---|---|---|")
    for name, values in rates.items():
        median = statistics.median(values)
        print(f"| {name} | {median:,.0f} ({min(values):,.0f} – {max(values):,.0f}) | {median / peer:.1f}x |")


# Linux's own high-water mark of the process; getrusage would count the parent's at the fork as well.
MEMORY_CHILD = """
import re, sys, numpy as np
from regzoo.sequence import Genome
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
imported = peak()
genome = Genome(sys.argv[1])
starts = np.arange(0, int(genome.lengths[0]) - 1000, 4000)
for i in range(0, len(starts), 64):
    genome.windows(np.zeros(len(starts[i:i+64]), int), starts[i:i+64], 1000).sum()
print(imported, peak())
"""


def measure_memory(bases):
    """Print the peak resident memory of converting one contig and reading all over it."""
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "g.fa"
        write_fasta(fasta, bases)
        environment = os.environ | {"REGZOO_CACHE": f"{folder}/cache"}
        print(
            f"\nOne contig of {bases:,} bases: peak resident memory\n| | MB | over the sequence's bytes |\n"
            "|---|---|---|"
        )
        for name in ("first use, which converts", "later use"):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", MEMORY_CHILD, str(fasta)],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            )
            imported, peak = (int(v) * 1024 for v in done.stdout.split())
            seconds = time.perf_counter() - start
            print(
                f"| {name} ({seconds:.1f} s; {imported / 1e6:.0f} MB of it are imports) | {peak / 1e6:.0f} | "
                f"{peak / bases:.2f} |"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=20_000, help="windows in a round (kipoiseq: 4,096)")
    parser.add_argument("--memory-bases", type=int, default=1_000_000_000, help="length of the contig; 0 leaves it out")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    time_all(args.windows)
    if args.memory_bases:
        measure_memory(args.memory_bases)


if __name__ == "__main__":
    main()
