"""BED files: what is read, and the line named in every refusal."""

import gzip

import pytest

from regzoo.errors import InputError
from regzoo.sequence import read_bed


def write(tmp_path, text, name="x.bed"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_columns_comments_and_defaults(tmp_path):
    path = write(tmp_path, "track name=x\n#c\nchr1\t5\t9\n\nchr2\t1\t4\tpeak\t0.5\t-\n")
    bed = read_bed(path)
    assert list(bed.contigs) == ["chr1", "chr2"] and list(bed.starts) == [5, 1] and list(bed.ends) == [9, 4]
    assert list(bed.names) == ["0", "peak"] and list(bed.strands) == [".", "-"] and list(bed.lines) == [3, 5]
    zipped = tmp_path / "x.bed.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_bed(zipped).names) == ["0", "peak"]


def test_resizing_keeps_the_centre(tmp_path):
    bed = read_bed(write(tmp_path, "a\t100\t200\na\t100\t201\n"))
    assert list(bed.resized(50)) == [125, 125]
    assert list(bed.resized(101)) == [100, 100]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no interval"),
        ("a\t1\n", "line 1: 2 columns"),
        ("a\t1\t5\na\tx\t9\n", "line 2: start 'x'"),
        ("a\t5\t5\n", "line 1: end 5 is not after start 5"),
        ("a\t-2\t5\n", "line 1: start -2 is negative"),
    ],
)
def test_bad_lines_are_named(text, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        read_bed(write(tmp_path, text))
    assert "x.bed" in str(error.value)


def test_truncated_gzip(tmp_path):
    path = tmp_path / "x.bed.gz"
    path.write_bytes(gzip.compress(b"a\t1\t5\n" * 1000)[:-10])
    with pytest.raises(InputError, match="truncated"):
        read_bed(path)
