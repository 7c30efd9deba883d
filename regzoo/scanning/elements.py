"""Elements called from the predictions of a scan, and tracks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.output.tables import open_table
from regzoo.scanning.options import Options, Track
from regzoo.scanning.predictions import Spool
from regzoo.scanning.spans import Spans

PEAKS = (".narrowpeak", ".bed")
ELEMENTS = {
    "chrom": str,
    "start": int,
    "end": int,
    "name": str,
    "score": int,
    "strand": str,
    "target": str,
    "value": float,
    "summit": int,
    "windows": int,
}


def bins(
    spans: Spans, spool: Spool, number: int, step: int, length: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of a track: around each window's centre, up to half way to the next window's, at most a step wide."""
    for region, starts, values in spool.track(number):
        first, last = spans.starts[region], spans.ends[region] - length
        before = first + (starts - first - 1) // step * step
        after = np.minimum(starts + step, last)
        half = length // 2
        low = np.where(starts > first, (before + starts + 1) // 2, starts - step // 2)
        high = np.where(starts < last, (starts + after + 1) // 2, starts - step // 2 + step)
        yield spans.contig(region), low + half, high + half, values


def fdr_threshold(real: Spool, null: Spool, number: int, track: Track, fdr: float) -> float:
    """Smallest prediction at which the windows called in shuffled sequence are at most a fraction of those called."""
    values, shuffled = real.values(number), null.values(number)
    at, first = np.unique(values, return_index=True)
    called = len(values) - first
    wrong = len(shuffled) - np.searchsorted(shuffled, at)
    right = np.flatnonzero(wrong <= fdr * called)
    if not len(right):
        raise InputError(
            f"{track.label}: no threshold has an fdr of {fdr}; shuffled sequence is predicted as high as the regions "
            f"(largest {shuffled[-1]:.4g} and {values[-1]:.4g}). Give a larger fdr or a threshold"
        )
    return float(at[right[0]])


def call(spans: Spans, tracks: list[Track], spool: Spool, options: Options, summary: Any) -> pd.DataFrame:
    """Elements of all tracks as a data frame, sorted by place."""
    length, parts = options.model.input_length, []
    for number, track in enumerate(tracks):
        rows = pd.DataFrame(
            [row for group in _called(spool, number, summary.thresholds[track.label], length) for row in group],
            columns=["region", "start", "end", "value", "summit", "windows"],
        )
        size = rows.end - rows.start
        short, long = size < (options.min_length or 0), size > (options.max_length or math.inf)
        summary.too_short, summary.too_long = summary.too_short + int(short.sum()), summary.too_long + int(long.sum())
        rows = rows[~(short | long)]
        summary.elements[track.label] = len(rows)
        summary.bases[track.label] = int((rows.end - rows.start).sum())
        largest = 1.0 if options.model.outputs == "probabilities" else rows.value.max()
        scaled = 1000 * rows.value / largest if len(rows) and largest > 0 else 0 * rows.value
        parts.append(
            rows.assign(
                chrom=[spans.contig(region) for region in rows.region],
                strand=track.strand,
                target=track.label,
                name=[f"{track.label}_{i + 1}" for i in range(len(rows))],
                score=np.rint(np.clip(scaled, 0, 1000)).astype(np.int64),
            )
        )
    table = pd.concat(parts).sort_values(["region", "start"], kind="stable")[list(ELEMENTS)]
    kinds = {int: "int64", float: "float32", str: "str"}
    return table.astype({name: kinds[kind] for name, kind in ELEMENTS.items()}).reset_index(drop=True)


def _called(spool, number, threshold, length):
    """Elements of a track, in lists: region, start, end, value, summit and number of called windows."""
    last, held = None, (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))  # the element that may go on
    for region, starts, values in spool.track(number):
        if region != last:
            yield _merged(last, *held, length)
            last, held = region, (starts[:0], values[:0])
        high = values >= threshold
        starts, values = np.concatenate([held[0], starts[high]]), np.concatenate([held[1], values[high]])
        gaps = np.flatnonzero(np.diff(starts) > length)
        cut = gaps[-1] + 1 if len(gaps) else 0
        yield _merged(region, starts[:cut], values[:cut], length)
        held = starts[cut:], values[cut:]
    yield _merged(last, *held, length)


def _merged(region, starts, values, length):
    """Elements of called windows: those that overlap or adjoin are one."""
    if not len(starts):
        return []
    first = np.concatenate([[0], np.flatnonzero(np.diff(starts) > length) + 1, [len(starts)]])
    found = []
    for low, high in zip(first[:-1].tolist(), first[1:].tolist()):
        best = low + int(np.argmax(values[low:high]))
        summit = int(starts[best]) + length // 2
        found.append(
            (region, int(starts[low]), int(starts[high - 1]) + length, float(values[best]), summit, high - low)
        )
    return found


def write_elements(kind: str, path: Any, table: pd.DataFrame) -> None:
    """Write elements as narrowPeak, BED or a table."""
    if kind not in PEAKS:
        with open_table(path, ELEMENTS) as out:
            out.write({name: table[name].to_numpy() for name in ELEMENTS})
        return
    with open(path, "w") as out:
        for row in table.itertuples():
            name = re.sub(r"\s", "_", row.name)
            line = f"{row.chrom}\t{row.start}\t{row.end}\t{name}\t{row.score}\t{row.strand}"
            if kind == ".narrowpeak":
                line += f"\t{row.value:.7g}\t-1\t-1\t{row.summit - row.start}"
            out.write(line + "\n")
