"""Windows and labels from peaks: around summits, or tiles of a genome labelled by overlap."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence import Genome, Intervals, read_bed
from regzoo.sequence.files import open_bytes

BIGBED = (".bb", ".bigbed")


@dataclass
class Peaks:
    """Peaks of one track.

    Attributes
    ----------
    numbers : numpy.ndarray, int64, shape (N,)
        Contigs, as of `Genome.number`.
    starts, ends, summits : numpy.ndarray, int64, shape (N,)
        0-based. The summit is the middle of the peak if the file gives none.
    """

    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    summits: np.ndarray


def read_peaks(path: str | Path, genome: Genome) -> Peaks:
    """Read a BED, narrowPeak or bigBed file.

    Parameters
    ----------
    path : str or pathlib.Path
        bigBed if its name ends with .bb or .bigBed, else BED. In narrowPeak, the tenth column is the distance of the
        summit from the start, or -1.
    genome : regzoo.sequence.Genome

    Returns
    -------
    Peaks

    Raises
    ------
    InputError
        If a line is not BED, its contig is not in the genome, or it ends after the contig, as happens when peaks and
        genome are of different assemblies. The line is named.
    """
    bed = read_bigbed(path) if str(path).lower().endswith(BIGBED) else read_bed(path)
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
            f"{path}, line {bed.lines[i]}: {bed.contigs[i]}:{bed.starts[i]}-{bed.ends[i]} ends after the contig, which "
            f"has {genome.lengths[numbers[i]]} bases; use peaks and a genome of one assembly"
        )
    middle = (bed.starts + bed.ends) // 2
    offsets = np.array([_summit(path, line, rest) for line, rest in zip(bed.lines, bed.columns)])
    summits = np.where(offsets >= 0, bed.starts + offsets, middle)
    return Peaks(numbers, bed.starts, bed.ends, summits)


def read_bigbed(path: str | Path) -> Intervals:
    """Read the intervals of a bigBed file; `lines` are record numbers."""
    with open_big(path, "bigBed") as file:
        rows = [
            (contig, start, end, (rest or "").split("\t") if rest else [])
            for contig, length in file.chroms().items()
            for start, end, rest in file.entries(contig, 0, length) or ()
        ]
    if not rows:
        raise InputError(f"{path}: no interval in it")
    contigs, starts, ends, columns = zip(*rows)
    numbers = np.arange(1, len(rows) + 1)
    return Intervals(
        contigs=np.array(contigs),
        starts=np.array(starts, dtype=np.int64),
        ends=np.array(ends, dtype=np.int64),
        names=np.array([rest[0] if rest else str(n) for n, rest in zip(numbers, columns)]),
        strands=np.full(len(rows), "."),
        lines=numbers,
        columns=list(columns),
    )


def open_big(path: str | Path, kind: str) -> Any:
    """Open a bigWig or bigBed file; an InputError if it is missing or of another kind."""
    import pyBigWig

    if not Path(path).is_file():
        raise InputError(f"{path}: no such {kind} file")
    try:
        file = pyBigWig.open(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not a {kind} file ({error})") from error
    if file is None or not (file.isBigBed() if kind == "bigBed" else file.isBigWig()):
        raise InputError(f"{path}: not a {kind} file")
    return file


def _summit(path, line, rest):
    if len(rest) < 7:
        return -1
    try:
        return int(rest[6])
    except ValueError:
        raise InputError(f"{path}, line {line}: summit {rest[6]!r} in the tenth column must be a number") from None


class Coverage:
    """Counts the bases of intervals that a set of intervals covers.

    Parameters
    ----------
    numbers, starts, ends : numpy.ndarray, int64, shape (N,)
        Contigs and 0-based, half-open intervals, in any order; they may overlap.
    """

    def __init__(self, numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray):
        order = np.lexsort((starts, numbers))
        numbers, starts, ends = (np.asarray(a)[order] for a in (numbers, starts, ends))
        self.contigs: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for contig in np.unique(numbers):
            own = numbers == contig
            first, last = starts[own], np.maximum.accumulate(ends[own])
            new = np.append(True, first[1:] > last[:-1])
            begin, end = first[new], last[np.append(np.flatnonzero(new)[1:] - 1, len(first) - 1)]
            self.contigs[int(contig)] = begin, end, np.concatenate([[0], np.cumsum(end - begin)])

    def bases(self, numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Count the covered bases of each interval, int64, shape (N,)."""
        result = np.zeros(len(numbers), dtype=np.int64)
        for contig, (begin, end, total) in self.contigs.items():
            own = np.flatnonzero(numbers == contig)
            result[own] = _before(ends[own], begin, end, total) - _before(starts[own], begin, end, total)
        return result


def _before(places, begin, end, total):
    """Covered bases before each position."""
    index = np.searchsorted(begin, places, side="right")
    inside = np.where(index > 0, np.minimum(places, end[index - 1]) - begin[index - 1], 0)
    return total[np.maximum(index - 1, 0)] + np.where(index > 0, inside, 0)


def overlap_labels(
    numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray, tracks: Sequence[Peaks], fraction: float = 0.5
) -> np.ndarray:
    """Find the tracks that cover at least a fraction of each interval, bool, shape (N, tracks).

    DeepSEA's rule is 0.5 of 200 bases.
    """
    needed = fraction * (ends - starts)
    columns = [
        Coverage(t.numbers, t.starts, t.ends).bases(numbers, starts, ends) >= np.maximum(needed, 1) for t in tracks
    ]
    return np.stack(columns, axis=1)


def tiles(genome: Genome, bin_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Contigs and starts of the bins that tile each contig from its first base; an incomplete last bin is left out."""
    counts = genome.lengths // bin_size
    numbers = np.repeat(np.arange(len(counts)), counts)
    starts = np.concatenate([np.arange(count) * bin_size for count in counts] or [np.empty(0)])
    return numbers.astype(np.int64), starts.astype(np.int64)


def summit_windows(tracks: Sequence[Peaks], length: int, bin_size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Contigs and starts of windows around the summits of all tracks, one for each bin of `bin_size` bases with
    summits.

    Of several summits in a bin, the first one is taken, in the order of the files.

    Returns
    -------
    numbers, starts : numpy.ndarray, int64, shape (N,)
    """
    numbers = np.concatenate([t.numbers for t in tracks])
    summits = np.concatenate([t.summits for t in tracks])
    _, first = np.unique(np.stack([numbers, summits // bin_size], axis=1), axis=0, return_index=True)
    first = np.sort(first)
    return numbers[first], summits[first] - length // 2


def soft_masked(path: Path, genome: Genome) -> Coverage:
    """Lower-case stretches of a FASTA file: in genomes of UCSC and Ensembl, the repeats that RepeatMasker found.

    Parameters
    ----------
    path : pathlib.Path
        Plain, gzipped or bgzipped.
    genome : regzoo.sequence.Genome
        Genome of the same file.

    Returns
    -------
    Coverage
    """
    numbers, starts, ends = [], [], []

    def close(name, pieces):
        if name is None:
            return
        lower = np.frombuffer(b"".join(pieces), dtype=np.uint8) >= ord("a")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], lower.view(np.int8), [0]])))
        starts.append(edges[::2])
        ends.append(edges[1::2])
        numbers.append(np.full(len(edges) // 2, genome.number(name)))

    name: str | None = None
    pieces: list[bytes] = []
    with open_bytes(path) as handle:
        for line in handle:
            if line.startswith(b">"):
                close(name, pieces)
                name, pieces = line[1:].split()[0].decode(), []
            else:
                pieces.append(line.strip())
    close(name, pieces)
    return Coverage(np.concatenate(numbers), np.concatenate(starts), np.concatenate(ends))


def bin_signal(
    path: str | Path, genome: Genome, numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Mean of a bigWig file over intervals, float32, shape (N,); bases without value count as 0.

    Raises
    ------
    InputError
        If the file is not bigWig, or a contig has another length than in the genome.
    """
    result = np.zeros(len(numbers), dtype=np.float32)
    with open_big(path, "bigWig") as file:
        own = {genome.number(name): (name, length) for name, length in file.chroms().items() if _has(genome, name)}
        for i, (number, start, end) in enumerate(zip(numbers.tolist(), starts.tolist(), ends.tolist())):
            if number not in own:
                continue
            name, length = own[number]
            if length != genome.lengths[number]:
                raise InputError(
                    f"{path}: {name} has {length} bases, but {genome.lengths[number]} in {genome.path}; use files of "
                    "one assembly"
                )
            values = file.values(name, max(start, 0), min(end, length), numpy=True)
            result[i] = np.nansum(values) / (end - start)
    return result


def _has(genome, name):
    try:
        genome.number(name)
    except InputError:
        return False
    return True
