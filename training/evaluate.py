"""Evaluation and prediction of a finished run."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from regzoo.evaluate.calibration import temperature
from regzoo.evaluate.tables import dev_thresholds, evaluation_figure, evaluation_table, readable, two_class_targets
from regzoo.sequence.codes import fitted
from regzoo.sequence.files import finished_file
from training.data import load_examples
from training.data.records import column, read_fasta, read_table, table_sequences
from training.export import finished_metrics
from training.loop import write, write_text
from training.networks import load_run, predict, run_folder
from training.recipe import load_recipe
from training.scores import evaluate_splits

logger = logging.getLogger(__name__)


def evaluate_run(recipe_path):
    """Every metric of a run on dev and test; evaluation-SPLIT.tsv, .png, .svg and evaluation.md are written to its folder.

    Metrics on test are also added to metrics.json, from where `export` takes them.

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
        If the run has not finished or its data is not usable.
    """
    recipe, folder, network = load_recipe(recipe_path), run_folder(recipe_path), load_run(recipe_path)
    metrics = finished_metrics(recipe_path, folder)
    splits, _ = load_examples(recipe.data)
    predictions = {
        split: predict(network, part.codes, recipe.data).cpu().numpy()
        for split, part in splits.items()
        if split != "train"
    }
    targets, dev, thresholds, text = recipe.data.targets, splits["dev"].labels, None, []
    if recipe.data.task != "regression":
        thresholds = dev_thresholds(targets, dev, predictions["dev"])
        scales = {t: round(temperature(y, p), 3) for t, y, p in two_class_targets(targets, dev, predictions["dev"])}
        text.append(f"Temperature of each target's logits by dev's likelihood: {scales}\n")
    for split, scores in predictions.items():
        table = evaluation_table(targets, splits[split].labels, scores, thresholds)
        write(
            folder / f"evaluation-{split}.tsv",
            lambda path, t=table: t.to_csv(path, sep="\t", index=False, float_format="%.5g"),
        )
        text += [f"## {split}\n", readable(table), ""]
        figure = evaluation_figure(targets, splits[split].labels, scores)
        for suffix in ("png", "svg"):
            with finished_file(folder / f"evaluation-{split}.{suffix}") as temporary:
                figure.savefig(temporary, format=suffix, dpi=120)
    write_text(folder / "evaluation.md", "\n".join(text))
    unseen = predictions.keys() - {"dev"}
    metrics |= evaluate_splits(recipe.data, splits, {split: predictions[split] for split in unseen})
    if (folder / "svr.npz").is_file():
        with np.load(folder / "svr.npz") as machine:
            metrics["svr"] |= evaluate_splits(recipe.data, splits, {split: machine[split] for split in unseen})
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    return "\n".join(text)


def predict_sequences(recipe_path, sequences, output):
    """Predictions of sequences, centred in windows of the run's length, as a TSV.

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
        If the run has not finished or the file is not usable.
    """
    recipe, path = load_recipe(recipe_path), Path(sequences)
    length = finished_metrics(recipe_path, run_folder(recipe_path))["input_length"]
    if path.name.removesuffix(".gz").endswith((".fa", ".fasta")):
        names, rows = read_fasta(path)
    else:
        table = read_table(path)
        names, rows = list(table.index), table_sequences(column(table, "sequence", path), path)
    others = sum(len(row) != length for row in rows)
    if others:
        logger.warning("%s: %d of %d sequences are not of %d bases; they are centred", path, others, len(rows), length)
    codes = np.concatenate([fitted(row[None], length) for row in rows])
    result = pd.DataFrame(predict(load_run(recipe_path), codes, recipe.data).cpu().numpy(), columns=recipe.data.targets)
    result.insert(0, "sequence", names)
    with finished_file(output) as temporary:
        result.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
    return len(rows)
