"""Pictures of a stretch of a genome: variants, regions of a BED or GFF file, values along the sequence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
from markupsafe import Markup

from regzoo.errors import InputError
from regzoo.reports.svg import Figure, Scale, bottom_axis, circle, join, left_axis, line, rect, shortened, tag, text
from regzoo.sequence.files import open_bytes, require_file
from regzoo.sequence.intervals import read_bed

WIDTH, LEFT = 860.0, 64.0
_LANE = 17.0
_MOST_LANES = 8
_LABELLED = 16  # regions in a view up to which they are named
_DRAWN = 2000
_GFF = (".gff", ".gff3", ".gtf", ".gff.gz", ".gff3.gz", ".gtf.gz")
_THICK = {"exon", "CDS", "region", "five_prime_UTR", "three_prime_UTR", "UTR"}
_CONTAINERS = {"chromosome", "scaffold", "contig", "start_codon", "stop_codon"}


@dataclass
class View:
    """A stretch of a contig.

    Attributes
    ----------
    contig : str
    start, end : int
        0-based, half-open.
    """

    contig: str
    start: int
    end: int
    scale: Scale = field(init=False)

    def __post_init__(self):
        self.scale = Scale(self.start + 1, self.end, LEFT, WIDTH - 14)


def plain(contig: str) -> str:
    """Name of a contig without 'chr', by which files of different sources are matched."""
    name = contig.removeprefix("chr")
    return "MT" if name == "M" else name


def read_regions(path: str | Path) -> pd.DataFrame:
    """Regions of a BED or GFF file, plain or gzipped.

    Parameters
    ----------
    path : str or pathlib.Path
        .gff, .gff3 or .gtf (optionally .gz); any other name is read as BED.

    Returns
    -------
    pandas.DataFrame
        Columns chrom, start, end (0-based, half-open), name, strand and kind ('region', or the type of a GFF feature).

    Raises
    ------
    InputError
        If the file is missing or malformed. The message names the line.
    """
    if str(path).lower().endswith(_GFF):
        return _read_gff(path)
    bed = read_bed(path)
    names = [n if f else "" for n, f in zip(bed.names.tolist(), bed.columns)]
    columns = {"chrom": bed.contigs, "start": bed.starts, "end": bed.ends, "name": names, "strand": bed.strands}
    return pd.DataFrame(columns).assign(kind="region")


def _read_gff(path):
    rows = []
    with open_bytes(require_file(path, "GFF file")) as handle:
        for number, line_ in enumerate(handle, 1):
            if line_.startswith(b"##FASTA"):
                break
            if line_.startswith(b"#") or not line_.strip():
                continue
            fields = line_.decode("utf-8", "replace").rstrip("\r\n").split("\t")
            try:
                start, end = int(fields[3]) - 1, int(fields[4])
                if not 0 <= start < end:
                    raise ValueError
                row = (fields[0], start, end, _gff_name(fields[8]), fields[6], fields[2])
            except (IndexError, ValueError):
                raise InputError(
                    f"{path}, line {number}: expected the nine columns of GFF, with 1-based start and end"
                ) from None
            if row[5] not in _CONTAINERS:
                rows.append(row)
    if not rows:
        raise InputError(f"{path}: no feature in this GFF file")
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "name", "strand", "kind"])


def _gff_name(attributes):
    """Name of a GFF3 or GTF feature: that of its gene, where it has one."""
    found = {}
    for part in attributes.split(";"):
        part = part.strip()
        key, _, value = part.partition("=") if "=" in part and '"' not in part else part.partition(" ")
        found[key] = unquote(value.strip().strip('"'))
    return next((found[key] for key in ("gene_name", "gene", "Name", "gene_id", "ID") if found.get(key)), "")


def regions_of(view: View, regions: pd.DataFrame | None) -> pd.DataFrame:
    """Regions that overlap a view."""
    if regions is None:
        return pd.DataFrame(columns=["chrom", "start", "end", "name", "strand", "kind"])
    same = regions["chrom"].map(plain) == plain(view.contig)
    return regions[same & (regions["start"] < view.end) & (regions["end"] > view.start)]


def region_lanes(view: View, regions: pd.DataFrame, y: float) -> tuple[Markup, float]:
    """Regions as boxes, in lanes without overlap, and the y below them; what needs more lanes is counted."""
    if len(regions) > _LABELLED:
        return _dense_lane(view, regions, y)
    parts, left_out = [], 0
    ends: list[float] = []
    for row in regions.sort_values(["start", "end"]).itertuples():
        low, high = (min(max(view.scale(at), LEFT), WIDTH - 14) for at in (row.start + 1, row.end))
        label = shortened(f"{row.name}{' ' + row.strand if row.strand in '+-' else ''}".strip(), 24)
        reach = max(high, low + 6.2 * len(label)) + 8
        lane = next((i for i, end in enumerate(ends) if end <= low), len(ends))
        if lane >= _MOST_LANES:
            left_out += 1
            continue
        ends[lane : lane + 1] = [reach]
        top = y + lane * (_LANE + 8)
        tip = f"{row.name or row.kind} {view.contig}:{row.start + 1:,}-{row.end:,}"
        thick = row.kind in _THICK
        box = rect(low, top if thick else top + 3, max(2, high - low), 9 if thick else 3, "region", data_t=tip)
        anchor = {"x": WIDTH - 14, "text_anchor": "end"} if low + 6.2 * len(label) > WIDTH - 14 else {"x": low}
        parts += [box, tag("text", label, y=top + 19, class_="small", **anchor)]
    y += len(ends) * (_LANE + 8)
    if left_out:
        parts.append(text(LEFT, y + 10, f"{left_out:,} more regions overlap here", class_="note"))
        y += 16
    return join(parts), y


def _dense_lane(view, regions, y):
    """Regions too many to be named: boxes in one lane."""
    parts = [text(LEFT - 7, y + 9, "regions", text_anchor="end", class_="small")]
    for row in regions.head(_DRAWN).itertuples():
        low, high = (min(max(view.scale(at), LEFT), WIDTH - 14) for at in (row.start + 1, row.end))
        tip = f"{row.name or row.kind} {view.contig}:{row.start + 1:,}-{row.end:,}"
        parts.append(rect(low, y, max(1.5, high - low), 10, "region", fill_opacity=0.7, data_t=tip))
    if len(regions) > _DRAWN:
        parts.append(text(LEFT, y + 24, f"the first {_DRAWN:,} of {len(regions):,} regions", class_="note"))
    return join(parts), y + (30 if len(regions) > _DRAWN else 16)


def _names(rows, view, y, base):
    """Labels of chosen variants, each beside its point, on the side where it overlaps no earlier one."""
    parts = []
    taken: list[tuple[float, float, float]] = []
    for row in rows.itertuples():
        x, at, words = (
            view.scale(row.pos),
            y(row.value) if np.isfinite(row.value) else base,
            shortened(str(row.label), 30),
        )
        size = 7.2 * len(words) + 8
        for low, anchor, at_x in ((x, "start", x + 8), (x - size, "end", x - 8)):
            inside = LEFT <= low and low + size <= WIDTH
            if inside and not any(
                abs(at - other) < 14 and low < end and start < low + size for start, end, other in taken
            ):
                parts.append(text(at_x, at + 4, words, text_anchor=anchor, class_="strong"))
                taken.append((low, low + size, at))
                break
    return join(parts)


def lollipops(
    name: str,
    title: str,
    view: View,
    variants: pd.DataFrame,
    label: str,
    regions: pd.DataFrame | None = None,
    window: tuple[int, int] | None = None,
    caption: str = "",
) -> Figure:
    """Variants as lollipops at their positions, above the regions of a file.

    Parameters
    ----------
    name, title : str
    view : View
    variants : pandas.DataFrame
        Columns pos (1-based), value (height), label, and chosen (bool: drawn in the accent colour, with its label).
    label : str
        Of the heights.
    regions : pandas.DataFrame, optional
        Of `read_regions`.
    window : tuple of int, optional
        0-based start and end of the model's window, drawn as a bar.
    caption : str
    """
    top, base = 22.0, 136.0
    values = variants["value"].to_numpy(float)
    highest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    y = Scale(0, highest or 1.0, base, top)
    parts = [left_axis(y, LEFT, label, 3, WIDTH - 14)]
    for row in variants.sort_values(["chosen", "value"]).itertuples():
        x, at = view.scale(row.pos), y(row.value) if np.isfinite(row.value) else base
        kind = "alt" if row.chosen else "other"
        tip = f"{row.label}: {row.value:.4g}" if np.isfinite(row.value) else f"{row.label}: no value"
        stem, head = line(x, base, x, at, "stem" if row.chosen else "stem faint"), circle(x, at, 4.5, kind)
        parts.append(tag("g", stem, head, data_t=tip))
    parts.append(_names(variants[variants["chosen"]], view, y, base))
    parts.append(bottom_axis(view.scale, base, "", 5))
    bottom = base + 26
    if window is not None:
        low, high = view.scale(window[0] + 1), view.scale(window[1])
        tip = f"window of the model: {window[1] - window[0]:,} bases"
        parts += [
            rect(low, bottom, high - low, 5, "window", data_t=tip),
            text(LEFT - 7, bottom + 7, "window", text_anchor="end", class_="small"),
        ]
        bottom += 20
    lanes, bottom = region_lanes(view, regions_of(view, regions), bottom)
    parts.append(lanes)
    count = len(variants)
    described = f"{view.contig}, positions {view.start + 1:,} to {view.end:,}: {count:,} variants"
    chosen = ", ".join(variants.loc[variants["chosen"], "label"].astype(str).head(5))
    described += f"; highlighted: {chosen}." if chosen else "."
    return Figure(name, title, described, join(parts), WIDTH, bottom + 8, variants, caption, least=520)


def value_track(
    name: str, title: str, view: View, tracks: dict[str, pd.DataFrame], elements: pd.DataFrame | None, caption: str = ""
) -> Figure:
    """Values along a stretch, one row for each track, with called elements below.

    Parameters
    ----------
    name, title : str
    view : View
    tracks : dict of str to pandas.DataFrame
        Columns start, end (0-based, half-open) and value, within the view.
    elements : pandas.DataFrame, optional
        Columns start, end, name, strand, kind and chrom.
    caption : str
    """
    parts, y, tables = [], 10.0, []
    for label, track in tracks.items():
        values = track["value"].to_numpy(float)
        high = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
        low = min(0.0, float(np.nanmin(values)) if np.isfinite(values).any() else 0.0)
        scale = Scale(low, max(high, low + 1e-9), y + 70, y + 14)
        parts += [text(LEFT, y + 8, shortened(label, 60), class_="strong"), left_axis(scale, LEFT, "", 2, WIDTH - 14)]
        for row in track.itertuples():
            if np.isfinite(row.value):
                x, end = view.scale(max(row.start, view.start) + 1), view.scale(min(row.end, view.end))
                ends = sorted((scale(row.value), scale(0)))
                tip = f"{view.contig}:{row.start + 1:,}-{row.end:,}: {row.value:.4g}"
                parts.append(rect(x, ends[0], max(0.8, end - x), max(0.6, ends[1] - ends[0]), "bar", data_t=tip))
        tables.append(track.assign(track=label, chrom=view.contig))
        y += 84
    parts.append(bottom_axis(view.scale, y, "", 5))
    lanes, y = region_lanes(view, regions_of(view, elements), y + 28)
    data = pd.concat(tables) if tables else regions_of(view, elements)
    described = f"{view.contig}, positions {view.start + 1:,} to {view.end:,}: {', '.join(tracks) or 'regions'}."
    return Figure(name, title, described, join([*parts, lanes]), WIDTH, y + 8, data, caption, least=520)
