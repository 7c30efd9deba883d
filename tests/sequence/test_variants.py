"""Variants as records and alleles: what is read is what is in the input, and only errors of the library come out."""

import gzip

import numpy as np
import pandas as pd
import pysam
import pytest

from regzoo.errors import InputError, RegzooError
from regzoo.sequence import count_records, open_variants, open_vcf, read_alleles
from regzoo.sequence.alleles import STATUS_TEXTS, Status, concatenated
from tests.conftest import VCF

COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def rows_of(alleles):
    """(record, chrom, pos, id, ref, alt, status text) of each allele."""
    columns = (
        alleles.record.tolist(),
        alleles.contig_texts().to_pylist(),
        alleles.pos.tolist(),
        alleles.identifier.to_pylist(),
        alleles.ref_texts().to_pylist(),
        alleles.alt_texts().to_pylist(),
        [STATUS_TEXTS[s] for s in alleles.status.tolist()],
    )
    return list(zip(*columns))


def records_of(path):
    """All lines of a file, as text, in small batches."""
    with open_vcf(path) as vcf:
        return [batch.text(row) for batch in vcf.batches(3) for row in range(len(batch))]


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bgz"])
def test_alleles_equal_those_of_htslib(suffix, tmp_path):
    path = tmp_path / f"in{suffix}"
    if suffix == ".bgz":
        pysam.tabix_compress(str(VCF), str(path))
    else:
        path.write_bytes(gzip.compress(VCF.read_bytes()) if suffix.endswith("gz") else VCF.read_bytes())
    with pysam.VariantFile(str(VCF)) as file:
        theirs = [(n, r.chrom, r.pos, r.id, r.ref, alt, "scored") for n, r in enumerate(file, 1) for alt in r.alts]
    assert rows_of(read_alleles(path)) == theirs and len(theirs) == count_records(path) == 46


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_batches_of_any_size_hold_the_same_records(size, tmp_path):
    """Several alternates, contigs that alternate, lines of many lengths, and no end to the last line."""
    rng = np.random.default_rng(size)
    letters = np.array(list("ACGTNacgtu*.<>[]R,"))
    rows = []
    for number in range(60):
        ref, alt = ("".join(rng.choice(letters, rng.integers(1, 6))) for _ in range(2))
        rows.append(
            (f"chr{rng.integers(3)}", int(rng.integers(0, 2**31)), f"rs{number}" * rng.integers(1, 4), ref, alt)
        )
    path = tmp_path / "in.vcf"
    lines = ["\t".join(map(str, row)) + f"\t.\t.\tN={'x' * int(rng.integers(200))}" for row in rows]
    path.write_text(f"{COLUMNS}\n" + "\r\n".join(lines))
    with open_vcf(path) as vcf:
        batches = list(vcf.batches(size))
    assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
    assert [batch.text(i) for batch in batches for i in range(len(batch))] == lines
    assert [int(c) for batch in batches for c in batch.counts] == [row[4].count(",") + 1 for row in rows]

    def upper(text):
        return text.upper().replace("U", "T") if text.isalpha() else text.upper()

    expected = [
        (n, c, p, i, upper(r), upper(a)) for n, (c, p, i, r, alts) in enumerate(rows, 1) for a in alts.split(",")
    ]
    got = rows_of(concatenated([batch.alleles for batch in batches]))
    assert [row[:6] for row in got] == expected
    for *_, ref, alt, status in got:
        good = alt and set(alt) <= set("ACGT") and set(ref) <= set("ACGTN") and alt != ref
        assert (status == "scored") == bool(good)


def test_every_reason_that_letters_give(tmp_path):
    path = tmp_path / "in.vcf"
    alts = [".", "", "*", "<*>", "<DUP>", "A[chr2:5[", "]X]A", "R", "A", "uu", "C"]
    path.write_text(COLUMNS + "\nc\t5\t.\ta\t" + ",".join(alts) + "\t.\t.\t.\nc\t5\t.\tA1\tC\t.\t.\t.\n")
    S = Status
    expected = [
        S.NO_ALTERNATE,
        S.EMPTY_ALTERNATE,
        S.REMOVED,
        S.REMOVED,
        *[S.SYMBOLIC] * 3,
        S.ALT_LETTERS,
        S.ALT_IS_REF,
        S.SCORED,
        S.SCORED,
        S.REF_LETTERS,
    ]
    assert read_alleles(path).status.tolist() == expected


def test_lines_are_kept_with_their_bytes(tmp_path):
    path = tmp_path / "in.vcf"
    rows = [b"chr1\t5\tn\xc3\xa9 1\ta\tC,<X>\t1e9\tq;r\tK=\xe9;F\tGT:X\t0/1", b"chr1\t000000000007\t.\tAN\t*\t.\t.\t"]
    path.write_bytes(COLUMNS.encode() + b"\tFORMAT\ts1\r\n" + rows[0] + b"\r\r\n" + rows[1] + b"\tGT\t.")
    with open_vcf(path) as vcf:
        (batch,) = vcf.batches()
    assert batch.text(0).encode("utf-8", "surrogateescape") == rows[0]
    assert [batch.info(0, key) for key in ("K", "F", "G")] == ["\udce9", "", None]
    assert batch.alleles.pos.tolist() == [5, 5, 7] and batch.text(1).endswith("\tGT\t.")
    assert batch.alleles.identifier.to_pylist() == ["né 1", "né 1", "."]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"chr1\t5\tn\xe9\tA\tC\t.\t.\t.", "ID .* not UTF-8"),
        (b"chr1\t99999999999999999999\t.\tA\tC\t.\t.\t.", "POS '9+' is not a whole number"),
        (b"#chr1\t5\t.\tA\tC\t.\t.\t.", "a header line after the header's end"),
        (b"chr1\t5\t.\tA\tC\t.\t.", "it has 7 tab-separated columns, the header 8"),
        (b"chr1\t5\t.\tA\tC\t.\t.\t.\t.", "it has 9 tab-separated columns, the header 8"),
    ],
)
def test_the_first_line_that_is_not_valid_is_named(row, message, tmp_path):
    path, good = tmp_path / "in.vcf", b"chr1\t5\t.\tA\tC\t.\t.\t.\n"
    path.write_bytes(COLUMNS.encode() + b"\n" + 7 * good + row + b"\n" + good)
    with pytest.raises(InputError, match=f"in.vcf: record 8 is not valid VCF .line 9: {message}"):
        records_of(path)


def test_random_damage_gives_records_or_an_error_of_the_library(tmp_path):
    path, rng = tmp_path / "in.vcf", np.random.default_rng(0)
    pieces = [b"\0", b"\t", b"\n", b" ", b"\r", b"\xff", b"9" * 12, b",", b"#"]
    for source in (VCF.read_bytes(), gzip.compress(VCF.read_bytes())):
        read = 0
        for _ in range(200):
            data = bytearray(source)
            at = int(rng.integers(len(data)))
            kind = rng.integers(3)
            if kind == 0:
                data[at] = rng.integers(256)
            elif kind == 1:
                del data[at : at + int(rng.integers(1, 40))]
            else:
                data[at:at] = pieces[rng.integers(len(pieces))]
            path.write_bytes(data)
            try:
                read += len(read_alleles(path)) > 0
            except RegzooError as error:
                assert "in.vcf" in str(error)
        assert read > 0


def test_tables_and_strings_give_the_alleles_of_the_same_vcf():
    expected = rows_of(read_alleles(VCF))
    frame = pd.DataFrame([row[1:6] for row in expected], columns=["chrom", "pos", "id", "ref", "alt"])
    assert rows_of(read_alleles(frame.set_index(frame.id))) == expected
    strings = [f"{chrom}:{pos}:{ref}:{alt}" for _, chrom, pos, _, ref, alt, _ in expected]
    assert [(*row[:3], *row[4:]) for row in rows_of(read_alleles(strings))] == [(*r[:3], *r[4:]) for r in expected]
    assert rows_of(read_alleles(frame.drop(columns="id").astype({"pos": float})))[0][3] == "."
    assert rows_of(read_alleles(["HLA:A:7:a:g,<DEL>"])) == [
        (1, "HLA:A", 7, ".", "A", "G", "scored"),
        (1, "HLA:A", 7, ".", "A", "<DEL>", "symbolic allele"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos": [5, 6.5]}, "row v1: POS '6.5' is not a whole number"),
        ({"chrom": ["c", None]}, "row v1: chrom is missing"),
        ({"alt": ["A", "C\tD"]}, "row v1: a value has a tab"),
        ({"ref": ["é", "A"]}, "row v0: REF .* holds blanks"),
    ],
)
def test_rows_of_tables_that_are_not_valid_are_named(changes, message):
    frame = pd.DataFrame({"chrom": ["c", "c"], "pos": [5, 6], "ref": ["A", "A"], "alt": ["C", "G"]}, index=["v0", "v1"])
    with pytest.raises(InputError, match=f"variants, {message}"):
        read_alleles(frame.assign(**changes))
    with pytest.raises(InputError, match="no column 'ref'; expected chrom, pos, ref, alt"):
        read_alleles(frame.drop(columns="ref"))


def test_strings_that_are_not_variants_are_named():
    for wrong in ("c:5:A", 5, "c:x:A:C", "c:5::C"):
        with pytest.raises(InputError, match="variants, row 1: "):
            read_alleles(["c:5:A:C", wrong])
    with pytest.raises(InputError, match="no variant in it"):
        read_alleles([])
    with pytest.raises(InputError, match="none.vcf: no such VCF file"), open_variants("none.vcf"):
        pass


def test_records_are_counted_by_lines(tmp_path):
    path = tmp_path / "in.vcf"
    for text, count in {"": 0, COLUMNS: 0, f"{COLUMNS}\n": 0, f"{COLUMNS}\na": 1, f"##x\n{COLUMNS}\na\nb\n": 2}.items():
        path.write_text(text)
        assert count_records(path) == count


def test_taken_alleles_keep_their_letters():
    strings = ["c:5:A:C", "c:6:AC:<DEL>", "d:7:GGT:G", "c:8:T:TAA"]
    alleles = read_alleles(strings)
    for rows in ([0, 1, 2, 3], [3, 1, 0, 2], [2], [], [1, 1, 3, 2]):
        taken = alleles.take(np.array(rows, dtype=int))
        assert [":".join(map(str, (c, p, r, a))) for _, c, p, _, r, a, _ in rows_of(taken)] == [
            strings[i] for i in rows
        ]
    both = rows_of(concatenated([alleles, alleles.take(np.array([2, 0]))]))
    assert both == rows_of(alleles) + [rows_of(alleles)[2], rows_of(alleles)[0]]
