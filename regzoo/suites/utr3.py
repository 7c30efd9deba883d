"""Suite 'utr3': four tasks on 3'UTRs for language models, after Vilov & Heinig.

Source of the protocol and of the published figures: github.com/sergeyvilov/investigating-foundation-models-3utr
(commit 60f8d82).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import regzoo
from regzoo.effects.masked_scores import base_log_probabilities
from regzoo.errors import ModelError
from regzoo.nets.language_models import LanguageModel
from regzoo.nets.sequence_model import SEQUENCE_TOKENS
from regzoo.sequence import encode
from regzoo.sequence.codes import UNKNOWN
from regzoo.suites import heads, probe
from regzoo.suites.probe import ProbeTask
from regzoo.suites.protocol import Measure, Task, metric_rows
from regzoo.suites.utr3_tasks import CELLS, CENTRAL, AllelePairs, BaseSet, SequenceSet, VariantSet, tasks

__all__ = ["BASELINE", "baseline", "published", "report", "scores", "tasks"]

BASELINE = "sequence composition"
_AROUND = (5, 10, 25)  # bases on each side over which the influence of a variant is taken
_FLANK = 256  # bases on each side of a variant whose alleles are embedded
_ZERO_SHOT = ("p_ref", "llr", *(f"vis_mean within {around}" for around in _AROUND))
#: Model -> Pearson correlations of ridge regressions on `_SETS`.
_RIDGE = {
    "DNABERT": (0.28, 0.17, 0.27, 0.38, 0.23, 0.22, 0.29, 0.28, 0.30),
    "DNABERT-2": (0.11, 0.10, 0.13, 0.31, 0.18, 0.15, 0.28, 0.26, 0.32),
    "NT-v2-100M": (0.14, 0.12, 0.16, 0.32, 0.20, 0.18, 0.25, 0.26, 0.32),
    "DNABERT pretrained on 3'UTRs": (0.38, 0.32, 0.35, 0.51, 0.35, 0.34, 0.54, 0.48, 0.41),
    "StateSpace": (0.40, 0.30, 0.38, 0.50, 0.34, 0.32, 0.45, 0.32, 0.36),
}
_SETS = (*(f"mprau {cell}" for cell in CELLS), "stability Beas2B", "stability Jurkat", "half-life")


def scores(model: LanguageModel, task: Any, batch_size: int = 64) -> np.ndarray:
    """Features or scores of the rows.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    batch_size : int
        Sequences of 64 tokens in one pass.

    Returns
    -------
    numpy.ndarray, float
        Mean embeddings of sequences, shape (N, hidden), or of both alleles, shape (N, 2 x hidden); or zero-shot scores
        of bases, shape (N, 1), or of variants, shape (N, 5).
    """
    if isinstance(task, BaseSet):
        return _expected(model, task.sequences, batch_size)
    if isinstance(task, AllelePairs):
        return np.concatenate([probe.embedded(model, side, batch_size) for side in _windows(task)], axis=1)
    if isinstance(task, VariantSet):
        return _zero_shot(model, task, batch_size)
    return probe.scores(model, task, batch_size)


def _zero_shot(model, task, batch_size):
    """Scores of variants, columns `_ZERO_SHOT`."""
    length = int(min(512, max(task.genome.lengths)))
    wanted = [(["p_ref", "llr"], _AROUND[0]), *((["vis_mean"], around) for around in _AROUND)]
    found: list[Any] = [
        regzoo.zero_shot(
            model, task.variants, task.genome, scores=own, around=around, batch_size=batch_size, length=length
        )
        for own, around in wanted
    ]
    return pd.concat([table.filter(like="zero_shot:") for table in found], axis=1).to_numpy(float)


def _windows(task):
    """Windows of both alleles around the variants of a task."""
    numbers = np.array([task.genome.number(name) for name in task.variants.chrom])
    starts = task.variants.pos.to_numpy() - 1 - _FLANK
    ref = task.genome.windows(numbers, starts, 2 * _FLANK + 1)
    alt = ref.copy()
    alt[:, _FLANK] = encode("".join(task.variants.alt))
    return list(ref), list(alt)


def _neighbours(task):
    """Group of each variant: those on one contig whose windows overlap, directly or through others."""
    numbers = np.array([task.genome.number(name) for name in task.variants.chrom])
    positions = task.variants.pos.to_numpy()
    order = np.lexsort((positions, numbers))
    apart = (np.diff(numbers[order]) != 0) | (np.diff(positions[order]) > 2 * _FLANK)
    groups = np.empty(len(order), dtype=int)
    groups[order] = np.concatenate([[0], np.cumsum(apart)])
    return groups


def _expected(model, sequences, batch_size):
    """Mean probability of the central bases, each hidden in turn, shape (N, 1)."""
    total = np.zeros(len(sequences))
    codes = np.stack(sequences)
    for place in range((codes.shape[1] - CENTRAL) // 2, (codes.shape[1] + CENTRAL) // 2):
        places = np.full(len(codes), place)
        log_p = base_log_probabilities(model, codes, places, SEQUENCE_TOKENS * batch_size)
        own = codes[:, place]
        total += np.where(own < UNKNOWN, np.exp(log_p[np.arange(len(codes)), np.minimum(own, 3)]), 0.25)
    return (total / CENTRAL)[:, None]


def baseline(task: Any) -> np.ndarray:
    """Features or scores that need no model.

    Frequencies of 4-mers of sequences; the fraction of A and T of the central bases; of variants, the change in G+C.
    """
    if isinstance(task, BaseSet):
        codes = np.stack(task.sequences)
        middle = (codes.shape[1] - CENTRAL) // 2
        return np.isin(codes[:, middle : middle + CENTRAL], (0, 3)).mean(axis=1)[:, None]
    if isinstance(task, AllelePairs):
        return np.concatenate([probe.frequencies(side) for side in _windows(task)], axis=1)
    if isinstance(task, VariantSet):
        ref, alt = (task.variants[side].isin(["C", "G"]).to_numpy(float) for side in ("ref", "alt"))
        return (alt - ref)[:, None]
    return probe.baseline(task)


def report(
    tasks: Sequence[Task], targets: Sequence[str] | None, values: Iterable[np.ndarray], fixed: bool = False
) -> list[dict[str, Any]]:
    """Metrics of predictors on features, and of zero-shot scores.

    Parameters
    ----------
    tasks : sequence of Task
    targets : sequence of str, or None
        Names of the columns of a file of scores; empty for a language model, None for the baseline.
    values : iterable of numpy.ndarray, float, shape (N, columns)
        What `scores` gives for each data set.
    fixed : bool
        Not used.

    Returns
    -------
    list of dict
        See `regzoo.suites.protocol.report`.

    Raises
    ------
    ModelError
        If a zero-shot score is not a finite number.
    InputError
        If there are too few rows or groups for the cross-validation.
    """
    found = []
    for task, given in zip(tasks, values):
        if isinstance(task, SequenceSet):
            found += _regressions(task, given)
        elif isinstance(task, ProbeTask):
            found += _logistic(task, given)
        elif isinstance(task, AllelePairs):
            labels = task.labels[task.name]
            predicted = heads.perceptron(given, labels, _neighbours(task), task.trials, task.seed)
            found += _rows(task, "perceptron on both alleles", predicted, Measure("auroc", labels))
        else:
            found += _columns(task, _names(task, targets), given)
    return found


def _rows(task, target, values, *measures, name=None):
    """Rows of the result for one column of all rows of a data set."""
    own = ProbeTask(name or task.name, task.ids, list(measures), task.half, task.choice, [], task.half, 0)
    return metric_rows(own, target, values, np.ones(len(values), dtype=bool), task.choice)


def _regressions(task, features):
    """Out-of-fold correlations of every measured value, with ridge and, when asked, support vector regression."""
    found = []
    for key, measured in task.values.items():
        known = ~np.isnan(measured)
        inputs = (features[known], measured[known], task.groups[known])
        predicted = {"ridge regression": heads.ridge(*inputs, task.alphas)}
        if task.trials:
            predicted["support vector regression"] = heads.support_vectors(*inputs, task.trials, task.seed)
        name = task.name if key == task.name else f"{task.name} {key}"
        for head, values in predicted.items():
            found += _rows(task, head, values, Measure("pearson", measured[known]), name=name)
    return found


def _logistic(task, features):
    """AUROC on the test rows of a logistic regression on the training rows."""
    train = task.half
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    predicted = np.zeros(len(train))
    predicted[~train] = model.fit(features[train], task.labels[train]).decision_function(features[~train])
    return metric_rows(task, "logistic regression", predicted, ~train, task.choice)


def _names(task, targets):
    """Names of the columns of zero-shot scores; see `report`."""
    if targets is None:
        return ["A+T" if isinstance(task, BaseSet) else "change in G+C"]
    own = ["p of the reference base"] if isinstance(task, BaseSet) else _ZERO_SHOT
    return list(targets or own)


def _columns(task, names, values):
    """Metrics of zero-shot scores. A score without a sign is compared with the size of the effect."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ModelError(
            f"data set {task.name}: {names[column]} of {task.ids[row]} is not a finite number, nor are those of "
            f"{len(set(bad[:, 0])) - 1:,} more of the {len(values):,} rows"
        )
    if isinstance(task, BaseSet):
        return [row for name, column in zip(names, values.T) for row in _rows(task, name, column, task.measures[0])]
    found = []
    for data_set, labels in task.labels.items():
        for name, column in zip(names, values.T):
            signed = task.classes or not name.startswith(("p_ref", "vis"))
            measure = Measure("auroc" if task.classes else "spearman", labels if signed else np.abs(labels))
            target = name if signed else f"{name}, against the effect's size"
            found += _rows(task, target, column, measure, name=data_set)
    return found


def published(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Pearson correlations of ridge regressions that Vilov & Heinig report.

    Parameters
    ----------
    tasks : sequence of Task
        Data sets to report.

    Returns
    -------
    list of dict
    """
    about = {"target": "ridge regression", "metric": "pearson", "low": np.nan, "high": np.nan, "n": None}
    about |= {"choice": "published", "note": "with all rows and the authors' folds"}
    own = {task.name.split(" ")[0] for task in tasks if isinstance(task, SequenceSet)}
    return [
        about | {"model": f"published: {model}", "data_set": name, "value": value}
        for model, values in _RIDGE.items()
        for name, value in zip(_SETS, values)
        if name.split(" ")[0] in own
    ]
