"""Comparison of models on the same labelled sequences."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from regzoo.errors import InputError, ModelError
from regzoo.evaluate.labelled import Labelled, listed, log_fit, read_sets
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, evaluate_predictions, pearson
from regzoo.evaluate.paired import delong, paired_bootstrap
from regzoo.output.files import finished_file, refuse_overwrite
from regzoo.output.tables import check_suffix
from regzoo.pictures import SUFFIXES, picture, require_packages
from regzoo.sequence.codes import fitted, one_hot
from regzoo.zoo import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 3  # scatter plots per row


@dataclass
class Run:
    """Predictions of one model, with their cost.

    Attributes
    ----------
    scores : dict of str to numpy.ndarray, float32, shape (N,)
        Predictions by data set.
    seconds : float
        Time to predict, without loading.
    memory : float
        Peak resident memory of the model's process, MB. NaN if it had no process of its own.
    parameters, operations : int
        Number of parameters, and of multiplications and additions per window as counted by PyTorch.
    length : int
        Window length, in bases.
    """

    scores: dict[str, np.ndarray]
    seconds: float
    memory: float
    parameters: int
    operations: int
    length: int


@dataclass
class Comparison:
    """Results of `compare`.

    Attributes
    ----------
    metrics : pandas.DataFrame
        One row per data set and model: target, model, examples, number of cut and padded sequences, each metric with
        its 95% bootstrap interval (NAME, NAME_low, NAME_high), and difference to the first model with its p-value. The
        p-value is that of DeLong's test of the AUROC or, for measured values, of the paired bootstrap of Pearson's
        correlation.
    cost : pandas.DataFrame
        One row per model: sequences_per_second, memory_mb (peak of its process; NaN for a model that was given loaded),
        parameters, operations (multiplications and additions per window, as counted by PyTorch).
    """

    metrics: pd.DataFrame
    cost: pd.DataFrame
    runs: dict[str, Run] = field(repr=False)
    sets: dict[str, Labelled] = field(repr=False)

    def to_markdown(self) -> str:
        """Both tables in Markdown."""
        return _markdown(self.metrics, self.cost, self.sets)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Plot ROC and precision-recall curves, or predicted against measured values, for each data set.

        Parameters
        ----------
        path : str or pathlib.Path, optional
            .png, .svg or .pdf file to write.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        OutputError
            If matplotlib or scikit-learn is not installed, or the suffix is unknown.
        """
        return picture(path, ("matplotlib", "scikit-learn"), lambda: _figure(self.runs, self.sets))


def compare(
    models: Any,
    data: Any,
    *,
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> Comparison:
    """Evaluate models on the same labelled sequences: metrics with intervals, paired tests, time and memory.

    Sequences are centred in a model's window. Longer ones are cut at both ends, shorter ones are padded with N. Their
    numbers are logged and reported in the columns `cut` and `padded`.

    Parameters
    ----------
    models : model, or list of models
        Names, paths or loaded models. Duplicates are ignored. All models are compared with the first. A model given by
        name or path runs in a process of its own, to measure its peak memory.
    data : dict, or list of str
        Target of the models -> CSV file with header `sequence,label` (0 or 1) or `sequence,value`, data frame with
        these columns, or pair (sequences, labels). Or strings TARGET=FILE.
    batch_size : int
        Windows per batch.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    output : str, pathlib.Path, or list of them, optional
        Files to write: .tsv (metrics), .md (both tables), .html (a page, as of `regzoo.report`), or .png, .svg or .pdf
        (curves).
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Comparison

    Raises
    ------
    regzoo.RegzooError
        If a model, a target, a file or an output is not valid.
    """
    outputs = checked_outputs(output, data, (".tsv", ".md", ".html", *SUFFIXES), ("matplotlib", "scikit-learn"))
    sets, runs = read_sets(data), {}
    codes = {target: labelled.codes for target, labelled in sets.items()}
    for name, model in tqdm(_by_name(models).items(), desc="comparing", unit=" models", disable=not progress):
        if isinstance(model, str):
            runs[name] = _in_process(model, codes, batch_size, device)
        else:
            runs[name] = _evaluate(load_model(model), codes, batch_size, measure_memory=False)
    log_fit(sets, {name: run.length for name, run in runs.items()})
    found = Comparison(_table(runs, sets), _cost(runs, sets), runs, sets)
    for path in outputs:
        if str(path).endswith(SUFFIXES):
            found.plot(path)
            continue
        if str(path).endswith(".html"):
            from regzoo.reports.build import report

            report(found, output=path)
            continue
        with finished_file(path) as temporary:
            if str(path).endswith(".tsv"):
                found.metrics.to_csv(temporary, sep="\t", index=False, float_format="%.5g")
            else:
                temporary.write_text(found.to_markdown() + "\n")
    return found


def checked_outputs(output: Any, data: Any, suffixes: Sequence[str], packages: Sequence[str]) -> list[str | Path]:
    """Validate output files.

    Parameters
    ----------
    output, data
        See `compare`.
    suffixes : sequence of str
        Accepted suffixes.
    packages : sequence of str
        Packages that pictures require.

    Returns
    -------
    list of str or pathlib.Path

    Raises
    ------
    OutputError
        If a suffix is unknown, a package is not installed, or an output is one of the input files.
    """
    outputs = [] if output is None else list(output) if isinstance(output, (list, tuple)) else [output]
    texts = list(data.values()) if isinstance(data, dict) else [text.partition("=")[2] for text in listed(data)]
    for path in outputs:
        check_suffix(path, suffixes, stdout=False)
        if str(path).endswith(SUFFIXES):
            require_packages(path, *packages)
        refuse_overwrite(path, [given for given in texts if isinstance(given, (str, Path))])
    return outputs


def _by_name(models):
    """Models by name, without duplicates: names and paths as strings, loaded models unchanged."""
    found: dict[str, Any] = {}
    for one in models if isinstance(models, (list, tuple)) else [models]:
        one = str(one) if isinstance(one, Path) else one
        name = one if isinstance(one, str) else getattr(one, "name", None) or "model"
        if found.setdefault(name, one) is not one and not isinstance(one, str):
            raise InputError(f"two loaded models have the name {name!r}; give each its own name")
    if not found:
        raise InputError("no model is given")
    return found


def _in_process(name, codes, batch_size, device):
    """Evaluate a model in a new process, whose peak memory is the model's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_load_and_evaluate, name, codes, batch_size, device, torch.get_num_threads()).result()
        except BrokenProcessPool as error:
            raise ModelError(
                f"{name}: its process ended early. Possible causes: too little memory (try a smaller batch size), or a "
                "script without `if __name__ == '__main__':` around its code, which the new process runs again"
            ) from error


def _load_and_evaluate(name, codes, batch_size, device, threads):
    torch.set_num_threads(threads)
    return _evaluate(load_model(name, device), codes, batch_size)


def _evaluate(model, sets, batch_size, measure_memory=True):
    columns = {target: model.columns([target])[0] for target in sets}
    windows = {target: fitted(codes, model.input_length) for target, codes in sets.items()}
    model.predict(next(iter(windows.values()))[:batch_size], batch_size)  # warm up
    start = time.perf_counter()
    scores = {target: scalar(model.predict(codes, batch_size))[:, columns[target]] for target, codes in windows.items()}
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
    x = torch.from_numpy(one_hot(next(iter(windows.values()))[:1])).to(model.device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.module(x)
    parameters = sum(p.numel() for p in model.module.parameters())
    memory = memory if measure_memory else np.nan
    return Run(scores, seconds, memory, parameters, counter.get_total_flops(), model.input_length)


def scalar(predictions: np.ndarray) -> np.ndarray:
    """Predictions of shape (N, targets). Profiles, shape (N, targets, bins), are averaged over bins."""
    return predictions.mean(axis=2) if predictions.ndim == 3 else predictions


def _table(runs, sets):
    rows, first = [], next(iter(runs))
    for target, labelled in sets.items():
        labels = labelled.labels
        for name, run in runs.items():
            row = {
                "target": target,
                "model": name,
                "examples": len(labels),
                "cut": labelled.cut(run.length),
                "padded": labelled.padded(run.length),
            }
            if not labelled.regression:
                row["positive"] = int(labels.sum())
            for metric, value in evaluate_predictions(labels, run.scores[target], labelled.regression).items():
                row |= {metric: value["value"], f"{metric}_low": value["low"], f"{metric}_high": value["high"]}
            pair = labels, run.scores[target], runs[first].scores[target]
            test = paired_bootstrap(*pair, metric=pearson) if labelled.regression else delong(*pair)
            row |= {"difference": test["difference"], "p": test["p"] if name != first else np.nan}
            rows.append(row)
    return pd.DataFrame(rows)


def _markdown(table, cost, sets):
    lines = []
    for regression, names, test in (
        (False, METRICS, "AUROC - first's | p (DeLong)"),
        (True, CORRELATIONS, "Pearson - first's | p (paired bootstrap)"),
    ):
        own = [target for target, labelled in sets.items() if labelled.regression == regression]
        if not own:
            continue
        lines += [f"| target | examples | model | {' | '.join(names)} | {test} |", "|---" * (5 + len(names)) + "|"]
        for row in table[table.target.isin(own)].to_dict("records"):
            cells = (f"{row[m]:.3f} ({row[f'{m}_low']:.3f}–{row[f'{m}_high']:.3f})" for m in names)
            against = "– | –" if np.isnan(row["p"]) else f"{row['difference']:+.3f} | {row['p']:.2g}"
            lines.append(f"| {row['target']} | {row['examples']} | {row['model']} | {' | '.join(cells)} | {against} |")
        lines.append("")
    lines += [
        "| model | sequences per second | peak memory, MB | parameters | operations per window |",
        "|---|---|---|---|---|",
    ]
    for row in cost.itertuples():
        memory = "–" if np.isnan(row.memory_mb) else f"{row.memory_mb:,.0f}"
        lines.append(
            f"| {row.model} | {row.sequences_per_second:,.0f} | {memory} | {row.parameters:,} | {row.operations:.2e} |"
        )
    return "\n".join(lines)


def _cost(runs, sets):
    count = sum(len(labelled.codes) for labelled in sets.values())
    return pd.DataFrame(
        [
            {
                "model": name,
                "sequences_per_second": count / run.seconds,
                "memory_mb": run.memory,
                "parameters": run.parameters,
                "operations": run.operations,
            }
            for name, run in runs.items()
        ]
    )


def _figure(runs, sets):
    """Figure with ROC and precision-recall curves for each target, or one scatter plot per model."""
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
    for axis, area, location in ((roc, "AUROC", "lower right"), (precision, "average precision", "lower left")):
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1)
        _plain(axis)
        axis.legend(title=f"Model ({area})", fontsize=6.5, title_fontsize=6.5, loc=location, edgecolor="none")
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
    """Use small labels and remove the upper and right spines."""
    axis.tick_params(labelsize=7)
    axis.xaxis.label.set_size(8)
    axis.yaxis.label.set_size(8)
    axis.spines[["top", "right"]].set_visible(False)
