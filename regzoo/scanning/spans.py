"""The regions that a scan reads, and their windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.evaluate.overlap import FAR, as_regions, located, merged
from regzoo.model import Model
from regzoo.sequence.genome import Genome


class Spans:
    """Regions to scan, merged, in alphabetical order of contigs.

    Attributes
    ----------
    numbers, starts, ends : numpy.ndarray, int64, shape (N,)
        Contig, and 0-based half-open bounds.
    short : list of str
        Contigs of the whole genome that are shorter than a window.
    """

    def __init__(self, genome: Genome, regions: Any, model: Model):
        self.genome, self.length, self.short = genome, model.input_length, []
        if regions is None:
            long = genome.lengths >= self.length
            self.short = [name for name, kept in zip(genome.contigs, long) if not kept]
            if not long.any():
                raise InputError(f"{genome.path}: no contig has the {self.length} bases that {model.name} reads")
            self.numbers = np.flatnonzero(long)
            self.starts, self.ends = np.zeros(len(self.numbers), dtype=np.int64), genome.lengths[self.numbers]
        else:
            intervals, source = as_regions(regions, genome)
            self.numbers = located(intervals, source, genome)
            self.starts, self.ends = intervals.starts, intervals.ends
            self._check(intervals, source, model)
        order = np.array(sorted(range(len(genome.contigs)), key=genome.contigs.__getitem__))
        rank = np.argsort(order)[self.numbers] * FAR
        starts, ends = merged(rank + self.starts, rank + self.ends, adjoining=True)
        self.numbers, self.starts, self.ends = order[starts // FAR], starts % FAR, ends % FAR

    def _check(self, intervals, source, model):
        for i in np.flatnonzero(self.ends - self.starts < self.length):
            raise InputError(
                f"{source}, {intervals.unit} {intervals.lines[i]}: {intervals.contigs[i]}:{self.starts[i] + 1}-"
                f"{self.ends[i]} has {self.ends[i] - self.starts[i]} bases, but {model.name} reads windows of "
                f"{self.length}; widen or remove this region"
            )

    def windows(self, region: int, step: int, low: int, high: int) -> np.ndarray:
        """Starts of windows `low` to `high` of a region, relative to it; the last window ends with it."""
        last = int(self.ends[region] - self.starts[region]) - self.length
        return np.minimum(np.arange(low, high) * step, last)

    def count(self, step: int, region: int) -> int:
        """Number of windows of a region."""
        return -(-int(self.ends[region] - self.starts[region] - self.length) // step) + 1

    def frame(self) -> pd.DataFrame:
        """The regions as a table, from which the same object is made."""
        names = [self.genome.contigs[i] for i in self.numbers]
        return pd.DataFrame({"chrom": names, "start": self.starts, "end": self.ends})

    def contig(self, region: int) -> str:
        """Name of a region's contig."""
        return self.genome.contigs[self.numbers[region]]

    def codes(self, region: int) -> np.ndarray:
        """Base codes of a region, a view."""
        return self.genome.codes(self.contig(region))[self.starts[region] : self.ends[region]]
