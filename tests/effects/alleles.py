"""Alleles for tests, from tuples."""

import numpy as np

from regzoo.sequence.variants import _from_rows

SCORED = "scored"


def make_alleles(*rows):
    """Alleles of (chrom, pos, ref, alt), one each, without a check of their letters."""
    source = _from_rows([(i, chrom, pos, ".", ref, alt) for i, (chrom, pos, ref, alt) in enumerate(rows)])
    alleles = next(source.batches(len(rows))).alleles
    alleles.status = np.zeros(len(rows), dtype=np.uint8)
    return alleles
