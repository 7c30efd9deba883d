"""Windows of a genome against pyfaidx, for FASTA and .2bit files; the cache; invalid FASTA files."""

import errno
import gzip
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pyfaidx
import pysam
import pytest

from regzoo.errors import InputError, OutputError
from regzoo.sequence import Genome, decode
from regzoo.sequence import genome as genome_module
from tests.conftest import FASTA


def bgzipped(tmp_path):
    path = tmp_path / "g.fa.gz"
    pysam.tabix_compress(str(FASTA), str(path))
    return path


def gzipped(tmp_path):
    path = tmp_path / "z.fa.gz"
    path.write_bytes(gzip.compress(FASTA.read_bytes()))
    return path


def with_line_ends(ends):
    def make(tmp_path):
        path = tmp_path / "ends.fa"
        path.write_bytes(FASTA.read_bytes().replace(b"\n", ends))
        return path

    return make


def with_a_wrong_index(tmp_path):
    path = tmp_path / "indexed.fa"
    shutil.copy(FASTA, path)
    pyfaidx.Faidx(str(path))
    index = tmp_path / "indexed.fa.fai"  # newer than the FASTA, with one contig missing and one shifted
    index.write_text(index.read_text().splitlines()[1].replace("\t2", "\t3") + "\n")
    return path


def twobit(tmp_path, order="<", version=0):
    """The example as a .2bit file, written base by base from UCSC's description of the format. Each N is a block."""
    contigs = {
        name.encode(): str(record) for name, record in pyfaidx.Fasta(str(FASTA), indexname=str(tmp_path / "t")).items()
    }
    integer, offset = struct.Struct(order + "I").pack, struct.Struct(order + ("Q" if version else "I")).pack
    place = 16 + sum(1 + len(name) + len(offset(0)) for name in contigs)
    index, body = b"", b""
    for name, letters in contigs.items():
        index += bytes([len(name)]) + name + offset(place + len(body))
        unknown = [i for i, letter in enumerate(letters) if letter not in "ACGTacgt"]
        body += (
            integer(len(letters)) + integer(len(unknown)) + b"".join(map(integer, unknown)) + integer(1) * len(unknown)
        )
        body += integer(1) + integer(3) + integer(9) + integer(0)  # one soft-masked block and the reserved field
        values = ["TCAG".find(letter) % 4 for letter in letters.upper()] + [0] * (-len(letters) % 4)
        quads = zip(*[iter(values)] * 4)
        body += bytes(a << 6 | b << 4 | c << 2 | d for a, b, c, d in quads)
    path = tmp_path / "g.2bit"
    path.write_bytes(integer(0x1A412743) + integer(version) + integer(len(contigs)) + integer(0) + index + body)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda _: FASTA,
        bgzipped,
        gzipped,
        with_line_ends(b"\r\n"),
        with_line_ends(b"\r"),
        with_a_wrong_index,
        twobit,
        lambda path: twobit(path, ">", 1),
    ],
    ids=["plain", "bgzip", "gzip", "crlf", "cr", "wrong index", "2bit", "2bit version 1, big-endian"],
)
@pytest.mark.parametrize("chunk", [64, 1 << 24], ids=["small chunks", "one chunk"])
def test_windows_equal_pyfaidx(make, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(genome_module, "_CHUNK", chunk)
    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path / "cache"))
    genome, peer = Genome(make(tmp_path)), pyfaidx.Fasta(str(FASTA), indexname=str(tmp_path / "i.fai"))
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, len(genome.contigs), 50)
    starts = rng.integers(0, genome.lengths[numbers] - 150)
    reverse = rng.random(50) < 0.5
    got = genome.windows(numbers, starts, 150, reverse)
    for i, (number, start) in enumerate(zip(numbers, starts)):
        piece = peer[genome.contigs[number]][int(start) : int(start) + 150]
        assert decode(got[i]) == (piece.reverse.complement if reverse[i] else piece).seq.upper()


def test_positions_outside_contig_are_unknown():
    genome = Genome(FASTA)
    end = int(genome.lengths[0])
    rows = genome.windows(np.array([0, 0, 1, 0]), np.array([-4, end - 4, -4, end + 50]), 8)
    first, second = (decode(genome.codes(name)) for name in genome.contigs)
    assert [decode(r) for r in rows] == ["NNNN" + first[:4], first[-4:] + "NNNN", "NNNN" + second[:4], "N" * 8]


def test_contig_names_match_with_and_without_chr_with_one_warning(caplog):
    genome = Genome(FASTA)
    assert genome.number("1") == genome.number("chr1")
    genome.number("2")
    assert len([r for r in caplog.records if "matched" in r.message]) == 1
    with pytest.raises(InputError, match="no contig 'chr7'.*chr1, chr2"):
        genome.number("chr7")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Folder of genomes in a cache of the test's own."""
    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "genomes"


def test_conversion_is_cached_and_repeated_for_changed_file(tmp_path, cache):
    path = tmp_path / "g.fa"
    path.write_text(">a\nACGT\n")
    assert decode(Genome(path).codes("a")) == "ACGT"
    before = path.stat()
    path.write_text(">a\nTTTT\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size and time
    assert decode(Genome(path).codes("a")) == "TTTT"
    other = tmp_path / "other.fa"
    other.write_text(">a\nGGGG\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert decode(Genome(path).codes("a")) == "GGGG"
    assert len(list(cache.iterdir())) == 2  # codes and layout of the current state only


def test_uracil_is_read_as_thymine_and_unknown_bases_are_counted(tmp_path, cache):
    path = tmp_path / "g.fa"
    path.write_text(">a some words\nACGU acgu\nNRY-\n>b\nUUUU\n")
    genome = Genome(path)
    assert [decode(genome.codes(name)) for name in "ab"] == ["ACGTACGTNNNN", "TTTT"] and genome.unknown == 4


DAMAGES = {
    "cut": lambda data: data[:-100_000],
    "zeros at the end": lambda data: data[:-100_000] + bytes(100_000),
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["codes", "json"])
def test_damaged_cache_is_rebuilt(damage, suffix, tmp_path, cache):
    path = tmp_path / "g.fa"
    rng = np.random.default_rng(0)
    path.write_text("".join(f">c{i}\n{''.join(rng.choice(list('ACGT'), 1500))}\n" for i in range(800)))
    genome = Genome(path)
    whole = [decode(genome.codes(f"c{i}")) for i in range(800)]
    (file,) = cache.glob(f"*.{suffix}")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    genome = Genome(path)
    assert [decode(genome.codes(f"c{i}")) for i in range(800)] == whole


def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path, cache, monkeypatch):
    path = tmp_path / "g.fa"
    path.write_text(">a\nACGT\n")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device.*REGZOO_CACHE"):
        Genome(path)
    assert list(cache.iterdir()) == []


def test_temporary_files_of_killed_run_are_removed(tmp_path, cache):
    path = tmp_path / "g.fa"
    path.write_text(">a\nACGT\n")
    code = (
        "import os; from regzoo.sequence import genome; genome._fasta = lambda *_: os.kill(os.getpid(), 9); "
        f"genome.Genome({str(path)!r})"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert len(list(cache.glob(".unfinished-*"))) == 1
    Genome(path)
    assert sorted(p.suffix for p in cache.iterdir()) == [".codes", ".json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a FASTA file|no sequence"),
        (b">a\n>b\n", "not a FASTA file|no sequence"),
        (b"hello\nworld\n", "not a FASTA file|no sequence"),
        (gzip.compress(b">a\nACGTACGTAGCTAGCTAGCTA\n")[:-12], "truncated"),
        (gzip.compress(b">a\nACGT\n")[:12] + b"\xff" * 20, "truncated or corrupt"),
        (b">a\nACGT>b\nACGT\n", "contig 'a': '>' within a line"),
        (b">a\nACGT\n>a\nACGT\n", "contig 'a' occurs twice"),
        (b">\nACGT\n", "a record without a name"),
        (b">\xff\nACGT\n", "not UTF-8"),
        (b">p\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ\n", "is this a protein"),
        (b"\x43\x27\x41\x1a" + b"\0" * 3, "truncated"),
        (b"\x43\x27\x41\x1a" + b"\0\0\0\0\1\0\0\0\0\0\0\0\1a\xff\xff\xff\x7f", "truncated"),
    ],
    ids=[
        "empty",
        "no letters",
        "not FASTA",
        "truncated gzip",
        "damaged gzip",
        "no line break",
        "repeated name",
        "no name",
        "not UTF-8",
        "protein",
        "2bit cut in its header",
        "2bit offset beyond its end",
    ],
)
def test_bad_fasta_is_rejected(content, message, tmp_path):
    path = tmp_path / "bad.fa.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        Genome(path)
    assert "bad.fa.gz" in str(error.value)


def test_truncated_bgzip_is_rejected(tmp_path):
    path = bgzipped(tmp_path)
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(InputError, match="truncated"):
        Genome(path)


def test_missing_file():
    with pytest.raises(InputError, match="nowhere.fa: no such FASTA file"):
        Genome("nowhere.fa")
