"""How time and memory of variant scoring grow: with the number of variants, and with the length of the window.

    python benchmarks/growth.py --fasta GENOME.fa [--model MotifResNet/tf-human] [--counts 100 1000 10000 100000]
    [--threads 2]

Variants are substitutions of the FASTA's first contig at even distances; each count is a `regzoo score` command of its
own, whose peak resident memory the system tells. Windows are those of a Basenji (random weights), 256 bp to 10,240 bp:
milliseconds a variant in full and by its change, for the substitutions of the central 100 bases.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from regzoo.effects.evaluator import Evaluator
from regzoo.nets import build
from regzoo.sequence import Genome, decode
from regzoo.zoo import Model, ZooModule

BIN = Path(sys.executable).parent
WINDOWS = (256, 512, 1024, 2048, 4096, 8192, 10240)


def write_variants(genome, count, path):
    """A VCF of `count` substitutions at even distances."""
    contig = genome.contigs[0]
    codes = genome.codes(contig)
    known = np.flatnonzero(codes < 4)
    chosen = known[np.linspace(0, len(known) - 1, count).astype(int)]
    with open(path, "w") as out:
        out.write(f"##fileformat=VCFv4.2\n##contig=<ID={contig}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        for place, ref, alt in zip(chosen.tolist(), decode(codes[chosen]), decode((codes[chosen] + 1) % 4)):
            out.write(f"{contig}\t{place + 1}\t.\t{ref}\t{alt}\t.\t.\t.\n")


def score(vcf, args, output):
    """Seconds and peak resident MB of one `regzoo score`."""
    command = [BIN / "regzoo", "score", vcf, "-f", args.fasta, "-m", args.model, "-o", output, "-s", "diff", "-q"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"regzoo score failed with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def by_variants(args):
    print("| variants | s | variants a second | peak memory, MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        vcf, genome = Path(folder) / "v.vcf", Genome(args.fasta)
        for count in args.counts:
            write_variants(genome, count, vcf)
            seconds, memory = score(vcf, args, Path(folder) / "o.tsv")
            print(f"| {count:,} | {seconds:.1f} | {count / seconds:,.0f} | {memory:,.0f} |", flush=True)


def by_window():
    print("\n| window, bp | full, ms a variant | by change, ms a variant | ratio |\n|---|---|---|---|")
    for length in WINDOWS:
        torch.manual_seed(0)
        net = build("basenji", input_length=length, n_targets=32).eval()
        model = Model("basenji", ZooModule(net).eval(), length, [str(i) for i in range(32)])
        reference = np.random.default_rng(0).integers(0, 4, length).astype(np.uint8)
        place = np.repeat(np.arange(length // 2 - 50, length // 2 + 50), 3)
        changed = np.repeat(reference[None], len(place), axis=0)
        changed[np.arange(len(place)), place] = (reference[place] + np.tile([1, 2, 3], 100)) % 4
        times = []
        for incremental in (False, True):
            evaluator, own = Evaluator(model, incremental), np.zeros(len(place), dtype=np.int64)
            evaluator.predict(reference[None], own[:8], changed[:8])
            start = time.perf_counter()
            evaluator.predict(reference[None], own, changed)
            times.append(1000 * (time.perf_counter() - start) / len(place))
        print(f"| {length:,} | {times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.1f}x |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--model", default="MotifResNet/tf-human")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    by_variants(args)
    by_window()


if __name__ == "__main__":
    main()
