"""BED files as arrays."""

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

_LOCUS = re.compile(r"(?P<contig>\S+?):(?P<start>[0-9][0-9,]{0,20})-(?P<end>[0-9][0-9,]{0,20})")


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
    unit : str
        What a number of `lines` counts, for errors: 'line' of a file, 'row' of a table, 'locus' of a list.
    """

    contigs: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    names: np.ndarray
    strands: np.ndarray
    lines: np.ndarray
    columns: list
    unit: str = "line"

    def __len__(self):
        return len(self.starts)

    def resized(self, length):
        """Starts of windows of `length` bases around the intervals' centres, int64, shape (N,)."""
        return (self.starts + self.ends) // 2 - length // 2

    def around_summits(self, path):
        """The same records, each one base long: its summit, or its middle where it has none.

        Parameters
        ----------
        path : str or pathlib.Path
            The BED file, named in errors.

        Returns
        -------
        Intervals
            `resized` then centres windows on the summits.

        Raises
        ------
        InputError
            If a line has no tenth column, or it is neither -1 nor a place within the interval; the line is named.
        """
        offsets = np.empty(len(self), dtype=np.int64)
        for i, fields in enumerate(self.columns):
            text = fields[6] if len(fields) > 6 else ""
            size = self.ends[i] - self.starts[i]
            if text != "-1" and not (_is_integer(text) and int(text) < size):
                raise InputError(
                    f"{path}, {self.unit} {self.lines[i]}: the tenth column is {text!r}, but narrowPeak has the summit's distance from "
                    f"the start there, from 0 to {size - 1}, or -1 without a summit"
                )
            offsets[i] = int(text)
        centres = np.where(offsets >= 0, self.starts + offsets, (self.starts + self.ends) // 2)
        return replace(self, starts=centres, ends=centres + 1)


def is_narrow_peak(path):
    """Whether a file is named .narrowPeak, plain or gzipped, so that its tenth column is a summit."""
    return str(path).lower().endswith((".narrowpeak", ".narrowpeak.gz"))


def read_bed(path):
    """Read a BED file, plain or gzipped, of three or more columns.

    Parameters
    ----------
    path : str or pathlib.Path
        '-' is standard input. Lines that start with '#', 'track' or 'browser' lines, and empty lines are skipped. Line ends
        may be those of any system.

    Returns
    -------
    Intervals

    Raises
    ------
    InputError
        If the file is missing, cut off or empty, or a line is not BED; the message names file and line.
    """
    standard = str(path) == "-"
    path = "standard input" if standard else require_file(path, "BED file")
    contigs: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    names: list[str] = []
    strands: list[str] = []
    lines: list[int] = []
    columns: list[list[str]] = []
    number = 0
    try:
        with nullcontext(sys.stdin.buffer) if standard else open_bytes(path) as handle:
            for line in (line for text in handle for line in text.splitlines()):
                number += 1
                text = _text(path, number, line)
                if not text.strip() or text.startswith("#"):
                    continue
                fields = text.split("\t") if "\t" in text else text.split()
                if _is_header(text, fields):
                    continue
                start, end = _coordinates(path, number, fields)
                contigs.append(fields[0])
                starts.append(start)
                ends.append(end)
                names.append(fields[3] if len(fields) > 3 else str(len(names)))
                strands.append(fields[5] if len(fields) > 5 and fields[5] in ("+", "-") else ".")
                lines.append(number)
                columns.append(fields[3:])
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: truncated or corrupt file ({error})") from error
    if not starts:
        raise InputError(f"{path}: no interval in this BED file")
    return Intervals(
        np.array(contigs),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        np.array(names),
        np.array(strands),
        np.array(lines),
        columns,
    )


def parse_locus(text: str) -> tuple[str, int, int]:
    """Contig, start and end (0-based, half-open) of 'CONTIG:START-END', 1-based and inclusive, with or without commas.

    Raises
    ------
    InputError
        If the text has another form, or the end is before the start.
    """
    found = _LOCUS.fullmatch(str(text).strip())
    if not found:
        raise InputError(f"locus {text!r}: expected CONTIG:START-END, such as chr1:1,550-1,650")
    start, end = (int(found[key].replace(",", "")) for key in ("start", "end"))
    if not 1 <= start <= end <= 10**12:
        raise InputError(f"locus {text!r}: start must be at least 1 and not after the end")
    return found["contig"], start - 1, end


def intervals_from_loci(loci: list[str]) -> Intervals:
    """Intervals of texts CONTIG:START-END, 1-based and inclusive. Each is named by its text.

    Raises
    ------
    InputError
        If there is no locus, or one has another form.
    """
    if not len(loci):
        raise InputError("no locus is given")
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
        If a column is missing, the table is empty, or a value is not valid; the row (from 0) is named.
    """
    missing = [name for name in ("chrom", "start", "end") if name not in table.columns]
    if missing:
        raise InputError(
            f"the data frame has no column {missing[0]!r}; expected chrom, start and end, 0-based half-open"
        )
    if not len(table):
        raise InputError("the data frame of intervals has no row")
    bounds = []
    for column in ("start", "end"):
        values = table[column].to_numpy()
        whole = np.array(
            [isinstance(v, (int, np.integer)) or (isinstance(v, float) and v.is_integer()) for v in values]
        )
        if not whole.all():
            row = int(np.argmin(whole))
            raise InputError(f"the data frame, row {row}: {column} {values[row]!r} is not a whole number")
        bounds.append(values.astype(np.int64))
    starts, ends = bounds
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


def as_intervals(intervals: Any) -> tuple[Intervals, str]:
    """Intervals in any of the accepted forms, and what to call their source in errors.

    Parameters
    ----------
    intervals : str, pathlib.Path, list of str, pandas.DataFrame or Intervals
        A BED file ('-' for standard input); a locus CONTIG:START-END, 1-based and inclusive, or a list of them; a data
        frame with columns chrom, start, end; or what `read_bed` returns.

    Raises
    ------
    InputError
        If they are none of these, or not valid.
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
        f"expected a BED file, a locus such as chr1:1,550-1,650, a list of them, or a data frame with columns chrom, start "
        f"and end; got {type(intervals).__name__}"
    )


def _text(path, number, line):
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}, line {number}: not UTF-8 text: {line[:40]!r}") from None
    if "\0" in text:
        raise InputError(f"{path}, line {number}: a NUL character; BED is text")
    return text


def _is_header(text, fields):
    """Whether a line is a browser's 'track' or 'browser' line, and not a record of a contig of that name."""
    words = text.split(maxsplit=1)
    return words[0] in ("track", "browser") and not (len(fields) > 2 and all(map(_is_integer, fields[1:3])))


def _is_integer(text):
    """Whether a text is a whole number of at most 12 digits, which no contig's length exceeds."""
    return text.isascii() and text.isdigit() and len(text) <= 12


def _coordinates(path, number, fields):
    if len(fields) < 3:
        raise InputError(f"{path}, line {number}: {len(fields)} columns; BED has contig, start and end, tab-separated")
    if not fields[0].strip():
        raise InputError(f"{path}, line {number}: the first column, the contig, is empty")
    if fields[1][:1] == "-" and _is_integer(fields[1][1:]):
        raise InputError(f"{path}, line {number}: start {fields[1]} is negative")
    if not all(map(_is_integer, fields[1:3])):
        raise InputError(
            f"{path}, line {number}: start {fields[1]!r} and end {fields[2]!r} must be whole numbers of at most 12 digits"
        )
    start, end = int(fields[1]), int(fields[2])
    if end <= start:
        raise InputError(f"{path}, line {number}: end {end} is not after start {start}")
    return start, end


#: Why an interval has no window.
NO_CONTIG = "contig not in the FASTA"
OFF_CONTIG = "interval off its contig"


def locate_windows(intervals, genome, length):
    """Where the windows around the intervals' centres lie, and which intervals have none.

    Parameters
    ----------
    intervals : Intervals
    genome : regzoo.sequence.Genome
    length : int

    Returns
    -------
    numbers : numpy.ndarray, int64, shape (N,)
        Contigs, by `genome.number`; -1 of those that are not in the genome.
    starts : numpy.ndarray, int64, shape (N,)
        0-based; negative where a window starts before its contig.
    problems : numpy.ndarray of str, shape (N,)
        `NO_CONTIG`; `OFF_CONTIG` if the interval or its whole window lies behind the contig's end; '' otherwise.
    """
    names, groups = np.unique(intervals.contigs, return_inverse=True)
    known = []
    for name in names:
        try:
            known.append(genome.number(str(name)))
        except InputError:
            known.append(-1)
    numbers = np.array(known, dtype=np.int64)[groups]
    starts = intervals.resized(length)
    off = np.maximum(intervals.starts, starts) >= genome.lengths[numbers]
    return numbers, starts, np.where(numbers < 0, NO_CONTIG, np.where(off, OFF_CONTIG, ""))


def place_windows(intervals, genome, length, path, strict=False, allow_outside=False):
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
    allow_outside : bool
        Accept intervals that lie wholly behind their contig's end; their windows are unknown bases.

    Returns
    -------
    numbers : numpy.ndarray, int64, shape (N,)
        Contigs, by `genome.number`.
    starts : numpy.ndarray, int64, shape (N,)
        0-based; negative where a window starts before its contig.

    Raises
    ------
    InputError
        If a contig is not in the genome, an interval lies off its contig, or a window reaches over an end and `strict` is
        on; the line is named.
    """
    numbers, starts, problems = locate_windows(intervals, genome, length)
    refuse_problems(intervals, genome, path, problems, (NO_CONTIG,) if allow_outside else (NO_CONTIG, OFF_CONTIG))
    if strict:
        refuse_overhang(intervals, genome, path, numbers, starts, length, numbers >= 0)
    return numbers, starts


def refuse_problems(intervals, genome, path, problems, refused=(NO_CONTIG, OFF_CONTIG)):
    """Raise an InputError for the first interval whose problem, of `locate_windows`, is one of those refused."""
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
        f"{path}, {intervals.unit} {intervals.lines[i]}: {contig}:{intervals.starts[i]}-{intervals.ends[i]} lies off its contig, which has "
        f"{size} bases in {genome.path}, as do {np.sum(problems == OFF_CONTIG)} intervals; are both of one assembly?"
    )


def refuse_overhang(intervals, genome, path, numbers, starts, length, among):
    """Raise an InputError for the first window that reaches over its contig's ends, among those where a mask is True."""
    outside = np.flatnonzero(among & ((starts < 0) | (starts + length > genome.lengths[numbers])))
    if len(outside):
        i = outside[0]
        raise InputError(
            f"{path}, {intervals.unit} {intervals.lines[i]}: the window {intervals.contigs[i]}:{starts[i]}-{starts[i] + length} reaches "
            f"over the contig's end ({genome.lengths[numbers[i]]} bases); {len(outside)} windows do, and strict is on"
        )
