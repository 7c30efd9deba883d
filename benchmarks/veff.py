"""`regzoo score` against `kipoi veff score_variants`, both as whole commands, on models of the zoo and on DeepSEA.

    python benchmarks/veff.py --fasta GENOME.fa --vcf VARIANTS.vcf.gz [--count 28000] [--model NAME ...] [--threads 2]

Both commands score `diff` of the same single-base variants, the start-up included, one after the other in one run.
`deepsea` is DeepSEA's architecture with random weights, since its own are not needed for the arithmetic. The largest
difference of their scores is printed beside the times.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.score import BIN, choose, write_model
from regzoo.sequence import Genome

MODELS = ("MotifResNet/tf-human", "Basset/tf-human", "EnhancerNet/promoter-300", "deepsea")


def run(*command):
    """Wall and processor seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def scores(path, key):
    """The scores of a VCF's INFO key, shape (records, targets)."""
    found = [re.search(rf"{key}=([^;\t]+)", line) for line in path.read_text().splitlines() if line[0] != "#"]
    return np.array([[float(value) for value in match[1].split("|")] for match in found])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--vcf", required=True)
    parser.add_argument("--count", type=int, default=28000)
    parser.add_argument("--model", action="append", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    fasta = Path(args.fasta).resolve()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        choose(args.vcf, Genome(fasta), args.count, True, folder / "chosen.vcf")
        print(f"{args.count} variants, {args.threads} threads\n")
        print(
            "| model | kipoi veff, s (CPU s) | regzoo score, s (CPU s) | ratio, wall (CPU) | largest difference |\n"
            + "|---" * 5
            + "|"
        )
        for name in args.model or MODELS:
            model, source = name, "regzoo"
            if name == "deepsea":
                model, source = folder / "deepsea", "dir"
                model.mkdir()
                write_model(model)
            loader = json.dumps({"fasta_file": str(fasta)})
            veff = run(
                BIN / "kipoi",
                "veff",
                "score_variants",
                model,
                "--source",
                source,
                f"--dataloader_args={loader}",
                "-i",
                folder / "chosen.vcf",
                "-o",
                folder / "veff.vcf",
                "-s",
                "diff",
            )
            own = run(
                BIN / "regzoo",
                "score",
                folder / "chosen.vcf",
                "-f",
                fasta,
                "-m",
                model,
                "-s",
                "diff",
                "-q",
                "-o",
                folder / "own.vcf",
            )
            difference = np.abs(scores(folder / "veff.vcf", "_DIFF") - scores(folder / "own.vcf", "REGZOO_DIFF")).max()
            ratio = f"{veff[0] / own[0]:.2f} ({veff[1] / own[1]:.2f})"
            print(
                f"| {name} | {veff[0]:.0f} ({veff[1]:.0f}) | {own[0]:.0f} ({own[1]:.0f}) | {ratio} | "
                f"{difference:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
