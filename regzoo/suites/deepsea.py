"""Suite 'deepsea': agreement of a model's variant effects with those of an official model, target by target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import regzoo
from regzoo.errors import InputError
from regzoo.evaluate.metrics import bootstrap, pearson, spearman
from regzoo.model import Model
from regzoo.sequence.genome import as_genome
from regzoo.suites.protocol import Task
from regzoo.zoo import load_model

__all__ = ["BASELINE", "baseline", "report", "scores", "tasks"]

BASELINE = "change in G+C"
TOP = 100  # strongest variants whose overlap is reported
_LARGEST = "largest of all targets"


@dataclass
class AgreementTask(Task):
    """Alleles, and an official model's effects on them.

    Attributes
    ----------
    variants : pandas.DataFrame
        Columns chrom, pos, ref, alt of the alleles that the official model scores.
    genome : Genome
    reference : pandas.DataFrame
        Effects of the official model, a column for each target.
    note : str
        How many alleles the official model does not score; empty if none.
    """

    variants: pd.DataFrame
    genome: Any
    reference: pd.DataFrame
    note: str = ""

    def columns(self) -> dict[str, list[str]]:
        """Position and alleles."""
        return {name: [str(value) for value in self.variants[name]] for name in ("chrom", "pos", "ref", "alt")}


def tasks(variants: Any, genome: Any, reference: Any, device: str = "auto") -> list[Task]:
    """One data set: the alleles that the official model scores.

    Parameters
    ----------
    variants : VCF file, data frame or list
    genome : str, pathlib.Path or Genome
    reference : model
        By name or path; its weights are fetched on first use.
    device : str

    Returns
    -------
    list of AgreementTask

    Raises
    ------
    InputError
        If variants or genome are missing, or fewer than three alleles are scored.
    """
    if variants is None or genome is None:
        raise InputError("the suite 'deepsea' needs variants and their genome (--variants, --genome)")
    opened, model = as_genome(genome), load_model(reference, device)
    table: Any = regzoo.score_variants(model, variants, opened, scores=[_score(model)])
    given = len(table)
    table = table[table.status == "scored"].reset_index(drop=True)
    note = _left_out(given - len(table), given, model.name)
    if len(table) < 3:
        raise InputError(f"{model.name} scores {len(table)} of the alleles; correlations need three or more")
    effects = table.filter(like=":").rename(columns=lambda name: name.split(":", 1)[1])
    ids = [f"{row.record}:{row.chrom}:{row.pos}:{row.ref}:{row.alt}" for row in table.itertuples()]
    half = np.zeros(len(ids), dtype=bool)
    alleles = table[["chrom", "pos", "ref", "alt"]]
    return [AgreementTask(f"effects of {model.name}", ids, [], half, "all alleles", alleles, opened, effects, note)]


def _left_out(count, total, name):
    return f"{count:,} of {total:,} alleles left out, which {name} does not score" if count else ""


def _score(model):
    return "logit" if model.outputs == "probabilities" else "diff"


def scores(model: Model, task: AgreementTask, batch_size: int = 64) -> np.ndarray:
    """Effects of a model: differences of logits, or of predicted values.

    Parameters
    ----------
    model : Model
    task : AgreementTask
    batch_size : int

    Returns
    -------
    numpy.ndarray, float, shape (N, targets)
        Not a number where the model does not score an allele.
    """
    kind = _score(model)
    table: Any = regzoo.score_variants(model, task.variants, task.genome, scores=[kind], batch_size=batch_size)
    return table[[f"{kind}:{target}" for target in model.targets]].to_numpy(float)


def baseline(task: AgreementTask) -> np.ndarray:
    """Change in the number of G and C, shape (N, 1)."""
    counts = [task.variants[side].str.count("[GC]").to_numpy(float) for side in ("ref", "alt")]
    return (counts[1] - counts[0])[:, None]


def report(
    tasks: Sequence[AgreementTask], targets: Sequence[str], values: Iterable[np.ndarray], fixed: bool = False
) -> list[dict[str, Any]]:
    """Correlations, and overlap of the strongest variants, for every target that both models have.

    Parameters
    ----------
    tasks : sequence of AgreementTask
    targets : sequence of str
        Names of the model's targets.
    values : iterable of numpy.ndarray, float, shape (N, targets)
    fixed : bool
        Whether the targets were chosen by the user.

    Returns
    -------
    list of dict
        See `regzoo.suites.protocol.report`. The last target is the largest magnitude over each model's targets, unless
        targets were chosen. There is no overlap of the strongest where there are not more alleles than these.

    Raises
    ------
    InputError
        If a chosen target is not one of the official model's, or fewer than three alleles are scored.
    """
    found = []
    for task, own in zip(tasks, values):
        known = np.isfinite(own).all(axis=1)
        if known.sum() < 3:
            raise InputError(f"{task.name}: the model scores {known.sum()} of {len(known)} alleles; expected 3 or more")
        notes = [task.note, _left_out(len(known) - known.sum(), len(known), "the model")]
        shared = {"data_set": task.name, "n": int(known.sum()), "note": "; ".join(note for note in notes if note)}
        for name, (one, other) in _pairs(own[known], task.reference[known], targets, fixed).items():
            choice = "largest magnitude" if name == _LARGEST else "same name in both models"
            about = shared | {"target": name, "choice": choice}
            for metric, value in _agreement(one, other).items():
                found.append(about | {"metric": metric} | value)
    return found


def _pairs(own, reference, targets, fixed):
    """Target -> effects of both models. The largest of all targets is defined if no targets were chosen."""
    missing = [name for name in targets if name not in reference]
    if fixed and missing:
        raise InputError(f"the reference has no target {missing[0]!r}; it has {', '.join(list(reference)[:8])}")
    pairs = {name: (own[:, i], reference[name].to_numpy()) for i, name in enumerate(targets) if name in reference}
    if not fixed:
        pairs[_LARGEST] = np.abs(own).max(axis=1), reference.abs().max(axis=1).to_numpy()
    return pairs


def _agreement(one, other):
    found = bootstrap(other, one, {"pearson": pearson, "spearman": spearman})
    if len(one) <= TOP:
        return found  # the overlap is of all alleles
    strongest = [set(np.argsort(-np.abs(values), kind="stable")[:TOP].tolist()) for values in (one, other)]
    share = len(strongest[0] & strongest[1]) / TOP
    return found | {f"top_{TOP}_overlap": {"value": share, "low": np.nan, "high": np.nan}}
