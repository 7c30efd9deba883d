"""Distance of positions to the nearest of given elements, for background variants that are matched by it."""

from __future__ import annotations

from typing import Any

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.genome import Genome
from regzoo.sequence.intervals import as_intervals

#: Largest distance, in bases, of each bin but the last; 0 is inside an element.
EDGES = (0, 100, 1_000, 10_000, 100_000)


class Elements:
    """Intervals on a genome.

    Parameters
    ----------
    elements : BED file, data frame or loci
    genome : Genome

    Raises
    ------
    InputError
        If no element lies on a contig of the genome.
    """

    def __init__(self, elements: Any, genome: Genome):
        intervals, source = as_intervals(elements)
        own = np.array([_number(genome, str(name)) for name in intervals.contigs], dtype=np.int64)
        if not (own >= 0).any():
            raise InputError(f"{source}: no element lies on a contig of {genome.path}")
        self._ends: dict[int, np.ndarray] = {}
        self._starts: dict[int, np.ndarray] = {}
        for contig in np.unique(own[own >= 0]):
            rows = own == contig
            order = np.argsort(intervals.starts[rows])
            self._starts[contig] = intervals.starts[rows][order]
            # Of all elements that start before a position, the largest end counts.
            self._ends[contig] = np.maximum.accumulate(intervals.ends[rows][order])

    def distance(self, contigs: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Bases between positions and the nearest element.

        Parameters
        ----------
        contigs : numpy.ndarray, int, shape (N,)
            Indices of the genome's contigs.
        positions : numpy.ndarray, int, shape (N,)
            0-based.

        Returns
        -------
        numpy.ndarray, int64, shape (N,)
            0 inside an element, and 1 next to it; the largest integer on a contig without elements.
        """
        found = np.full(len(positions), np.iinfo(np.int64).max)
        for contig in np.intersect1d(contigs, list(self._starts)):
            rows = np.flatnonzero(contigs == contig)
            starts, ends, at = self._starts[contig], self._ends[contig], positions[rows]
            after = np.searchsorted(starts, at, side="right")
            left = np.where(after > 0, at - ends[np.maximum(after - 1, 0)] + 1, found[rows])
            right = np.where(after < len(starts), starts[np.minimum(after, len(starts) - 1)] - at, found[rows])
            found[rows] = np.minimum(np.maximum(left, 0), right)
        return found

    def bins(self, contigs: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Index of the bin of `EDGES` of each position; arguments as of `distance`.

        Returns
        -------
        numpy.ndarray, int, shape (N,)
        """
        return np.searchsorted(EDGES, self.distance(contigs, positions), side="left")


def _number(genome, name):
    try:
        return genome.number(name)
    except InputError:
        return -1


def quotas(kinds: np.ndarray, count: int) -> np.ndarray:
    """Divide a number of variants over kinds as given variants are.

    Parameters
    ----------
    kinds : numpy.ndarray, int, shape (N,)
        Kind of each given variant, such as its bin.
    count : int

    Returns
    -------
    numpy.ndarray, int, shape (largest kind + 1,)
        Sums to `count`; the largest remainders are rounded up.
    """
    exact = count * np.bincount(kinds) / len(kinds)
    found = np.floor(exact).astype(np.int64)
    found[np.argsort(found - exact, kind="stable")[: count - found.sum()]] += 1
    return found
