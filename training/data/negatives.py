"""Negatives for peaks: shuffled sequences with the same dinucleotides, or genomic windows with the same G+C content."""

from collections.abc import Callable

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence import Genome
from regzoo.sequence.codes import UNKNOWN
from training.data.peaks import Coverage


def gc_content(codes: np.ndarray) -> np.ndarray:
    """Fraction of G and C among known bases, float64, shape (N,); NaN without known bases."""
    known = (codes < UNKNOWN).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return ((codes == 1) | (codes == 2)).sum(axis=1) / known


def gc_matched(
    genome: Genome,
    length: int,
    target: np.ndarray,
    excluded: Coverage,
    rng: np.random.Generator,
    strata: np.ndarray | None = None,
    stratum_of: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    tolerance: float = 0.02,
    tries: int = 200,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windows of a genome with given G+C contents and, if wanted, strata, which touch no excluded interval.

    Parameters
    ----------
    genome : regzoo.sequence.Genome
    length : int
        Of a window, in bases.
    target : numpy.ndarray, float, shape (N,)
        G+C content of each window to draw.
    excluded : training.data.peaks.Coverage
    rng : numpy.random.Generator
    strata : numpy.ndarray, int, shape (N,), optional
        Stratum of each window to draw, such as a class of repeat content.
    stratum_of : callable, optional
        stratum_of(numbers, starts) returns the strata of windows.
    tolerance : float
        Largest difference in G+C content.
    tries : int
        Rounds of random windows before an error.

    Returns
    -------
    numbers, starts : numpy.ndarray, int64, shape (N,)
        Contigs and starts, in the order of `target`.

    Raises
    ------
    InputError
        If the genome has too few such windows; the message gives a missing G+C content.
    """
    room = np.maximum(genome.lengths - length + 1, 0)
    if not room.sum():
        raise InputError(f"{genome.path}: no contig has {length} bases")
    numbers, starts = np.full(len(target), -1, dtype=np.int64), np.zeros(len(target), dtype=np.int64)
    for _ in range(tries):
        open_rows = np.flatnonzero(numbers < 0)
        if not len(open_rows):
            return numbers, starts
        size = max(1000, 4 * len(open_rows))
        drawn = rng.choice(len(room), size=size, p=room / room.sum())
        first = (rng.random(size) * room[drawn]).astype(np.int64)
        codes = genome.windows(drawn, first, length)
        free = ((codes == UNKNOWN).mean(axis=1) < 0.1) & (excluded.bases(drawn, first, first + length) == 0)
        drawn, first, content = drawn[free], first[free], gc_content(codes[free])
        group = stratum_of(drawn, first) if stratum_of else np.zeros(len(drawn), dtype=int)
        for stratum in np.unique(group):
            own = np.flatnonzero(group == stratum)
            rows = open_rows if strata is None else open_rows[strata[open_rows] == stratum]
            _take_nearest(numbers, starts, rows, target, drawn[own], first[own], content[own], tolerance)
    if (numbers < 0).any():
        missing = target[numbers < 0]
        raise InputError(
            f"{genome.path}: no window found for {len(missing)} of {len(target)} G+C contents, such as {missing[0]:.2f}"
        )
    return numbers, starts


def _take_nearest(numbers, starts, rows, target, drawn, first, content, tolerance):
    """Assign to each G+C content the nearest drawn window that is left, both in rising order."""
    order, at = np.argsort(content), 0
    for row in rows[np.argsort(target[rows], kind="stable")]:
        while at < len(order) and content[order[at]] < target[row] - tolerance:
            at += 1
        if at < len(order) and content[order[at]] <= target[row] + tolerance:
            numbers[row], starts[row] = drawn[order[at]], first[order[at]]
            at += 1


def nearest_contents(contents: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Choose the rows of a pool whose G+C contents are nearest to given ones, each row once.

    Parameters
    ----------
    contents : numpy.ndarray, float, shape (M,)
        Of the pool.
    wanted : numpy.ndarray, float, shape (N,)

    Returns
    -------
    numpy.ndarray, int64, shape (N,)
        In the order of `wanted`. If a content is used up, the next higher one that is left.

    Raises
    ------
    InputError
        If the pool is smaller than `wanted`.
    """
    if len(contents) < len(wanted):
        raise InputError(f"{len(wanted)} background windows are needed, but there are only {len(contents)}")
    order, rank = np.argsort(contents, kind="stable"), np.argsort(wanted, kind="stable")
    values, targets = contents[order], wanted[rank]
    # In rising order, each target takes the first unused row with at least its own content.
    places = np.searchsorted(values, targets)
    places = np.maximum.accumulate(places - np.arange(len(targets))) + np.arange(len(targets))
    room = len(values) - np.arange(len(targets), 0, -1)
    result = np.empty(len(wanted), dtype=np.int64)
    result[rank] = order[np.minimum(places, room)]
    return result
