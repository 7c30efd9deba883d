"""Motifs that models have learned, against a database: known factors must come out first.

    REGZOO_DATA=… python -m benchmarks.motifs [--count 400] [--database MEME] [--model MotifResNet/ctcf-pu1 …]

Models of ctcf-pu1 read peaks of each factor (tfbs/*_hg38_100bp.fa.gz), models of tf-human the positives of GUE's dev
files, and of its test files where there are some. For each target, motifs are taken from contributions (first-order
Taylor) and from the filters of the first layer; the table has the first motifs and their best match by TOMTOM.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

import regzoo
from regzoo.evaluate.labelled import read_labelled
from regzoo.sequence import decode
from regzoo.sequence.fasta import read_fasta

ROOT = Path(os.environ.get("REGZOO_DATA", "."))
MODELS = ("MotifResNet/ctcf-pu1", "Basset/ctcf-pu1", "MotifResNet/tf-human")
PEAKS = {"CTCF": "ctcf", "PU1": "pu1"}


def positives(model, target):
    """Windows in which the target's motif is expected."""
    if model.name.endswith("ctcf-pu1"):
        _, rows = read_fasta(ROOT / "tfbs" / f"{PEAKS[target]}_hg38_100bp.fa.gz")
        return [row for row in rows if len(row) == model.input_length]
    folder = ROOT / "gue" / "tf" / target.removeprefix("tf")
    paths = [folder / f"{name}.csv.gz" for name in ("dev", "test")]
    found = [read_labelled(path, model.input_length) for path in paths if path.is_file()]
    return [row for part in found for row in part.codes[part.labels > 0.5]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="windows of each target, drawn at random")
    parser.add_argument("--database", default=ROOT / "motifs" / "hocomoco_v12_core.meme")
    parser.add_argument("--model", action="append")
    parser.add_argument("--top", type=int, default=2, help="motifs of each row")
    arguments = parser.parse_args()
    parts = []
    for name in arguments.model or MODELS:
        model = regzoo.load_model(name, device="cpu")
        for target in model.targets:
            rows = positives(model, target)
            rng = np.random.default_rng(0)
            chosen = rng.choice(len(rows), min(arguments.count, len(rows)), replace=False)
            texts = [decode(rows[i]) for i in chosen]
            for method in ("contributions", "filters"):
                start = time.perf_counter()
                targets = [target] if method == "contributions" else ()
                found = regzoo.motifs(model, texts, method=method, targets=targets, database=arguments.database)
                table = found.to_frame()
                if method == "filters":
                    table = table.sort_values("match_q")
                table = table.head(arguments.top).assign(seconds=round(time.perf_counter() - start, 1))
                parts.append(table.assign(model=name, target=target, method=method))
                print(f"{name} {target} {method}: {len(found)} motifs", flush=True)
    columns = ["model", "target", "method", "consensus", "sites", "match", "match_q", "seconds"]
    print(pd.concat(parts)[columns].to_markdown(index=False, floatfmt=".2g"))


if __name__ == "__main__":
    main()
