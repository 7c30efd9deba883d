"""The windows of both alleles of a variant."""

from dataclasses import replace

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN, decode, encode


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


def left_normalised(allele, genome):
    """An allele trimmed to what differs and moved as far to the left as the genome's repeats let it.

    The procedure of Tan, Abecasis & Kang 2015 (Bioinformatics 31:2202), as in `bcftools norm`.

    Parameters
    ----------
    allele : regzoo.sequence.Allele
        Without a problem.
    genome : regzoo.sequence.Genome

    Returns
    -------
    regzoo.sequence.Allele
        The same object when nothing changes.
    """
    codes = genome.codes(allele.contig)
    ref, alt, pos = encode(allele.ref).tolist(), encode(allele.alt).tolist(), allele.pos
    while ref[-1] == alt[-1] and (len(ref) > 1 and len(alt) > 1 or pos > 1):
        ref.pop()
        alt.pop()
        if not ref or not alt:
            pos -= 1
            before = int(codes[pos - 1])
            ref.insert(0, before)
            alt.insert(0, before)
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        ref.pop(0)
        alt.pop(0)
        pos += 1
    if (pos, len(ref), len(alt)) == (allele.pos, len(allele.ref), len(allele.alt)):
        return allele
    return replace(allele, pos=pos, ref=decode(np.array(ref)), alt=decode(np.array(alt)))


def allele_windows(alleles, genome, length, grid=1, offset=0):
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
    offset : int
        Bases by which windows are moved to the right; the variant then lies that much further to the left in them.

    Returns
    -------
    ref, alt : numpy.ndarray, uint8, shape (N, length)
        Base codes.
    places : numpy.ndarray, int64, shape (N, 2)
        Contig number and start of each window.
    """
    numbers = np.array([genome.number(a.contig) for a in alleles], dtype=np.int64)
    firsts = np.array([a.pos - 1 for a in alleles], dtype=np.int64)
    starts = (firsts - variant_offset(length) + offset) // grid * grid
    ref = genome.windows(numbers, starts, length)
    alt = ref.copy()
    for row, (allele, place) in enumerate(zip(alleles, firsts - starts)):
        if not 0 <= place < length:
            raise InputError(f"offset {offset} moves {allele.contig}:{allele.pos} out of its window of {length} bases")
        inserted = encode(allele.alt)[: length - place]
        end = place + len(inserted)
        alt[row, place:end] = inserted
        if len(allele.alt) != len(allele.ref) and end < length:
            contig = genome.codes(allele.contig)
            follow = contig[allele.pos - 1 + len(allele.ref) :][: length - end]
            alt[row, end : end + len(follow)] = follow
            alt[row, end + len(follow) :] = UNKNOWN
    return ref, alt, np.stack([numbers, starts], axis=1)
