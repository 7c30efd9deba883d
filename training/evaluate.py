"""Evaluation and prediction of a finished run."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regzoo.evaluate.calibration import temperature
from regzoo.evaluate.metrics import METRICS
from regzoo.evaluate.tables import dev_thresholds, evaluation_figure, evaluation_table, readable, two_class_targets
from regzoo.evaluate.transfer import specificity
from regzoo.output.files import finished_file
from regzoo.sequence.codes import fitted
from regzoo.sequence.fasta import read_fasta
from training.calibrate import fit_calibration
from training.data import Examples, load_examples
from training.data.records import column, read_table, table_sequences
from training.networks import load_run, predict
from training.run import Run, write, write_text
from training.scores import evaluate_splits, source_means, source_table

logger = logging.getLogger(__name__)


def evaluate_run(recipe_path: str | Path) -> str:
    """Compute every metric of a run on dev and test.

    evaluation-SPLIT.tsv, .png, .svg and evaluation.md are written to the run's folder. Where the data names the source
    of each row, evaluation-SPLIT-by-source.tsv has the metrics within each source. Of models with several
    classification targets, specificity-SPLIT.tsv compares each target's output with those of the other targets on the
    same labels. Metrics on test are added to metrics.json, from which `export` reads them.

    Parameters
    ----------
    recipe_path : str or pathlib.Path

    Returns
    -------
    str
        The tables in Markdown.

    Raises
    ------
    InputError
        If the run has not finished or its data is not valid.
    """
    run = Run(recipe_path, "fit", "probe")
    data, metrics, network = run.recipe.data, run.metrics(), load_run(run)
    splits, _ = load_examples(data)
    splits.pop("train")
    predictions = {split: predict(network, part.codes, data).cpu().numpy() for split, part in splits.items()}
    thresholds, text = None, []
    if data.task != "regression":
        dev = splits["dev"].labels, predictions["dev"]
        thresholds = dev_thresholds(data.targets, *dev)
        scales = {t: round(temperature(y, p), 3) for t, y, p in two_class_targets(data.targets, *dev)}
        text.append(f"Temperature of each target's logits, fitted on dev: {scales}\n")
    if data.task == "binary":
        metrics["calibration"] = fit_calibration(data, splits, predictions)
    for split, scores in predictions.items():
        table = _write_split(run.folder, split, data, splits[split], scores, thresholds)
        if split != "dev":
            metrics[split] = _metrics_of(table, data, splits[split], scores)
        text += [f"## {split}\n", readable(table), ""]
        _add_details(metrics, run.folder, split, data, splits[split], scores)
    write_text(run.folder / "evaluation.md", "\n".join(text))
    if (run.folder / "svr.npz").is_file():
        with np.load(run.folder / "svr.npz") as machine:
            unseen = {split: machine[split] for split in splits if split != "dev"}
            metrics["svr"] |= evaluate_splits(data, splits, unseen)
    run.write_metrics(metrics)
    return "\n".join(text)


def _write_split(folder, split, data, examples, scores, thresholds):
    """Write the table and the figure of a split; returns the table."""
    table = evaluation_table(data.targets, examples.labels, scores, thresholds)
    _write_table(folder / f"evaluation-{split}.tsv", table)
    figure = evaluation_figure(data.targets, examples.labels, scores)
    for suffix in ("png", "svg"):
        with finished_file(folder / f"evaluation-{split}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, dpi=120)
    return table


def _add_details(
    metrics: dict[str, Any], folder: Path, split: str, data: Any, examples: Examples, scores: np.ndarray
) -> None:
    """Metrics within sources, and specificity of the targets, to files and to the run's metrics."""
    if examples.sources is not None:
        table = source_table(data, examples, scores)
        _write_table(folder / f"evaluation-{split}-by-source.tsv", table)
        metrics.setdefault("by_source", {})[split] = source_means(table, examples)
    if data.task == "binary" and len(data.targets) > 1:
        table = specificity(data.targets, examples.labels, scores)
        _write_table(folder / f"specificity-{split}.tsv", table)
        metrics.setdefault("specificity", {})[split] = {
            row.target: {"best_other": row.best_other, "difference": round(row.difference, 4), "p": row.p}
            for row in table.dropna(subset=["difference"]).itertuples()
        }


def _metrics_of(table, data, examples, scores):
    """Metrics with intervals of each target, as of `evaluate_splits`; those of classifiers are in the split's table."""
    if data.task == "regression":
        return evaluate_splits(data, {"": examples}, {"": scores})[""]
    first = next(iter(METRICS))
    if first not in table:  # no target has both classes
        return {}
    rows = table[table.target.isin(data.targets) & table[first].notna()]
    bounds = {"value": "", "low": "_low", "high": "_high"}
    return {
        row["target"]: {name: {key: row[name + end] for key, end in bounds.items()} for name in METRICS}
        for row in rows.to_dict("records")
    }


def _write_table(path, table):
    write(path, lambda temporary: table.to_csv(temporary, sep="\t", index=False, float_format="%.5g"))


def predict_sequences(recipe_path: str | Path, sequences: str | Path, output: str | Path) -> int:
    """Predict sequences, centred in windows of the run's length, and write a TSV.

    Parameters
    ----------
    recipe_path, output : str or pathlib.Path
    sequences : str or pathlib.Path
        FASTA, or a table with a column `sequence`.

    Returns
    -------
    int
        Number of sequences.

    Raises
    ------
    InputError
        If the run has not finished or the file is not valid.
    """
    run, path = Run(recipe_path, "fit", "probe"), Path(sequences)
    data, length = run.recipe.data, run.metrics()["input_length"]
    if path.name.removesuffix(".gz").endswith((".fa", ".fasta")):
        names, rows = read_fasta(path)
    else:
        table = read_table(path)
        names, rows = list(table.index), table_sequences(column(table, "sequence", path), path)
    others = sum(len(row) != length for row in rows)
    if others:
        logger.warning(
            "%s: %d of %d sequences are not %d bases long; they are cut or padded around their centres",
            path,
            others,
            len(rows),
            length,
        )
    codes = np.concatenate([fitted(row[None], length) for row in rows])
    result = pd.DataFrame(predict(load_run(run), codes, data).cpu().numpy(), columns=data.targets)
    result.insert(0, "sequence", names)
    with finished_file(output) as temporary:
        result.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
    return len(rows)
