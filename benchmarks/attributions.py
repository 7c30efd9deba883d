"""Attributions against exact saturation mutagenesis, and their time against captum and tangermeme.

    REGZOO_DATA=… python -m benchmarks.attributions [--count 200] [--paths 100] [--threads 1] [--output JSON]

Half of the windows are test peaks (chromosomes 8 and 9) of CTCF, half of PU.1, drawn by seed; each is explained for its
own factor. Integrated gradients take longest, and explain the first `--paths` windows only. Agreement is the
correlation of the contributions of a window with those of exact mutagenesis: its median over windows, and a 95%
percentile bootstrap interval of the median. Times are processor time, which other work on the machine changes little,
measured on the first windows of CTCF in rounds in which all take turns; the median over rounds is given. captum and
tangermeme are called directly, on the network as it is trained, with the same numbers of references and steps.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from captum.attr import DeepLift, IntegratedGradients
from scipy.stats import pearsonr, spearmanr
from tangermeme.deep_lift_shap import deep_lift_shap
from tangermeme.saturation_mutagenesis import saturation_mutagenesis
from torch import nn

import regzoo
from regzoo.options import ATTRIBUTIONS
from regzoo.output.files import finished_file
from regzoo.sequence import decode
from regzoo.sequence.codes import encode, one_hot
from regzoo.sequence.fasta import read_fasta
from regzoo.sequence.shuffle import shuffled_dinucleotides

ROOT = Path(os.environ.get("REGZOO_DATA", "."))
MODELS = ("MotifResNet/ctcf-pu1", "Basset/ctcf-pu1")
PEAKS = {"CTCF": "ctcf", "PU1": "pu1"}
TEST = ("chr8:", "chr9:")
REFERENCES, STEPS = 10, 32
OTHERS = [method for method in ATTRIBUTIONS if method != "saturation"]


class Mean(nn.Module):
    """Mean over both strands, as a network that captum and tangermeme can read."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return (self.net(x) + self.net(x.flip(1, 2))) / 2


def test_peaks(target, count):
    """Sequences of test peaks of a factor, drawn by seed."""
    names, rows = read_fasta(ROOT / "tfbs" / f"{PEAKS[target]}_hg38_100bp.fa.gz")
    inside = [row for name, row in zip(names, rows) if name.startswith(TEST) and len(row) == 100 and row.max() < 4]
    chosen = np.random.default_rng(0).choice(len(inside), count, replace=False)
    return [decode(inside[i]) for i in chosen]


def interval(values, rng):
    """Median, and the 2.5th and 97.5th percentile of the medians of 2,000 resamples."""
    medians = np.median(rng.choice(values, (2000, len(values))), axis=1)
    return [round(float(x), 4) for x in (np.median(values), *np.percentile(medians, [2.5, 97.5]))]


def agreement(model, count, paths):
    """One row for each method: correlations with exact mutagenesis, and the error of completeness."""
    each = zip(*(test_peaks(target, count // 2) for target in model.targets))
    windows = [one for texts in each for one in zip(model.targets, texts)]
    found = {}
    for method in ("saturation", *OTHERS):
        options = {"method": method, "references": REFERENCES, "steps": STEPS, "checked": 0}
        some = windows[:paths] if method == "integrated_gradients" else windows
        parts = {
            target: iter(regzoo.explain(model, [text for t, text in some if t == target], targets=[target], **options))
            for target in model.targets
        }
        found[method] = [next(parts[target]) for target, _ in some]
        print(f"{model.name}: {method} done", flush=True)
    rows = {}
    for method in OTHERS:
        pairs = [(a.contributions[:, 0], b.contributions[:, 0]) for a, b in zip(found[method], found["saturation"])]
        rng, error = np.random.default_rng(0), np.abs([float(one.completeness[0]) for one in found[method]])
        rows[method] = {
            "windows": len(pairs),
            "pearson": interval(np.array([pearsonr(*pair)[0] for pair in pairs]), rng),
            "spearman": interval(np.array([spearmanr(*pair)[0] for pair in pairs]), rng),
            "completeness_error": None if np.isnan(error).all() else [float(np.median(error)), float(error.max())],
        }
    return rows


def callers(model, texts, target):
    """What is timed: name -> function that explains all sequences for one target."""
    column, net = model.targets.index(target), Mean(model.module.net).eval()
    codes = np.stack([encode(text) for text in texts])
    rng = np.random.default_rng(0)
    x = torch.from_numpy(one_hot(codes)).float()
    shuffled = [shuffled_dinucleotides(np.repeat(one[None], REFERENCES, axis=0), rng) for one in codes]
    references = torch.stack([torch.from_numpy(one_hot(one)).float() for one in shuffled])
    options = {"targets": [target], "references": REFERENCES, "steps": STEPS, "checked": 0}

    def ours(method):
        return lambda: regzoo.explain(model, texts, method=method, **options)

    def captum_path():
        for one, others in zip(x, references):
            IntegratedGradients(net).attribute(
                one.expand(REFERENCES, -1, -1),
                others,
                target=column,
                n_steps=STEPS,
                method="gausslegendre",
                internal_batch_size=64,
            )

    def captum_deeplift():  # both strands one after the other: it refuses layers that are called twice
        for one, others in zip(x, references):
            for a, b in ((one, others), (one.flip(0, 1), others.flip(1, 2))):
                DeepLift(net.net).attribute(a.expand(REFERENCES, -1, -1).contiguous(), b, target=column)

    return {f"regzoo {method}": ours(method) for method in ATTRIBUTIONS} | {
        "captum IntegratedGradients": captum_path,
        "captum DeepLift": captum_deeplift,
        "tangermeme deep_lift_shap": lambda: deep_lift_shap(
            net, x, target=column, references=references, device="cpu", only_warn=True
        ),
        "tangermeme saturation_mutagenesis": lambda: saturation_mutagenesis(
            net, x, target=column, device="cpu", batch_size=64
        ),
    }


def times(model, count, rounds):
    """Processor seconds per window of each caller, or the error that it raises."""
    target = model.targets[0]
    functions, spent, failed = callers(model, test_peaks(target, count), target), {}, {}
    for turn in range(rounds + 1):  # the first is a warm-up
        for name, function in functions.items():
            if name in failed:
                continue
            start = time.process_time()
            try:
                function()
            except (RuntimeError, AssertionError) as error:
                failed[name] = str(error).split("\n")[0][:200]
                continue
            if turn:
                spent.setdefault(name, []).append((time.process_time() - start) / count)
    return {name: round(statistics.median(values), 4) for name, values in spent.items()}, failed


def shown(rows, seconds):
    """The two tables."""
    text = lambda one: f"{one[0]:.3f} ({one[1]:.3f}–{one[2]:.3f})"  # noqa: E731
    table = [
        {
            "method": method,
            "windows": row["windows"],
            "Pearson": text(row["pearson"]),
            "Spearman": text(row["spearman"]),
            "completeness error, median (largest)": "–"
            if row["completeness_error"] is None
            else "{:.1e} ({:.1e})".format(*row["completeness_error"]),
            "processor s per window": f"{seconds.get(f'regzoo {method}', float('nan')):.3g}",
        }
        for method, row in rows.items()
    ]
    print(pd.DataFrame(table).to_markdown(index=False, disable_numparse=True))
    print(pd.Series(seconds, name="processor s per window").to_frame().to_markdown(floatfmt=".3g"), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="windows whose contributions are compared")
    parser.add_argument("--paths", type=int, default=100, help="windows of integrated gradients")
    parser.add_argument("--timed", type=int, default=2, help="windows whose explanation is timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", default=Path(__file__).parent / "results" / "attributions.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    given = (f"--{name} {getattr(arguments, name)}" for name in ("count", "paths", "timed", "rounds", "threads"))
    command = f"python -m benchmarks.attributions {' '.join(given)}"
    packages = {name: version(name) for name in ("regzoo", "torch", "captum", "tangermeme", "numpy")}
    result = {"command": command, "versions": packages, "references": REFERENCES, "steps": STEPS, "models": {}}
    for name in MODELS:
        seconds, failed = times(regzoo.load_model(name, device="cpu"), arguments.timed, arguments.rounds)
        print(f"{name}: {seconds} {failed}", flush=True)
        result["models"][name] = {"processor_seconds_per_window": seconds, "not_supported": failed}
    for name in MODELS:
        rows = agreement(regzoo.load_model(name, device="cpu"), arguments.count, arguments.paths)
        result["models"][name]["agreement"] = rows
        shown(rows, result["models"][name]["processor_seconds_per_window"])
        with finished_file(arguments.output) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
