"""Variants as alleles: one for every alternate of every record, none dropped.

Sources are VCF files, data frames and strings. VCF text is read and checked here, so that no malformed line reaches a
parser in C. BCF is read with cyvcf2.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from regzoo.errors import InputError
from regzoo.sequence.alleles import Alleles, Status, all_of, concatenated, equal_spans, spans, text_array
from regzoo.sequence.files import check_complete, open_bytes, regular_file, require_file

if TYPE_CHECKING:
    import pandas as pd

#: Records in one batch.
BATCH = 2048

_COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO".split()
_LAST_POSITION = 2**31 - 1
_BLOCK = 1 << 18  # bytes read at once
_TAB, _NEWLINE, _RETURN, _COMMA = b"\t\n\r,"

_BYTES = np.arange(256)
_UPPER = np.frombuffer(bytes(range(256)).upper(), dtype=np.uint8)
_IS_ALPHA = np.isin(_BYTES, list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
_IS_ACGT = np.isin(_BYTES, list(b"ACGT"))
_IS_ACGTN = np.isin(_BYTES, list(b"ACGTN"))
_IS_BRACKET = np.isin(_BYTES, list(b"[]"))
# Bytes of CHROM, POS, ID, REF and ALT that need no closer look; an ID may have others.
_IS_PLAIN = ((_BYTES >= ord("!")) & (_BYTES <= ord("~"))) | (_BYTES == _TAB)
_PATTERNS = {"ID": re.compile("[^\0-\x1f\ud800-\udfff]+")}
_ASCII = re.compile("[!-~]+")


@dataclass(eq=False)
class Records:
    """Consecutive lines of a VCF file.

    Attributes
    ----------
    data : numpy.ndarray, uint8
        Text that holds the lines.
    starts, ends : numpy.ndarray, int64, shape (R, 8)
        Where the first eight columns of each record are in `data`.
    line_ends : numpy.ndarray, int64, shape (R,)
        Where the lines end, without the characters that end them.
    counts : numpy.ndarray, int64, shape (R,)
        Number of alleles of each record.
    alleles : Alleles
        Of these records.
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    line_ends: np.ndarray
    counts: np.ndarray
    alleles: Alleles

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, row: int) -> str:
        """The line of a record, without its end; bytes that are not UTF-8 are surrogates."""
        return self.data[self.starts[row, 0] : self.line_ends[row]].tobytes().decode("utf-8", "surrogateescape")

    def info(self, row: int, key: str) -> str | None:
        """Text of an INFO entry: '' for a flag, None where there is no such entry."""
        text = self.data[self.starts[row, 7] : self.ends[row, 7]].tobytes().decode("utf-8", "surrogateescape")
        for entry in text.split(";"):
            name, _, value = entry.partition("=")
            if name == key:
                return value
        return None


class Variants:
    """An open source of variants, read once.

    Parameters
    ----------
    name : str
        For messages.
    header : list of str
        Lines of a VCF header; the last is that of the columns.
    blocks : iterator of bytes
        Text of the records in pieces of any size.
    rows : sequence, optional
        Labels of the rows of a source that is not a file, for messages.

    Attributes
    ----------
    digest : str
        SHA-256 of the rows of a source that is not a file; '' for a file.
    """

    def __init__(self, name: str, header: list[str], blocks: Iterator[bytes], rows: Sequence[Any] | None = None):
        self.name, self.header, self._blocks, self._rows, self.digest = name, header, blocks, rows, ""
        self._columns, self._read = header[-1].count("\t") + 1, 0
        self._contigs: dict[str, int] = {}

    def batches(self, records: int = BATCH) -> Iterator[Records]:
        """Yield the records in batches of `records`, the last with what is left.

        Raises
        ------
        InputError
            If a record is not valid; the message names the file, the record and the line.
        """
        for block in _regrouped(self._blocks, records):
            batch = self._parsed(block)
            self._read += len(batch)
            yield batch

    def _parsed(self, block):
        data = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        if not len(ends) or ends[-1] != len(data) - 1:
            ends = np.append(ends, len(data))
        starts = np.concatenate([[0], ends[:-1] + 1])
        while (returns := (ends > starts) & (data[ends - 1] == _RETURN)).any():
            ends = ends - returns
        places = np.flatnonzero(data == _TAB)
        if len(places) != len(starts) * (self._columns - 1):
            self._check_lines(data, starts, ends, range(len(starts)))  # raises
        tabs = places.reshape(len(starts), -1)
        if (tabs[:, 0] < starts).any() or (tabs[:, -1] >= ends).any():
            self._check_lines(data, starts, ends, range(len(starts)))  # raises
        field_starts = np.concatenate([starts[:, None], tabs[:, :7] + 1], axis=1)
        field_ends = np.concatenate([tabs[:, :8], ends[:, None]], axis=1)[:, :8]
        self._check_lines(data, starts, ends, _suspicious(data, field_starts, field_ends))
        return Records(data, field_starts, field_ends, ends, *self._alleles(data, field_starts, field_ends))

    def _check_lines(self, data, starts, ends, rows):
        """Raise an InputError for the first of some lines that is not valid."""
        for row in rows:
            line = data[starts[row] : ends[row]].tobytes().decode("utf-8", "surrogateescape")
            reason = _what_is_wrong(line, self._columns)
            if not reason:
                continue
            number = self._read + int(row)
            if self._rows is not None:
                raise InputError(f"{self.name}, row {self._rows[number]}: {reason}")
            where = f"line {len(self.header) + number + 1}: {reason}"
            raise InputError(f"{self.name}: record {number + 1} is not valid VCF ({where})")

    def _alleles(self, data, starts, ends):
        """Number of alleles of each record, and the alleles, of lines that are valid."""
        # REF, a tab and ALT of each record are copied; what follows refers to the copy.
        size = ends[:, 4] - starts[:, 3]
        base = np.cumsum(size) - size
        letters = _UPPER[data[spans(starts[:, 3], size)]]
        ref_length = ends[:, 3] - starts[:, 3]
        counts, alt_start, alt_length = _alternates(letters, base, base + ref_length + 1, base + size)
        row = np.repeat(np.arange(len(starts)), counts)
        identifier = text_array(data, starts[:, 2], ends[:, 2] - starts[:, 2])
        if len(row) > len(starts):
            identifier = identifier.take(pa.array(row))
        contig = self._contig_indices(data, starts[:, 0], ends[:, 0])[row]
        alleles = Alleles(
            self._read + 1 + row,
            contig,
            list(self._contigs),
            _positions(data, starts[:, 1], ends[:, 1])[row],
            identifier,
            letters,
            base[row],
            ref_length[row],
            alt_start,
            alt_length,
            status=np.zeros(len(row), dtype=np.uint8),
            strand=np.zeros(len(row), dtype=np.int8),
        )
        _read_u_as_t(alleles)
        alleles.status = _status_of_letters(alleles)
        return counts, alleles

    def _contig_indices(self, data, starts, ends):
        lengths = ends - starts
        same = lengths[1:] == lengths[:-1]
        both = np.flatnonzero(same)
        same[both] = equal_spans(data, starts[both + 1], data, starts[both], lengths[both])
        firsts = np.flatnonzero(np.concatenate([[True], ~same]))
        numbers = [
            self._contigs.setdefault(data[starts[i] : ends[i]].tobytes().decode("ascii"), len(self._contigs))
            for i in firsts.tolist()
        ]
        return np.repeat(np.array(numbers, dtype=np.int32), np.diff(np.append(firsts, len(starts))))


def _suspicious(data, starts, ends):
    """Rows of records that may not be valid, in order: hardly any of a file that is valid."""
    bad = ((ends - starts)[:, :5] == 0).any(axis=1) | (data[starts[:, 0]] == ord("#"))
    size = ends[:, 4] - starts[:, 0]
    plain = _IS_PLAIN[data[spans(starts[:, 0], size)]]
    if not plain.all():
        bad |= ~all_of(plain, np.cumsum(size) - size, size)
    size = ends[:, 1] - starts[:, 1]
    digits = data[spans(starts[:, 1], size)] - np.uint8(ord("0")) <= 9
    bad |= ~all_of(digits, np.cumsum(size) - size, size) | (size > 9)
    nul = np.flatnonzero(data == 0)
    bad[np.searchsorted(starts[:, 0], nul, side="right") - 1] = True
    return np.flatnonzero(bad)


def _alternates(letters, records, starts, ends):
    """Number of alternates of each record, and where each is. `records` is where REFs start, `starts` where ALTs do."""
    commas = np.flatnonzero(letters == _COMMA)
    owner = np.searchsorted(records, commas, side="right") - 1
    inside = commas >= starts[owner]  # a comma in REF separates nothing
    commas, owner = commas[inside], owner[inside]
    first = np.sort(np.concatenate([starts, commas + 1]))
    length = np.sort(np.concatenate([ends, commas])) - first
    return 1 + np.bincount(owner, minlength=len(starts)), first, length


def _positions(data, starts, ends):
    """Whole numbers of valid fields, int64."""
    lengths = ends - starts
    values = np.zeros(len(starts), dtype=np.int64)
    for i in range(int(lengths.max(initial=0))):
        rows = slice(None) if (lengths > i).all() else lengths > i
        values[rows] = values[rows] * 10 + (data[starts[rows] + i] - ord("0"))
    return values


def _read_u_as_t(alleles):
    """Replace U by T in alleles that are letters only, in place."""
    letters = alleles.letters
    if not (letters == ord("U")).any():
        return
    alpha = _IS_ALPHA[letters]
    for starts, lengths in ((alleles.ref_start, alleles.ref_length), (alleles.alt_start, alleles.alt_length)):
        rows = np.flatnonzero(all_of(alpha, starts, lengths))
        places = spans(starts[rows], lengths[rows])
        letters[places[letters[places] == ord("U")]] = ord("T")


def _status_of_letters(alleles):
    """What REF and ALT alone tell, uint8, shape (N,)."""
    letters, start, length = alleles.letters, alleles.alt_start, alleles.alt_length
    status = np.zeros(len(alleles), dtype=np.uint8)
    status[~all_of(_IS_ACGTN[letters], alleles.ref_start, alleles.ref_length)] = Status.REF_LETTERS
    bases = all_of(_IS_ACGT[letters], start, length) & (length > 0)
    rows = np.flatnonzero(bases & (length == alleles.ref_length))
    same = equal_spans(letters, start[rows], letters, alleles.ref_start[rows], length[rows])
    status[rows[same]] = Status.ALT_IS_REF
    for row in np.flatnonzero(~bases).tolist():
        text = letters[start[row] : start[row] + length[row]].tobytes()
        status[row] = _SPECIAL.get(text) or (
            Status.SYMBOLIC if text[:1] == b"<" or b"[" in text or b"]" in text else Status.ALT_LETTERS
        )
    return status


_SPECIAL = {b".": Status.NO_ALTERNATE, b"": Status.EMPTY_ALTERNATE, b"*": Status.REMOVED, b"<*>": Status.REMOVED}


def _what_is_wrong(line, columns):
    """Why a line is not a valid record, or ''."""
    if not line.strip():
        return "it is blank"
    if "\0" in line:
        return "it holds a NUL byte"
    if line.startswith("#"):
        return "a header line after the header's end"
    fields = line.split("\t")
    if len(fields) != columns:
        spaces = "; they are separated by spaces, not tabs" if len(line.split()) == columns else ""
        return f"it has {len(fields)} tab-separated columns, the header {columns}{spaces}"
    if not (fields[1].isascii() and fields[1].isdigit() and len(fields[1]) <= 18 and int(fields[1]) <= _LAST_POSITION):
        return f"POS {_shown(fields[1])} is not a whole number from 0 to {_LAST_POSITION}"
    for at, name in ((0, "CHROM"), (2, "ID"), (3, "REF"), (4, "ALT")):
        value = fields[at]
        if not value:
            return f"{name} is empty"
        if not _PATTERNS.get(name, _ASCII).fullmatch(value):
            kind = "characters that are not UTF-8 text" if name == "ID" else "blanks or characters that are not ASCII"
            return f"{name} {_shown(value)} holds {kind}"
    return ""


def _shown(text):
    """A value for a message: escaped, and cut when it is long."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def _regrouped(blocks, count):
    """Blocks of bytes with exactly `count` lines each, the last with what is left."""
    pieces: list[bytes] = []
    lines = 0
    for piece in blocks:
        breaks = np.flatnonzero(np.frombuffer(piece, dtype=np.uint8) == _NEWLINE)
        start = used = 0
        while lines + len(breaks) - used >= count:
            used += count - lines
            end = int(breaks[used - 1]) + 1
            yield b"".join([*pieces, piece[start:end]])
            pieces, lines, start = [], 0, end
        pieces.append(piece[start:])
        lines += len(breaks) - used
    rest = b"".join(pieces)
    if rest:
        yield rest


def _text_blocks(path, handle):
    try:
        while block := handle.read(_BLOCK):
            yield block
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or corrupt file ({error})") from error


def _bcf_blocks(path, reader):
    number = 0
    try:
        for number, record in enumerate(reader, 1):  # noqa: B007 - named in the error
            yield f"{str(record).rstrip(chr(10))}\n".encode("utf-8", "surrogateescape")
    except Exception as error:  # htslib's failures come as bare Exceptions
        raise InputError(f"{path}: not a valid BCF file after record {number} ({error})") from error


@contextmanager
def open_vcf(path: str | Path) -> Iterator[Variants]:
    """Open a VCF or BCF file, plain or compressed.

    Parameters
    ----------
    path : str or pathlib.Path
        '-' or a pipe is copied to a temporary file first.

    Yields
    ------
    Variants

    Raises
    ------
    InputError
        If the file is missing, cut off, or not VCF.
    """
    with regular_file(path, "VCF file") as regular:
        check_complete(regular)
        with _open_text(regular) as handle:
            try:
                bcf = handle.read(3) == b"BCF"
                handle.seek(0)
                header = [] if bcf else _header_lines(handle)
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(f"{path}: truncated or corrupt file ({error})") from error
            if bcf:
                header, blocks = _open_bcf(regular)
            else:
                blocks = _text_blocks(path, handle)
            _check_header(path, header)
            yield Variants(str(path), header, blocks)


def _open_text(path):
    try:
        return open_bytes(path)
    except OSError as error:
        raise InputError(f"{path}: cannot read this file ({error.strerror})") from error


def _open_bcf(path):
    import cyvcf2

    try:
        reader = cyvcf2.VCF(str(path), gts012=False)
        return reader.raw_header.rstrip("\n").split("\n"), _bcf_blocks(path, reader)
    except Exception as error:  # as above
        raise InputError(f"{path}: not a valid BCF file ({error})") from error


def _header_lines(handle):
    """Lines up to the first that does not start with ##."""
    lines = []
    for line in handle:
        lines.append(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
        if not line.startswith(b"##"):
            break
    return lines


def _check_header(path, header):
    if not header or header[-1].split("\t")[: len(_COLUMNS)] != _COLUMNS:
        where = f"line {len(header)}" if header else "the file is empty"
        raise InputError(
            f"{path}: not a VCF file, or its header is missing or damaged ({where}; expected lines that start with ##, "
            f"then one of tab-separated columns {' '.join(_COLUMNS)})"
        )


@contextmanager
def open_variants(variants: str | Path | pd.DataFrame | Sequence[str]) -> Iterator[Variants]:
    """Open any source of variants.

    Parameters
    ----------
    variants : str, pathlib.Path, pandas.DataFrame or sequence of str
        Path of a VCF or BCF file ('-' for standard input); a table with the columns chrom, pos (1-based), ref, alt and
        optionally id; or strings CHROM:POS:REF:ALT.

    Yields
    ------
    Variants

    Raises
    ------
    InputError
        If the source is not usable; the message names the file or the row.
    """
    if isinstance(variants, (str, Path)):
        with open_vcf(variants) as source:
            yield source
    elif hasattr(variants, "columns"):
        yield _from_frame(variants)
    else:
        yield _from_strings(variants)


def _from_frame(frame):
    missing = [name for name in ("chrom", "pos", "ref", "alt") if name not in frame.columns]
    if missing:
        raise InputError(
            f"variants: the table has no column {missing[0]!r}; expected chrom, pos, ref, alt and optionally id"
        )
    names = ["chrom", "pos", "id", "ref", "alt"] if "id" in frame.columns else ["chrom", "pos", "ref", "alt"]
    rows = []
    for label, *values in frame[names].itertuples(name=None):
        cells = dict(zip(names, values))
        for name, value in cells.items():
            if value is None or value != value:
                if name != "id":
                    raise InputError(f"variants, row {label}: {name} is missing")
                cells[name] = "."
        if isinstance(cells["pos"], float) and cells["pos"].is_integer():
            cells["pos"] = int(cells["pos"])
        rows.append((label, cells["chrom"], cells["pos"], cells.get("id", "."), cells["ref"], cells["alt"]))
    return _from_rows(rows)


def _from_strings(strings):
    rows = []
    for number, text in enumerate(strings):
        parts = text.rsplit(":", 3) if isinstance(text, str) else ()
        if len(parts) != 4:
            raise InputError(f"variants, row {number}: expected a string CHROM:POS:REF:ALT, found {text!r}")
        rows.append((number, parts[0], parts[1], ".", *parts[2:]))
    return _from_rows(rows)


def _from_rows(rows):
    """Variants of rows (label, chrom, pos, id, ref, alt), as lines of a VCF file."""
    columns, lines = len(_COLUMNS), []
    for label, *fields in rows:
        line = "\t".join([*map(str, fields), ".", ".", "."])
        # A tab or the end of a line in a value would make it another record.
        broken = line.count("\t") + 1 != columns or "\n" in line or "\r" in line
        reason = "a value has a tab or the end of a line" if broken else _what_is_wrong(line, columns)
        if reason:
            raise InputError(f"variants, row {label}: {reason}")
        lines.append(f"{line}\n")
    header = ["##fileformat=VCFv4.2", "\t".join(_COLUMNS)]
    contigs = dict.fromkeys(str(row[1]) for row in rows)
    header[1:1] = [f"##contig=<ID={contig}>" for contig in contigs]
    text = "".join(lines).encode()
    source = Variants("variants", header, iter([text]), [row[0] for row in rows])
    source.digest = hashlib.sha256(text).hexdigest()
    return source


def read_alleles(variants: str | Path | pd.DataFrame | Sequence[str]) -> Alleles:
    """All alleles of a source of variants.

    Parameters
    ----------
    variants
        As `open_variants` takes it.

    Returns
    -------
    Alleles

    Raises
    ------
    InputError
        If the source is not usable, or has no record.
    """
    with open_variants(variants) as source:
        parts = [batch.alleles for batch in source.batches()]
    if not parts:
        raise InputError(f"{source.name}: no variant in it")
    return concatenated(parts)


def count_records(path: str | Path) -> int | None:
    """Number of records of a VCF file, plain or compressed, by its lines; None of a BCF or a damaged file."""
    count, last = 0, b"\n"
    try:
        with open_bytes(require_file(path, "VCF file")) as handle:
            if handle.read(3) == b"BCF":
                return None
            handle.seek(0)
            first = next((line for line in handle if not line.startswith(b"#")), b"")
            for piece in chain([first], iter(partial(handle.read, _BLOCK), b"")):
                count, last = count + piece.count(b"\n"), piece or last
    except (OSError, EOFError, zlib.error):
        return None
    return count + (not last.endswith(b"\n"))
