"""Reading of BED files, and error messages with the line."""

import gzip

import pytest

from regzoo.errors import InputError
from regzoo.sequence import Genome, place_windows, read_bed
from regzoo.sequence.intervals import NO_CONTIG, OFF_CONTIG, is_narrow_peak, locate_windows


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


def test_resizing_keeps_centre(tmp_path):
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
        ("a\t1\t99999999999999999999\n", "line 1: .*at most 12 digits"),
        ("a\t1\t" + "9" * 5000 + "\n", "line 1: .*at most 12 digits"),
        ("a\t1_0\t20\n", "line 1: start '1_0'"),
        ("a\t1\t5\n\t1\t5\n", "line 2: the first column, the contig, is empty"),
        ("a\t1\t5\tx\0y\n", "line 1: a NUL character"),
        ("track\tx\t5\n", "no interval"),
    ],
)
def test_bad_lines_are_rejected(text, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        read_bed(write(tmp_path, text))
    assert "x.bed" in str(error.value)


def test_contigs_named_like_header_lines_are_records(tmp_path):
    bed = read_bed(
        write(tmp_path, "track name=x\nbrowser position chr1:1-5\ntrack\t1\t5\ntrack_1\t2\t6\nbrowserless 3 7\n")
    )
    assert list(bed.contigs) == ["track", "track_1", "browserless"] and list(bed.starts) == [1, 2, 3]


def test_line_breaks_of_any_system(tmp_path):
    path = tmp_path / "x.bed"
    for end in (b"\r", b"\r\n", b"\n"):
        path.write_bytes(end.join([b"a\t1\t5", b"", b"b\t2\t6\tname"]))
        bed = read_bed(path)
        assert list(bed.names) == ["0", "name"] and list(bed.lines) == [1, 3]
    path.write_bytes(b"a\t1\t5\rb\tx\t6\r")
    with pytest.raises(InputError, match="line 2: start 'x'"):
        read_bed(path)


def test_bytes_that_are_not_utf8_are_rejected(tmp_path):
    path = tmp_path / "x.bed"
    path.write_bytes("a\t1\t5\na\t1\t5\tpéak\n".encode("latin-1"))
    with pytest.raises(InputError, match="x.bed, line 2: not UTF-8"):
        read_bed(path)


def test_summits_of_narrow_peaks(tmp_path):
    rest = "p\t0\t.\t1\t2\t3"
    path = write(tmp_path, f"a\t100\t200\t{rest}\t10\na\t100\t201\t{rest}\t-1\n", "x.narrowPeak")
    assert is_narrow_peak(path) and is_narrow_peak("x.narrowPeak.gz") and not is_narrow_peak("x.bed")
    bed = read_bed(path)
    assert list(bed.around_summits(path).resized(21)) == [100, 140]
    for last in ("100", "-2", "x"):
        bad = read_bed(write(tmp_path, f"a\t1\t5\na\t100\t200\t{rest}\t{last}\n"))
        bad.columns[0] = bed.columns[0][:6] + ["0"]
        with pytest.raises(InputError, match=f"x.bed, line 2: the tenth column is '{last}'"):
            bad.around_summits("x.bed")
    with pytest.raises(InputError, match="x.bed, line 1: the tenth column is ''"):
        read_bed(write(tmp_path, "a\t1\t5\n")).around_summits("x.bed")


def test_windows_and_intervals_off_their_contig(tmp_path):
    fasta = tmp_path / "g.fa"
    fasta.write_text(">chr1\n" + "ACGT" * 25 + "\n")
    genome = Genome(fasta)
    path = write(tmp_path, "chr1\t10\t20\nchr1\t95\t99\nchr1\t100\t120\nchr1\t50\t900\nchr7\t1\t5\n")
    bed = read_bed(path)
    contig_indices, starts, problems = locate_windows(bed, genome, 10)
    assert list(contig_indices) == [0, 0, 0, 0, -1] and list(starts) == [10, 92, 105, 470, -2]
    assert list(problems) == ["", "", OFF_CONTIG, OFF_CONTIG, NO_CONTIG]
    path = write(tmp_path, "chr1\t10\t20\nchr1\t95\t99\nchr1\t99\t130\nchr1\t100\t110\n")
    with pytest.raises(
        InputError, match="x.bed, line 3: chr1:99-130 lies off its contig, which has 100 .* 2 intervals"
    ):
        place_windows(read_bed(path), genome, 10, path)
    assert list(place_windows(read_bed(path), genome, 10, path, allow_outside=True)[1]) == [10, 92, 109, 100]


def test_truncated_gzip(tmp_path):
    path = tmp_path / "x.bed.gz"
    path.write_bytes(gzip.compress(b"a\t1\t5\n" * 1000)[:-10])
    with pytest.raises(InputError, match="truncated"):
        read_bed(path)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "x.bed.gz"
    path.write_bytes(gzip.compress(b"a\t1\t5\n" * 1000)[:12] + b"\xff" * 30)
    with pytest.raises(InputError, match="corrupt"):
        read_bed(path)
