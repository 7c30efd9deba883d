"""Overlap of called elements with known intervals, against circular shifts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.sequence.genome import Genome, as_genome
from regzoo.sequence.intervals import Intervals, as_intervals, locate_windows

logger = logging.getLogger(__name__)

#: Contigs are this far apart where intervals of all of them are sorted together.
FAR = 1 << 41


def overlap(
    elements: Any, bed: Any, genome: Any, *, regions: Any = None, permutations: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compare elements with known intervals.

    Parameters
    ----------
    elements : pandas.DataFrame, str, pathlib.Path, or list of str
        Elements of `regzoo.scan`, or other intervals: a data frame with columns chrom, start, end, a BED file, or loci.
        With a column `target`, each target is compared by itself.
    bed : str, pathlib.Path, list of str, or pandas.DataFrame
        Known intervals. Those that overlap each other are merged.
    genome : str, pathlib.Path or Genome
        FASTA or .2bit.
    regions : str, pathlib.Path, list of str, or pandas.DataFrame, optional
        The part of the genome that was searched, as of `regzoo.scan`; all of it by default. Known intervals are cut to
        it.
    permutations : int
        Number of circular shifts.
    seed : int
        Of the shifts.

    Returns
    -------
    pandas.DataFrame
        One row for each target:

        - elements, overlapping, precision: number of elements, of those with at least one base in a known interval, and
          their fraction;
        - known, found, recall: number of merged known intervals, of those with a base in an element, and their
          fraction;
        - jaccard, odds_ratio: of bases. The odds ratio is that of a base in an element to be in a known interval;
        - expected: mean number of overlapping elements when the elements of each contig are shifted together, in a
          circle, by a random number of bases;
        - enrichment: overlapping / expected;
        - p: (1 + number of shifts with at least as many overlapping elements) / (1 + permutations).

    Raises
    ------
    InputError
        If an input is not valid, an element is not on its contig or not in the regions, or no known interval is in the
        regions.

    Examples
    --------
    >>> regzoo.overlap(regzoo.scan(model, "hg38.fa"), "peaks.bed", "hg38.fa")     # doctest: +SKIP
    """
    if permutations < 1:
        raise InputError(f"permutations: expected 1 or more, got {permutations}")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}")
    opened = as_genome(genome)
    if regions is None:
        numbers = np.arange(len(opened.contigs))
        space = Space(opened, numbers, np.zeros(len(numbers), dtype=np.int64), opened.lengths)
    else:
        intervals, source = as_regions(regions, opened)
        space = Space(opened, located(intervals, source, opened), intervals.starts, intervals.ends)
    known = space.known(bed)
    intervals, source = as_intervals(elements)
    located(intervals, source, opened)
    labels = (
        elements["target"].to_numpy() if isinstance(elements, pd.DataFrame) and "target" in elements else "elements"
    )
    table = pd.DataFrame(
        {"chrom": intervals.contigs, "start": intervals.starts, "end": intervals.ends, "target": labels}
    )
    for i in np.flatnonzero(space.pieces(intervals)[2] == 0):
        raise InputError(
            f"{source}, {intervals.unit} {intervals.lines[i]}: {intervals.contigs[i]}:{intervals.starts[i] + 1}-"
            f"{intervals.ends[i]} is not in the regions"
        )
    return compare_elements(table, list(dict.fromkeys(table.target)), known, permutations, seed)


def as_regions(regions: Any, genome: Genome) -> tuple[Intervals, str]:
    """Intervals of regions, among which a contig's name stands for the whole contig.

    Parameters
    ----------
    regions : str, pathlib.Path, list of str, or pandas.DataFrame
        A BED file, a data frame, or contigs and loci.
    genome : Genome

    Returns
    -------
    intervals : Intervals
    source : str
        Where they are from, for error messages.

    Raises
    ------
    InputError
        If the regions are not valid, or a name is neither a file, a locus nor a contig.
    """
    names = [regions] if isinstance(regions, str) and regions != "-" and not Path(regions).is_file() else regions
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return as_intervals([_locus(name, genome) for name in names])
    return as_intervals(regions)


def _locus(name, genome):
    try:
        return f"{name}:1-{genome.lengths[genome.number(name)]}"
    except InputError as error:
        if ":" in name:
            return name
        raise InputError(f"region {name!r} is no file, locus or contig; {error}") from error


def located(intervals: Intervals, source: str, genome: Genome) -> np.ndarray:
    """Indices of the contigs of intervals.

    Parameters
    ----------
    intervals : Intervals
    source : str
        Where they are from, for error messages.
    genome : Genome

    Returns
    -------
    numpy.ndarray, int64, shape (N,)

    Raises
    ------
    InputError
        If a contig is not in the genome, or an interval reaches beyond its contig. The message names the line.
    """
    numbers = locate_windows(intervals, genome, 1)[0]
    for i in np.flatnonzero(numbers < 0):
        try:
            genome.number(str(intervals.contigs[i]))
        except InputError as error:
            raise InputError(f"{source}, {intervals.unit} {intervals.lines[i]}: {error}") from error
    for i in np.flatnonzero(intervals.ends > genome.lengths[numbers]):
        raise InputError(
            f"{source}, {intervals.unit} {intervals.lines[i]}: {intervals.contigs[i]}:{intervals.starts[i] + 1}-"
            f"{intervals.ends[i]} reaches beyond its contig, which has {genome.lengths[numbers[i]]} bases"
        )
    return numbers


class Space:
    """The searched part of a genome, as one axis on which the regions follow each other.

    Parameters
    ----------
    genome : Genome
    numbers, starts, ends : numpy.ndarray, int64, shape (N,)
        Contig and bounds of each region.
    """

    def __init__(self, genome: Genome, numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray):
        self.genome = genome
        self.starts, self.ends = merged(numbers * FAR + starts, numbers * FAR + ends, adjoining=True)
        sizes = self.ends - self.starts
        self.offsets = np.cumsum(sizes) - sizes
        self.size = int(sizes.sum())
        # First and last position of each region's contig on the axis.
        _, first, group = np.unique(self.starts // FAR, return_index=True, return_inverse=True)
        bounds = np.append(self.offsets[first], self.size)
        self.low, self.high = bounds[group], bounds[group + 1]

    def pieces(self, intervals: Intervals) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parts of intervals that lie in the space.

        Returns
        -------
        bounds : numpy.ndarray, int64, shape (4, pieces)
            Start and end on the axis, and first and last position of the contig there.
        source : numpy.ndarray, int64, shape (pieces,)
            Index of each piece's interval.
        count : numpy.ndarray, int64, shape (N,)
            Number of pieces of each interval; 0 for a contig that is not in the genome.
        """
        numbers = locate_windows(intervals, self.genome, 1)[0]
        starts, ends = numbers * FAR + intervals.starts, numbers * FAR + intervals.ends
        first = np.searchsorted(self.ends, starts, side="right")
        count = np.maximum(np.searchsorted(self.starts, ends) - first, 0)
        source = np.repeat(np.arange(len(count)), count)
        region = first[source] + np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
        shift = self.offsets[region] - self.starts[region]
        low, high = np.maximum(starts[source], self.starts[region]), np.minimum(ends[source], self.ends[region])
        return np.stack([low + shift, high + shift, self.low[region], self.high[region]]), source, count

    def known(self, bed: Any) -> Known:
        """Known intervals on the axis. What is not in the space is left out, with a warning.

        Raises
        ------
        InputError
            If the intervals are not valid, or none is in the space.
        """
        intervals, source = as_intervals(bed)
        (starts, ends, *_), _, count = self.pieces(intervals)
        outside = int(np.sum(count == 0))
        if outside == len(intervals):
            raise InputError(
                f"{source}: none of its {len(intervals)} intervals is in the searched regions of {self.genome.path}; "
                "is it of another genome assembly?"
            )
        if outside:
            logger.warning("%s: %d of %d intervals are not in the searched regions", source, outside, len(intervals))
        return Known(self, *merged(starts, ends))


@dataclass
class Known:
    """Known intervals on the axis of a space, merged.

    Attributes
    ----------
    space : Space
    starts, ends : numpy.ndarray, int64, shape (N,)
    """

    space: Space
    starts: np.ndarray
    ends: np.ndarray


def merged(starts: np.ndarray, ends: np.ndarray, adjoining: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Merge intervals that overlap, or also those that adjoin.

    Parameters
    ----------
    starts, ends : numpy.ndarray, int64, shape (N,)
    adjoining : bool

    Returns
    -------
    starts, ends : numpy.ndarray, int64, shape (M,)
        Sorted.
    """
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    first = np.concatenate([[True], starts[1:] > reach[:-1] if adjoining else starts[1:] >= reach[:-1]])[: len(starts)]
    return starts[first], reach[np.append(np.flatnonzero(first)[1:] - 1, len(starts) - 1)] if len(starts) else reach


def touches(starts: np.ndarray, ends: np.ndarray, others: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Whether each interval shares a base with any of others, which are sorted and do not overlap; bool, shape (N,)."""
    other_starts, other_ends = others
    if not len(other_starts):
        return np.zeros(len(starts), dtype=bool)
    index = np.searchsorted(other_ends, starts, side="right")
    return (index < len(other_ends)) & (other_starts[np.minimum(index, len(other_ends) - 1)] < ends)


def compare_elements(
    table: pd.DataFrame, targets: Sequence[str], known: Known, permutations: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compare the elements of each target with known intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns chrom, start, end, target.
    targets : sequence of str
        Targets to compare, also those without an element.
    known : Known
    permutations, seed : int
        See `overlap`.

    Returns
    -------
    pandas.DataFrame
        See `overlap`.
    """
    return pd.DataFrame(
        [
            {
                "target": target,
                **_compare(table[table.target == target], known, permutations, np.random.default_rng(seed)),
            }
            for target in targets
        ]
    )


def _compare(rows, known, permutations, rng):
    space, others, total = known.space, (known.starts, known.ends), len(rows)
    bounds, source = np.empty((4, 0), dtype=np.int64), np.empty(0, dtype=np.int64)
    if total:
        bounds, source, _ = space.pieces(as_intervals(rows)[0])
    starts, ends, low, high = bounds
    covered = merged(starts, ends)
    overlapping = _distinct(source[touches(starts, ends, others)])
    found = int(touches(*others, covered).sum())
    shifted = np.array(
        [_distinct(source[_touches_shifted(starts, ends, low, high, others, rng)]) for _ in range(permutations)]
    )
    expected = float(shifted.mean())
    return {
        "elements": total,
        "overlapping": overlapping,
        "precision": _ratio(overlapping, total),
        "known": len(known.starts),
        "found": found,
        "recall": _ratio(found, len(known.starts)),
        **_base_overlap(covered, others, space.size),
        "expected": expected,
        "enrichment": _ratio(overlapping, expected),
        "p": (1 + int(np.sum(shifted >= overlapping))) / (1 + permutations),
    }


def _base_overlap(covered, others, size):
    """Jaccard index and odds ratio by bases, of two sets of merged intervals in a space of `size` bases."""
    joined = merged(np.append(covered[0], others[0]), np.append(covered[1], others[1]))
    ours, theirs, union = (int(np.sum(ends - starts)) for starts, ends in (covered, others, joined))
    both = ours + theirs - union
    odds = _ratio(both * (size - union), (ours - both) * (theirs - both))
    return {"jaccard": both / union, "odds_ratio": odds}


def _touches_shifted(starts, ends, low, high, others, rng):
    """Which intervals touch others when all of a contig, between `low` and `high`, are shifted alike in a circle."""
    _, first, group = np.unique(low, return_index=True, return_inverse=True)
    size = high - low
    by = rng.integers(size[first])[group]
    start = low + (starts - low + by) % size
    end = start + ends - starts
    over = np.maximum(end - size, low)
    return touches(start, np.minimum(end, high), others) | ((end > high) & touches(low, over, others))


def _distinct(source):
    return len(np.unique(source))


def _ratio(above, below):
    return above / below if below else (np.inf if above else np.nan)
