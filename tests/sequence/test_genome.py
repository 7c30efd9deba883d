"""Windows of a genome against pyfaidx, for plain and bgzipped FASTA, and what is wrong with a FASTA."""

import gzip
import shutil

import numpy as np
import pyfaidx
import pysam
import pytest

from regzoo.errors import InputError
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


def windows_lines(tmp_path):
    path = tmp_path / "windows.fa"
    path.write_bytes(FASTA.read_bytes().replace(b"\n", b"\r\n"))
    return path


@pytest.mark.parametrize(
    "make", [lambda _: FASTA, bgzipped, gzipped, windows_lines], ids=["plain", "bgzip", "gzip", "crlf"]
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


def test_outside_a_contig_is_n_and_never_the_neighbouring_contig():
    genome = Genome(FASTA)
    end = int(genome.lengths[0])
    rows = genome.windows(np.array([0, 0, 1, 0]), np.array([-4, end - 4, -4, end + 50]), 8)
    first, second = (decode(genome.codes(name)) for name in genome.contigs)
    assert [decode(r) for r in rows] == ["NNNN" + first[:4], first[-4:] + "NNNN", "NNNN" + second[:4], "N" * 8]


def test_contig_names_match_with_and_without_chr_and_say_so_once(caplog):
    genome = Genome(FASTA)
    assert genome.number("1") == genome.number("chr1")
    genome.number("2")
    assert len([r for r in caplog.records if "matched" in r.message]) == 1
    with pytest.raises(InputError, match="no contig 'chr7'.*chr1, chr2"):
        genome.number("chr7")


def test_the_conversion_is_cached_and_follows_a_changed_file(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">a\nACGT\n")
    assert decode(Genome(path).codes("a")) == "ACGT"
    path.write_text(">a\nTTTTTT\n")
    assert decode(Genome(path).codes("a")) == "TTTTTT"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a usable FASTA|no sequence"),
        (b">a\n>b\n", "not a usable FASTA|no sequence"),
        (b"hello\nworld\n", "not a usable FASTA|no sequence"),
        (gzip.compress(b">a\nACGTACGTAGCTAGCTAGCTA\n")[:-12], "truncated"),
    ],
    ids=["empty", "no letters", "not FASTA", "truncated gzip"],
)
def test_bad_fasta_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "bad.fa.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        Genome(path)
    assert "bad.fa.gz" in str(error.value)


def test_a_truncated_bgzip_is_refused(tmp_path):
    path = bgzipped(tmp_path)
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(InputError, match="truncated"):
        Genome(path)


def test_an_index_of_another_file_is_refused(tmp_path):
    path = tmp_path / "g.fa"
    shutil.copy(FASTA, path)
    pyfaidx.Faidx(str(path))
    index = tmp_path / "g.fa.fai"
    index.write_text(index.read_text().replace("16000", "17000"))
    with pytest.raises(InputError, match="delete the index"):
        Genome(path)


def test_missing_file():
    with pytest.raises(InputError, match="nowhere.fa: no such FASTA file"):
        Genome("nowhere.fa")
