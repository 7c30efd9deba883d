"""VCF files as alleles: one for every alternate of every record, none dropped."""

from dataclasses import dataclass

import cyvcf2

from regzoo.errors import InputError
from regzoo.sequence.files import check_complete, open_bytes, require_file

_LETTERS = frozenset("ACGTN")


@dataclass(slots=True)
class Allele:
    """One alternate allele of a VCF record.

    Attributes
    ----------
    record : int
        Number of the record in the file, from 1.
    contig, ref, alt, identifier : str
        Letters in upper case; `alt` is '.' for a record without alternate.
    pos : int
        1-based position of the first base of `ref`.
    problem : str
        Why it cannot be scored; empty when nothing is known against it.
    """

    record: int
    contig: str
    pos: int
    identifier: str
    ref: str
    alt: str
    problem: str = ""


def open_vcf(path):
    """A cyvcf2 reader of a VCF or BCF file, plain or compressed.

    Raises
    ------
    InputError
        If the file is missing, cut off, or not VCF.
    """
    path = require_file(path, "VCF file")
    check_complete(path)
    try:
        return cyvcf2.VCF(str(path), gts012=False)
    except Exception as error:  # htslib's failures come as bare Exceptions
        raise InputError(f"{path}: not a VCF file, or its header is missing ({error})") from error


def read_records(vcf, path):
    """Yield (record, alleles) of an open VCF in its order.

    Parameters
    ----------
    vcf : cyvcf2.VCF
    path : str or pathlib.Path
        Named in errors.

    Yields
    ------
    record : cyvcf2.Variant
    alleles : list of Allele
        At least one.

    Raises
    ------
    InputError
        If a record cannot be parsed (its number is named), or there is none.
    """
    number = 0
    iterator = iter(vcf)
    while True:
        try:
            record = next(iterator)
        except StopIteration:
            break
        except Exception as error:
            raise InputError(f"{path}: record {number + 1} is not valid VCF ({error})") from error
        number += 1
        yield record, _alleles(number, record)
    if not number:
        raise InputError(f"{path}: no record in this VCF file")


def count_records(path):
    """Number of records of a VCF file, plain or compressed, by its lines; None of a BCF file."""
    count = 0
    with open_bytes(path) as handle:
        if handle.read(3) == b"BCF":
            return None
        handle.seek(0)
        for line in handle:
            count += line[:1] not in (b"#", b"\n")
    return count


def _alleles(number, record):
    ref = record.REF.upper()
    known_ref = "" if ref and _LETTERS.issuperset(ref) else "REF has letters other than A, C, G, T, N"
    fixed = (number, record.CHROM, record.POS, record.ID or ".", ref)
    alternates = [str(alt).upper() for alt in record.ALT] or ["."]
    return [Allele(*fixed, alt, _alternate_problem(alt, ref) or known_ref) for alt in alternates]


def _alternate_problem(alt, ref):
    if alt == ".":
        return "no alternate allele"
    if alt in ("*", "<*>"):
        return "allele removed by an overlapping deletion"
    if alt.startswith("<") or "[" in alt or "]" in alt:
        return "symbolic allele"
    if not set(alt) <= set("ACGT"):
        return "ALT has letters other than A, C, G, T"
    if alt == ref:
        return "ALT equals REF"
    return ""
