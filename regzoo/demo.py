"""Demonstration of `make demo`: predictions, variant effects, an explanation and a scan, on an example."""

import argparse
import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ROWS = 4


def run(*command: Any) -> None:
    """Print a command and run it."""
    print(f"\n$ {shlex.join(map(str, command))}", flush=True)
    subprocess.run([BIN / command[0], *map(str, command[1:])], check=True)


def in_python(model: str, loader: dict[str, str], output: Path) -> None:
    """Predict with `kipoi.get_model` and print the code and its results.

    Parameters
    ----------
    model : str
    loader : dict
        Arguments of the dataloader.
    output : pathlib.Path
        File for the predictions.
    """
    import kipoi

    print(f"\n>>> model = kipoi.get_model({model!r}, source='regzoo')")
    loaded = kipoi.get_model(model, source="regzoo")
    loaded.pipeline.predict_to_file(str(output), loader)
    batch = next(iter(loaded.default_dataloader(**loader).batch_iter(batch_size=ROWS)))
    print(">>> model.predict_on_batch(batch['inputs'])")
    print(loaded.predict_on_batch(batch["inputs"])[:, :5])


def show(path: Path) -> None:
    """Print the path and first rows of a file, without VCF header lines."""
    print(f"\n{path}")
    with open(path) as handle:
        lines = (line.rstrip("\n") for line in handle if not line.startswith("##"))
        for line in itertools.islice(lines, ROWS):
            print("   ", line[:150] + ("…" if len(line) > 150 else ""))


def first_interval(bed: str) -> tuple[str, int, int]:
    """Contig, start and end of the first interval of a BED file, 0-based and half-open."""
    from regzoo.sequence import read_bed

    found = read_bed(bed)
    return str(found.contigs[0]), int(found.starts[0]), int(found.ends[0])


def main() -> None:
    """Run the demonstration and print the paths of its outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "fasta", "bed", "vcf", "out"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    loader = {"intervals_file": str(Path(args.bed).resolve()), "fasta_file": str(Path(args.fasta).resolve())}
    source = (args.model, "--source", "regzoo", f"--dataloader_args={json.dumps(loader)}")
    run("kipoi", "predict", *source, "-o", out / "predict.tsv")
    run("kipoi", "veff", "score_variants", *source, "-i", args.vcf, "-o", out / "veff.vcf", "-s", "diff", "logit")
    in_python(args.model, loader, out / "python.tsv")
    run("regzoo", "score", args.vcf, "--genome", args.fasta, "--model", args.model, "-o", out / "score.tsv")
    run("regzoo", "predict", args.bed, "--genome", args.fasta, "--model", args.model, "-o", out / "labelled.tsv")
    best = ("--best", "-o", out / "alleles.tsv")
    run("regzoo", "alleles", args.vcf, "--genome", args.fasta, "--model", args.model, *best)
    contig, start, end = first_interval(args.bed)
    place, near = f"{contig}:{start + 1}-{end}", f"{contig}:{max(0, start - 1000) + 1}-{end}"
    on = ("--genome", args.fasta, "--model", args.model)
    run("regzoo", "explain", place, *on, "--method", "saturation", "-o", out / "explain.tsv")
    run("regzoo", "scan", args.fasta, "--model", args.model, "--regions", near, "-o", out / "scan.tsv")
    print(f"\nOutputs are in {out.resolve()}:")
    files = (
        "predict.tsv",
        "veff.vcf",
        "python.tsv",
        "score.tsv",
        "labelled.tsv",
        "alleles.tsv",
        "explain.tsv",
        "scan.tsv",
    )
    for name in files:
        show(out / name)


if __name__ == "__main__":
    main()
