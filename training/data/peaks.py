"""Peaks as windows and labels: around summits, or a tiled genome labelled by overlap, over any number of tracks."""

from dataclasses import dataclass

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence import read_bed


@dataclass
class Peaks:
    """One track's peaks.

    Attributes
    ----------
    numbers : numpy.ndarray, int64, shape (N,)
        Contigs, by `Genome.number`.
    starts, ends, summits : numpy.ndarray, int64, shape (N,)
        0-based; the middle where a file gives no summit.
    """

    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    summits: np.ndarray


def read_peaks(path, genome):
    """Peaks of a BED or narrowPeak file.

    Parameters
    ----------
    path : str or pathlib.Path
        Of narrowPeak, the tenth column is the summit's distance from the start, -1 where there is none.
    genome : regzoo.sequence.Genome

    Returns
    -------
    Peaks

    Raises
    ------
    InputError
        If a line is not BED, its contig is not in the genome, or it reaches over the contig's end, as it does when
        peaks and genome are of different assemblies; the line is named.
    """
    bed = read_bed(path)
    names, groups = np.unique(bed.contigs, return_inverse=True)
    numbers = np.empty(len(names), dtype=np.int64)
    for i, name in enumerate(names):
        try:
            numbers[i] = genome.number(str(name))
        except InputError as error:
            line = bed.lines[np.flatnonzero(groups == i)[0]]
            raise InputError(f"{path}, line {line}: {error}") from error
    numbers = numbers[groups]
    over = np.flatnonzero(bed.ends > genome.lengths[numbers])
    if len(over):
        i = over[0]
        raise InputError(
            f"{path}, line {bed.lines[i]}: {bed.contigs[i]}:{bed.starts[i]}-{bed.ends[i]} reaches over the contig's end at "
            f"{genome.lengths[numbers[i]]}; are peaks and genome of one assembly?"
        )
    middle = (bed.starts + bed.ends) // 2
    offsets = np.array([_summit(path, line, rest) for line, rest in zip(bed.lines, bed.columns)])
    summits = np.where(offsets >= 0, bed.starts + offsets, middle)
    return Peaks(numbers, bed.starts, bed.ends, summits)


def _summit(path, line, rest):
    if len(rest) < 7:
        return -1
    try:
        return int(rest[6])
    except ValueError:
        raise InputError(f"{path}, line {line}: summit {rest[6]!r} in the tenth column must be a number") from None


class Coverage:
    """How many bases of any interval a set of intervals covers.

    Parameters
    ----------
    numbers, starts, ends : numpy.ndarray, int64, shape (N,)
        Contigs and 0-based, half-open intervals, in any order, overlapping or not.
    """

    def __init__(self, numbers, starts, ends):
        order = np.lexsort((starts, numbers))
        numbers, starts, ends = (np.asarray(a)[order] for a in (numbers, starts, ends))
        self.contigs = {}
        for contig in np.unique(numbers):
            own = numbers == contig
            first, last = starts[own], np.maximum.accumulate(ends[own])
            new = np.append(True, first[1:] > last[:-1])
            begin, end = first[new], last[np.append(np.flatnonzero(new)[1:] - 1, len(first) - 1)]
            self.contigs[int(contig)] = begin, end, np.concatenate([[0], np.cumsum(end - begin)])

    def bases(self, numbers, starts, ends):
        """Covered bases of each interval, int64, shape (N,)."""
        result = np.zeros(len(numbers), dtype=np.int64)
        for contig, (begin, end, total) in self.contigs.items():
            own = np.flatnonzero(numbers == contig)
            result[own] = _before(ends[own], begin, end, total) - _before(starts[own], begin, end, total)
        return result


def _before(places, begin, end, total):
    """Covered bases in front of each place."""
    index = np.searchsorted(begin, places, side="right")
    inside = np.where(index > 0, np.minimum(places, end[index - 1]) - begin[index - 1], 0)
    return total[np.maximum(index - 1, 0)] + np.where(index > 0, inside, 0)


def overlap_labels(numbers, starts, ends, tracks, share=0.5):
    """Which tracks cover at least a share of each interval, bool, shape (N, tracks): DeepSEA's rule with 0.5 of 200 bases."""
    needed = share * (ends - starts)
    columns = [
        Coverage(t.numbers, t.starts, t.ends).bases(numbers, starts, ends) >= np.maximum(needed, 1) for t in tracks
    ]
    return np.stack(columns, axis=1)


def tiles(genome, bin_size):
    """Contigs and starts of the bins that tile a genome from each contig's first base; the rest of a contig is left out."""
    counts = genome.lengths // bin_size
    numbers = np.repeat(np.arange(len(counts)), counts)
    starts = np.concatenate([np.arange(count) * bin_size for count in counts] or [np.empty(0)])
    return numbers.astype(np.int64), starts.astype(np.int64)


def summit_windows(tracks, length, bin_size=200):
    """Windows around the summits of all tracks; of summits in one bin of `bin_size` bases, the first in the files' order.

    Returns
    -------
    numbers, starts : numpy.ndarray, int64, shape (N,)
    """
    numbers = np.concatenate([t.numbers for t in tracks])
    summits = np.concatenate([t.summits for t in tracks])
    _, first = np.unique(np.stack([numbers, summits // bin_size], axis=1), axis=0, return_index=True)
    first = np.sort(first)
    return numbers[first], summits[first] - length // 2
