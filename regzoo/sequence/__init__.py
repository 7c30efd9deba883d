"""Sequence access: base codes, genomes, intervals and alleles."""

from regzoo.sequence.codes import decode, encode, encode_many, from_one_hot, one_hot, reverse_complement
from regzoo.sequence.genome import Genome
from regzoo.sequence.intervals import Intervals, place_windows, read_bed
from regzoo.sequence.variants import Allele, count_records, open_vcf, read_records

__all__ = [
    "Allele", "Genome", "Intervals", "count_records", "decode", "encode", "encode_many", "from_one_hot", "one_hot", "open_vcf",
    "place_windows", "read_bed", "read_records", "reverse_complement",
]  # fmt: skip
