"""Suite 'satmut': saturation mutagenesis of regulatory elements in reporter assays (Kircher et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutate import ALLELES, locus_effects
from regzoo.effects.scores import largest_target
from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.sequence import Genome, decode
from regzoo.sequence.codes import BASES
from regzoo.suites.data import DataFolder
from regzoo.suites.protocol import Measure, Task, mean_interval, metric_rows

BASELINE = "change in G+C"
SIGNIFICANT = 1e-5
TAGS = 10
_MEAN = "mean of "
_RULES = ("mean over targets", "largest target")
_ELEMENTS = "mpra_satmut/elements.fa"


@dataclass
class ElementTask(Task):
    """Substitutions of one element.

    Attributes
    ----------
    fasta : pathlib.Path
        Sequences of the elements.
    places : numpy.ndarray, int, shape (N,)
        0-based positions in the element.
    refs, alts : list of str
        Reference and alternate bases.
    locus : int
        Elements that overlap have the same number.
    """

    fasta: Path
    places: np.ndarray
    refs: list[str]
    alts: list[str]
    locus: int

    def columns(self) -> dict[str, list[str]]:
        """Position in the element (0-based), both bases, and the sequence with the alternate base."""
        text = decode(Genome(self.fasta).codes(self.name))
        mutated = [text[:place] + alt + text[place + 1 :] for place, alt in zip(self.places, self.alts)]
        return {"index": list(map(str, self.places)), "ref_base": self.refs, "alt_base": self.alts, "alt": mutated}


def tasks(data: DataFolder) -> list[Task]:
    """Data sets of the suite: one for each element, with its substitutions of at least 10 tags.

    Parameters
    ----------
    data : DataFolder

    Returns
    -------
    list of ElementTask

    Raises
    ------
    InputError
        If a file is missing or has another digest, or a reference base is not that of the element.
    """
    table = data.table("mpra_satmut/effects.tsv.gz")
    fasta = data.path(_ELEMENTS)
    genome = Genome(fasta)
    starts = _starts(fasta)
    spans = table.groupby("Element").agg(chrom=("Chrom", "first"), low=("Pos", "min"), high=("Pos", "max"))
    loci = _loci(spans)
    table = table[(table.Alt != "-") & (table.Barcodes >= TAGS)]
    found: list[Task] = []
    for name, part in table.groupby("Element"):
        if name not in starts:
            raise InputError(f"{fasta}: no element {name!r}, which the effects name")
        places = part.Pos.to_numpy() - starts[name]
        _check_bases(genome, name, part, places)
        measured, significant = part.Coefficient.to_numpy(), (part.pValue < SIGNIFICANT).to_numpy(float)
        measures = [Measure("pearson", measured), Measure("spearman", measured)]
        if 0 < significant.sum() < len(significant):
            measures.append(Measure("auroc", significant, magnitude=True))
        ids = (part.Pos.astype(str) + ":" + part.Ref + ":" + part.Alt).tolist()
        half, choice = np.zeros(len(part), dtype=bool), "elements of other loci"
        found.append(
            ElementTask(name, ids, measures, half, choice, fasta, places, list(part.Ref), list(part.Alt), loci[name])
        )
    return found


def _starts(fasta):
    """Element -> first position, from headers NAME CONTIG:START-END."""
    found = {}
    for line in fasta.read_text().splitlines():
        if line.startswith(">"):
            name, _, place = line[1:].partition(" ")
            try:
                found[name] = int(place.partition(":")[2].partition("-")[0])
            except ValueError:
                raise InputError(f"{fasta}, record {line}: expected >NAME CONTIG:START-END") from None
    return found


def _loci(spans):
    """Element -> number of the locus; elements that overlap share it."""
    found, number, end, chrom = {}, -1, -1, None
    for row in spans.sort_values(["chrom", "low"]).itertuples():
        if row.chrom != chrom or row.low > end:
            number, chrom, end = number + 1, row.chrom, row.high
        end = max(end, row.high)
        found[row.Index] = number
    return found


def _check_bases(genome, name, part, places):
    codes = genome.codes(name)
    for place, row in zip(places, part.itertuples()):
        if not 0 <= place < len(codes) or row.Ref not in BASES or BASES.index(row.Ref) != codes[place]:
            raise InputError(f"element {name}: REF {row.Ref} at {row.Pos} is not the element's base there")


def scores(model: Model, task: ElementTask, batch_size: int = 64) -> np.ndarray:
    """Effects of the substitutions: differences of logits, or of predicted values, averaged over strands.

    Parameters
    ----------
    model : Model
    task : ElementTask
    batch_size : int
        Windows per batch.

    Returns
    -------
    numpy.ndarray, float32, shape (N, targets)
    """
    genome = Genome(task.fasta)
    kind = "logit" if model.outputs == "probabilities" else "diff"
    strands = "forward" if model.stranded or model.module.reverse_complement else "mean"
    size = int(genome.lengths[genome.number(task.name)])
    found = locus_effects(Evaluator(model), genome, task.name, 0, size, kind, strands=strands, batch_size=batch_size)
    return found[task.places, [ALLELES.index(alt) for alt in task.alts]]


def baseline(task: ElementTask) -> np.ndarray:
    """Scores of a baseline, shape (N, 1): change in the number of G and C."""
    change = np.isin(task.alts, ["C", "G"]).astype(float) - np.isin(task.refs, ["C", "G"])
    return change[:, None]


def report(
    elements: Sequence[ElementTask], targets: Sequence[str], values: Iterable[np.ndarray], fixed: bool = False
) -> list[dict[str, Any]]:
    """Metrics of one model by element, and their mean.

    The score of an element is that of one target, the mean over targets, or that of the target of largest magnitude:
    whichever has the largest mean Pearson correlation over the elements of other loci.

    Parameters
    ----------
    elements : sequence of ElementTask
    targets : sequence of str
    values : iterable of numpy.ndarray, shape (N, targets)
        Scores of each element.
    fixed : bool
        Report every target, instead of choosing one.

    Returns
    -------
    list of dict
        See `regzoo.suites.protocol.report`.
    """
    names, columns = list(targets), [np.asarray(scores, dtype=float) for scores in values]
    if fixed or len(targets) == 1:
        choice = "given" if fixed else "only one"
        picked = [[column] * len(elements) for column in range(len(names))]
        return [row for one in picked for row in _rows(elements, names, columns, one, names[one[0]], choice)]
    names += _RULES
    columns = [np.column_stack([v, v.mean(axis=1), v[np.arange(len(v)), largest_target(v)]]) for v in columns]
    choice = f"best mean pearson of {len(names)} on {elements[0].choice}"
    chosen = _leave_one_locus_out(elements, columns)
    found = _rows(elements, names, columns, chosen, "chosen for each element", choice)
    means = [names.index(_RULES[0])] * len(elements)
    fixed_rows = _rows(elements, names, columns, means, _RULES[0], "fixed")
    return found + [row for row in fixed_rows if row["data_set"].startswith(_MEAN)]


def _rows(elements, names, columns, picked, target, choice):
    """Metrics of each element by the column picked for it, and their means."""
    found = [
        row
        for task, scores, j in zip(elements, columns, picked)
        for row in metric_rows(task, names[j], scores[:, j], _all(task), choice)
    ]
    return found + _means(found, elements, target, choice)


def _leave_one_locus_out(elements, columns):
    """For each element, the column of the largest mean correlation over the elements of other loci."""
    table = np.array(
        [
            [task.measures[0].value(column, _all(task)) for column in scores_of.T]
            for task, scores_of in zip(elements, columns)
        ]
    )
    loci = np.array([task.locus for task in elements])
    if len(set(loci)) < 2:
        raise InputError("the suite needs elements of two loci or more to choose a target; give the targets instead")
    return [int(table[loci != locus].mean(axis=0).argmax()) for locus in loci]


def _all(task):
    return np.ones(len(task.ids), dtype=bool)


def _means(rows, elements, target, choice):
    """Mean of each metric over elements, with a bootstrap over loci."""
    locus = {task.name: task.locus for task in elements}
    found = []
    for metric in ("pearson", "spearman", "auroc"):
        own = [row for row in rows if row["metric"] == metric]
        if not own:
            continue
        values, groups = np.array([row["value"] for row in own]), [locus[row["data_set"]] for row in own]
        about = {"target": target, "data_set": f"{_MEAN}{len(own)} elements", "n": sum(row["n"] for row in own)}
        found.append(about | {"metric": metric, "choice": choice} | mean_interval(values, groups))
    return found
