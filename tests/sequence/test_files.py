"""Atomic writing of files, and inputs from pipes."""

import gzip
import os
import resource
import socket
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from regzoo.errors import InputError, OutputError
from regzoo.output.files import BgzipWriter, finished_file, refuse_overwrite
from regzoo.output.hdf5 import NewHdf5
from regzoo.sequence.files import check_complete, regular_file, require_file


def test_file_appears_when_complete(tmp_path):
    path = tmp_path / "o.mutmap.h5"
    with pytest.raises(ZeroDivisionError), finished_file(path) as temporary:
        temporary.write_text("x")
        assert str(temporary).endswith(".mutmap.h5") and not path.exists()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with finished_file(path) as temporary:
        temporary.write_text("y")
    assert path.read_text() == "y" and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_modes_follow_umask_or_existing_file(tmp_path):
    path = tmp_path / "o"
    before = os.umask(0o027)
    try:
        for mode in (0o640, 0o604):
            with finished_file(path):
                pass
            assert path.stat().st_mode & 0o777 == mode
            path.chmod(0o604)
    finally:
        os.umask(before)


def test_only_regular_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is not a regular file"),
        ("/dev/null", "is not a regular file"),
        (tmp_path / "missing" / "o", "cannot write there"),
        (tmp_path / ("x" * 300), "cannot write there"),
    ):
        with pytest.raises(OutputError, match=message), finished_file(path):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_only_temporary_files_of_dead_processes_and_same_output_are_removed(tmp_path):
    code = (
        "import os, sys; from regzoo.output.files import finished_file\n"
        "with finished_file(sys.argv[1]): os.kill(os.getpid(), 9)"
    )
    for name in ("o.tsv", "other.tsv"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name])
    assert len(list(tmp_path.iterdir())) == 2
    with finished_file(tmp_path / "o.tsv"):
        alive = {p for p in tmp_path.iterdir() if f"-{os.getpid()}-" in p.name}
        with finished_file(tmp_path / "o.tsv"):
            assert alive <= set(tmp_path.iterdir())
    left = [p.name for p in tmp_path.iterdir()]
    assert len(left) == 2 and "o.tsv" in left and socket.gethostname() not in "".join(left)


def test_outputs_that_are_inputs_under_any_name_are_rejected(tmp_path):
    path = tmp_path / "in.bed"
    path.write_text("x")
    os.link(path, tmp_path / "hard.bed")
    (tmp_path / "soft.bed").symlink_to(path)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    for name in ("in.bed", "hard.bed", "soft.bed", "./in.bed"):
        with pytest.raises(OutputError, match="is the input .*in.bed; choose another output"):
            refuse_overwrite(tmp_path / name, [None, path])
    with pytest.raises(OutputError):
        refuse_overwrite(tmp_path / "dangling", [tmp_path / "none"])
    refuse_overwrite(tmp_path / "o.bed", [path, "-"])
    refuse_overwrite("-", ["-"])


@pytest.mark.parametrize("size", [0, 1, 0xFF00, 0xFF00 + 1, 1_000_000])
def test_bgzip_blocks_are_gzip_and_end_with_marker(size, tmp_path):
    path, data = tmp_path / "x.gz", np.random.default_rng(size).bytes(size)  # random bytes do not compress
    out = BgzipWriter(path)
    for start in range(0, size, 99_991):
        out.write(data[start : start + 99_991])
    out.close()
    check_complete(path)
    assert gzip.decompress(path.read_bytes()) == data
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        check_complete(path)


def test_damaged_streams_are_input_errors(tmp_path):
    path, rng = tmp_path / "x.gz", np.random.default_rng(0)
    whole = gzip.compress(rng.bytes(2000))
    kinds = set()
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(2, len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            gzip.decompress(bytes(damaged))
        except (OSError, EOFError, zlib.error) as error:
            kinds.add(type(error))
            with pytest.raises(InputError):
                check_complete(path)
    assert zlib.error in kinds


def test_regular_file_is_used_directly_and_missing_file_is_rejected(tmp_path):
    path = tmp_path / "in.vcf"
    path.write_text("x")
    with regular_file(path, "VCF file") as same:
        assert same == path
    for missing in (tmp_path / "none.vcf", tmp_path, "/dev/null"):
        with pytest.raises(InputError, match="no such VCF file"), regular_file(missing, "VCF file"):
            pass


@pytest.mark.parametrize("limit", [500, 5_000, 100_000])
def test_hdf5_on_full_disk_is_an_output_error(limit, tmp_path):
    path, values = tmp_path / "o.h5", np.random.default_rng(0).random(50_000)
    with finished_file(path) as temporary, NewHdf5(temporary) as out:
        out["values"] = values
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["values"], values)
    path.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OutputError, match="o.h5: cannot write"):
            with finished_file(path) as temporary, NewHdf5(temporary) as out:
                out["values"] = values
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("chr1:1,550", "BED file", "; a locus is written CONTIG:START-END, such as chr1:1,550-1,650"),
        ("chr1", "BED file", "; a locus is written CONTIG:START-END, such as chr1:1,550-1,650"),
        ("chr1:1602:C:A", "VCF file", "; in Python, variants are given as a list, such as ['chr1:1602:C:A']"),
        ("peaks.bed", "BED file", ""),
        ("hg38", "FASTA file", ""),
    ],
)
def test_missing_file_whose_name_looks_like_text_says_how_text_is_written(name, what, hint):
    with pytest.raises(InputError) as error:
        require_file(name, what)
    assert str(error.value) == f"{name}: no such {what}{hint}"
