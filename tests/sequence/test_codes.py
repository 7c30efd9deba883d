"""Base codes against plain string operations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regzoo.errors import InputError
from regzoo.sequence import decode, encode, encode_many, from_one_hot, one_hot, reverse_complement
from regzoo.sequence.codes import encode_checked

dna = st.text(alphabet="ACGTNacgtnRYU", max_size=60)


@given(dna)
def test_encode_and_decode_keep_bases_and_replace_others_by_n(sequence):
    expected = "".join(c if c in "ACGT" else "N" for c in sequence.upper().replace("U", "T"))
    assert decode(encode(sequence)) == expected


@given(dna)
def test_reverse_complement_equals_string_operations(sequence):
    plain = decode(encode(sequence))
    assert decode(reverse_complement(encode(sequence))) == plain.translate(str.maketrans("ACGT", "TGCA"))[::-1]


@given(dna)
def test_one_hot_round_trip(sequence):
    codes = encode(sequence)
    array = one_hot(codes[None])
    assert array.dtype == np.float32 and array.shape == (1, 4, len(sequence))
    for channel, base in enumerate("ACGT"):
        assert [v == 1 for v in array[0, channel]] == [c == base for c in sequence.upper().replace("U", "T")]
    assert np.array_equal(from_one_hot(array)[0], codes)


def test_flipping_both_axes_of_one_hot_is_reverse_complement():
    codes = encode("ACCGTNAT")
    assert np.array_equal(one_hot(codes)[::-1, ::-1], one_hot(reverse_complement(codes)))


def test_sequences_of_different_lengths_are_rejected():
    with pytest.raises(InputError, match="one length"):
        encode_many(["ACG", "AC"])


def test_protein_is_rejected_and_ambiguous_bases_are_accepted():
    assert decode(encode_checked("acguRYSWKMBDHVN-.*X", "x")) == "ACGT" + "N" * 15
    assert decode(encode_checked("ACGTACGTA?", "x")) == "ACGTACGTAN"
    with pytest.raises(InputError, match="x.csv, line 2: 3 of 10 letters are not DNA or RNA; is this a protein"):
        encode_checked("MKTAYEIKQR", "x.csv, line 2")
