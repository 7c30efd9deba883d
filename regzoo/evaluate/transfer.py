"""Transfer between cell types, factors or assays: every target's predictions against every data set's labels."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from regzoo.errors import InputError, OutputError
from regzoo.evaluate.labelled import read_sets, say_how_sequences_fit
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, auroc, bootstrap, has_both_classes
from regzoo.evaluate.paired import delong
from regzoo.pictures import DPI, SUFFIXES, require_packages
from regzoo.predict import columns_of_models
from regzoo.sequence.codes import fitted
from regzoo.sequence.files import finished_file, refuse_overwrite
from regzoo.zoo import load_model


def transfer_matrix(models, data, outputs=(), targets=None, batch_size=64, progress=True):
    """AUROC, or Pearson's correlation with measured values, of every target on every data set.

    Parameters
    ----------
    models : list of str
        Names or directories; one that is repeated counts once.
    data : list of str
        NAME=FILE, as `regzoo.evaluate.labelled.read_sets` reads them.
    outputs : list of str
        .tsv holds a row for each pair, with its 95% bootstrap interval; .png, .svg and .pdf the matrix as a heat map.
    targets : list of str, optional
        Of the models, those of each that has some of them; all without it.
    batch_size : int
    progress : bool

    Returns
    -------
    pandas.DataFrame
        Targets in rows, named MODEL:TARGET if there are several models; data sets in columns.

    Raises
    ------
    regzoo.errors.RegzooError
        If a model, a target, a file or an output is not usable.
    """
    for output in outputs:
        if not str(output).endswith((".tsv", *SUFFIXES)):
            raise OutputError(f"{output}: unknown suffix; use one of .tsv, {', '.join(SUFFIXES)}")
        if str(output).endswith(SUFFIXES):
            require_packages(output, "matplotlib")
        refuse_overwrite(output, [text.partition("=")[2] for text in data])
    sets, rows = read_sets(data), []
    loaded = {name: load_model(name) for name in dict.fromkeys(models)}
    chosen_columns = columns_of_models(list(loaded.values()), list(dict.fromkeys(targets or ())))
    say_how_sequences_fit(sets, {name: model.input_length for name, model in loaded.items()})
    for (name, model), columns in zip(loaded.items(), chosen_columns):
        for tested, labelled in tqdm(sets.items(), desc=name, unit=" sets", disable=not progress):
            scores = model.predict(fitted(labelled.codes, model.input_length), batch_size)
            metric = "pearson" if labelled.regression else "auroc"
            chosen = {metric: (METRICS | CORRELATIONS)[metric]}
            for column in columns:
                found = bootstrap(labelled.labels, scores[:, column], chosen)[metric]
                pair = {"model": name, "trained": model.targets[column], "tested": tested, "metric": metric}
                fit = {"cut": labelled.cut(model.input_length), "padded": labelled.padded(model.input_length)}
                rows.append(pair | found | fit)
    table = pd.DataFrame(rows)
    label = table.trained if len(loaded) == 1 else table.model + ":" + table.trained
    matrix = table.assign(trained=label).pivot(index="trained", columns="tested", values="value")
    matrix = matrix.loc[label.unique(), list(sets)]
    for output in outputs:
        with finished_file(output) as temporary:
            if str(output).endswith(".tsv"):
                table.to_csv(temporary, sep="\t", index=False, float_format="%.5g")
            else:
                _heat_map(matrix, sorted(table.metric.unique()), list(loaded)).savefig(temporary, dpi=DPI)
    return matrix


def specificity(targets, labels, scores):
    """Whether each target's own output tells its examples better than the outputs of the other targets do.

    Parameters
    ----------
    targets : list of str
    labels : numpy.ndarray, float, shape (N, targets)
        0 or 1; NaN where unknown.
    scores : numpy.ndarray, float, shape (N, targets)

    Returns
    -------
    pandas.DataFrame
        A row for each target with both classes: `target`, `auroc` of its own output, `best_other`, the other target whose
        output has the largest AUROC on the same labels, `best_other_auroc`, and `difference` and `p` of DeLong's test between
        the two. With one target alone the last four are missing.

    Raises
    ------
    InputError
        If labels and scores are not of one shape with a column for each target.
    """
    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape or labels.ndim != 2 or labels.shape[1] != len(targets):
        raise InputError(
            f"labels {labels.shape} and scores {scores.shape} must be of shape (N, {len(targets)} targets)"
        )
    rows = []
    for index, target in enumerate(targets):
        known = ~np.isnan(labels[:, index])
        own = labels[known, index]
        if not has_both_classes(own):
            continue
        ones = np.ones((1, len(own)))
        areas = np.array([auroc(own, column, ones)[0] for column in scores[known].T])
        row = {"target": target, "auroc": areas[index]}
        others = np.delete(np.arange(len(targets)), index)
        if len(others):
            best = others[areas[others].argmax()]
            test = delong(own, scores[known, index], scores[known, best])
            row |= {"best_other": targets[best], "best_other_auroc": areas[best], "difference": test["difference"],
                    "p": test["p"]}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows, columns=["target", "auroc", "best_other", "best_other_auroc", "difference", "p"])


def _heat_map(matrix, metrics, models):
    from matplotlib.figure import Figure

    # A square a cell, and room for the names beside and below, at about 0.075 inches a letter.
    beside, below = (0.4 + 0.075 * max(map(len, map(str, names))) for names in (matrix.index, matrix.columns))
    size = (max(beside + 0.55 * matrix.shape[1] + 1.2, 3.2), below + 0.45 * matrix.shape[0] + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(matrix.to_numpy(), cmap="viridis", aspect="auto")
    axis.set_xticks(range(matrix.shape[1]), matrix.columns, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
    axis.set_yticks(range(matrix.shape[0]), matrix.index, fontsize=7)
    # The rows are outputs of one network, or of several.
    axis.set_xlabel("Tested on", fontsize=8)
    axis.set_ylabel("Head" if len(models) == 1 else "Model: head", fontsize=8)
    axis.set_title(models[0] if len(models) == 1 else f"{len(models)} models", fontsize=9)
    axis.tick_params(length=2)
    middle = (image.norm.vmin + image.norm.vmax) / 2
    for row, values in enumerate(matrix.to_numpy()):
        for column, value in enumerate(values):
            colour = "black" if value > middle else "white"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
    bar = figure.colorbar(image)
    bar.set_label(" / ".join({"auroc": "AUROC", "pearson": "Pearson's r"}[m] for m in metrics), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure
