"""Transfer between cell types, factors or assays: every target's predictions against every data set's labels."""

import pandas as pd
from tqdm import tqdm

from regzoo.effects.scoring import target_columns
from regzoo.errors import OutputError
from regzoo.evaluate.labelled import read_sets
from regzoo.evaluate.metrics import CORRELATIONS, METRICS, bootstrap
from regzoo.sequence.codes import fitted
from regzoo.sequence.files import finished_file
from regzoo.zoo import load_model


def transfer_matrix(models, data, outputs=(), targets=None, batch_size=64, progress=True):
    """AUROC, or Pearson's correlation with measured values, of every target on every data set.

    Parameters
    ----------
    models : list of str
        Names or directories.
    data : list of str
        NAME=FILE, as `regzoo.evaluate.labelled.read_sets` reads them.
    outputs : list of str
        .tsv holds a row for each pair, with its 95% bootstrap interval; .png and .svg the matrix as a heat map.
    targets : list of str, optional
        Of the models; all without it.
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
        if not str(output).endswith((".tsv", ".png", ".svg")):
            raise OutputError(f"{output}: unknown suffix; use one of .tsv, .png, .svg")
    sets, rows = read_sets(data), []
    for name in models:
        model = load_model(name)
        columns = target_columns(model, targets)
        for tested, labelled in tqdm(sets.items(), desc=name, unit=" sets", disable=not progress):
            scores = model.predict(fitted(labelled.codes, model.input_length), batch_size)
            metric = "pearson" if labelled.regression else "auroc"
            chosen = {metric: (METRICS | CORRELATIONS)[metric]}
            for column in columns:
                found = bootstrap(labelled.labels, scores[:, column], chosen)[metric]
                rows.append(
                    {"model": name, "trained": model.targets[column], "tested": tested, "metric": metric} | found
                )
    table = pd.DataFrame(rows)
    label = table.trained if len(models) == 1 else table.model + ":" + table.trained
    matrix = table.assign(trained=label).pivot(index="trained", columns="tested", values="value")
    matrix = matrix.loc[label.unique(), list(sets)]
    for output in outputs:
        with finished_file(output) as temporary:
            if str(output).endswith(".tsv"):
                table.to_csv(temporary, sep="\t", index=False, float_format="%.5g")
            else:
                _heat_map(matrix, sorted(table.metric.unique())).savefig(temporary, dpi=150, format=str(output)[-3:])
    return matrix


def _heat_map(matrix, metrics):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 0.7 * matrix.shape[1], 1.2 + 0.4 * matrix.shape[0]), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(matrix.to_numpy(), cmap="viridis", aspect="auto")
    axis.set_xticks(range(matrix.shape[1]), matrix.columns, rotation=45, ha="right")
    axis.set_yticks(range(matrix.shape[0]), matrix.index)
    axis.set(xlabel="tested on", ylabel="trained on")
    middle = (image.norm.vmin + image.norm.vmax) / 2
    for row, values in enumerate(matrix.to_numpy()):
        for column, value in enumerate(values):
            colour = "black" if value > middle else "white"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, label=" / ".join({"auroc": "AUROC", "pearson": "Pearson"}[m] for m in metrics))
    return figure
