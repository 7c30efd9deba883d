"""Alleles against a genome: checks, left-normalisation, and the windows of both alleles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence import Genome, decode
from regzoo.sequence.alleles import PLACES, Alleles, Status, all_of, spans
from regzoo.sequence.codes import UNKNOWN


def variant_offset(length: int, anchor: str = "veff") -> int:
    """0-based position of a variant's first base in a window.

    Parameters
    ----------
    length : int
        Bases of the window.
    anchor : str
        'veff': length // 2 - 1, as in kipoi-veff 0.3.1; 'veff2': (length - 1) // 2, the middle of an odd window, as in
        kipoi-veff2.
    """
    return length // 2 - 1 if anchor == "veff" else (length - 1) // 2


def contig_numbers(alleles: Alleles, genome: Genome) -> np.ndarray:
    """Number of each allele's contig in the genome, int64, shape (N,); -1 where the genome does not have it."""
    table = np.full(len(alleles.contigs), -1, dtype=np.int64)
    for index in np.unique(alleles.contig).tolist():
        try:
            table[index] = genome.number(alleles.contigs[index])
        except InputError:
            pass
    return table[alleles.contig]


def check_alleles(
    alleles: Alleles,
    genome: Genome,
    length: int,
    strict: bool = False,
    offsets: Sequence[int] = (0,),
    grid: int = 1,
    any_reference: bool = False,
) -> np.ndarray:
    """Whether alleles can be scored against a genome.

    Parameters
    ----------
    alleles : regzoo.sequence.Alleles, length N
    genome : regzoo.sequence.Genome
    length : int
        Bases of the window.
    strict : bool
        Refuse alleles with a window that extends past a contig's end; otherwise such windows are padded with N.
    offsets : sequence of int
        Bases by which windows are moved to the right.
    grid : int
        Windows start at multiples of it.
    any_reference : bool
        Accept a REF that differs from the genome.

    Returns
    -------
    numpy.ndarray, uint8, shape (N,)
        `regzoo.sequence.Status` codes; those that `alleles.status` has already are kept.
    """
    status = alleles.status.copy()

    def mark(where, reason):
        status[where & (status == Status.SCORED)] = reason

    numbers = contig_numbers(alleles, genome)
    mark(numbers < 0, Status.NO_CONTIG)
    start, ends = alleles.start, genome.lengths[numbers]
    mark((start < 0) | (start + alleles.ref_length > ends), Status.OUTSIDE)
    if not any_reference:
        rows = np.flatnonzero(status == Status.SCORED)
        sizes = alleles.ref_length[rows]
        own = alleles.codes[spans(alleles.ref_start[rows], sizes)]
        same = own == genome.stretches(numbers[rows], start[rows], sizes)
        status[rows[~all_of(same, np.cumsum(sizes) - sizes, sizes)]] = Status.REF_MISMATCH
    if strict:
        drawn_in = np.maximum(alleles.ref_length - alleles.alt_length, 0)  # by a deletion
        first = start - variant_offset(length)
        starts = [(first + offset) // grid * grid for offset in offsets]
        mark((np.minimum.reduce(starts) < 0) | (np.maximum.reduce(starts) + length + drawn_in > ends), Status.NEAR_END)
    return status


def left_normalised(alleles: Alleles, genome: Genome) -> tuple[Alleles, np.ndarray]:
    """Trim alleles to what differs, and move them as far to the left as repeats in the genome let them.

    The procedure of Tan, Abecasis & Kang 2015 (Bioinformatics 31:2202), as in `bcftools norm`.

    Parameters
    ----------
    alleles : regzoo.sequence.Alleles, length N
        Of status 0.
    genome : regzoo.sequence.Genome

    Returns
    -------
    alleles : regzoo.sequence.Alleles
    moved : numpy.ndarray, bool, shape (N,)
        Which alleles changed.
    """
    numbers = contig_numbers(alleles, genome)
    cut, before = _trimmed_at_the_end(alleles, genome, numbers)
    letters, added = [alleles.letters], len(alleles.letters)
    result = replace(alleles, **{name: getattr(alleles, name).copy() for name in PLACES})
    shared = (alleles.ref_length - cut + before > 1) & (alleles.alt_length - cut + before > 1)
    for row in np.flatnonzero((cut > 0) | (before > 0) | shared).tolist():
        left = genome.stretches(numbers[[row]], alleles.start[[row]] - before[row], before[[row]])
        sides = [
            decode(left) + alleles.letters[start[row] : start[row] + length[row]].tobytes().decode("ascii")
            for start, length in ((alleles.ref_start, alleles.ref_length), (alleles.alt_start, alleles.alt_length))
        ]
        ref, alt = (side[: len(side) - cut[row]] for side in sides)
        first = 0
        while min(len(ref), len(alt)) - first > 1 and ref[first] == alt[first]:
            first += 1
        ref, alt = ref[first:], alt[first:]
        result.pos[row] += first - before[row]
        result.ref_start[row], result.ref_length[row] = added, len(ref)
        result.alt_start[row], result.alt_length[row] = added + len(ref), len(alt)
        letters.append(np.frombuffer(f"{ref}{alt}".encode(), dtype=np.uint8))
        added += len(ref) + len(alt)
    result.letters = np.concatenate(letters)
    same_length = (result.ref_length == alleles.ref_length) & (result.alt_length == alleles.alt_length)
    return result, (result.pos != alleles.pos) | ~same_length


def _trimmed_at_the_end(alleles, genome, numbers):
    """Bases to remove at the end of both alleles, and bases of the genome to put before them, int64, shape (N,)."""
    cut, before = np.zeros(len(alleles), dtype=np.int64), np.zeros(len(alleles), dtype=np.int64)
    rows = np.arange(len(alleles))
    while len(rows):
        ref, alt = (
            _base_from_end(alleles, genome, numbers, rows, cut[rows], start, length)
            for start, length in ((alleles.ref_start, alleles.ref_length), (alleles.alt_start, alleles.alt_length))
        )
        shortest = np.minimum(alleles.ref_length, alleles.alt_length)[rows] - cut[rows] + before[rows]
        rows = rows[(ref == alt) & ((shortest > 1) | (alleles.pos[rows] - before[rows] > 1))]
        cut[rows] += 1
        empty = rows[np.minimum(alleles.ref_length, alleles.alt_length)[rows] - cut[rows] + before[rows] == 0]
        before[empty] += 1
    return cut, before


def _base_from_end(alleles, genome, numbers, rows, cut, start, length):
    """Last base codes of alleles without the last `cut` bases, where the genome continues an allele to the left."""
    at = length[rows] - 1 - cut
    codes = alleles.codes[start[rows] + np.maximum(at, 0)]
    outside = np.flatnonzero(at < 0)
    chosen = rows[outside]
    places = alleles.start[chosen] + at[outside]
    codes[outside] = genome.stretches(numbers[chosen], places, np.ones(len(chosen), dtype=np.int64))
    return codes


def shared_windows(
    alleles: Alleles, genome: Genome, length: int, grid: int = 1, offset: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reference windows, each once, and alternate windows, with the variant at `variant_offset`.

    With a grid, the variant lies up to `grid` - 1 bases after that. The alternate window continues with what follows
    the variant in the genome: an insertion pushes bases out at the right, a deletion draws bases in. A REF that differs
    from the genome replaces its bases in the reference window.

    Parameters
    ----------
    alleles : regzoo.sequence.Alleles, length N
        Of status 0.
    genome : regzoo.sequence.Genome
    length : int
    grid : int
        Windows start at multiples of it.
    offset : int
        Bases by which windows are moved to the right; the variant then lies that much further to the left in them.

    Returns
    -------
    ref : numpy.ndarray, uint8, shape (W, length)
        Base codes.
    windows : numpy.ndarray, int64, shape (N,)
        The reference window of each allele.
    alt : numpy.ndarray, uint8, shape (N, length)
    places : numpy.ndarray, int64, shape (W, 2)
        Contig number and start of the reference windows. Where REF differs from the genome the number is negative and
        unique, so that no other allele shares the window.

    Raises
    ------
    InputError
        If an offset moves a variant out of its window.
    """
    numbers, start = contig_numbers(alleles, genome), alleles.start
    firsts = (start - variant_offset(length) + offset) // grid * grid
    place = start - firsts
    if len(place) and not (place.min() >= 0 and place.max() < length):
        row = np.flatnonzero((place < 0) | (place >= length))[0]
        raise InputError(f"offset {offset} moves {alleles.label(row)} out of its window of {length} bases")
    size = np.minimum(alleles.ref_length, length - place)
    differs = _differing(alleles, genome, numbers, size)
    keys = np.where(differs, -1 - np.arange(len(alleles)), numbers)
    # Alternates of one record, and records of one window on a grid, share their reference.
    _, first, windows = np.unique((keys << 40) + firsts, return_index=True, return_inverse=True)
    if len(first) == len(alleles):
        first = windows = np.arange(len(alleles))  # in the order of the alleles
    ref = genome.windows(numbers[first], firsts[first], length)
    alt = ref.copy() if len(first) == len(alleles) else ref[windows]
    rows = np.flatnonzero(differs)
    if len(rows):
        own = alleles.codes[spans(alleles.ref_start[rows], size[rows])]
        ref.reshape(-1)[spans(windows[rows] * length + place[rows], size[rows])] = own
    _put_alternates(alt, alleles, genome, numbers, firsts)
    return ref, windows, alt, np.stack([keys, firsts], axis=1)[first]


def _differing(alleles, genome, numbers, size):
    """Whether the first `size` bases of REF, as many as lie in the window, differ from the genome, bool, shape (N,)."""
    inside = np.minimum(size, genome.lengths[numbers] - alleles.start)
    own = alleles.codes[spans(alleles.ref_start, inside)]
    same = own == genome.stretches(numbers, alleles.start, inside)
    return ~all_of(same, np.cumsum(inside) - inside, inside)


def _put_alternates(windows, alleles, genome, numbers, firsts):
    """Turn reference windows, one for each allele, into alternate windows, in place."""
    length = windows.shape[1]
    place = alleles.start - firsts
    at, size = np.arange(len(alleles)) * length + place, np.minimum(alleles.alt_length, length - place)
    if (size == 1).all():
        windows.reshape(-1)[at] = alleles.codes[alleles.alt_start]
    else:
        windows.reshape(-1)[spans(at, size)] = alleles.codes[spans(alleles.alt_start, size)]
    rows = np.flatnonzero(alleles.ref_length != alleles.alt_length)
    if len(rows):
        shift = (alleles.ref_length - alleles.alt_length)[rows]
        following = genome.windows(numbers[rows], firsts[rows] + shift, length)
        after = np.arange(length) >= (place + size)[rows, None]
        windows[rows] = np.where(after, following, windows[rows])


def allele_windows(
    alleles: Alleles, genome: Genome, length: int, grid: int = 1, offset: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reference and alternate window of each allele.

    Parameters
    ----------
    alleles, genome, length, grid, offset
        See `shared_windows`.

    Returns
    -------
    ref, alt : numpy.ndarray, uint8, shape (N, length)
        Base codes.
    places : numpy.ndarray, int64, shape (N, 2)
        Contig number and start of each reference window; see `shared_windows`.
    """
    ref, windows, alt, places = shared_windows(alleles, genome, length, grid, offset)
    return ref[windows], alt, places[windows]


def unknown_bases(
    windows: np.ndarray, numbers: np.ndarray, starts: np.ndarray, genome: Genome
) -> tuple[np.ndarray, np.ndarray]:
    """Which windows extend past their contig's end, and which have unknown bases within the contig.

    Parameters
    ----------
    windows : numpy.ndarray, uint8, shape (N, L)
    numbers, starts : numpy.ndarray, int64, shape (N,)
        Contig and 0-based start of each window.
    genome : regzoo.sequence.Genome

    Returns
    -------
    padded, unknown : numpy.ndarray, bool, shape (N,)
    """
    padded, unknown = np.zeros(len(windows), dtype=bool), np.zeros(len(windows), dtype=bool)
    rows = np.flatnonzero(windows.max(axis=1, initial=0) >= UNKNOWN)
    if len(rows):
        ends = starts[rows] + windows.shape[1]
        over = np.maximum(-starts[rows], 0) + np.maximum(ends - genome.lengths[numbers[rows]], 0)
        padded[rows] = over > 0
        unknown[rows] = (windows[rows] >= UNKNOWN).sum(axis=1) > over
    return padded, unknown
