"""Report on variants: every allele accounted for, ranked, and a section for each of the first ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.reports.cards import measured
from regzoo.reports.charts import bars, dumbbells, histogram
from regzoo.reports.page import render
from regzoo.reports.sequences import saturation
from regzoo.reports.surroundings import SPAN, Surroundings, placed_motif
from regzoo.reports.svg import Figure
from regzoo.reports.tables import Column, Table
from regzoo.reports.tracks import View, lollipops, plain
from regzoo.sequence import Genome, decode, encode
from regzoo.zoo import catalogue

#: Rows of the table in a page; the others are in the tables that `regzoo alleles` writes.
MOST_ROWS = 10_000
_TARGETS = 8  # drawn for each model
_CONTIGS = 3  # with a picture in the summary
_DRAWN = 1000  # alleles in the picture of a contig
_NEIGHBOURS = 200  # drawn around a variant
_SCORE = re.compile(r"(?:(?P<model>.+?):)?(?P<score>diff|ref|alt|diff_percentile|diff_p):(?P<target>.+)")
_KEY = ["record", "chrom", "pos", "ref", "alt", "members"]
_TEXTS = ("id", "orientation", "status", "model", "target", "call", "motif", "effect", "members")
_NUMBERS = ("value_ref", "value_alt", "diff", "percentile", "p", "q", "pip")


@dataclass
class Section:
    """What is shown of one variant.

    Attributes
    ----------
    name : str
        Id of the section.
    label, id, sentence : str
    facts : list of tuple of str
        Names and values.
    figures : list of Figure
    notes : list of str
    """

    name: str
    label: str
    id: str
    sentence: str
    facts: list[tuple[str, str]]
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def from_scores(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """A table of `regzoo score` in the columns of `regzoo.alleles`, one row for each allele, model and target.

    Parameters
    ----------
    table : pandas.DataFrame
    source : str
        For messages.

    Raises
    ------
    InputError
        If it has no column of differences.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for column in map(str, table.columns):
        match = _SCORE.fullmatch(column)
        if match:
            found.setdefault((match["model"] or "", match["target"]), {})[match["score"]] = column
    found = {key: columns for key, columns in found.items() if "diff" in columns}
    if not found:
        raise InputError(f"{source}: has no column diff:TARGET; run `regzoo score` with --score diff, or `alleles`")
    fixed = table[[name for name in ("record", "chrom", "pos", "id", "ref", "alt", "status") if name in table]]
    scored = (fixed["status"] == "scored").to_numpy()
    names = {"ref": "value_ref", "alt": "value_alt", "diff": "diff", "diff_percentile": "percentile", "diff_p": "p"}
    parts = [
        fixed[scored].assign(
            model=model, target=target, **{names[score]: table.loc[scored, column] for score, column in columns.items()}
        )
        for (model, target), columns in found.items()
    ]
    return pd.concat([*parts, fixed[~scored].assign(model="", target="")], ignore_index=True)


def normalised(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with every column of `regzoo.alleles`, ranked, and the columns allele (its number), best (0 or 1), label."""
    table = table.copy()
    for name in _TEXTS:
        table[name] = table[name].fillna("").astype(str) if name in table else ""
    for name in _NUMBERS:
        values = pd.to_numeric(table[name], errors="coerce") if name in table else pd.Series(np.nan, table.index)
        table[name] = values.astype(float).replace([np.inf, -np.inf], np.nan)
    table["pos"] = pd.to_numeric(table["pos"], errors="coerce").fillna(0).astype(int)
    table["chrom"], table["ref"], table["alt"] = (table[name].astype(str) for name in ("chrom", "ref", "alt"))
    if "record" not in table:
        table["record"] = 0
    table["percentile"] = np.minimum(table["percentile"], (100 * (1 - table["p"])).fillna(100))
    scored = table["status"] == "scored"
    # Percentiles and differences are not comparable: where there are percentiles, rows without one have no priority.
    size = table["percentile"] / 100 if table["percentile"].notna().any() else table["diff"].abs()
    table["priority"] = table["pip"] * size
    if "rank" in table:
        table = table.sort_values("rank", kind="stable")
    else:
        table = table.assign(_scored=scored, _size=size, _diff=table["diff"].abs())
        table = table.sort_values(["_scored", "_size", "_diff"], ascending=False, kind="stable")
    table = table.reset_index(drop=True)
    table["id"] = table["id"].replace(".", "")
    table["allele"] = table.groupby(_KEY, sort=False, dropna=False).ngroup()
    table["rank"] = table["allele"] + 1
    table["best"] = (~table["allele"].duplicated()).astype(int)
    table["label"] = [_label(*values) for values in zip(table["chrom"], table["pos"], table["ref"], table["alt"])]
    return table


def _label(chrom, pos, ref, alt):
    return f"{chrom}:{pos} {_short(ref)}>{_short(alt)}"


def _short(allele):
    return allele if len(allele) <= 12 else f"{allele[:8]}…({len(allele)})"


def variants_page(
    table: pd.DataFrame,
    source: str,
    models: Sequence[Model],
    genome: Genome | None,
    regions: pd.DataFrame | None = None,
    motifs: dict[str, np.ndarray] | None = None,
    top: int = 20,
    batch_size: int = 64,
    made: Mapping[str, str] | None = None,
    progress: bool = False,
    layout: str = "page.html",
    span: int = SPAN,
) -> str:
    """HTML of the report on variants.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `regzoo.alleles`, or of `from_scores`.
    source : str
        Where the variants come from.
    models : sequence of Model
        Those of the table, for heat maps.
    genome : Genome or None
        Without it there are no heat maps. REF of the scored alleles must be its bases.
    regions : pandas.DataFrame, optional
        Of `regzoo.reports.tracks.read_regions`.
    motifs : dict, optional
        Of `regzoo.effects.motif_changes.read_motifs`: the motif of a variant is drawn where it matches.
    top : int
        Alleles with a section.
    batch_size, progress
        As of `regzoo.saturation_mutagenesis`.
    made : dict of str to str, optional
        Inputs and options, shown at the end.
    layout : str
        As of `regzoo.reports.page.render`.
    span : int
        Bases of each allele's heat map.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If REF of a scored allele is not the genome's. The message names the first one.
    """
    entries, oriented = catalogue(), "orientation" in table
    table = _about_targets(normalised(table), entries, models)
    best = table[table["best"] == 1]
    compared = _compared(best, source, genome, oriented)
    first = best[best["status"] == "scored"].head(top)
    drawn = (batch_size, progress, span)
    around = Surroundings(first, models, genome, *drawn) if genome is not None and models else None
    sections = [
        _section(number, row, table, best, around, regions, motifs) for number, row in enumerate(first.itertuples(), 1)
    ]
    opens = dict(zip(first["allele"].tolist(), [one.name for one in sections]))
    headings = {"summary": "Summary", "alleles": "All alleles", "variants": "Variants", "models": "Models"}
    headings |= {"reading": "How to read this"} | ({"made": "How this was made"} if made else {})
    return render(
        "variants.html",
        layout,
        title=source if source[:1].isdigit() else f"Variants of {source}",
        kind="Variant report",
        source=source,
        lead=_lead(best, table),
        leader=sections[0] if sections else None,
        figures=_summary(best, regions),
        table=_table(table, opens),
        models=_models(table, entries),
        model_columns=_MODEL_COLUMNS,
        sections=sections,
        checks=_checks(best, table, compared),
        priority=_priority_label(table),
        without_heat_maps=around is None and bool(sections),
        made=dict(made or {}),
        contents=[(name, label) for name, label in headings.items() if name != "variants" or sections],
    )


def _about_targets(table, entries, models):
    """Columns accuracy and metric (measured, of each row's target) and length (of the model's window; 0 if unknown)."""
    lengths = {name: entry.get("input_length") or 0 for name, entry in entries.items()}
    lengths |= {model.name: model.input_length for model in models}
    found = {}
    for model in table["model"].unique():
        for row in measured(model).itertuples() if model else ():
            found[model, row.target] = row.value, row.metric if row.split == "test" else f"{row.metric} (dev)"
    pairs = [found.get(pair, (np.nan, "")) for pair in zip(table["model"], table["target"])]
    return table.assign(accuracy=[value for value, _ in pairs], metric=[metric for _, metric in pairs]).assign(
        length=table["model"].map(lengths).fillna(0).astype(int)
    )


def _counts(best):
    """Alleles by status; haplotypes, which consist of them, are not counted."""
    alleles = best[best["members"] == ""] if "members" in best else best
    return Counter(alleles["status"])


def _lead(best, table):
    counts = _counts(best)
    scored, size = counts["scored"], sum(counts.values())
    models, pairs = (
        table.loc[table["model"] != "", "model"].nunique(),
        table.loc[table["target"] != "", ["model", "target"]],
    )
    words = (
        f"{size:,} {_plural('allele', size)}, of which {scored:,} scored, on {len(pairs.drop_duplicates()):,} targets"
    )
    return f"{words} of {models} models." if models > 1 else f"{words}."


def _plural(word, count):
    return word if count == 1 else f"{word}s"


def _compared(best, source, genome, oriented):
    """Whether REF of the scored alleles is the genome's, as a sentence; '' where none was scored."""
    scored = best[best["status"] == "scored"]
    if genome is not None:
        return _compared_with(genome, scored, source)
    if not oriented:
        return "The alleles' orientation was not checked against the genome; `regzoo alleles` does so."
    right = (scored["orientation"] == "") | scored["orientation"].str.endswith("(fixed)")
    return "REF is the genome's base for all alleles that were scored." if len(scored) and right.all() else ""


def _compared_with(genome, scored, source):
    absent, wrong = 0, []
    for row in scored.itertuples():
        try:
            codes = genome.codes(row.chrom)
        except InputError:
            absent += 1
            continue
        start = max(0, row.pos - 1)
        own = codes[start : start + len(row.ref)]
        if not np.array_equal(own, encode(row.ref)):
            wrong.append((row, decode(own) or "no base"))
    if wrong:
        row, own = wrong[0]
        raise InputError(
            f"{source}, record {row.record}, {row.label}: REF is {_short(row.ref)}, but {genome.path} has "
            f"{_short(own)} there; REF differs for {len(wrong):,} of {len(scored):,} scored alleles. "
            "Give the genome with which the table was made, or leave it out"
        )
    if absent:
        known = len(scored) - absent
        return (
            f"REF is the genome's base for {known:,} of {len(scored):,} alleles that were scored; "
            "the genome has no contig of the others."
        )
    return "REF is the genome's base for all alleles that were scored." if len(scored) else ""


def _checks(best, table, compared):
    """What was checked of the alleles, in sentences."""
    size, lines = len(best), []
    for kind, count in Counter(best.loc[best["orientation"] != "", "orientation"]).items():
        lines.append(f"{count:,} of {size:,} alleles: {kind}.")
    lines += [compared] if compared else []
    missing = table.loc[table["status"] == "scored", "diff"].isna()
    if missing.any():
        lines.append(f"{int(missing.sum()):,} scores are not numbers; their rows show –.")
    if table["percentile"].isna().all():
        lines.append("No percentiles: the models have no background distribution (`regzoo background` makes one).")
    return lines


def _metric(best):
    """Column by which alleles are compared in pictures, and what it is called."""
    if best["priority"].notna().any():
        return "priority", _priority_label(best)
    return "size", "|Δ|"


def _priority_label(rows):
    return "PIP × percentile" if rows["percentile"].notna().any() else "PIP × |Δ|"


def _summary(best, regions):
    """Figures of the summary: statuses, the locus, the distribution of scores."""
    scored = best[best["status"] == "scored"].assign(size=best["diff"].abs())
    counts, figures = _counts(best), []
    column, label = _metric(scored)
    contigs = [(contig, part) for contig, part in scored.groupby("chrom", sort=False) if part["pos"].nunique() > 1]
    for number, (contig, part) in enumerate(contigs[:_CONTIGS]):
        figures.append(_locus(number, contig, part, column, label, regions))
        if len(contigs) > _CONTIGS:
            figures[-1].caption += f" {_CONTIGS} of {len(contigs):,} contigs with several variants are drawn."
    if len(counts) > 1:
        figures.append(bars("statuses", "Alleles by status", dict(counts.most_common())))
    if len(scored) > 1:
        figures.append(
            histogram(
                "differences",
                "Effects of the alleles",
                scored["diff"].to_numpy(),
                "Δ of the target with the highest rank",
            )
        )
    return figures


def _locus(number, contig, part, column, label, regions):
    low, high = int(part["pos"].min()), int(part["pos"].max())
    pad = max(20, (high - low) // 25)
    view = View(contig, max(0, low - 1 - pad), high + pad)
    rows = part.assign(value=part[column]).nlargest(_DRAWN, "value")
    chosen = rows["rank"].isin(rows["rank"].nsmallest(3))
    rows = rows.assign(chosen=chosen)[["pos", "value", "label", "id", "chosen"]]
    caption = f"Height: {label}. The first three by rank are named."
    if len(part) > len(rows):
        caption += f" The {len(rows):,} highest of {len(part):,} alleles are drawn."
    near = None if regions is None else regions[regions["chrom"].map(plain) == plain(contig)]
    return lollipops(f"locus-{number + 1}", f"Alleles on {contig}", view, rows, label, near, caption=caption)


_COLUMNS = (
    Column("rank", "Rank", 0),
    Column("label", "Variant"),
    Column("id", "ID"),
    Column("model", "Model"),
    Column("target", "Target"),
    Column("value_ref", "Reference", 3, help="Prediction of the reference, the largest over shifted windows"),
    Column("value_alt", "Alternate", 3, help="Prediction of the alternate, the largest over shifted windows"),
    Column("diff", "Δ", 3, True, help="Alternate minus reference, in the centred window"),
    Column("percentile", "Percentile", 2, help="Of |Δ| among random background variants"),
    Column("pip", "PIP", 3, help="Posterior inclusion probability"),
    Column("priority", "", 3),
    Column("accuracy", "Accuracy", 3, help="Of the target, measured on held-out data"),
    Column("call", "Call"),
    Column("motif", "Motif"),
    Column("orientation", "Orientation"),
    Column("status", "Status"),
)


def _table(table, opens):
    """The table of all alleles: the first row of each, then the others, up to `MOST_ROWS`."""
    rows = pd.concat([table[table["best"] == 1], table[table["best"] == 0]]).head(MOST_ROWS)
    rows = rows.sort_index()
    columns = _shown_columns(rows)
    names = [one.name for one in columns]
    filters = [name for name in ("status", "model", "target", "call") if name in names and rows[name].nunique() > 1]
    note = ""
    if len(table) > len(rows):
        note = (
            f"The table holds {len(rows):,} of {len(table):,} rows: the best row of each of the first alleles by rank, "
            "then others. `regzoo alleles` writes all of them."
        )
    flag = ("best", "Best target of each allele only") if (rows["best"] == 0).any() else ()
    links = [opens.get(number, "") for number in rows["allele"]]
    return Table("table", "Alleles, models and targets", columns, rows, filters, flag, links, note, "label")


def _shown_columns(rows):
    """Columns that have values; the status only where it is not the same for all alleles."""
    metrics = {name.removesuffix(" (dev)") for name in rows["metric"] if name}
    labels = {
        "accuracy": metrics.pop() if len(metrics) == 1 else "Accuracy",
        "priority": _priority_label(rows),
    }
    shown = {one.name for one in _COLUMNS if not _is_empty(rows[one.name])} | {"rank", "label"}
    if (rows["status"] == "scored").all():
        shown -= {"status"}
    return [replace(one, label=labels.get(one.name, one.label)) for one in _COLUMNS if one.name in shown]


def _is_empty(values):
    return bool(values.isna().all()) if values.dtype.kind == "f" else bool((values.isin(["", "."])).all())


_MODEL_COLUMNS = (
    Column("model", "Model"),
    Column("title", "What it predicts"),
    Column("window", "Window, bases", 0),
    Column("targets", "Targets here", 0),
    Column("metric", "Measured"),
    Column("mean", "Mean", 3),
    Column("low", "Lowest", 3),
    Column("high", "Highest", 3),
)


def _models(table, entries):
    """A row for each model: its window and the measured accuracy of the targets that are reported."""
    rows = []
    for model, part in table[table["model"] != ""].groupby("model", sort=False):
        entry, targets = entries.get(str(model), {}), part.drop_duplicates("target")
        known = targets["accuracy"].notna().any()
        rows.append(
            {
                "model": model,
                "title": entry.get("title", ""),
                "window": part["length"].iloc[0] or np.nan,
                "targets": len(targets),
                "metric": ", ".join(sorted({name for name in targets["metric"] if name})) or "no figure in the card",
                "mean": targets["accuracy"].mean() if known else np.nan,
                "low": targets["accuracy"].min(),
                "high": targets["accuracy"].max(),
            }
        )
    return rows


def _section(number, row, table, best, around, regions, motifs):
    """What is shown of one allele."""
    own = table[table["allele"] == row.allele]
    section = Section(f"v{number}", row.label, row.id, row.effect, _facts(row, _priority_label(table)))
    for count, (model, rows) in enumerate(own.groupby("model", sort=False), 1):
        if rows["value_ref"].notna().any():
            section.figures.append(_predictions(f"v{number}-m{count}", str(model), rows))
    loci = around.of(number - 1) if around is not None else None
    if loci is not None:
        motif = placed_motif(row.motif, loci, motifs)
        section.figures.append(_heat_map(f"v{number}-bases", row, loci, motif))
    elif around is not None:
        section.notes.append(
            "No heat map: the allele does not lie on a contig of the genome, or its model is not loaded."
        )
    section.figures.append(_neighbours(f"v{number}-genome", row, best, regions))
    return section


def _facts(row: Any, priority: str) -> list[tuple[str, str]]:
    facts = [("Rank", f"{row.rank:,}"), ("Target", row.target), *([("Model", row.model)] if row.model else [])]
    values = (
        ("Δ", row.diff, "+.3f"),
        ("Percentile", row.percentile, ".2f"),
        ("q", row.q, ".2g"),
        ("PIP", row.pip, ".3g"),
        (priority, row.priority, ".3f"),
        (f"Target's {row.metric}", row.accuracy, ".3f"),
    )
    facts += [(name, format(value, style).replace("-", "−")) for name, value, style in values if np.isfinite(value)]
    texts = (("Call", row.call), ("Motif", row.motif), ("Orientation", row.orientation), ("Alleles", row.members))
    return facts + [(name, str(value)) for name, value in texts if value]


def _predictions(name, model, rows):
    """Dumbbells of the first targets of a model by rank."""
    shown = rows.head(_TARGETS)
    notes: dict[str, list[str]] = {}
    metric = next((name.removesuffix(" (dev)") for name in rows["metric"] if name), "")
    for heading, column, style in (
        ("percentile", "percentile", ".2f"),
        ("Δ", "diff", "+.3f"),
        (metric, "accuracy", ".3f"),
    ):
        known = shown[column].notna().any() and len(notes) < 2 and heading
        if known and not (heading == "Δ" and "percentile" in notes):
            notes[heading] = [format(v, style).replace("-", "−") if np.isfinite(v) else "–" for v in shown[column]]
    values = rows[["value_ref", "value_alt"]].to_numpy(float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    limits = (0.0, 1.0) if 0 <= low and high <= 1 else (low - 0.05 * (high - low), high + 0.05 * (high - low))
    caption = f"The first {len(shown)} of {len(rows)} targets by rank." if len(rows) > len(shown) else ""
    columns = ["model", "target", "value_ref", "value_alt", "diff", "percentile", "accuracy", "metric"]
    return dumbbells(name, model or "Predictions", shown[columns], limits, notes, caption)


def _heat_map(name, row, loci, motif):
    caption = (
        f"{row.target}, {row.model}. Letters: minus the mean effect of the three substitutions, so tall bases matter. "
        "Cells: effect of each change (red raises, blue lowers the prediction; a dot is the base itself)."
    )
    return saturation(name, "Saturation mutagenesis of both alleles", loci, row.target, motif, caption)


def _neighbours(name, row, best, regions):
    """The variant among its neighbours."""
    length = row.length
    half = max(500, 2 * length)
    view = View(row.chrom, max(0, row.pos - 1 - half), row.pos + half)
    near = best[(best["chrom"] == row.chrom) & (best["pos"] > view.start) & (best["pos"] <= view.end)]
    near = near[near["status"] == "scored"].assign(size=near["diff"].abs())
    column, label = _metric(near)
    near = near.assign(value=near[column], chosen=near["allele"] == row.allele)
    others = near[~near["chosen"]]
    caption = f"Height: {label} of the best target of each allele."
    if len(others) > _NEIGHBOURS:
        caption += f" The {_NEIGHBOURS} highest of {len(others):,} neighbours are drawn."
    near = pd.concat([near[near["chosen"]], others.nlargest(_NEIGHBOURS, "value")])
    start = row.pos - 1 - (length - 1) // 2
    window = (max(view.start, start), start + length) if length else None
    rows = near[["pos", "value", "label", "id", "chosen"]]
    return lollipops(name, "In the genome", view, rows, label, regions, window, caption)
