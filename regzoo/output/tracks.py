"""Genome browser tracks: bedGraph and bigWig."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regzoo.errors import OutputError

BEDGRAPH = (".bedgraph", ".bg")
BIGWIG = (".bw", ".bigwig")

#: Intervals of one contig: its name, starts, ends (int64) and values (float32), each of shape (N,), in order.
Block = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def require_bigwig() -> Any:
    """The package pybigtools, or an OutputError that says how to install it."""
    try:
        import pybigtools
    except ImportError as error:
        raise OutputError("bigWig needs pybigtools: pip install 'regzoo[tracks]', or write .bedgraph") from error
    return pybigtools


def write_bedgraph(path: str | Path, blocks: Iterable[Block], name: str, description: str = "") -> None:
    """Write a bedGraph file.

    Parameters
    ----------
    path : str or pathlib.Path
    blocks : iterable of (str, numpy.ndarray, numpy.ndarray, numpy.ndarray)
        Contig, starts, ends and values of intervals that do not overlap.
    name, description : str
        Of the track.
    """
    named, described = (re.sub(r"\s", " ", text.replace('"', "'")) for text in (name, description))
    with open(path, "w") as out:
        out.write(f'track type=bedGraph name="{named}"' + (f' description="{described}"\n' if described else "\n"))
        for contig, starts, ends, values in blocks:
            out.writelines(f"{contig}\t{s}\t{e}\t{v:.7g}\n" for s, e, v in zip(starts, ends, values.tolist()))


def mean_of_overlaps(
    starts: np.ndarray, ends: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean value of each stretch of a contig that the same intervals cover.

    Parameters
    ----------
    starts, ends : numpy.ndarray, int64, shape (N,)
        0-based, half-open; none is empty.
    values : numpy.ndarray, float, shape (N,)

    Returns
    -------
    starts, ends : numpy.ndarray, int64, shape (M,)
        Sorted, not overlapping.
    values : numpy.ndarray, float64, shape (M,)
    """
    bounds = np.unique(np.concatenate([starts, ends]))
    change, count = np.zeros(len(bounds)), np.zeros(len(bounds), dtype=np.int64)
    for places, sign in ((np.searchsorted(bounds, starts), 1), (np.searchsorted(bounds, ends), -1)):
        np.add.at(change, places, sign * values.astype(np.float64))
        np.add.at(count, places, sign)
    total, count = np.cumsum(change), np.cumsum(count)
    covered = np.flatnonzero(count)
    return bounds[covered], bounds[covered + 1], total[covered] / count[covered]


def write_bigwig(path: str | Path, blocks: Iterable[Block], contigs: Mapping[str, int], given: str | Path) -> None:
    """Write a bigWig file, and read it back to check that it is complete.

    Parameters
    ----------
    path : str or pathlib.Path
        With a suffix of `BIGWIG`.
    blocks : iterable of (str, numpy.ndarray, numpy.ndarray, numpy.ndarray)
        Contig, starts, ends and values of intervals that do not overlap; contigs in alphabetical order.
    contigs : dict of str to int
        Length of each contig.
    given : str or pathlib.Path
        Name of the output in error messages.

    Raises
    ------
    OutputError
        If pybigtools is not installed, or the file does not hold what was written, as on a full disk.
    """
    pybigtools = require_bigwig()
    rows = _Rows(blocks)
    try:
        pybigtools.open(str(path), "w").write(dict(contigs), rows)
        # pybigtools reports neither an error of the rows nor a failed write, so that both are looked for here.
        complete = rows.error is None and _read_back(pybigtools, path) == (rows.count, rows.bases)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of its Rust code is no Exception
        raise OutputError(f"{given}: cannot write this bigWig file ({error}); is the disk full?") from error
    if rows.error is not None:
        raise rows.error
    if not complete:
        raise OutputError(f"{given}: this bigWig file does not hold what was written; is the disk full?")


class _Rows:
    """Rows of blocks as tuples; `error` is what stopped them."""

    def __init__(self, blocks):
        self.blocks, self.count, self.bases, self.error = blocks, 0, 0, None

    def __iter__(self) -> Iterator[tuple[str, int, int, float]]:
        try:
            for contig, starts, ends, values in self.blocks:
                self.count += len(starts)
                self.bases += int(np.sum(ends - starts))
                for start, end, value in zip(starts.tolist(), ends.tolist(), values.tolist()):
                    yield contig, start, end, value
        except GeneratorExit:  # pybigtools takes no more
            raise
        except BaseException as error:
            self.error = error
            raise


def _read_back(pybigtools, path):
    """Number of intervals and of bases in a bigWig file."""
    count = bases = 0
    with pybigtools.open(str(path)) as file:
        for contig in file.chroms():
            for start, end, _ in file.records(contig):
                count += 1
                bases += end - start
    return count, bases
