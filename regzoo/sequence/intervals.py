"""BED files as arrays."""

from dataclasses import dataclass

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.files import open_bytes, require_file


@dataclass
class Intervals:
    """The records of a BED file, in its order.

    Attributes
    ----------
    contigs : numpy.ndarray of str, shape (N,)
    starts, ends : numpy.ndarray, int64, shape (N,)
        0-based, half-open.
    names : numpy.ndarray of str, shape (N,)
        Fourth column, or the record's number from 0.
    strands : numpy.ndarray of str, shape (N,)
        Sixth column: '+', '-' or '.'.
    lines : numpy.ndarray, int64, shape (N,)
        Line numbers in the file, from 1.
    columns : list of list of str
        The columns from the fourth on, as text, for labels.
    """

    contigs: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    names: np.ndarray
    strands: np.ndarray
    lines: np.ndarray
    columns: list

    def __len__(self):
        return len(self.starts)

    def resized(self, length):
        """Starts of windows of `length` bases around the intervals' centres, int64, shape (N,)."""
        return (self.starts + self.ends) // 2 - length // 2


def read_bed(path):
    """Read a BED file, plain or gzipped, of three or more columns.

    Parameters
    ----------
    path : str or pathlib.Path
        Lines that start with '#', 'track' or 'browser', and empty lines, are skipped.

    Returns
    -------
    Intervals

    Raises
    ------
    InputError
        If the file is missing, cut off or empty, or a line is not BED; the message names file and line.
    """
    path = require_file(path, "BED file")
    contigs, starts, ends, names, strands, lines, columns = [], [], [], [], [], [], []
    try:
        with open_bytes(path) as handle:
            for number, line in enumerate(handle, 1):
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if not text.strip() or text.startswith(("#", "track", "browser")):
                    continue
                fields = text.split("\t") if "\t" in text else text.split()
                start, end = _coordinates(path, number, fields)
                contigs.append(fields[0])
                starts.append(start)
                ends.append(end)
                names.append(fields[3] if len(fields) > 3 else str(len(names)))
                strands.append(fields[5] if len(fields) > 5 and fields[5] in "+-" and fields[5] else ".")
                lines.append(number)
                columns.append(fields[3:])
    except (EOFError, OSError) as error:
        raise InputError(f"{path}: truncated or corrupt file ({error})") from error
    if not starts:
        raise InputError(f"{path}: no interval in this BED file")
    integers = (np.array(values, dtype=np.int64) for values in (starts, ends))
    return Intervals(np.array(contigs), *integers, np.array(names), np.array(strands), np.array(lines), columns)


def _coordinates(path, number, fields):
    if len(fields) < 3:
        raise InputError(f"{path}, line {number}: {len(fields)} columns; BED has contig, start and end, tab-separated")
    try:
        start, end = int(fields[1]), int(fields[2])
    except ValueError:
        raise InputError(f"{path}, line {number}: start {fields[1]!r} and end {fields[2]!r} must be numbers") from None
    if start < 0:
        raise InputError(f"{path}, line {number}: start {start} is negative")
    if end <= start:
        raise InputError(f"{path}, line {number}: end {end} is not after start {start}")
    return start, end


def place_windows(intervals, genome, length, path, strict=False):
    """Where the windows around the intervals' centres lie in a genome.

    Parameters
    ----------
    intervals : Intervals
    genome : regzoo.sequence.Genome
    length : int
    path : str or pathlib.Path
        The BED file, named in errors.
    strict : bool
        Refuse windows that reach over a contig's end.

    Returns
    -------
    numbers : numpy.ndarray, int64, shape (N,)
        Contigs, by `genome.number`.
    starts : numpy.ndarray, int64, shape (N,)
        0-based; negative where a window starts before its contig.

    Raises
    ------
    InputError
        If a contig is not in the genome, or a window reaches over an end and `strict` is on; the line is named.
    """
    names, first, groups = np.unique(intervals.contigs, return_index=True, return_inverse=True)
    numbers = []
    for name, row in zip(names, first):
        try:
            numbers.append(genome.number(str(name)))
        except InputError as error:
            raise InputError(f"{path}, line {intervals.lines[row]}: {error}") from error
    numbers = np.array(numbers, dtype=np.int64)[groups]
    starts = intervals.resized(length)
    outside = np.flatnonzero((starts < 0) | (starts + length > genome.lengths[numbers])) if strict else ()
    if len(outside):
        i = outside[0]
        raise InputError(
            f"{path}, line {intervals.lines[i]}: the window {intervals.contigs[i]}:{starts[i]}-{starts[i] + length} reaches "
            f"over the contig's end ({genome.lengths[numbers[i]]} bases); {len(outside)} windows do, and strict is on"
        )
    return numbers, starts
