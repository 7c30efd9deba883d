"""VCF files as alleles: one for every alternate of every record, none dropped.

Text is read and checked here, so that no malformed line reaches a parser in C; BCF is read with cyvcf2.
"""

import re
import zlib
from dataclasses import dataclass

from regzoo.errors import InputError
from regzoo.sequence.files import check_complete, open_bytes, require_file

_LETTERS = frozenset("ACGTN")
_COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO".split()
_LAST_POSITION = 2**31 - 1
# CHROM, POS, ID, REF and ALT as they may be: printable ASCII, in ID any text that is UTF-8.
_WELL_FORMED = re.compile(
    "(?P<CHROM>[!-~]+)\t(?P<POS>[0-9]{1,10})\t(?P<ID>[^\0-\x1f\ud800-\udfff]+)\t(?P<REF>[!-~]+)\t(?P<ALT>[!-~]+)\t"
)


@dataclass(slots=True)
class Record:
    """One line of a VCF file.

    Attributes
    ----------
    number : int
        From 1, without the header.
    fields : list of str
        The eight fixed columns as they are in the file and, where there is more, the rest as a ninth.
    """

    number: int
    fields: list

    @property
    def pos(self):
        """1-based position."""
        return int(self.fields[1])

    @property
    def text(self):
        """The line, without its end."""
        return "\t".join(self.fields)

    def info(self, key):
        """Text of an INFO entry: '' of a flag, None where there is no such entry."""
        for entry in self.fields[7].split(";"):
            name, _, value = entry.partition("=")
            if name == key:
                return value
        return None


@dataclass(slots=True)
class Allele:
    """One alternate allele of a VCF record.

    Attributes
    ----------
    record : int
        Number of the record in the file, from 1.
    contig, ref, alt, identifier : str
        Letters in upper case, U as T; `alt` is '.' for a record without alternate.
    pos : int
        1-based position of the first base of `ref`.
    problem : str
        Why it cannot be scored; empty when nothing is known against it.
    strand : str
        '+' or '-' where it is known which strand's gene the variant is scored for.
    """

    record: int
    contig: str
    pos: int
    identifier: str
    ref: str
    alt: str
    problem: str = ""
    strand: str = ""


class VcfFile:
    """An open VCF or BCF file.

    Attributes
    ----------
    header : list of str
        Lines without their ends; the last is that of the columns.
    """

    def __init__(self, path):
        self.path = path
        self._lines = enumerate(_lines(path), 1)
        self.header = []
        for _, line in self._lines:
            self.header.append(line)
            if not line.startswith("##"):
                break
        columns = self.header[-1].split("\t") if self.header else []
        if columns[: len(_COLUMNS)] != _COLUMNS:
            where = f"line {len(self.header)}" if self.header else "the file is empty"
            raise InputError(
                f"{path}: not a VCF file, or its header is missing or damaged ({where}; expected lines that start with ##, "
                f"then one of tab-separated columns {' '.join(_COLUMNS)})"
            )
        self._columns = len(columns)

    def __iter__(self):
        """Yield Record after Record; once.

        Raises
        ------
        InputError
            If a line is not valid; file, record and line are named.
        """
        for record, (number, line) in enumerate(self._lines, 1):
            if line.count("\t") + 1 != self._columns or not self._well_formed(line):
                reason = f"line {number}: {self._what_is_wrong(line)}"
                raise InputError(f"{self.path}: record {record} is not valid VCF ({reason})")
            yield Record(record, line.split("\t", 8))

    @staticmethod
    def _well_formed(line):
        found = _WELL_FORMED.match(line)
        return found and int(found["POS"]) <= _LAST_POSITION and "\0" not in line

    def _what_is_wrong(self, line):
        if not line.strip():
            return "it is blank"
        if "\0" in line:
            return "it holds a NUL byte"
        if line.startswith("#"):
            return "a header line after the header's end"
        fields = line.split("\t")
        if len(fields) != self._columns:
            spaces = "; they are separated by spaces, not tabs" if len(line.split()) == self._columns else ""
            return f"it has {len(fields)} tab-separated columns, the header {self._columns}{spaces}"
        if not (fields[1].isascii() and fields[1].isdigit() and int(fields[1][:20]) <= _LAST_POSITION):
            return f"POS {_shown(fields[1])} is not a whole number from 0 to {_LAST_POSITION}"
        for at, name in ((0, "CHROM"), (2, "ID"), (3, "REF"), (4, "ALT")):
            value = fields[at]
            if not value:
                return f"{name} is empty"
            if not re.fullmatch("[^\0-\x1f\ud800-\udfff]+" if name == "ID" else "[!-~]+", value):
                kind = (
                    "characters that are not UTF-8 text" if name == "ID" else "blanks or characters that are not ASCII"
                )
                return f"{name} {_shown(value)} holds {kind}"
        raise AssertionError(line)


def _shown(text):
    """A value for a message: escaped, and cut when it is long."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def _lines(path):
    """Lines of a VCF or BCF file as text without their ends; bytes that are not UTF-8 come back as they were when encoded."""
    try:
        with open_bytes(path) as handle:
            if handle.read(3) != b"BCF":
                handle.seek(0)
                for line in handle:
                    yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")
                return
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or corrupt file ({error})") from error
    yield from _bcf_lines(path)


def _bcf_lines(path):
    import cyvcf2

    number = 0
    try:
        reader = cyvcf2.VCF(str(path), gts012=False)
        yield from reader.raw_header.rstrip("\n").split("\n")
        for number, record in enumerate(reader, 1):  # noqa: B007 - named in the error
            yield str(record).rstrip("\n")
    except Exception as error:  # htslib's failures come as bare Exceptions
        raise InputError(f"{path}: not a valid BCF file after record {number} ({error})") from error


def open_vcf(path):
    """Open a VCF or BCF file, plain or compressed.

    Parameters
    ----------
    path : str or pathlib.Path
        A regular file; `regzoo.sequence.files.regular_file` makes one of a pipe.

    Returns
    -------
    VcfFile

    Raises
    ------
    InputError
        If the file is missing, cut off, or not VCF.
    """
    path = require_file(path, "VCF file")
    check_complete(path)
    return VcfFile(path)


def read_records(vcf, path=None):
    """Yield (record, alleles) of an open VCF in its order.

    Parameters
    ----------
    vcf : VcfFile
    path : str or pathlib.Path, optional
        Not used; errors name the file that was opened.

    Yields
    ------
    record : Record
    alleles : list of Allele
        At least one.

    Raises
    ------
    InputError
        If a record is not valid; its number and line are named.
    """
    for record in vcf:
        yield record, _alleles(record)


def count_records(path):
    """Number of records of a VCF file, plain or compressed, by its lines; None of a BCF or a damaged file."""
    count = 0
    try:
        with open_bytes(path) as handle:
            if handle.read(3) == b"BCF":
                return None
            handle.seek(0)
            for line in handle:
                count += line[:1] not in (b"#", b"\n")
    except (OSError, EOFError, zlib.error):
        return None
    return count


def upper_letters(text):
    """An allele's letters in upper case, U as T; symbolic alleles and breakends keep their U."""
    text = text.upper()
    return text.replace("U", "T") if "U" in text and text.isalpha() else text


def _alleles(record):
    contig, pos, identifier, ref, alt = record.fields[:5]
    ref = upper_letters(ref)
    known_ref = "" if _LETTERS.issuperset(ref) else "REF has letters other than A, C, G, T, N"
    fixed = (record.number, contig, int(pos), identifier, ref)
    alternates = [upper_letters(one) for one in alt.split(",")]
    return [Allele(*fixed, one, _alternate_problem(one, ref) or known_ref) for one in alternates]


def _alternate_problem(alt, ref):
    if alt == ".":
        return "no alternate allele"
    if not alt:
        return "ALT has an empty entry"
    if alt in ("*", "<*>"):
        return "allele removed by an overlapping deletion"
    if alt.startswith("<") or "[" in alt or "]" in alt:
        return "symbolic allele"
    if not set(alt) <= set("ACGT"):
        return "ALT has letters other than A, C, G, T"
    if alt == ref:
        return "ALT equals REF"
    return ""
