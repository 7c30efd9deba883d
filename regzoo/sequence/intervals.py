"""Genomic intervals of BED files, loci and data frames."""

import re
import sys
import zlib
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.files import open_bytes, require_file

if TYPE_CHECKING:
    import pandas as pd

    from regzoo.sequence.genome import Genome

_LOCUS = re.compile(r"(?P<contig>\S+?):(?P<start>[0-9][0-9,]{0,20})-(?P<end>[0-9][0-9,]{0,20})")


@dataclass
class Intervals:
    """Genomic intervals, in the order of their source.

    Attributes
    ----------
    contigs : numpy.ndarray of str, shape (N,)
    starts, ends : numpy.ndarray, int64, shape (N,)
        0-based, half-open.
    names : numpy.ndarray of str, shape (N,)
        Fourth column, or the record's index from 0.
    strands : numpy.ndarray of str, shape (N,)
        Sixth column: '+', '-' or '.'.
    lines : numpy.ndarray, int64, shape (N,)
        Line numbers in the file, from 1.
    columns : list of list of str
        Columns from the fourth on, as text.
    unit : str
        Unit of `lines`, for error messages: 'line' of a file, 'row' of a data frame, or 'locus' of a list.
    """

    contigs: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    names: np.ndarray
    strands: np.ndarray
    lines: np.ndarray
    columns: list[list[str]]
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.starts)

    def resized(self, length: int) -> np.ndarray:
        """Starts of windows of `length` bases centred on the intervals, int64, shape (N,)."""
        return (self.starts + self.ends) // 2 - length // 2

    def around_summits(self, path: str | Path) -> "Intervals":
        """Intervals of one base at the summits of narrowPeak records, or at the centre of records without a summit.

        Parameters
        ----------
        path : str or pathlib.Path
            The BED file, for error messages.

        Returns
        -------
        Intervals

        Raises
        ------
        InputError
            If a line has no tenth column, or the column is neither -1 nor an offset within the interval. The message
            names the line.
        """
        offsets = np.empty(len(self), dtype=np.int64)
        for i, fields in enumerate(self.columns):
            text = fields[6] if len(fields) > 6 else ""
            size = self.ends[i] - self.starts[i]
            if text != "-1" and not (_is_integer(text) and int(text) < size):
                raise InputError(
                    f"{path}, {self.unit} {self.lines[i]}: the tenth column is {text!r}; narrowPeak has the offset of "
                    f"the summit from the start there: expected 0 to {size - 1}, or -1 for no summit"
                )
            offsets[i] = int(text)
        centres = np.where(offsets >= 0, self.starts + offsets, (self.starts + self.ends) // 2)
        return replace(self, starts=centres, ends=centres + 1)


def is_narrow_peak(path: str | Path) -> bool:
    """Whether a file has the suffix .narrowPeak or .narrowPeak.gz."""
    return str(path).lower().endswith((".narrowpeak", ".narrowpeak.gz"))


def read_bed(path: str | Path) -> Intervals:
    """Read a BED file, plain or gzipped, with three or more columns.

    Parameters
    ----------
    path : str or pathlib.Path
        '-' is standard input. Comments ('#'), 'track' and 'browser' lines and empty lines are skipped. Line breaks of
        any system are accepted.

    Returns
    -------
    Intervals

    Raises
    ------
    InputError
        If the file is missing, truncated or empty, or a line is not valid. The message names the line.
    """
    standard = str(path) == "-"
    source = "standard input" if standard else require_file(path, "BED file")
    try:
        with nullcontext(sys.stdin.buffer) if standard else open_bytes(path) as handle:
            records = list(_records(handle, source))
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{source}: truncated or corrupt file ({error})") from error
    if not records:
        raise InputError(f"{source}: no interval in this BED file")
    lines, contigs, starts, ends, columns = zip(*records)
    return Intervals(
        np.array(contigs),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        np.array([fields[0] if fields else str(i) for i, fields in enumerate(columns)]),
        np.array([fields[2] if len(fields) > 2 and fields[2] in ("+", "-") else "." for fields in columns]),
        np.array(lines),
        list(columns),
    )


def _records(handle, source):
    """Line number, contig, start, end, and list of further columns of each record."""
    number = 0
    for line in (line for block in handle for line in block.splitlines()):
        number += 1
        text = _text(source, number, line)
        if not text.strip() or text.startswith("#"):
            continue
        fields = text.split("\t") if "\t" in text else text.split()
        if not _is_header(text, fields):
            yield number, fields[0], *_coordinates(source, number, fields), fields[3:]


def parse_locus(text: str) -> tuple[str, int, int]:
    """Parse a locus 'CONTIG:START-END', 1-based and inclusive, with or without commas in numbers.

    Returns
    -------
    contig : str
    start, end : int
        0-based, half-open.

    Raises
    ------
    InputError
        If the string has another form, or the end is before the start.
    """
    found = _LOCUS.fullmatch(str(text).strip())
    if not found:
        raise InputError(f"locus {text!r}: expected CONTIG:START-END, such as chr1:1,550-1,650")
    start, end = (int(found[key].replace(",", "")) for key in ("start", "end"))
    if not 1 <= start <= end <= 10**12:
        raise InputError(f"locus {text!r}: the start must be at least 1 and not after the end")
    return found["contig"], start - 1, end


def intervals_from_loci(loci: list[str]) -> Intervals:
    """Intervals of loci 'CONTIG:START-END', 1-based and inclusive. Each interval is named by its locus.

    Raises
    ------
    InputError
        If there is no locus, or one is not valid.
    """
    if not len(loci):
        raise InputError("no locus is given; expected CONTIG:START-END")
    parsed = [parse_locus(text) for text in loci]
    contigs, starts, ends = zip(*parsed)
    count = len(parsed)
    return Intervals(
        np.array(contigs),
        np.array(starts),
        np.array(ends),
        np.array([str(text) for text in loci]),
        np.full(count, "."),
        np.arange(1, count + 1),
        [[str(text)] for text in loci],
        "locus",
    )


def intervals_from_frame(table: "pd.DataFrame") -> Intervals:
    """Intervals of a data frame.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns chrom, start, end (0-based, half-open), and optionally name and strand ('+', '-' or '.').

    Returns
    -------
    Intervals

    Raises
    ------
    InputError
        If a column is missing, the data frame is empty, or a value is not valid. The message names the row, from 0.
    """
    missing = [name for name in ("chrom", "start", "end") if name not in table.columns]
    if missing:
        raise InputError(
            f"the data frame has no column {missing[0]!r}; expected chrom, start and end, 0-based half-open"
        )
    if not len(table):
        raise InputError("the data frame of intervals has no row")
    starts, ends = _integers(table, "start"), _integers(table, "end")
    bad = np.flatnonzero((starts < 0) | (ends <= starts) | (ends > 10**12))
    if len(bad):
        raise InputError(
            f"the data frame, row {bad[0]}: {starts[bad[0]]}-{ends[bad[0]]} is not a 0-based, half-open interval"
        )
    names = table["name"].astype(str) if "name" in table else np.arange(len(table)).astype(str)
    strands = table["strand"].astype(str).to_numpy(str) if "strand" in table else np.full(len(table), ".")
    strands = np.where(np.isin(strands, ["+", "-"]), strands, ".")
    names = np.asarray(names, dtype=str)
    return Intervals(
        table["chrom"].astype(str).to_numpy(str),
        starts,
        ends,
        names,
        strands,
        np.arange(len(table)),
        [[name] for name in names.tolist()],
        "row",
    )


def _integers(table, column):
    """Column of a data frame as int64."""
    values = table[column].to_numpy()
    whole = np.array([isinstance(v, (int, np.integer)) or (isinstance(v, float) and v.is_integer()) for v in values])
    if not whole.all():
        row = int(np.argmin(whole))
        raise InputError(f"the data frame, row {row}: {column} {values[row]!r} is not a whole number")
    return values.astype(np.int64)


def as_intervals(intervals: Any) -> tuple[Intervals, str]:
    """Convert intervals in any accepted form.

    Parameters
    ----------
    intervals : str, pathlib.Path, list of str, pandas.DataFrame or Intervals
        A BED file ('-' for standard input); a locus CONTIG:START-END, 1-based and inclusive, or a list of them; a data
        frame (see `intervals_from_frame`); or `Intervals`, which are returned unchanged.

    Returns
    -------
    intervals : Intervals
    source : str
        Description of the source, for error messages.

    Raises
    ------
    InputError
        If `intervals` is of another type or not valid.
    """
    if isinstance(intervals, Intervals):
        return intervals, "the intervals"
    if isinstance(intervals, Path):
        return read_bed(intervals), str(intervals)
    if isinstance(intervals, str):
        if _LOCUS.fullmatch(intervals.strip()) and not Path(intervals).is_file():
            return intervals_from_loci([intervals]), "the loci"
        return read_bed(intervals), "standard input" if intervals == "-" else intervals
    if hasattr(intervals, "columns") and hasattr(intervals, "iloc"):
        return intervals_from_frame(intervals), "the data frame"
    if isinstance(intervals, (list, tuple)) and all(isinstance(one, str) for one in intervals):
        return intervals_from_loci(list(intervals)), "the loci"
    raise InputError(
        "expected a BED file, a locus such as chr1:1,550-1,650, a list of loci, or a data frame with columns chrom, "
        f"start and end; got {type(intervals).__name__}"
    )


def _text(path, number, line):
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}, line {number}: not UTF-8 text: {line[:40]!r}") from None
    if "\0" in text:
        raise InputError(f"{path}, line {number}: a NUL character; expected text")
    return text


def _is_header(text, fields):
    """Whether a line is a 'track' or 'browser' line, and not a record of a contig of that name."""
    words = text.split(maxsplit=1)
    return words[0] in ("track", "browser") and not (len(fields) > 2 and all(map(_is_integer, fields[1:3])))


def _is_integer(text):
    """Whether a string is a non-negative integer of at most 12 digits, enough for any contig."""
    return text.isascii() and text.isdigit() and len(text) <= 12


def _coordinates(path, number, fields):
    if len(fields) < 3:
        raise InputError(
            f"{path}, line {number}: {len(fields)} columns; BED has contig, start and end, separated by tabs"
        )
    if not fields[0].strip():
        raise InputError(f"{path}, line {number}: the first column, the contig, is empty")
    if fields[1][:1] == "-" and _is_integer(fields[1][1:]):
        raise InputError(f"{path}, line {number}: start {fields[1]} is negative")
    if not all(map(_is_integer, fields[1:3])):
        raise InputError(
            f"{path}, line {number}: start {fields[1]!r} and end {fields[2]!r} must be integers of at most 12 digits"
        )
    start, end = int(fields[1]), int(fields[2])
    if end <= start:
        raise InputError(f"{path}, line {number}: end {end} is not after start {start}")
    return start, end


#: Reasons why an interval has no window.
NO_CONTIG = "contig not in the FASTA"
OFF_CONTIG = "interval off its contig"


def locate_windows(intervals: Intervals, genome: "Genome", length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Locate the windows centred on intervals, and find intervals without a window.

    Parameters
    ----------
    intervals : Intervals
    genome : regzoo.sequence.Genome
    length : int
        Window length, in bases.

    Returns
    -------
    contig_indices : numpy.ndarray, int64, shape (N,)
        See `Genome.number`; -1 for a contig that is not in the genome.
    starts : numpy.ndarray, int64, shape (N,)
        0-based; negative if a window starts before its contig.
    problems : numpy.ndarray of str, shape (N,)
        `NO_CONTIG`; `OFF_CONTIG` if the interval or its window starts beyond the end of the contig; '' otherwise.
    """
    names, groups = np.unique(intervals.contigs, return_inverse=True)
    known = []
    for name in names:
        try:
            known.append(genome.number(str(name)))
        except InputError:
            known.append(-1)
    contig_indices = np.array(known, dtype=np.int64)[groups]
    starts = intervals.resized(length)
    off = np.maximum(intervals.starts, starts) >= genome.lengths[contig_indices]
    return contig_indices, starts, np.where(contig_indices < 0, NO_CONTIG, np.where(off, OFF_CONTIG, ""))


def place_windows(
    intervals: Intervals,
    genome: "Genome",
    length: int,
    path: str | Path,
    strict: bool = False,
    allow_outside: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Locate the windows centred on intervals; intervals without a window are rejected.

    Parameters
    ----------
    intervals : Intervals
    genome : regzoo.sequence.Genome
    length : int
        Window length, in bases.
    path : str or pathlib.Path
        The BED file, for error messages.
    strict : bool
        Reject windows that extend beyond an end of their contig.
    allow_outside : bool
        Accept intervals beyond the end of their contig. Their windows consist of unknown bases.

    Returns
    -------
    contig_indices : numpy.ndarray, int64, shape (N,)
        See `Genome.number`.
    starts : numpy.ndarray, int64, shape (N,)
        0-based; negative if a window starts before its contig.

    Raises
    ------
    InputError
        If a contig is not in the genome, an interval lies beyond the end of its contig, or `strict` is True and a
        window extends beyond an end. The message names the line.
    """
    contig_indices, starts, problems = locate_windows(intervals, genome, length)
    refuse_problems(intervals, genome, path, problems, (NO_CONTIG,) if allow_outside else (NO_CONTIG, OFF_CONTIG))
    if strict:
        refuse_overhang(intervals, genome, path, contig_indices, starts, length, contig_indices >= 0)
    return contig_indices, starts


def refuse_problems(
    intervals: Intervals,
    genome: "Genome",
    path: str | Path,
    problems: np.ndarray,
    refused: tuple[str, ...] = (NO_CONTIG, OFF_CONTIG),
) -> None:
    """Raise an InputError for the first interval with one of the given problems; see `locate_windows`."""
    rows = np.flatnonzero(np.isin(problems, refused))
    if not len(rows):
        return
    i = rows[0]
    contig = str(intervals.contigs[i])
    try:
        size = genome.lengths[genome.number(contig)]
    except InputError as error:
        raise InputError(f"{path}, {intervals.unit} {intervals.lines[i]}: {error}") from error
    raise InputError(
        f"{path}, {intervals.unit} {intervals.lines[i]}: {contig}:{intervals.starts[i]}-{intervals.ends[i]} lies off "
        f"its contig, which has {size} bases in {genome.path} (in total, {np.sum(problems == OFF_CONTIG)} intervals "
        "do); are the intervals and the FASTA of the same assembly?"
    )


def refuse_overhang(
    intervals: Intervals,
    genome: "Genome",
    path: str | Path,
    contig_indices: np.ndarray,
    starts: np.ndarray,
    length: int,
    among: np.ndarray,
) -> None:
    """Raise an InputError for the first window that extends beyond an end of its contig.

    Parameters
    ----------
    intervals, genome, path, length
        See `place_windows`.
    contig_indices, starts : numpy.ndarray, int64, shape (N,)
        See `locate_windows`.
    among : numpy.ndarray, bool, shape (N,)
        Windows to check.
    """
    outside = np.flatnonzero(among & ((starts < 0) | (starts + length > genome.lengths[contig_indices])))
    if len(outside):
        i = outside[0]
        raise InputError(
            f"{path}, {intervals.unit} {intervals.lines[i]}: the window {intervals.contigs[i]}:{starts[i]}-"
            f"{starts[i] + length} extends beyond its contig ({genome.lengths[contig_indices[i]]} bases); strict mode "
            f"rejects such windows, {len(outside)} in total"
        )
