"""The strand of the gene that a variant lies in, for models of RNA."""

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence import read_bed

_SIGNS = {"+": "+", "-": "-", "1": "+", "-1": "-", "+1": "+"}


class Strands:
    """Strand of each variant, from a BED file of genes or an INFO field.

    Parameters
    ----------
    source : str
        BED file whose sixth column is the strand, or 'INFO:KEY' for an INFO field with +, -, 1 or -1.
    genome : regzoo.sequence.Genome
        Matches names of contigs.

    Raises
    ------
    InputError
        If the BED file is not usable or has no strand.
    """

    def __init__(self, source, genome):
        self._genome, self._key, self._genes = genome, None, {}
        if source.startswith("INFO:"):
            self._key = source[len("INFO:") :]
            return
        bed = read_bed(source)
        stranded = np.isin(bed.strands, ["+", "-"])
        if not stranded.any():
            raise InputError(f"{source}: no interval has a strand (+ or -) in its sixth column")
        for contig in np.unique(bed.contigs[stranded]):
            try:
                number = genome.number(str(contig))
            except InputError:
                continue  # no variant there can be scored
            rows = stranded & (bed.contigs == contig)
            before = self._genes.get(number, [np.empty(0, int), np.empty(0, int), np.empty(0, str)])
            own = bed.starts[rows], bed.ends[rows], bed.strands[rows]
            self._genes[number] = [np.concatenate(pair) for pair in zip(before, own)]

    def strand(self, record, allele):
        """Strand for an allele.

        Parameters
        ----------
        record : regzoo.sequence.variants.Record
        allele : regzoo.sequence.Allele
            On a contig of the genome.

        Returns
        -------
        strand : str
            '+', '-', or '' where it is not known.
        reason : str
            Why it is not known.
        """
        if self._key is not None:
            strand = _SIGNS.get(record.info(self._key) or "", "")
            return strand, "" if strand else f"no strand in INFO {self._key}"
        genes = self._genes.get(self._genome.number(allele.contig))
        found = set()
        if genes is not None:
            starts, ends, strands = genes
            found = set(strands[(starts < allele.pos - 1 + len(allele.ref)) & (ends >= allele.pos)].tolist())
        if len(found) == 1:
            return found.pop(), ""
        return "", "genes on both strands" if found else "in no gene of known strand"
