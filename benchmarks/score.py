"""Scoring variants: `regzoo score` against full passes of both alleles, its own reference passes, and kipoi-veff.

    python benchmarks/score.py --fasta GENOME.fa --vcf VARIANTS.vcf.gz [--count 500] [--dense] [--threads 2]

DeepSEA's architecture with random weights (the arithmetic does not depend on them), float32, single-base variants
spread evenly over the VCF, or with --dense one after the other, each in its own centred window; also in bfloat16, and
with --dense on a grid of 16. The contenders read the same files and give the same scores, which is checked; kipoi-veff
runs as its command, start-up included, and is compared with `regzoo score` as a command, the others with it in this
process.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cyvcf2
import h5py
import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.pipeline import difference_from_exact, score_variants
from regzoo.effects.windows import allele_windows
from regzoo.nets import build
from regzoo.sequence import Genome, read_alleles
from regzoo.sequence.codes import one_hot
from regzoo.zoo import load_model, zoo_folder

BIN = Path(sys.executable).parent
VARIATIONS = {
    "--grid 16": {"grid": 16},
    "--precision bf16": {"precision": "bf16"},
    "--grid 16 --precision bf16": {"grid": 16, "precision": "bf16"},
}


def write_model(folder):
    """DeepSEA/variantEffects with random weights, one strand, as a model directory."""
    original = zoo_folder() / "models" / "DeepSEA" / "variantEffects"
    torch.manual_seed(0)
    save_file(build("deepsea").state_dict(), folder / "model.safetensors")
    content = yaml.safe_load((original / "model.yaml").read_text())
    del content["args"]["official"]
    content["args"]["weights"] = "model.safetensors"
    content["postprocessing"]["variant_effects"]["use_rc"] = False
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    (folder / "targets.txt").write_text((original / "targets.txt").read_text())


def choose(vcf, genome, count, dense, path):
    """Write `count` single-base, biallelic records away from contig ends, spread evenly or consecutive."""
    source = cyvcf2.VCF(str(vcf))
    records = [r for r in source if len(r.REF) == 1 and len(r.ALT) == 1 and r.ALT[0] in tuple("ACGT")]
    records = [r for r in records if 1000 < r.POS < genome.lengths[genome.number(r.CHROM)] - 1000]
    writer = cyvcf2.Writer(str(path), source)
    for i in range(count) if dense else np.linspace(0, len(records) - 1, count).astype(int):
        writer.write_record(records[i])
    writer.close()


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--vcf", required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--dense", action="store_true", help="consecutive variants")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-veff", action="store_true", help="leave kipoi-veff out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        write_model(folder)
        vcf = folder / "chosen.vcf"
        choose(args.vcf, Genome(args.fasta), args.count, args.dense, vcf)
        compare(args, folder, vcf)


def contenders(args, folder, vcf, model):
    """Name -> function; those of this process give nothing or the alternates' predictions."""
    ref, alt, _ = allele_windows(read_alleles(vcf), Genome(args.fasta), model.input_length)
    evaluator, windows = Evaluator(model), torch.from_numpy(one_hot(ref)).transpose(1, 2).contiguous()

    def reference_passes():
        for batch in windows.split(32):
            evaluator.incremental.reference(batch)

    def both_in_full():
        model.predict(ref, batch_size=32)
        return model.predict(alt, batch_size=32)

    def own(output, **options):
        return partial(score_variants, model, vcf, args.fasta, output=folder / output, **options)

    def command(*parts):
        return partial(subprocess.run, [str(part) for part in parts], check=True, capture_output=True)

    result = {
        "reference passes alone, this project's": reference_passes,
        "reference passes alone, the network as it is": lambda: model.predict(ref, batch_size=32),
        "both alleles in full, batched": both_in_full,
        "regzoo score": own("own.h5", scores=("diff", "alt")),
    }
    for name, options in VARIATIONS.items():
        if args.dense or "grid" not in options:
            result[f"regzoo score {name}"] = own("other.h5", scores=("diff",), **options)
    fixed = (BIN / "regzoo", "score", vcf, "-f", args.fasta, "-m", folder, "-s", "diff", "-q")
    result["regzoo score, command"] = command(*fixed, "-o", folder / "command.vcf")
    if not args.skip_veff:
        loader = json.dumps({"fasta_file": str(Path(args.fasta).resolve())})
        result["kipoi veff, command"] = command(
            *(BIN / "kipoi", "veff", "score_variants", folder, "--source", "dir", f"--dataloader_args={loader}"),
            *("-i", vcf, "-o", folder / "veff.vcf", "-s", "diff"),
        )
    return result


def compare(args, folder, vcf):
    """Print the table: medians of rounds in which every contender has its turn."""
    model = load_model(str(folder), device="cpu")
    functions, times = contenders(args, folder, vcf, model), {}
    for _ in range(args.rounds):
        for name, function in functions.items():
            seconds, value = timed(function)
            times.setdefault(name, []).append(seconds)
            if name.startswith("both"):
                alternate = value
    with h5py.File(folder / "own.h5") as file:
        own = {name: file[f"scores/{name}"][()] for name in ("alt", "diff")}
    print(f"largest difference from the full alternate pass: {np.abs(own['alt'] - alternate).max():.0e}")
    if not args.skip_veff:
        lines = [line for line in (folder / "veff.vcf").read_text().splitlines() if line[0] != "#"]
        plugin = np.array([[float(v) for v in re.search(r":DIFF=([^;]+)", line)[1].split("|")] for line in lines])
        print(f"largest difference from kipoi-veff's diff: {np.abs(own['diff'] - plugin).max():.0e}")
    for name, options in VARIATIONS.items():
        if args.dense or "grid" not in options:
            largest, correlation = difference_from_exact(model, vcf, args.fasta, **options)
            print(f"{name}: largest difference of diff from exact {largest:.0e}, correlation {correlation:.5f}")
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"\n{len(own['alt'])} variants, {args.threads} threads, median of {args.rounds}\n")
    print("| | s | against regzoo score |\n|---|---|---|")
    for name, seconds in medians.items():
        base = medians["regzoo score, command" if name.endswith("command") else "regzoo score"]
        print(f"| {name} | {seconds:.2f} | {seconds / base:.2f}x |")


if __name__ == "__main__":
    main()
