"""Sequence access: base codes, genomes, intervals and variants."""

from regzoo.sequence.alleles import Alleles, Status
from regzoo.sequence.codes import decode, encode, encode_many, from_one_hot, one_hot, reverse_complement
from regzoo.sequence.genome import Genome
from regzoo.sequence.intervals import Intervals, place_windows, read_bed
from regzoo.sequence.variants import Records, Variants, count_records, open_variants, open_vcf, read_alleles

__all__ = [
    "Alleles",
    "Genome",
    "Intervals",
    "Records",
    "Status",
    "Variants",
    "count_records",
    "decode",
    "encode",
    "encode_many",
    "from_one_hot",
    "one_hot",
    "open_variants",
    "open_vcf",
    "place_windows",
    "read_alleles",
    "read_bed",
    "reverse_complement",
]
