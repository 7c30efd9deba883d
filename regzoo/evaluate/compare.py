"""Models side by side on the same labelled sequences: one fair table."""

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from regzoo.effects.scoring import target_columns
from regzoo.errors import ModelError, OutputError
from regzoo.evaluate.labelled import read_sets, say_how_sequences_fit
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, evaluate_predictions, pearson
from regzoo.evaluate.paired import delong, paired_bootstrap
from regzoo.pictures import DPI, SUFFIXES, require_packages
from regzoo.sequence.codes import fitted, one_hot
from regzoo.sequence.files import finished_file, refuse_overwrite
from regzoo.zoo import load_model

_PANELS = 3  # scatter plots in a row


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
    length : int
        Bases of the model's window.
    """

    scores: dict
    seconds: float
    memory: float
    parameters: int
    operations: int
    length: int


def compare_models(models, data, outputs=(), batch_size=64, progress=True):
    """Evaluate models on the same examples.

    Every sequence is centred in a model's window: of a longer one both ends are cut, a shorter one is padded with N. How many
    are is logged, and stands in the table's columns `cut` and `padded`.

    Parameters
    ----------
    models : list of str
        Names or directories; one that is repeated counts once.
    data : list of str
        TARGET=FILE.
    outputs : list of str
        .tsv and .md hold the table; .png, .svg and .pdf ROC and precision-recall curves, or predictions against measured
        values.
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
        if not str(output).endswith((".tsv", ".md", *SUFFIXES)):
            raise OutputError(f"{output}: unknown suffix; use one of .tsv, .md, {', '.join(SUFFIXES)}")
        if str(output).endswith(SUFFIXES):
            require_packages(output, "matplotlib", "scikit-learn")
        refuse_overwrite(output, [text.partition("=")[2] for text in data])
    sets, models = read_sets(data), list(dict.fromkeys(models))
    runs = {}
    for name in tqdm(models, desc="comparing", unit=" models", disable=not progress):
        # A fresh process, so that its peak memory is this model's.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            codes = {target: labelled.codes for target, labelled in sets.items()}
            try:
                runs[name] = pool.submit(_evaluate, name, codes, batch_size, torch.get_num_threads()).result()
            except BrokenProcessPool as error:
                raise ModelError(
                    f"{name}: its process was killed, perhaps for want of memory; try a smaller batch"
                ) from error
    say_how_sequences_fit(sets, {name: run.length for name, run in runs.items()})
    table = _table(runs, sets)
    text = _markdown(table, runs, sets)
    for output in outputs:
        with finished_file(output) as temporary:
            if str(output).endswith(".tsv"):
                table.to_csv(temporary, sep="\t", index=False, float_format="%.5g")
            elif str(output).endswith(".md"):
                temporary.write_text(text + "\n")
            else:
                _figure(runs, sets).savefig(temporary, dpi=DPI)
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
    return Run(scores, seconds, memory, parameters, counter.get_total_flops(), model.input_length)


def _table(runs, sets):
    rows, first = [], next(iter(runs))
    for target, labelled in sets.items():
        labels = labelled.labels
        for name, run in runs.items():
            row = {"target": target, "model": name, "examples": len(labels), "cut": labelled.cut(run.length),
                   "padded": labelled.padded(run.length)}  # fmt: skip
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


def _figure(runs, sets):
    """Of each target, ROC and precision-recall curves side by side, or a scatter plot a model."""
    from matplotlib.figure import Figure

    rows = -(-len(runs) // _PANELS)
    heights = [2.7 * rows if labelled.regression else 3.6 for labelled in sets.values()]
    figure = Figure(figsize=(7.2, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(sets), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (target, labelled) in zip(parts, sets.items()):
        (_scatter if labelled.regression else _curves)(part, target, labelled, runs)
    return figure


def _curves(figure, target, labelled, runs):
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    labels = labelled.labels
    roc, precision = figure.subplots(1, 2)
    for name, run in runs.items():
        scores = run.scores[target]
        false, true, _ = roc_curve(labels, scores)
        roc.plot(false, true, linewidth=1.2, label=f"{name} ({roc_auc_score(labels, scores):.3f})")
        found, recall, _ = precision_recall_curve(labels, scores)
        area = average_precision_score(labels, scores)
        precision.step(recall, found, where="post", linewidth=1.2, label=f"{name} ({area:.3f})")
    chance = {"color": "0.6", "linewidth": 0.8, "linestyle": "--", "zorder": 0}
    roc.plot([0, 1], [0, 1], **chance)
    precision.axhline(labels.mean(), **chance)
    roc.set(xlabel="False positive rate", ylabel="True positive rate")
    precision.set(xlabel="Recall", ylabel="Precision")
    for axis, area, place in ((roc, "AUROC", "lower right"), (precision, "average precision", "lower left")):
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1)
        _plain(axis)
        axis.legend(title=f"Model ({area})", fontsize=6.5, title_fontsize=6.5, loc=place, edgecolor="none")
    figure.suptitle(f"{target} (n = {len(labels):,}, {labels.mean():.0%} positive)", fontsize=9)


def _scatter(figure, target, labelled, runs):
    from matplotlib.ticker import MaxNLocator

    labels = labelled.labels
    rows = -(-len(runs) // _PANELS)
    axes = figure.subplots(rows, -(-len(runs) // rows), squeeze=False).ravel()
    ones = np.ones((1, len(labels)))
    for number, (axis, (name, run)) in enumerate(zip(axes, runs.items())):
        scores = run.scores[target]
        size = float(np.clip(4000 / len(labels), 1, 12))
        axis.scatter(labels, scores, s=size, alpha=0.5, linewidths=0, color=f"C{number % 10}", rasterized=True)
        axis.set_title(f"{name}\nr = {pearson(labels, scores, ones)[0]:.3f}", fontsize=7.5)
        axis.set(xlabel="Measured", ylabel="Predicted")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        _plain(axis)
    for axis in axes[len(runs) :]:
        axis.set_axis_off()
    figure.suptitle(f"{target} (n = {len(labels):,})", fontsize=9)


def _plain(axis):
    """Small labels, and no line on the top and on the right."""
    axis.tick_params(labelsize=7)
    axis.xaxis.label.set_size(8)
    axis.yaxis.label.set_size(8)
    axis.spines[["top", "right"]].set_visible(False)
