"""The answer to a query: rows of a table, and a piece of HTML with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from regzoo.effects.allele_report import alleles
from regzoo.effects.mutate import saturation_mutagenesis
from regzoo.errors import InputError
from regzoo.explanation import explain
from regzoo.model import Model
from regzoo.nets.sequence_model import LanguageModelNet
from regzoo.options import close_names
from regzoo.prediction import predict
from regzoo.reports.cards import measured
from regzoo.reports.page import render
from regzoo.reports.sequences import Locus, contributions, saturation
from regzoo.reports.surroundings import SPAN
from regzoo.reports.tables import Column, Table
from regzoo.reports.variants import variants_page
from regzoo.sequence import Genome, decode, encode
from regzoo.service.queries import Query

_SECTIONS = 3  # variants with heat maps
_SPAN = 41  # bases of their heat maps: both alleles in the time that one locus of `SPAN` takes
_SHORT = 12  # rows of a table that stands before the pictures
_LOGO = 3 * SPAN  # bases in a logo of contributions
_COLUMNS = (
    Column("model", "Model"),
    Column("target", "Target"),
    Column("value", "Prediction", 3),
    Column("outputs", "Kind"),
    Column("accuracy", "Accuracy", 3, help="Of the target, measured on held-out data"),
    Column("metric", "Metric"),
)


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes
    ----------
    query : Query
    table : pandas.DataFrame
        Of variants that of `regzoo.alleles`. Otherwise one row for each model and target: model, target, value,
        outputs, accuracy and metric (of the target, from the model's card).
    notes : tuple of str
        What a reader has to know, such as how a sequence was fitted to a window.
    html : str
        Tables and pictures, without a page around them.
    """

    query: Query
    table: pd.DataFrame
    notes: tuple[str, ...]
    html: str


def answer(query: Query, models: list[Model], genome: Genome | None, target: str | None = None) -> Answer:
    """Answer a query.

    Parameters
    ----------
    query : Query
    models : list of Model
    genome : Genome or None
        Needed for loci and variants.
    target : str, optional
        Target of the pictures, which one of the models at least must have; the table of variants then holds it alone.
        By default, for each model the one with the largest prediction, and for each variant the one with the largest
        effect.

    Returns
    -------
    Answer

    Raises
    ------
    InputError
        If the query needs a genome, does not lie on it, or no model has the target.
    """
    if target is not None and not any(target in model.targets for model in models):
        known = [name for model in models for name in model.targets]
        raise InputError(f"no target {target!r} of {', '.join(m.name for m in models)}{close_names(target, known)}")
    if query.kind != "sequence" and genome is None:
        raise InputError(f"{query.label}: needs a genome; start the service with --genome, or give a sequence")
    if query.kind == "sequence":
        return _of_locus(query, models, Genome.from_sequences({query.name: encode(query.letters)}), target)
    assert genome is not None
    return (_of_variants if query.kind == "variants" else _of_locus)(query, models, genome, target)


def _of_variants(query: Query, models: list[Model], genome: Genome, target: str | None) -> Answer:
    variants = pd.DataFrame(query.variants, columns=["chrom", "pos", "ref", "alt"])
    given = [model for model in models if target is None or target in model.targets]
    table: Any = alleles(given, variants, genome, targets=() if target is None else [target])
    html = variants_page(table, query.label, given, genome, top=_SECTIONS, layout="fragment.html", span=_SPAN)
    notes = [*_left_out(models, target), *(note for model in given for note in _strand(query, model))]
    return Answer(query, table, tuple(notes), html)


def _left_out(models, target):
    return [f"{model.name} has no target {target}." for model in models if target and target not in model.targets]


def _of_locus(query: Query, models: list[Model], genome: Genome, target: str | None) -> Answer:
    contig = genome.contigs[genome.number(query.name)]
    size = int(genome.lengths[genome.number(query.name)])
    if query.end > size:
        raise InputError(f"{query.label}: does not lie on its contig, which has {size:,} bases")
    place = pd.DataFrame({"chrom": [contig], "start": [query.start], "end": [query.end], "name": [query.name]})
    parts, sections = [], []
    for number, model in enumerate(models, 1):
        rows = _rows(model, _predicted(query, model, place, genome))
        parts.append(rows)
        sections.append(_section(number, model, rows, place, genome, target))
    table = pd.concat(parts, ignore_index=True)
    lead = f"{query.label}: {len(table):,} predictions of {len(models)} model{'' if len(models) == 1 else 's'}."
    html = render(
        "answer.html",
        "fragment.html",
        lead=lead,
        table=_table(table),
        table_first=len(table) <= _SHORT,
        sections=sections,
    )
    notes = [
        *_left_out(models, target),
        *(note for model in models for note in (*_fit(query, model), *_strand(query, model))),
    ]
    return Answer(query, table, tuple(notes), html)


def _section(number, model, rows, place, genome, target):
    """Pictures of one target of a model: of the given one, or that of the largest prediction."""
    shown = model.targets.index(target) if target in model.targets else rows["value"].abs().argmax()
    row = rows.iloc[shown]
    figures = [_heat_map(number, model, place, genome, row["target"])]
    if not isinstance(model.module.net, LanguageModelNet):  # whose tokens have no gradient
        figures.append(_logo(number, model, place, genome, row["target"]))
    value = f"{row['value']:.3f}".replace("-", "−")
    return {"name": f"m{number}", "title": model.name, "target": row["target"], "value": value, "figures": figures}


def _predicted(query, model, place, genome):
    found: Any = predict(model, place, genome)
    status = found["status"].iloc[0]
    if status != "ok":
        raise InputError(f"{query.label}, {model.name}: {status}")
    return found[model.targets].iloc[0].to_numpy(float)


def _rows(model, values):
    accuracy = measured(model.name).set_index("target")
    return pd.DataFrame(
        {
            "model": model.name,
            "target": model.targets,
            "value": values,
            "outputs": {"probabilities": "probability", "rates": "rate"}.get(model.outputs, "value"),
            "accuracy": accuracy["value"].reindex(model.targets).to_numpy(),
            "metric": accuracy["metric"].reindex(model.targets).fillna("").to_numpy(),
        }
    )


def _fit(query, model):
    """How a query was fitted to the window of a model, in words; nothing where it has its length."""
    length, window = query.end - query.start, model.input_length
    if length > window:
        return [f"{model.name} reads {window:,} bases: the middle of the {length:,} given."]
    if query.kind == "sequence" and length < window:
        return [f"{model.name} reads {window:,} bases: the {length:,} given with N on either side."]
    return []


def _strand(query, model):
    """Which strand a model of RNA or promoters read, in words."""
    known = not model.stranded or query.kind == "sequence"
    return [] if known else [f"{model.name} predicts for one strand; the forward strand was read."]


def _table(table):
    columns = [one for one in _COLUMNS if one.name not in ("accuracy", "metric") or table["accuracy"].notna().any()]
    filters = [name for name in ("model",) if table[name].nunique() > 1]
    return Table("predictions", "Predictions", columns, table, filters, (), [""] * len(table))


def _logo(number, model, place, genome, target):
    """Logo of the first-order contributions of the window's bases."""
    [found] = explain(model, place, genome, method="taylor", checked=0, targets=[target])  # type: ignore[misc]
    size = int(genome.lengths[genome.number(found.contig)])
    first, last = max(0, found.start), min(size, found.start + len(found.reference))
    if last - first > _LOGO:
        first += (last - first - _LOGO) // 2
        last = first + _LOGO
    part = slice(first - found.start, last - found.start)
    positions = [f"{at + 1:,}" for at in range(first, last)]
    heights = np.nan_to_num(found.contributions[part, 0].astype(float))
    figure = contributions(
        f"m{number}-logo", "Contributions", decode(found.reference[part]), heights, positions, target
    )
    figure.caption = (
        f"{target}. Letter height: first-order estimate, from one gradient, of what the base adds to the output before "
        "the activation. The heat map above is exact."
    )
    return figure


def _heat_map(number, model, place, genome, target):
    """Effects of all changes of the bases around the middle, in the window that is predicted."""
    contig, start, end = place["chrom"].iloc[0], int(place["start"].iloc[0]), int(place["end"].iloc[0])
    size, middle = int(genome.lengths[genome.number(contig)]), (start + end) // 2
    span = min(SPAN, model.input_length)
    first, flank = middle - span // 2, model.input_length + SPAN
    # With N around the contig, the locus keeps its middle at the contig's ends.
    codes = genome.windows([genome.number(contig)], [middle - flank], 2 * flank)[0]
    around = pd.DataFrame({"chrom": [contig], "start": [flank - span // 2], "end": [flank - span // 2 + span]})
    [found] = saturation_mutagenesis(  # type: ignore[misc]
        model, around, Genome.from_sequences({contig: codes}), targets=[target]
    )
    part = slice(max(0, -first), min(span, size - first))
    first, last = first + part.start, first + part.stop
    marked = (0, 0) if start <= first and last <= end else (max(start, first) - first, min(end, last) - first)
    positions = [f"{at + 1:,}" for at in range(first, last)]
    locus = Locus(model.name, positions, found.sequence[part], found.effects[part, :5, 0], marked)
    caption = (
        f"{target}, {last - first} bases around the middle. Letters: minus the mean effect of the three substitutions, "
        "so tall bases matter. Cells: effect of each change (red raises, blue lowers the prediction; a dot is the base "
        "itself)."
    )
    return saturation(f"m{number}-bases", "Saturation mutagenesis", [locus], target, caption=caption)
