"""VCF text as records and alleles: what is read is what is in the file, and only errors of the library come out."""

import gzip

import numpy as np
import pysam
import pytest

from regzoo.errors import InputError, RegzooError
from regzoo.sequence import count_records, open_vcf, read_records
from tests.conftest import VCF

COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bgz"])
def test_records_equal_those_of_htslib(suffix, tmp_path):
    path = tmp_path / f"in{suffix}"
    if suffix == ".bgz":
        pysam.tabix_compress(str(VCF), str(path))
    else:
        path.write_bytes(gzip.compress(VCF.read_bytes()) if suffix.endswith("gz") else VCF.read_bytes())
    ours = [(r.fields[0], r.pos, r.fields[2], [a.ref for a in alleles], [a.alt for a in alleles])
            for r, alleles in read_records(open_vcf(path))]  # fmt: skip
    with pysam.VariantFile(str(VCF)) as file:
        theirs = [(r.chrom, r.pos, r.id, [r.ref] * len(r.alts), list(r.alts)) for r in file]
    assert ours == theirs and len(ours) == count_records(path) == 46


def test_lines_are_kept_with_their_bytes(tmp_path):
    path = tmp_path / "in.vcf"
    rows = [b"chr1\t5\tn\xc3\xa9 1\ta\tC,<X>\t1e9\tq;r\tK=\xe9;F\tGT:X\t0/1", b"chr1\t0\t.\tAN\t*\t.\t.\t"]
    path.write_bytes(COLUMNS.encode() + b"\tFORMAT\ts1\r\n" + rows[0] + b"\r\n" + rows[1] + b"\tGT\t.")
    records = [record for record, _ in read_records(open_vcf(path))]
    assert records[0].text.encode("utf-8", "surrogateescape") == rows[0]
    assert [records[0].info(key) for key in ("K", "F", "G")] == ["\udce9", "", None]
    assert (records[1].number, records[1].pos, records[1].fields[8]) == (2, 0, "GT\t.")


def test_identifiers_that_are_not_utf8_are_refused(tmp_path):
    path = tmp_path / "in.vcf"
    path.write_bytes(COLUMNS.encode() + b"\nchr1\t5\tn\xe9\tA\tC\t.\t.\t.\n")
    with pytest.raises(InputError, match="in.vcf: record 1 is not valid VCF .line 2: ID .* not UTF-8"):
        list(read_records(open_vcf(path)))


def test_random_damage_gives_records_or_an_error_of_the_library(tmp_path):
    path, rng = tmp_path / "in.vcf", np.random.default_rng(0)
    pieces = [b"\0", b"\t", b"\n", b" ", b"\r", b"\xff", b"9" * 12, b",", b"#"]
    for source in (VCF.read_bytes(), gzip.compress(VCF.read_bytes())):
        read = 0
        for _ in range(400):
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
                read += len(list(read_records(open_vcf(path)))) > 0
            except RegzooError as error:
                assert "in.vcf" in str(error)
        assert read > 0
