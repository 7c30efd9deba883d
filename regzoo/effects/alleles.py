"""The windows of both alleles of a variant."""

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN, encode


def variant_offset(length):
    """0-based place of a variant's first base in a window of `length` bases: L/2 - 1, as in kipoi-veff 0.3.1."""
    return length // 2 - 1


def problem_with(allele, genome, length, strict=False):
    """Why an allele cannot be scored against a genome, or '' when it can.

    Parameters
    ----------
    allele : regzoo.sequence.Allele
    genome : regzoo.sequence.Genome
    length : int
        Of the window.
    strict : bool
        A window that reaches over a contig's end is a reason; otherwise it is padded with N.
    """
    if allele.problem:
        return allele.problem
    try:
        codes = genome.codes(allele.contig)
    except InputError:
        return "contig not in the FASTA"
    first = allele.pos - 1
    if first < 0 or first + len(allele.ref) > len(codes):
        return "position outside the contig"
    if not np.array_equal(codes[first : first + len(allele.ref)], encode(allele.ref)):
        return "REF differs from the FASTA"
    start = first - variant_offset(length)
    if strict and (start < 0 or start + length > len(codes)):
        return "too near a contig's end"
    return ""


def allele_windows(alleles, genome, length, grid=1):
    """Reference and alternate windows, with the variant at `variant_offset`, or up to `grid` - 1 bases after it.

    The alternate window holds what follows the variant in the genome: an insertion pushes bases out at the right, a
    deletion draws bases in.

    Parameters
    ----------
    alleles : sequence of regzoo.sequence.Allele, length N
        Without a problem.
    genome : regzoo.sequence.Genome
    length : int
    grid : int
        Windows start at multiples of it.

    Returns
    -------
    ref, alt : numpy.ndarray, uint8, shape (N, length)
        Base codes.
    places : numpy.ndarray, int64, shape (N, 2)
        Contig number and start of each window.
    """
    numbers = np.array([genome.number(a.contig) for a in alleles], dtype=np.int64)
    firsts = np.array([a.pos - 1 for a in alleles], dtype=np.int64)
    starts = (firsts - variant_offset(length)) // grid * grid
    ref = genome.windows(numbers, starts, length)
    alt = ref.copy()
    for row, (allele, offset) in enumerate(zip(alleles, firsts - starts)):
        inserted = encode(allele.alt)[: length - offset]
        end = offset + len(inserted)
        alt[row, offset:end] = inserted
        if len(allele.alt) != len(allele.ref) and end < length:
            contig = genome.codes(allele.contig)
            follow = contig[allele.pos - 1 + len(allele.ref) :][: length - end]
            alt[row, end : end + len(follow)] = follow
            alt[row, end + len(follow) :] = UNKNOWN
    return ref, alt, np.stack([numbers, starts], axis=1)
