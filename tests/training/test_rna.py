"""Sequences of RNA in training data are read as DNA, and proteins are refused."""

import gzip

import pandas as pd
import pytest

from regzoo.errors import InputError
from regzoo.evaluate.labelled import read_labelled
from regzoo.sequence import decode
from regzoo.sequence.fasta import read_fasta, read_text
from training.data.records import read_sequences, table_sequences

RNA, DNA = "acguACGUNRacguACGUacgu", "ACGTACGTNNACGTACGTACGT"
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"


def test_uracil_is_thymine_in_every_reader(tmp_path):
    fasta, table, labelled = tmp_path / "x.fa", tmp_path / "x.tsv", tmp_path / "x.csv"
    fasta.write_text(f">a\n{RNA[:10]}\n{RNA[10:]}\n")
    assert [decode(codes) for codes in read_fasta(fasta)[1]] == [DNA]
    assert [decode(codes) for codes in read_sequences(fasta)] == [DNA]
    table.write_text(f"1\t{RNA.replace('R', 'N')}\n")
    assert [decode(codes) for codes in read_sequences(table)] == [DNA]
    assert [decode(codes) for codes in table_sequences(pd.Series([RNA, "ACG CGU GUU"]), table)] == [DNA, "ACGTT"]
    labelled.write_text(f"sequence,label\n{RNA},1\n")
    assert decode(read_labelled(labelled).codes[0]) == DNA


def test_proteins_are_refused_with_their_record(tmp_path):
    fasta = tmp_path / "x.fa"
    fasta.write_text(f">a\n{DNA}\n>p1\n{PROTEIN}\n")
    with pytest.raises(InputError, match="x.fa, record 'p1': .* is this a protein"):
        read_fasta(fasta)
    with pytest.raises(InputError, match="x.fa, sequence 2: .* is this a protein"):
        read_sequences(fasta)
    with pytest.raises(InputError, match="x.tsv, line 1: .* is this a protein"):
        table_sequences(pd.Series([DNA, PROTEIN]), "x.tsv")


def test_a_damaged_gzip_is_named(tmp_path):
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(b">a\nACGT\n")[:12] + b"\xff" * 20)
    with pytest.raises(InputError, match="x.fa.gz: cannot read"):
        read_text(path)
