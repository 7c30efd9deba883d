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
from regzoo.reports.tracks import View, plain, read_regions, regions_of, value_track
from regzoo.reports.variants import MOST_ROWS

_FIXED = {"chrom", "start", "end", "name", "strand", "window_start", "window_end", "status"}
_TARGETS = 6  # drawn
_BINS = 1500  # values in a track: more are averaged
_BASES = 610  # of an attribution
_KIND = "Region report"
_Window = tuple[str, str, int, str, dict[str, np.ndarray]]  # name, contig, start, sequence, contributions to targets


def regions_page(given: list[Input], regions: pd.DataFrame | None, top: int = 20) -> str:
    """HTML of a report on regions.

    Parameters
    ----------
    given : list of Input
        Of kinds 'predictions', 'elements', 'track', 'contributions', 'explanation' and 'peaks'.
    regions : pandas.DataFrame, optional
        Of `regzoo.reports.tracks.read_regions`.
    top : int
        Contigs, and windows of attributions, that are drawn. The page says how many there are.

    Raises
    ------
    InputError
        If an input is of another kind, or an HDF5 file is not one of `regzoo explain`.
    """
    tables, tracks, elements = [], {}, [] if regions is None else [regions]
    logos: list[Figure] = []
    cut: list[str] = []
    for number, one in enumerate(given, 1):
        if one.kind == "track":
            tracks[one.source] = one.value
        elif one.kind == "peaks":
            elements.append(read_regions(one.value))
        elif one.kind in ("predictions", "elements"):
            tables.append(_table(number, one))
            elements += [_as_regions(one.value)] if one.kind == "elements" else []
        elif one.kind in ("contributions", "explanation"):
            figures, note = _logos(number, one, top)
            logos, cut = logos + figures, cut + note
        else:
            raise InputError(f"{one.source}: {one.kind} cannot stand on a page with {given[0].kind}; write two reports")
    drawn, left_out = _tracks(tracks, pd.concat(elements, ignore_index=True) if elements else None, top)
    drawn += [_distribution(i, one) for i, one in enumerate(given, 1) if one.kind in ("predictions", "elements")]
    names = ", ".join(one.source for one in given)
    sections = [("tracks", "Regions", drawn, left_out), ("attributions", "Attributions", logos, cut)]
    sections = [one for one in sections if one[2] or one[3]]
    return render(
        "regions.html",
        title=f"Regions of {names}",
        kind=_KIND,
        source=names,
        lead=_lead(given),
        sections=sections,
        tables=tables,
        contents=[*((name, label) for name, label, *_ in sections), *([("tables", "Tables")] if tables else [])],
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


def _tracks(tracks, called, top) -> tuple[list[Figure], list[str]]:
    """One figure for each contig, all tracks over the regions, and sentences on what is left out."""
    drawn = dict(list(tracks.items())[:_TARGETS])
    views = _views(tracks.values(), called)
    near = {} if called is None else dict(list(called.groupby(called["chrom"].map(plain))))
    figures = []
    for number, view in enumerate(views[:top], 1):
        own = {name: table[table["chrom"].map(plain) == plain(view.contig)] for name, table in drawn.items()}
        own = {name: _binned(table, view) for name, table in own.items()} if any(map(len, own.values())) else {}
        below = near.get(plain(view.contig))
        inside, size = len(regions_of(view, below)), 0 if below is None else len(below)
        caption = f"{view.contig}:{view.start + 1:,}-{view.end:,}."
        if inside < size:
            caption += f" {inside:,} of {size:,} regions of this contig are drawn; the others lie beyond the tracks."
        figures.append(value_track(f"track-{number}", view.contig, view, own, below, caption))
    return figures, _left_out(("contigs", len(figures), len(views)), ("tracks", len(drawn), len(tracks)))


def _views(tracks, called) -> list[View]:
    """The extent of the tracks on each contig; that of the regions on contigs without a track."""
    found: dict[str, View] = {}
    for tables in (tracks, [] if called is None else [called]):
        given = pd.concat([table[["chrom", "start", "end"]] for table in tables]) if len(tables) else None
        if given is None:
            continue
        for name, part in given.groupby(given["chrom"].map(plain), sort=False):
            contig = str(part["chrom"].iloc[0])
            found.setdefault(str(name), View(contig, int(part["start"].min()), int(part["end"].max())))
    return list(found.values())


def _left_out(*counts):
    """'N of M things are drawn' for each (things, N, M) where N is less."""
    return [f"{drawn:,} of {size:,} {what} are drawn." for what, drawn, size in counts if drawn < size]


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


def _logos(number: int, one: Input, top: int) -> tuple[list[Figure], list[str]]:
    """Logos of the windows of an explanation for the first targets, and sentences on what is left out."""
    figures = []
    windows, size, targets = (
        _windows_of_table(one.value, top) if one.kind == "contributions" else _windows_of_hdf5(one.value, top)
    )
    for count, (name, contig, start, sequence, values) in enumerate(windows, 1):
        for column, (target, heights) in enumerate(list(values.items())[:_TARGETS], 1):
            middle = max(0, (len(sequence) - _BASES) // 2)
            part = slice(middle, middle + _BASES)
            positions = [f"{start + 1 + i:,}" for i in range(len(sequence))][part]
            title = f"{name}: {target} ({contig}:{start + middle + 1:,}-{start + middle + len(positions):,})"
            shown = np.nan_to_num(heights[part])
            caption = " ".join(_left_out(("bases of this window, those in its middle,", len(shown), len(heights))))
            figure = f"logo-{number}-{count}-{column}"
            figures.append(contributions(figure, title, sequence[part], shown, positions, target, caption))
    counts = ("windows", len(windows), size), ("targets", min(targets, _TARGETS), targets)
    return figures, [f"{one.source}: {note}" for note in _left_out(*counts)]


def _windows_of_table(table: pd.DataFrame, top: int) -> tuple[list[_Window], int, int]:
    """The first windows, and the numbers of windows and targets."""
    targets = [str(name) for name in table if name not in ("chrom", "pos", "name", "ref")]
    found = []
    step = (
        (table["pos"].diff() != 1)
        | (table["name"] != table["name"].shift())
        | (table["chrom"] != table["chrom"].shift())
    )
    number = step.cumsum()
    for _, part in table[number <= top].groupby(number, sort=False):
        values = {name: pd.to_numeric(part[name], errors="coerce").to_numpy(float) for name in targets}
        first: Any = part.iloc[0]
        found.append(
            (str(first["name"]), str(first["chrom"]), int(first["pos"]) - 1, "".join(part["ref"].astype(str)), values)
        )
    return found, int(number.max()), len(targets)


def _windows_of_hdf5(path, top):
    """As `_windows_of_table`."""
    found = []
    try:
        with h5py.File(path) as file:
            targets = [name.decode() if isinstance(name, bytes) else str(name) for name in file["targets"][()]]
            names = list(file["windows"])
            for key in names[:top]:
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
    return found, len(names), len(targets)
