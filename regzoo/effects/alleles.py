"""The windows of both alleles of a variant."""

from dataclasses import replace

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN, decode, encode


def variant_offset(length, anchor="veff"):
    """0-based place of a variant's first base in a window of `length` bases.

    Parameters
    ----------
    length : int
    anchor : str
        'veff': L // 2 - 1, as in kipoi-veff 0.3.1; 'veff2': (L - 1) // 2, the middle of an odd window, as in kipoi-veff2.
    """
    return length // 2 - 1 if anchor == "veff" else (length - 1) // 2


def problem_with(allele, genome, length, strict=False, offsets=(0,), grid=1, any_reference=False):
    """Why an allele cannot be scored against a genome, or '' when it can.

    Parameters
    ----------
    allele : regzoo.sequence.Allele
    genome : regzoo.sequence.Genome
    length : int
        Of the window.
    strict : bool
        A window that reaches over a contig's end, of either allele, is a reason; otherwise it is padded with N.
    offsets : sequence of int
        Bases by which windows are moved.
    grid : int
        Windows start at multiples of it.
    any_reference : bool
        REF may differ from the FASTA.
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
    if not any_reference and not np.array_equal(codes[first : first + len(allele.ref)], encode(allele.ref)):
        return "REF differs from the FASTA"
    if strict:
        length_read = length + max(0, len(allele.ref) - len(allele.alt))  # a deletion draws bases in
        starts = [(first - variant_offset(length) + offset) // grid * grid for offset in offsets]
        if min(starts) < 0 or max(starts) + length_read > len(codes):
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
    deletion draws bases in. A REF that differs from the genome stands in the reference window in the genome's place.

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
        Contig number and start of each window. Where REF differs from the genome the number is negative and no other
        window's, so that no other allele shares the window.
    """
    numbers = np.array([genome.number(a.contig) for a in alleles], dtype=np.int64)
    firsts = np.array([a.pos - 1 for a in alleles], dtype=np.int64)
    starts = (firsts - variant_offset(length) + offset) // grid * grid
    ref = genome.windows(numbers, starts, length)
    alt = ref.copy()
    for row, (allele, place) in enumerate(zip(alleles, firsts - starts)):
        if not 0 <= place < length:
            raise InputError(f"offset {offset} moves {allele.contig}:{allele.pos} out of its window of {length} bases")
        own = encode(allele.ref)[: length - place]
        if not np.array_equal(ref[row, place : place + len(own)], own):
            ref[row, place : place + len(own)] = own
            numbers[row] = -1 - row
        inserted = encode(allele.alt)[: length - place]
        end = place + len(inserted)
        alt[row, place:end] = inserted
        if len(allele.alt) != len(allele.ref) and end < length:
            contig = genome.codes(allele.contig)
            follow = contig[allele.pos - 1 + len(allele.ref) :][: length - end]
            alt[row, end : end + len(follow)] = follow
            alt[row, end + len(follow) :] = UNKNOWN
    return ref, alt, np.stack([numbers, starts], axis=1)
