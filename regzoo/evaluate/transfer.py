"""Transfer between cell types, factors or assays: predictions of each target evaluated on each data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from regzoo.errors import InputError
from regzoo.evaluate.compare import checked_outputs, scalar
from regzoo.evaluate.labelled import log_fit, read_sets
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, auroc, bootstrap, has_both_classes
from regzoo.evaluate.paired import delong
from regzoo.options import distinct
from regzoo.output.files import finished_file
from regzoo.pictures import SUFFIXES, picture
from regzoo.prediction import columns_of_models
from regzoo.sequence.codes import fitted
from regzoo.zoo import load_models

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Transfer:
    """Results of `transfer`.

    Attributes
    ----------
    matrix : pandas.DataFrame
        AUROC, or Pearson's correlation with measured values. Rows are targets (MODEL:TARGET for several models),
        columns are data sets.
    table : pandas.DataFrame
        One row per pair, with 95% bootstrap interval: model, trained, tested, metric, value, low, high, cut, padded.
    """

    matrix: pd.DataFrame
    table: pd.DataFrame

    def plot(self, path: str | Path | None = None) -> Figure:
        """Plot the matrix as a heat map.

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
            If matplotlib is not installed, or the suffix is unknown.
        """
        names = sorted(self.table.metric.unique()), list(self.table.model.unique())
        return picture(path, ("matplotlib",), lambda: _heat_map(self.matrix, *names))


def transfer(
    models: Any,
    data: Any,
    *,
    targets: Sequence[str] = (),
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> Transfer:
    """Evaluate each target on each data set: trained on one cell type or factor, tested on another.

    Parameters
    ----------
    models : model, or list of models
        Names, paths or loaded models. Duplicates are ignored.
    data : dict, or list of str
        Name -> labelled sequences (see `regzoo.compare`), or strings NAME=FILE.
    targets : sequence of str
        Targets to evaluate. All by default.
    batch_size : int
        Windows per batch.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    output : str, pathlib.Path, or list of them, optional
        Files to write: .tsv (the table), or .png, .svg or .pdf (the matrix as a heat map).
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Transfer

    Raises
    ------
    regzoo.RegzooError
        If a model, a target, a file or an output is not valid.
    """
    outputs = checked_outputs(output, data, (".tsv", *SUFFIXES), ("matplotlib",))
    sets, loaded = read_sets(data), load_models(models, device)
    rows = []
    log_fit(sets, {model.name: model.input_length for model in loaded})
    for model, columns in zip(loaded, columns_of_models(loaded, distinct(targets))):
        for tested, labelled in tqdm(sets.items(), desc=model.name, unit=" sets", disable=not progress):
            scores = scalar(model.predict(fitted(labelled.codes, model.input_length), batch_size))
            metric = "pearson" if labelled.regression else "auroc"
            chosen = {metric: (METRICS | CORRELATIONS)[metric]}
            for column in columns:
                found = bootstrap(labelled.labels, scores[:, column], chosen)[metric]
                pair = {"model": model.name, "trained": model.targets[column], "tested": tested, "metric": metric}
                fit = {"cut": labelled.cut(model.input_length), "padded": labelled.padded(model.input_length)}
                rows.append(pair | found | fit)
    table = pd.DataFrame(rows)
    label = table.trained if len(loaded) == 1 else table.model + ":" + table.trained
    matrix = table.assign(trained=label).pivot(index="trained", columns="tested", values="value")
    result = Transfer(matrix.loc[label.unique(), list(sets)], table)
    for path in outputs:
        if str(path).endswith(SUFFIXES):
            result.plot(path)
            continue
        with finished_file(path) as temporary:
            table.to_csv(temporary, sep="\t", index=False, float_format="%.5g")
    return result


def specificity(targets: Sequence[str], labels: ArrayLike, scores: ArrayLike) -> pd.DataFrame:
    """Compare the AUROC of each target's own output with that of the other targets' outputs on the same labels.

    Parameters
    ----------
    targets : sequence of str
    labels : array_like, float, shape (N, targets)
        0 or 1; NaN if unknown.
    scores : array_like, float, shape (N, targets)

    Returns
    -------
    pandas.DataFrame
        One row per target with both classes: `target`; `auroc` of its own output; `best_other`, the other target whose
        output has the largest AUROC; `best_other_auroc`; `difference` and `p` of DeLong's test between the two. The
        last four are missing if there is only one target.

    Raises
    ------
    InputError
        If labels and scores do not have the shape (N, targets).
    """
    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape or labels.ndim != 2 or labels.shape[1] != len(targets):
        raise InputError(
            f"expected labels and scores of shape (N, {len(targets)}), a column per target; "
            f"got {labels.shape} and {scores.shape}"
        )
    rows = []
    for index, target in enumerate(targets):
        known = ~np.isnan(labels[:, index])
        own = labels[known, index]
        if not has_both_classes(own):
            continue
        ones = np.ones((1, len(own)))
        areas = np.array([auroc(own, column, ones)[0] for column in scores[known].T])
        row: dict[str, Any] = {"target": target, "auroc": areas[index]}
        others = np.delete(np.arange(len(targets)), index)
        if len(others):
            best = others[areas[others].argmax()]
            test = delong(own, scores[known, index], scores[known, best])
            row |= {
                "best_other": targets[best],
                "best_other_auroc": areas[best],
                "difference": test["difference"],
                "p": test["p"],
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=["target", "auroc", "best_other", "best_other_auroc", "difference", "p"])


def _heat_map(matrix, metrics, models):
    from matplotlib.figure import Figure

    # One square per cell, with margins for the names at about 0.075 inches per letter.
    beside, below = (0.4 + 0.075 * max(map(len, map(str, names))) for names in (matrix.index, matrix.columns))
    size = (max(beside + 0.55 * matrix.shape[1] + 1.2, 3.2), below + 0.45 * matrix.shape[0] + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(matrix.to_numpy(), cmap="viridis", aspect="auto")
    axis.set_xticks(range(matrix.shape[1]), matrix.columns, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
    axis.set_yticks(range(matrix.shape[0]), matrix.index, fontsize=7)
    # Rows are outputs of one network or of several.
    axis.set_xlabel("Tested on", fontsize=8)
    axis.set_ylabel("Head" if len(models) == 1 else "Model: head", fontsize=8)
    axis.set_title(models[0] if len(models) == 1 else f"{len(models)} models", fontsize=9)
    axis.tick_params(length=2)
    middle = (np.nanmin(matrix.to_numpy()) + np.nanmax(matrix.to_numpy())) / 2
    for row, values in enumerate(matrix.to_numpy()):
        for column, value in enumerate(values):
            colour = "black" if value > middle else "white"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
    bar = figure.colorbar(image)
    bar.set_label(" / ".join({"auroc": "AUROC", "pearson": "Pearson's r"}[m] for m in metrics), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure
