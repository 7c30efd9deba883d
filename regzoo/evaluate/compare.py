"""Models side by side on the same labelled sequences: one fair table."""

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from regzoo.effects.scoring import target_columns
from regzoo.errors import OutputError
from regzoo.evaluate.labelled import read_sets
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, evaluate_predictions, pearson
from regzoo.evaluate.paired import delong, paired_bootstrap
from regzoo.sequence.codes import fitted, one_hot
from regzoo.sequence.files import finished_file
from regzoo.zoo import load_model

_SUFFIXES = (".tsv", ".md", ".png", ".svg")


@dataclass
class Run:
    """One model's predictions, and what they took in a process of its own.

    Attributes
    ----------
    scores : dict of str to numpy.ndarray, float32, shape (N,)
        By target.
    seconds : float
        To predict, loading left out.
    memory : float
        Peak resident MB of the process.
    parameters, operations : int
        Operations are multiplications and additions of one window's forward pass, as PyTorch counts them.
    """

    scores: dict
    seconds: float
    memory: float
    parameters: int
    operations: int


def compare_models(models, data, outputs=(), batch_size=64, progress=True):
    """Evaluate models on the same examples.

    Sequences that are shorter than a model's window stand in its middle, between N; of longer ones the middle is taken.

    Parameters
    ----------
    models : list of str
        Names or directories.
    data : list of str
        TARGET=FILE.
    outputs : list of str
        .tsv and .md hold the table, .png and .svg curves, or of values predictions against them.
    batch_size : int
    progress : bool

    Returns
    -------
    str
        The table in Markdown. p-values are of the difference to the first model: DeLong's of the AUROC, or of measured values
        the paired bootstrap's of Pearson's correlation.

    Raises
    ------
    regzoo.errors.RegzooError
        If a model, a target, a file or an output is not usable.
    """
    for output in outputs:
        if not str(output).endswith(_SUFFIXES):
            raise OutputError(f"{output}: unknown suffix; use one of {', '.join(_SUFFIXES)}")
    sets = read_sets(data)
    runs = {}
    for name in tqdm(models, desc="comparing", unit=" models", disable=not progress):
        # A fresh process, so that its peak memory is this model's.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            codes = {target: labelled.codes for target, labelled in sets.items()}
            runs[name] = pool.submit(_evaluate, name, codes, batch_size, torch.get_num_threads()).result()
    table = _table(runs, sets)
    text = _markdown(table, runs, sets)
    for output in outputs:
        with finished_file(output) as temporary:
            if str(output).endswith(".tsv"):
                table.to_csv(temporary, sep="\t", index=False, float_format="%.5g")
            elif str(output).endswith(".md"):
                temporary.write_text(text + "\n")
            else:
                _curves(runs, sets).savefig(temporary, bbox_inches="tight", dpi=150)
    return text


def _evaluate(name, sets, batch_size, threads):
    torch.set_num_threads(threads)
    model = load_model(name)
    columns = {target: target_columns(model, [target])[0] for target in sets}
    windows = {target: fitted(codes, model.input_length) for target, codes in sets.items()}
    model.predict(next(iter(windows.values()))[:batch_size], batch_size)  # what the first call prepares
    start = time.perf_counter()
    scores = {target: model.predict(codes, batch_size)[:, columns[target]] for target, codes in windows.items()}
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
    x = torch.from_numpy(one_hot(next(iter(windows.values()))[:1])).to(model.device)
    with FlopCounterMode(display=False) as counter:
        model.module(x)
    parameters = sum(p.numel() for p in model.module.parameters())
    return Run(scores, seconds, memory, parameters, counter.get_total_flops())


def _table(runs, sets):
    rows, first = [], next(iter(runs))
    for target, labelled in sets.items():
        labels = labelled.labels
        for name, run in runs.items():
            row = {"target": target, "model": name, "examples": len(labels)}
            if not labelled.regression:
                row["positive"] = int(labels.sum())
            for metric, value in evaluate_predictions(labels, run.scores[target], labelled.regression).items():
                row |= {metric: value["value"], f"{metric}_low": value["low"], f"{metric}_high": value["high"]}
            pair = labels, run.scores[target], runs[first].scores[target]
            test = paired_bootstrap(*pair, metric=pearson) if labelled.regression else delong(*pair)
            row |= {"difference": test["difference"], "p": test["p"] if name != first else np.nan}
            rows.append(row)
    return pd.DataFrame(rows)


def _markdown(table, runs, sets):
    lines = []
    for regression, names, test in ((False, METRICS, "AUROC - first's | p (DeLong)"),
                                    (True, CORRELATIONS, "Pearson - first's | p (paired bootstrap)")):  # fmt: skip
        own = [target for target, labelled in sets.items() if labelled.regression == regression]
        if not own:
            continue
        lines += [f"| target | examples | model | {' | '.join(names)} | {test} |", "|---" * (5 + len(names)) + "|"]
        for row in table[table.target.isin(own)].to_dict("records"):
            cells = (f"{row[m]:.3f} ({row[f'{m}_low']:.3f}–{row[f'{m}_high']:.3f})" for m in names)
            against = "– | –" if np.isnan(row["p"]) else f"{row['difference']:+.3f} | {row['p']:.2g}"
            lines.append(f"| {row['target']} | {row['examples']} | {row['model']} | {' | '.join(cells)} | {against} |")
        lines.append("")
    count = sum(len(labelled.codes) for labelled in sets.values())
    lines += [
        "| model | sequences a second | peak memory, MB | parameters | operations a window |",
        "|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        lines.append(
            f"| {name} | {count / run.seconds:,.0f} | {run.memory:,.0f} | {run.parameters:,} | {run.operations:.2e} |"
        )
    return "\n".join(lines)


def _curves(runs, sets):
    from matplotlib.figure import Figure
    from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

    figure = Figure(figsize=(8, 3.6 * len(sets)), layout="constrained")
    axes = figure.subplots(len(sets), 2, squeeze=False)
    for row, (target, labelled) in zip(axes, sets.items()):
        for name, run in runs.items():
            if labelled.regression:
                row[0].scatter(labelled.labels, run.scores[target], s=2, label=name)
                continue
            for axis, kind in zip(row, (RocCurveDisplay, PrecisionRecallDisplay)):
                kind.from_predictions(labelled.labels, run.scores[target], name=name, ax=axis)
        if labelled.regression:
            row[0].set(xlabel="measured", ylabel="predicted")
            row[1].set_axis_off()
        for axis in row[: 2 - labelled.regression]:
            axis.set_title(target, loc="left", fontsize=9)
            axis.legend(fontsize=7)
    return figure
