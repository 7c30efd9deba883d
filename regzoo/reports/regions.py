"""Report on regions: predictions, tracks, called elements and attributions of one or several files."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.reports.charts import histogram
from regzoo.reports.inputs import Input
from regzoo.reports.page import render
from regzoo.reports.sequences import contributions
from regzoo.reports.svg import Figure
from regzoo.reports.tables import Column, Table
from regzoo.reports.tracks import View, plain, read_regions, value_track
from regzoo.reports.variants import MOST_ROWS

_FIXED = {"chrom", "start", "end", "name", "strand", "window_start", "window_end", "status"}
_TARGETS = 6  # drawn
_BINS = 1500  # values in a track: more are averaged
_BASES = 610  # of an attribution
_KIND = "Region report"


def regions_page(given: list[Input], regions: pd.DataFrame | None, top: int = 20) -> str:
    """HTML of a report on regions.

    Parameters
    ----------
    given : list of Input
        Of kinds 'predictions', 'elements', 'track', 'contributions', 'explanation' and 'peaks'.
    regions : pandas.DataFrame, optional
        Of `regzoo.reports.tracks.read_regions`.
    top : int
        Contigs of tracks, and windows of attributions, that are drawn.

    Raises
    ------
    InputError
        If an input is of another kind, or an HDF5 file is not one of `regzoo explain`.
    """
    tables, tracks, elements, logos = [], {}, [] if regions is None else [regions], []
    for number, one in enumerate(given, 1):
        if one.kind == "track":
            tracks[one.source] = one.value
        elif one.kind == "peaks":
            elements.append(read_regions(one.value))
        elif one.kind in ("predictions", "elements"):
            tables.append(_table(number, one))
            elements += [_as_regions(one.value)] if one.kind == "elements" else []
        elif one.kind in ("contributions", "explanation"):
            logos += _logos(number, one, top)
        else:
            raise InputError(f"{one.source}: {one.kind} cannot stand on a page with {given[0].kind}; write two reports")
    drawn = _tracks(tracks, pd.concat(elements, ignore_index=True) if elements else None, top)
    drawn += [_distribution(i, one) for i, one in enumerate(given, 1) if one.kind in ("predictions", "elements")]
    names = ", ".join(one.source for one in given)
    sections = [one for one in (("tracks", "Regions", drawn), ("attributions", "Attributions", logos)) if one[2]]
    return render(
        "regions.html",
        title=f"Regions of {names}",
        kind=_KIND,
        source=names,
        lead=_lead(given),
        sections=sections,
        tables=tables,
        contents=[*((name, label) for name, label, _ in sections), *([("tables", "Tables")] if tables else [])],
    )


def _lead(given):
    words = {"predictions": "intervals", "elements": "elements", "track": "values", "contributions": "bases"}
    sized = [f"{len(one.value):,} {words[one.kind]} of {one.source}" for one in given if one.kind in words]
    return "; ".join(sized) + "." if sized else ""


def _as_regions(table):
    names = table["target"].astype(str)
    strand = table["strand"].fillna(".").astype(str) if "strand" in table else "."
    return table[["chrom", "start", "end"]].assign(name=names, strand=strand, kind="region")


def _distribution(number, one):
    """Histogram of the predictions of the first target, or of the elements' values."""
    name = "value" if one.kind == "elements" else next((key for key in one.value if key not in _FIXED), "")
    values = pd.to_numeric(one.value[name], errors="coerce").to_numpy(float) if name else np.empty(0)
    what = "elements" if one.kind == "elements" else "intervals"
    return histogram(
        f"distribution-{number}",
        f"Distribution, {one.source}",
        values,
        "value" if name == "value" else f"prediction of {name}",
        what,
    )


def _table(number, one):
    """Rows of a file, at most `MOST_ROWS`."""
    rows = one.value.head(MOST_ROWS).copy()
    columns = []
    for name in map(str, rows.columns):
        if pd.api.types.is_numeric_dtype(rows[name]):
            whole = pd.api.types.is_integer_dtype(rows[name])
            columns.append(Column(name, name, 0 if whole else 3))
        else:
            rows[name] = rows[name].fillna("").astype(str)
            columns.append(Column(name, name))
    texts = [one.name for one in columns if one.digits is None and one.name in ("chrom", "status", "target", "strand")]
    filters = [name for name in texts if 1 < rows[name].nunique() <= 60]
    note = f"The first {len(rows):,} of {len(one.value):,} rows." if len(one.value) > len(rows) else ""
    return Table(f"rows-{number}", one.source, columns, rows, filters, (), [""] * len(rows), note)


def _tracks(tracks, called, top) -> list[Figure]:
    """One figure for each contig: all tracks over the called elements."""
    if not tracks and called is None:
        return []
    spans: dict[str, list[tuple[int, int]]] = {}
    for table in [*tracks.values(), *([] if tracks else [called])]:
        for contig, part in table.groupby("chrom", sort=False):
            spans.setdefault(str(contig), []).append((int(part["start"].min()), int(part["end"].max())))
    figures = []
    for number, (contig, ends) in enumerate(list(spans.items())[:top], 1):
        view = View(contig, min(low for low, _ in ends), max(high for _, high in ends))
        own = {
            name: _binned(table[table["chrom"].map(plain) == plain(contig)], view)
            for name, table in list(tracks.items())[:_TARGETS]
        }
        left_out = f" The first {_TARGETS} of {len(tracks)} tracks." if len(tracks) > _TARGETS else ""
        caption = f"{contig}:{view.start + 1:,}-{view.end:,}.{left_out}"
        figures.append(value_track(f"track-{number}", contig, view, own, called, caption))
    return figures


def _binned(track, view):
    """Values of a track, averaged within bins where there are more than can be drawn."""
    if len(track) <= _BINS:
        return track[["start", "end", "value"]]
    edges = np.linspace(view.start, view.end, _BINS + 1)
    index = np.clip(np.searchsorted(edges, (track["start"] + track["end"]) / 2, side="right") - 1, 0, _BINS - 1)
    mean = track.groupby(index)["value"].mean()
    starts = edges[mean.index.to_numpy()].astype(int)
    return pd.DataFrame(
        {"start": starts, "end": edges[mean.index.to_numpy() + 1].astype(int), "value": mean.to_numpy()}
    )


def _logos(number: int, one: Input, top: int) -> list[Figure]:
    """Logos of the windows of an explanation, for the first targets."""
    figures = []
    windows = _windows_of_table(one.value) if one.kind == "contributions" else _windows_of_hdf5(one.value, top)
    for count, (name, contig, start, sequence, values) in enumerate(windows[:top], 1):
        for column, (target, heights) in enumerate(list(values.items())[:_TARGETS], 1):
            middle = max(0, (len(sequence) - _BASES) // 2)
            part = slice(middle, middle + _BASES)
            positions = [f"{start + 1 + i:,}" for i in range(len(sequence))][part]
            title = f"{name}: {target} ({contig}:{start + middle + 1:,}-{start + middle + len(positions):,})"
            shown = np.nan_to_num(heights[part])
            figures.append(
                contributions(f"logo-{number}-{count}-{column}", title, sequence[part], shown, positions, target)
            )
    return figures


def _windows_of_table(table: pd.DataFrame) -> list[tuple[str, str, int, str, dict[str, np.ndarray]]]:
    targets = [str(name) for name in table if name not in ("chrom", "pos", "name", "ref")]
    found = []
    step = (
        (table["pos"].diff() != 1)
        | (table["name"] != table["name"].shift())
        | (table["chrom"] != table["chrom"].shift())
    )
    for _, part in table.groupby(step.cumsum(), sort=False):
        values = {name: pd.to_numeric(part[name], errors="coerce").to_numpy(float) for name in targets}
        first: Any = part.iloc[0]
        found.append(
            (str(first["name"]), str(first["chrom"]), int(first["pos"]) - 1, "".join(part["ref"].astype(str)), values)
        )
    return found


def _windows_of_hdf5(path, top):
    found = []
    try:
        with h5py.File(path) as file:
            targets = [name.decode() if isinstance(name, bytes) else str(name) for name in file["targets"][()]]
            for key in list(file["windows"])[:top]:
                group = file["windows"][key]
                values = np.asarray(group["contributions"], dtype=float)
                sequence = b"".join(group["reference"][()]).decode()
                named = {target: values[:, i] for i, target in enumerate(targets)}
                about = group.attrs
                found.append((str(about["name"]), str(about["contig"]), int(about["start"]), sequence, named))
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: expected HDF5 that `regzoo explain` wrote; of other commands give .tsv or .parquet ({error})"
        ) from error
    return found
