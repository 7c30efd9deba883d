"""Alleles for tests, from tuples."""

import numpy as np
import pandas as pd

from regzoo.sequence import read_alleles

SCORED = "scored"


def make_alleles(*rows):
    """Alleles of (chrom, pos, ref, alt), one each, taken to have letters that can be scored."""
    alleles = read_alleles(pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"]))
    alleles.status = np.zeros(len(rows), dtype=np.uint8)
    return alleles
