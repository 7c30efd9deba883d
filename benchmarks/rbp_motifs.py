"""Models of RNA-binding proteins against binding preferences from the literature, over all 6-mers.

    REGZOO_DATA=… python -m benchmarks.rbp_motifs [--model MotifResNet/rbp …] [--backgrounds 8] [--output JSON]

Every 6-mer is put into the middle of shuffled CLIP windows, and its effect is the mean change of the log odds. The
6-mers that contain the published motif of a protein should come first: the AUROC of the effects says how often such a
6-mer has a larger effect than another one (0.5 is chance). The motifs were fixed before any model was run.
"""

import argparse
import itertools
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import logit
from scipy.stats import mannwhitneyu, rankdata

import regzoo
from regzoo.output.files import finished_file
from regzoo.sequence.codes import encode
from regzoo.sequence.fasta import read_fasta
from regzoo.sequence.shuffle import shuffled_dinucleotides

ROOT = Path(os.environ.get("REGZOO_DATA", "."))
MODELS = ("MotifResNet/rbp", "Basset/rbp", "NT-mini/rbp")
WIDTH = 6
#: Regular expressions of DNA letters, and their source.
PUBLISHED = {
    "ELAVL1": ("TTTTT|ATTTA", "U-rich elements: López de Silanes et al. 2004; AU-rich elements: Ma et al. 1996"),
    "FUS": ("GGTG", "GGUG: Lerga et al. 2001"),
    "HNRNPC": ("TTTTT", "U tracts: König et al. 2010"),
    "IGF2BP123": ("CAT[ACT]", "CAUH: Hafner et al. 2010"),
    "PUM2": ("TGTA[ACGT]A", "UGUANAUA: Hafner et al. 2010"),
    "QKI": ("ACTAA[CT]", "ACUAAY: Galarneau & Richard 2005"),
    "TDP43": ("TGTGT|GTGTG", "UG repeats: Buratti & Baralle 2001; Tollervey et al. 2011"),
    "TIA1": ("TTTTT", "U tracts: Dember et al. 1996"),
}


def backgrounds(count, length):
    """Shuffled CLIP windows of all proteins, drawn by seed."""
    rng, rows = np.random.default_rng(0), []
    for path in sorted((ROOT / "utr3" / "rbp").glob("*_train.fa.gz")):
        found = [row for row in read_fasta(path)[1] if len(row) == length and row.max() < 4]
        rows += [found[i] for i in rng.choice(len(found), count, replace=False)]
    chosen = rng.choice(len(rows), count, replace=False)
    return shuffled_dinucleotides(np.stack([rows[i] for i in chosen]), rng)


def effects(model, words, before):
    """Mean change of the log odds by each word, (words, targets)."""
    start = (model.input_length - WIDTH) // 2
    base, total = log_odds(model, before), 0
    for i, background in enumerate(before):
        windows = np.repeat(background[None], len(words), axis=0)
        windows[:, start : start + WIDTH] = words
        total = total + log_odds(model, windows) - base[i]
    return total / len(before)


def log_odds(model, codes):
    """Log odds of the predictions."""
    return logit(np.clip(model.predict(codes).astype(float), 1e-7, 1 - 1e-7))


def compared(name, count):
    """One row for each protein."""
    model = regzoo.load_model(name, device="cpu")
    texts = ["".join(letters) for letters in itertools.product("ACGT", repeat=WIDTH)]
    found = effects(model, np.stack([encode(text) for text in texts]), backgrounds(count, model.input_length))
    for column, target in enumerate(model.targets):
        pattern, source = PUBLISHED[target]
        inside = np.array([re.search(pattern, text) is not None for text in texts])
        values = found[:, column]
        test = mannwhitneyu(values[inside], values[~inside], alternative="greater")
        percentile = rankdata(values)[inside] / len(values) * 100
        yield {
            "model": name,
            "target": target,
            "published": source,
            "6-mers": int(inside.sum()),
            "median rank, %": round(float(np.median(percentile)), 1),
            "best rank": int(rankdata(-values)[inside].min()),
            "AUROC": round(float(test.statistic / inside.sum() / (~inside).sum()), 3),
            "p": float(f"{test.pvalue:.2g}"),
            "first five": " ".join(texts[i].replace("T", "U") for i in np.argsort(-values)[:5]),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--backgrounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", default=Path(__file__).parent / "results" / "rbp_motifs.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name in arguments.model or MODELS:
        rows += compared(name, arguments.backgrounds)
        print(pd.DataFrame(rows[-8:]).to_markdown(index=False), flush=True)
    command = f"python -m benchmarks.rbp_motifs --backgrounds {arguments.backgrounds}"
    with finished_file(arguments.output) as temporary:
        result = {"command": command, "regzoo": regzoo.__version__, "torch": torch.__version__, "rows": rows}
        temporary.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
