"""Charts of a report: histogram, bars, dumbbells, intervals, curves, matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from regzoo.reports.svg import (
    Figure,
    Scale,
    bottom_axis,
    circle,
    join,
    left_axis,
    line,
    rect,
    short,
    shortened,
    tag,
    text,
)

_WIDTH = 500.0
_ROW = 22.0
_STYLES = 6  # curves that differ in colour or dashes


def histogram(name: str, title: str, values: np.ndarray, label: str, what: str = "alleles", bins: int = 40) -> Figure:
    """Histogram of values, shape (N,); those that are not finite are counted in the description only."""
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins) if len(finite) else (np.zeros(1, int), np.array([0.0, 1.0]))
    height = 220.0
    x, y = Scale(edges[0], edges[-1], 60, _WIDTH - 12), Scale(0, max(1, counts.max()), height - 44, 10)
    parts = [left_axis(y, 60, what, 4, _WIDTH - 12)]
    for count, low, high in zip(counts.tolist(), edges, edges[1:]):
        tip = f"{short(low)} to {short(high)}: {count:,} {what}"
        gap = min(1.0, (x(high) - x(low)) / 4)
        parts.append(rect(x(low), y(count), x(high) - x(low) - gap, y(0) - y(count), "bar", data_t=tip))
    parts.append(bottom_axis(x, height - 44, label))
    left_out = len(values) - len(finite)
    described = f"Histogram of {label} of {len(finite):,} {what}, from {short(edges[0])} to {short(edges[-1])}"
    if len(finite):
        described += f"; the median is {short(float(np.median(finite)))}"
    described += f". {left_out:,} have no value." if left_out else "."
    data = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "count": counts})
    return Figure(name, title, described, join(parts), _WIDTH, height, data)


def bars(name: str, title: str, counts: Mapping[str, int]) -> Figure:
    """A horizontal bar for each name, with its count."""
    height = _ROW * len(counts) + 8
    x = Scale(0, max([1, *counts.values()]), 160, _WIDTH - 64)
    parts = []
    for i, (label, count) in enumerate(counts.items()):
        y = 4 + i * _ROW
        parts.append(text(152, y + 15, shortened(label, 24), text_anchor="end", data_t=label))
        parts.append(rect(160, y + 3, x(count) - 160, _ROW - 7, "bar", data_t=f"{label}: {count:,}"))
        parts.append(text(x(count) + 6, y + 15, f"{count:,}", class_="strong"))
    described = "; ".join(f"{label}: {count:,}" for label, count in counts.items()) + "."
    data = pd.DataFrame({"name": list(counts), "count": list(counts.values())})
    return Figure(name, title, described, join(parts), _WIDTH, height, data)


def dumbbells(
    name: str,
    title: str,
    rows: pd.DataFrame,
    limits: tuple[float, float],
    notes: Mapping[str, Sequence[str]],
    caption: str = "",
) -> Figure:
    """Reference and alternate prediction of each target as two points with a line between them.

    Parameters
    ----------
    name, title : str
    rows : pandas.DataFrame
        Columns target, value_ref and value_alt.
    limits : tuple of float
        Ends of the axis.
    notes : dict of str to sequence of str
        Heading and texts of the columns at the right.
    caption : str
    """
    top, labels = 26.0, [shortened(str(target), 24) for target in rows["target"]]
    left = 16 + 7.4 * max(map(len, labels), default=0)
    x, bottom = Scale(*limits, max(left, 60), _WIDTH - 20 - 74 * len(notes)), top + _ROW * len(rows)
    parts = [
        circle(x.start + 5, 10, 4.5, "ref"),
        text(x.start + 14, 14, "reference"),
        circle(x.start + 83, 10, 4.5, "alt"),
        text(x.start + 92, 14, "alternate"),
        *(line(x(tick), top, x(tick), bottom, "grid") for tick in x.ticks(4)),
    ]
    for i, row in enumerate(rows.itertuples()):
        y = top + (i + 0.5) * _ROW
        tip = f"{row.target}: {row.value_ref:.3g} → {row.value_alt:.3g}"
        parts.append(text(x.start - 10, y + 4, labels[i], text_anchor="end", data_t=str(row.target)))
        if np.isfinite(row.value_ref) and np.isfinite(row.value_alt):
            ends = x(row.value_ref), x(row.value_alt)
            points = circle(ends[0], y, 4.5, "ref"), circle(ends[1], y, 4.5, "alt")
            parts.append(tag("g", line(ends[0], y, ends[1], y, "link"), *points, data_t=tip))
    for j, (heading, texts) in enumerate(notes.items()):
        right = _WIDTH - 74 * (len(notes) - 1 - j) - 2
        parts.append(text(right, 14, heading, text_anchor="end", class_="note"))
        for i, words in enumerate(texts):
            parts.append(text(right, top + (i + 0.5) * _ROW + 4, words, text_anchor="end", class_="strong"))
    parts.append(bottom_axis(x, bottom, "prediction", 4))
    described = "; ".join(f"{r.target} {r.value_ref:.3g} to {r.value_alt:.3g}" for r in rows.head(5).itertuples())
    described = f"Predictions of the reference and of the alternate allele: {described}."
    return Figure(name, title, described, join(parts), _WIDTH, bottom + 40, rows, caption, least=400)


def intervals(name: str, title: str, rows: pd.DataFrame, label: str, caption: str = "") -> Figure:
    """A point with its interval for each row.

    Parameters
    ----------
    name, title, label, caption : str
    rows : pandas.DataFrame
        Columns name, value, low and high (NaN where there is no interval).
    """
    rows = rows[np.isfinite(rows["value"].to_numpy(float))]
    height = _ROW * len(rows) + 46
    bounds = rows[["value", "low", "high"]].to_numpy(float)
    low, high = (float(np.nanmin(bounds)), float(np.nanmax(bounds))) if len(rows) else (0.0, 1.0)
    pad = (high - low) * 0.04 or 0.05
    labels = [shortened(str(one), 30) for one in rows["name"]]
    x = Scale(low - pad, high + pad, 16 + 7.2 * max(map(len, labels), default=0), _WIDTH - 58)
    parts = [line(x(tick), 2, x(tick), _ROW * len(rows) + 4, "grid") for tick in x.ticks(4)]
    for i, row in enumerate(rows.itertuples()):
        y = 4 + (i + 0.5) * _ROW
        interval = f" ({row.low:.3f} to {row.high:.3f})" if np.isfinite(row.low) else ""
        parts.append(text(x.start - 10, y + 4, labels[i], text_anchor="end", data_t=str(row.name)))
        if interval:
            parts.append(line(x(row.low), y, x(row.high), y, "link"))
        parts.append(circle(x(row.value), y, 4.5, "alt", data_t=f"{row.name}: {row.value:.3f}{interval}"))
        parts.append(text(_WIDTH, y + 4, f"{row.value:.3f}", text_anchor="end", class_="strong"))
    parts.append(bottom_axis(x, 4 + _ROW * len(rows), label, 4))
    described = f"{label}: " + "; ".join(f"{r.name} {r.value:.3f}" for r in rows.head(12).itertuples()) + "."
    return Figure(name, title, described, join(parts), _WIDTH, height, rows, caption, least=400)


def curves(
    name: str,
    title: str,
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: tuple[str, str],
    diagonal: bool = False,
    points: bool = False,
) -> Figure:
    """Curves within the unit square, such as ROC, precision-recall and reliability.

    Parameters
    ----------
    name, title : str
    lines : dict of str to pair of numpy.ndarray
        x and y of each curve.
    labels : tuple of str
        Of both axes.
    diagonal : bool
        Draw the line from corner to corner.
    points : bool
        Mark the points of each curve.
    """
    size, legend = 300.0, 18.0 * len(lines)
    x, y = Scale(0, 1, 56, 56 + size), Scale(0, 1, 12 + size, 12)
    parts = [left_axis(y, 56, labels[1], 4, 56 + size), bottom_axis(x, 12 + size, labels[0], 4)]
    if diagonal:
        parts.append(line(x(0), y(0), x(1), y(1), "dashed"))
    tables = []
    for i, (label, (xs, ys)) in enumerate(lines.items()):
        keep = np.isfinite(xs) & np.isfinite(ys)
        xs, ys = xs[keep], ys[keep]
        style = f"curve c{i % _STYLES}"
        thin = np.unique(np.linspace(0, max(0, len(xs) - 1), min(len(xs), 300)).astype(int)).tolist()
        path = "M" + "L".join(f"{x(xs[j]):.1f} {y(ys[j]):.1f}" for j in thin)
        parts += [tag("path", d=path, class_=style, data_t=label)] if len(xs) else []
        if points:
            tips = [f"{label}: {a:.3f}, {b:.3f}" for a, b in zip(xs, ys)]
            parts += [circle(x(a), y(b), 3.5, f"dot c{i % _STYLES}", data_t=t) for a, b, t in zip(xs, ys, tips)]
        at = size + 64 + 18 * i
        parts += [line(60, at - 4, 84, at - 4, style), text(92, at, shortened(label, 44), data_t=label)]
        tables.append(pd.DataFrame({"curve": label, labels[0]: xs, labels[1]: ys}))
    data = pd.concat(tables) if tables else pd.DataFrame(columns=["curve", *labels])
    described = f"{labels[1]} against {labels[0]} of {', '.join(lines)}."
    return Figure(name, title, described, join(parts), 376, size + 56 + legend, data)


def matrix(name: str, title: str, values: pd.DataFrame, label: str, middle: float) -> Figure:
    """A table of values as a heat map with the values written into it.

    Parameters
    ----------
    name, title : str
    values : pandas.DataFrame, shape (rows, columns)
    label : str
        What a value is.
    middle : float
        Value without colour, such as 0.5 of an AUROC.
    """
    width, row, left, top = 64.0, 26.0, 190.0, 96.0
    strongest = np.nanmax(np.abs(values.to_numpy(float) - middle)) if values.notna().any(axis=None) else 1.0
    parts = []
    for j, column in enumerate(values.columns):
        turned = f"translate({left + (j + 0.55) * width:.0f} {top - 8:.0f}) rotate(-35)"
        parts.append(text(0, 0, shortened(str(column), 18), transform=turned, data_t=str(column)))
    for i, index in enumerate(values.index):
        y = top + i * row
        parts.append(text(left - 8, y + 17, shortened(str(index), 28), text_anchor="end", data_t=str(index)))
        for j, value in enumerate(values.iloc[i].to_numpy(float)):
            x = left + j * width
            share = abs(value - middle) / (strongest or 1) if np.isfinite(value) else 0.0
            shown = f"{value:.3f}" if np.isfinite(value) else "–"
            tip = f"{index} on {values.columns[j]}: {label} {shown}"
            parts.append(
                rect(
                    x, y, width - 2, row - 2, "up" if value >= middle else "down", fill_opacity=0.62 * share, data_t=tip
                )
            )
            parts.append(text(x + width / 2 - 1, y + 16, shown, text_anchor="middle", class_="strong"))
    data = values.rename_axis("row").reset_index()
    described = f"{label} of {len(values)} rows and {len(values.columns)} columns; the data can be saved as a table."
    size = left + width * len(values.columns) + 30
    return Figure(
        name, title, described, join(parts), size, top + row * len(values) + 6, data, least=int(min(size, 520))
    )
