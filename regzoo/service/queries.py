"""What a user asks about: a sequence, a locus or variants, read from text with limits."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import CODE_OR_FOREIGN, FOREIGN, UNKNOWN
from regzoo.sequence.intervals import parse_locus

#: Characters of a query.
LONGEST_TEXT = 20_000
#: Bases of a sequence or locus.
LONGEST = 10_000
#: Variants in one query.
MOST_VARIANTS = 20
#: Bases of an allele.
LONGEST_ALLELE = 100
_LONGEST_NAME = 80
_VARIANT = re.compile(r"(?P<chrom>\S+):(?P<pos>[0-9][0-9,]{0,14}):(?P<ref>[^:\s]+):(?P<alt>[^:\s]+)")
_EXPECTED = "expected a DNA sequence, a locus CHROM:START-END, or variants CHROM:POS:REF:ALT, one on each line"


@dataclass(frozen=True)
class Query:
    """A sequence, a locus, or variants.

    Attributes
    ----------
    kind : str
        'sequence', 'locus' or 'variants'.
    name : str
        Of the sequence, or of the locus's contig.
    start, end : int
        0-based, half-open; of variants 0.
    letters : str
        Of a sequence: A, C, G, T and N.
    variants : tuple of tuple
        Chrom, pos (1-based), ref and alt of each.
    """

    kind: str
    name: str = ""
    start: int = 0
    end: int = 0
    letters: str = ""
    variants: tuple[tuple[str, int, str, str], ...] = ()

    @property
    def label(self) -> str:
        """In words."""
        if self.kind == "variants":
            first = ":".join(map(str, self.variants[0]))
            return first if len(self.variants) == 1 else f"{len(self.variants)} variants"
        if self.kind == "locus":
            return f"{self.name}:{self.start + 1:,}-{self.end:,}"
        return f"{self.name}, {len(self.letters):,} bases"


def read_query(text: str) -> Query:
    """Read a query.

    Parameters
    ----------
    text : str
        Letters of DNA or RNA, or one FASTA record; a locus CHROM:START-END (1-based, inclusive); or variants
        CHROM:POS:REF:ALT, one on each line.

    Returns
    -------
    Query

    Raises
    ------
    InputError
        If it is none of these, or above a limit.
    """
    if len(text) > LONGEST_TEXT:
        raise InputError(f"the query has {len(text):,} characters; at most {LONGEST_TEXT:,} are accepted")
    lines = re.split(r"\r\n|\r|\n", text)
    for number, line in enumerate(lines, 1):
        strange = next((one for one in line if one != "\t" and unicodedata.category(one) in ("Cc", "Cs", "Cn")), None)
        if strange is not None:
            raise InputError(f"line {number}: the character U+{ord(strange):04X} is not text")
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise InputError(f"the query is empty; {_EXPECTED}")
    if lines[0].startswith(">"):
        return _sequence(lines[1:], (lines[0][1:].split() or ["sequence"])[0])
    if ":" not in lines[0]:
        return _sequence(lines, "sequence")
    if _VARIANT.fullmatch(lines[0]):
        return _variants(lines)
    if len(lines) > 1:
        raise InputError(f"line 2: a query has one locus; found {_shown(lines[1])}")
    return _locus(lines[0])


def _shown(text):
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _checked_name(name):
    if len(name) > _LONGEST_NAME:
        raise InputError(f"{_shown(name)}: a name has at most {_LONGEST_NAME} characters")
    return name


def _sequence(lines, name):
    if any(line.startswith(">") for line in lines):
        raise InputError("the query has several FASTA records; give one")
    letters = "".join("".join(line.split()) for line in lines)
    if not letters:
        raise InputError("the FASTA record has no bases")
    if len(letters) > LONGEST:
        raise InputError(f"the sequence has {len(letters):,} bases; at most {LONGEST:,} are accepted")
    codes = CODE_OR_FOREIGN[np.frombuffer(letters.encode("ascii", "replace"), dtype=np.uint8)]
    foreign = np.flatnonzero(codes == FOREIGN)
    if len(foreign):
        at = int(foreign[0])
        raise InputError(f"base {at + 1:,} is {letters[at]!r}, which is no letter of DNA or RNA; {_EXPECTED}")
    if (codes == UNKNOWN).all():
        raise InputError("the sequence has no A, C, G, T or U")
    return Query("sequence", _checked_name(name), 0, len(letters), "".join("ACGTN"[code] for code in codes))


def _locus(line):
    if len(line) > 2 * _LONGEST_NAME:
        raise InputError(f"{_shown(line)}: {_EXPECTED}")
    try:
        contig, start, end = parse_locus(line)
    except InputError as error:
        raise InputError(f"{error}; {_EXPECTED}") from error
    if end - start > LONGEST:
        raise InputError(f"{line}: a locus has at most {LONGEST:,} bases, found {end - start:,}")
    return Query("locus", _checked_name(contig), start, end)


def _variants(lines):
    if len(lines) > MOST_VARIANTS:
        raise InputError(
            f"{len(lines):,} variants; at most {MOST_VARIANTS} are accepted; use `regzoo alleles` for more"
        )
    found = []
    for number, line in enumerate(lines, 1):
        match = _VARIANT.fullmatch(line)
        if match is None:
            raise InputError(f"line {number}: expected CHROM:POS:REF:ALT, found {_shown(line)}")
        alleles = [match[side].upper().replace("U", "T") for side in ("ref", "alt")]
        for allele in alleles:
            if len(allele) > LONGEST_ALLELE or set(allele) - set("ACGTN"):
                raise InputError(
                    f"line {number}: allele {_shown(allele)}: expected up to {LONGEST_ALLELE} letters A, C, G, T"
                )
        pos = int(match["pos"].replace(",", ""))
        if not 1 <= pos <= 10**12:
            raise InputError(f"line {number}: position {pos} is not 1 or more")
        found.append((_checked_name(match["chrom"]), pos, *alleles))
    return Query("variants", variants=tuple(found))
