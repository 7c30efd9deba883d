"""The strand of the gene that a variant lies in, for models of RNA."""

from __future__ import annotations

import numpy as np

from regzoo.effects.windows import contig_numbers
from regzoo.errors import InputError
from regzoo.sequence import Alleles, Genome, Records, read_bed
from regzoo.sequence.alleles import Status

_SIGNS = {"+": 1, "-": -1, "1": 1, "-1": -1, "+1": 1}


class Strands:
    """Strand of each variant, from a BED file of genes or an INFO field.

    Parameters
    ----------
    source : str
        BED file whose sixth column is the strand, or 'INFO:KEY' for an INFO field with +, -, 1 or -1.
    genome : regzoo.sequence.Genome
        Matches names of contigs.

    Attributes
    ----------
    key : str
        INFO key, or '' with a BED file.

    Raises
    ------
    InputError
        If the BED file is not usable or has no strand.
    """

    def __init__(self, source: str, genome: Genome):
        self._genome, self.key = genome, source.removeprefix("INFO:") if source.startswith("INFO:") else ""
        self._genes = {} if source.startswith("INFO:") else _genes(source, genome)

    def of(self, records: Records, alleles: Alleles) -> tuple[np.ndarray, np.ndarray]:
        """Strand for each allele.

        Parameters
        ----------
        records : regzoo.sequence.Records
        alleles : regzoo.sequence.Alleles, length N
            Of these records.

        Returns
        -------
        strand : numpy.ndarray, int8, shape (N,)
            1, -1, or 0 where it is not known.
        status : numpy.ndarray, uint8, shape (N,)
            Why it is not known, a `regzoo.sequence.Status` code.
        """
        if self.key:
            of_records = [_SIGNS.get(records.info(row, self.key) or "", 0) for row in range(len(records))]
            strand = np.repeat(np.array(of_records, dtype=np.int8), records.counts)
            return strand, np.where(strand == 0, Status.NO_STRAND_IN_INFO, Status.SCORED).astype(np.uint8)
        numbers, start = contig_numbers(alleles, self._genome), alleles.start
        covered = {}
        for sign in (1, -1):
            covered[sign] = np.zeros(len(alleles), dtype=bool)
            for number in np.unique(numbers).tolist():
                if (number, sign) in self._genes:
                    rows = np.flatnonzero(numbers == number)
                    starts, ends = self._genes[number, sign]  # each sorted
                    begun = np.searchsorted(starts, start[rows] + alleles.ref_length[rows])
                    covered[sign][rows] = begun > np.searchsorted(ends, start[rows], side="right")
        strand = covered[1].astype(np.int8) - covered[-1].astype(np.int8)
        unknown = np.where(covered[1] & covered[-1], Status.BOTH_STRANDS, Status.IN_NO_GENE)
        return strand, np.where(strand == 0, unknown, Status.SCORED).astype(np.uint8)


def _genes(path, genome):
    """Sorted starts and sorted ends of the genes of each contig and strand, (number, sign) -> (starts, ends)."""
    bed, genes = read_bed(path), {}
    stranded = np.isin(bed.strands, ["+", "-"])
    if not stranded.any():
        raise InputError(f"{path}: no interval has a strand (+ or -) in its sixth column")
    numbers = np.full(len(bed.contigs), -1)
    for contig in np.unique(bed.contigs[stranded]):
        try:
            numbers[bed.contigs == contig] = genome.number(str(contig))
        except InputError:
            continue  # no variant there can be scored
    for number in np.unique(numbers[numbers >= 0]).tolist():
        for sign, letter in ((1, "+"), (-1, "-")):
            rows = (numbers == number) & (bed.strands == letter)
            if rows.any():
                genes[number, sign] = np.sort(bed.starts[rows]), np.sort(bed.ends[rows])
    return genes
