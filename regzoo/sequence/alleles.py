"""Alleles of variants as arrays, one entry for each alternate allele of each record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
import pyarrow as pa

from regzoo.sequence.codes import CODE_OF_BYTE


class Status(IntEnum):
    """Whether an allele is scored, or why not. The texts are in `STATUS_TEXTS`."""

    SCORED = 0
    NO_ALTERNATE = 1
    EMPTY_ALTERNATE = 2
    REMOVED = 3
    SYMBOLIC = 4
    ALT_LETTERS = 5
    ALT_IS_REF = 6
    REF_LETTERS = 7
    NO_CONTIG = 8
    OUTSIDE = 9
    REF_MISMATCH = 10
    NEAR_END = 11
    NO_STRAND_IN_INFO = 12
    BOTH_STRANDS = 13
    IN_NO_GENE = 14
    NOT_FINITE = 15
    NOT_DEFINED = 16


#: Text of each status, as outputs hold it; {key} is the INFO key that strands are taken from.
STATUS_TEXTS = {
    Status.SCORED: "scored",
    Status.NO_ALTERNATE: "no alternate allele",
    Status.EMPTY_ALTERNATE: "ALT has an empty entry",
    Status.REMOVED: "allele removed by an overlapping deletion",
    Status.SYMBOLIC: "symbolic allele",
    Status.ALT_LETTERS: "ALT has letters other than A, C, G, T",
    Status.ALT_IS_REF: "ALT equals REF",
    Status.REF_LETTERS: "REF has letters other than A, C, G, T, N",
    Status.NO_CONTIG: "contig not in the FASTA",
    Status.OUTSIDE: "position outside the contig",
    Status.REF_MISMATCH: "REF differs from the FASTA",
    Status.NEAR_END: "too near a contig's end",
    Status.NO_STRAND_IN_INFO: "no strand in INFO {key}",
    Status.BOTH_STRANDS: "genes on both strands",
    Status.IN_NO_GENE: "in no gene of known strand",
    Status.NOT_FINITE: "prediction is not a finite number",
    Status.NOT_DEFINED: "none of the scores is defined for this allele",
}


def status_texts(key: str = "") -> list[str]:
    """Text of each status, by its code; `key` is the INFO key of strands."""
    return [STATUS_TEXTS[status].format(key=key) for status in Status]


#: Arrays of `Alleles` that left-normalisation changes.
PLACES = ("pos", "ref_start", "ref_length", "alt_start", "alt_length")


@dataclass(eq=False)
class Alleles:
    """Alternate alleles of variants, in their order in the input, as arrays of length N.

    Attributes
    ----------
    record : numpy.ndarray, int64
        Number of the record in the input, from 1.
    contig : numpy.ndarray, int32
        Index in `contigs`.
    contigs : list of str
        Names as the input has them.
    pos : numpy.ndarray, int64
        1-based position of the first base of REF.
    identifier : pyarrow.StringArray
    letters : numpy.ndarray, uint8
        ASCII letters of all REFs and ALTs, in upper case, with U as T except in symbolic alleles and breakends.
    ref_start, ref_length, alt_start, alt_length : numpy.ndarray, int64
        Where in `letters` an allele's REF and ALT are.
    status : numpy.ndarray, uint8
        `Status` codes; 0 where nothing is known that prevents a score.
    strand : numpy.ndarray, int8
        1 or -1 where the variant is scored on that strand alone, else 0.
    """

    record: np.ndarray
    contig: np.ndarray
    contigs: list[str]
    pos: np.ndarray
    identifier: pa.StringArray
    letters: np.ndarray
    ref_start: np.ndarray
    ref_length: np.ndarray
    alt_start: np.ndarray
    alt_length: np.ndarray
    status: np.ndarray
    strand: np.ndarray

    def __len__(self) -> int:
        return len(self.pos)

    @cached_property
    def codes(self) -> np.ndarray:
        """Base codes of `letters`, uint8; 4 for what is not A, C, G or T."""
        return CODE_OF_BYTE[self.letters]

    @property
    def single(self) -> np.ndarray:
        """Whether REF and ALT are one base each, bool."""
        return (self.ref_length == 1) & (self.alt_length == 1)

    @property
    def start(self) -> np.ndarray:
        """0-based position of the first base of REF, int64."""
        return self.pos - 1

    def take(self, rows: np.ndarray) -> Alleles:
        """Some of the alleles; `letters` is shared.

        Parameters
        ----------
        rows : numpy.ndarray, int
        """
        if len(rows) == len(self) and (np.diff(rows) > 0).all():
            return self  # all of them, in their order
        fields = ("record", "contig", "pos", "ref_start", "ref_length", "alt_start", "alt_length", "status", "strand")
        return replace(
            self, identifier=self.identifier.take(pa.array(rows)), **{f: getattr(self, f)[rows] for f in fields}
        )

    def with_rows(self, rows: np.ndarray, other: Alleles) -> Alleles:
        """Alleles with the position, REF and ALT of some rows taken from others.

        Parameters
        ----------
        rows : numpy.ndarray, int, shape (M,)
        other : Alleles, length M
            Whose `letters` begin with those of these alleles.
        """
        result = replace(self, letters=other.letters, **{name: getattr(self, name).copy() for name in PLACES})
        for name in PLACES:
            getattr(result, name)[rows] = getattr(other, name)
        return result

    def ref_texts(self) -> pa.StringArray:
        """Letters of each REF."""
        return text_array(self.letters, self.ref_start, self.ref_length)

    def alt_texts(self) -> pa.StringArray:
        """Letters of each ALT."""
        return text_array(self.letters, self.alt_start, self.alt_length)

    def contig_texts(self) -> pa.DictionaryArray:
        """Name of each allele's contig."""
        return pa.DictionaryArray.from_arrays(pa.array(self.contig), pa.array(self.contigs, pa.string()))

    def label(self, row: int) -> str:
        """CHROM:POS of one allele, for messages."""
        return f"{self.contigs[self.contig[row]]}:{self.pos[row]}"


def concatenated(parts: list[Alleles]) -> Alleles:
    """Alleles of several batches of one input, in their order; one batch at least."""
    if len(parts) == 1:
        return parts[0]
    shifts = np.concatenate([[0], np.cumsum([len(part.letters) for part in parts])])
    fields = ("record", "contig", "pos", "ref_length", "alt_length", "status", "strand", "letters")
    joined = {field: np.concatenate([getattr(part, field) for part in parts]) for field in fields}
    for field in ("ref_start", "alt_start"):
        joined[field] = np.concatenate([getattr(part, field) + shift for part, shift in zip(parts, shifts)])
    identifier = pa.concat_arrays([part.identifier for part in parts])
    return Alleles(contigs=parts[-1].contigs, identifier=identifier, **joined)


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices of stretches one after the other.

    Parameters
    ----------
    starts, lengths : numpy.ndarray, int64, shape (N,)

    Returns
    -------
    numpy.ndarray, int64, shape (sum(lengths),)
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def all_of(flags: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether all flags of each stretch are set, bool, shape (N,); true for a stretch of length 0."""
    if not len(flags):
        return np.ones(len(starts), dtype=bool)
    sums = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    return sums[starts + lengths] - sums[starts] == lengths


def equal_spans(
    a: np.ndarray, a_starts: np.ndarray, b: np.ndarray, b_starts: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Whether stretches of two arrays are equal.

    Parameters
    ----------
    a, b : numpy.ndarray, uint8
    a_starts, b_starts, lengths : numpy.ndarray, int64, shape (N,)

    Returns
    -------
    numpy.ndarray, bool, shape (N,)
    """
    if (lengths == 1).all():
        return a[a_starts] == b[b_starts]
    same = a[spans(a_starts, lengths)] == b[spans(b_starts, lengths)]
    return all_of(same, np.cumsum(lengths) - lengths, lengths)


def text_array(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray, kind: pa.DataType | None = None) -> pa.Array:
    """Stretches of bytes as a pyarrow array of strings.

    Parameters
    ----------
    data : numpy.ndarray, uint8
        UTF-8 text.
    starts, lengths : numpy.ndarray, int64, shape (N,)
    kind : pyarrow.DataType, optional
        pyarrow.string() without it.
    """
    offsets = np.zeros(len(starts) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    values = data[spans(starts, lengths)]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(kind or pa.string(), len(starts), buffers)
