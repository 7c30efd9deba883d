"""Input files, plain or compressed, and the cache folder."""

import gzip
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from regzoo.errors import InputError, OutputError
from regzoo.output.files import BGZF_END, write_errors

#: How an input is written that is not a file.
_AS_TEXT = {
    "BED file": "a locus is written CONTIG:START-END, such as chr1:1,550-1,650",
    "VCF file": "in Python, variants are given as a list, such as ['chr1:1602:C:A']",
}


def require_file(path: str | Path, what: str) -> Path:
    """`path` as a Path, or an InputError that names the missing file and what it is."""
    path = Path(path)
    if not path.is_file():
        hint = f"; {_AS_TEXT[what]}" if what in _AS_TEXT and (":" in path.name or not path.suffix) else ""
        raise InputError(f"{path}: no such {what}{hint}")
    return path


def is_gzip(path: str | Path) -> bool:
    """Whether a file starts with the signature of gzip, which bgzip shares."""
    with open(path, "rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def open_bytes(path: str | Path) -> IO[bytes]:
    """Open a plain or gzipped file for reading bytes."""
    return gzip.open(path, "rb") if is_gzip(path) else open(path, "rb")  # type: ignore[return-value]


def check_complete(path: str | Path) -> None:
    """Raise an InputError if a compressed file is truncated. Plain files pass.

    A bgzip file must end with its end marker of 28 bytes. Other gzip files are decompressed to the end.
    """
    if not is_gzip(path):
        return
    try:
        with open(path, "rb") as handle:
            bgzf = handle.read(14)[12:14] == b"BC"
            if bgzf:
                handle.seek(-len(BGZF_END), os.SEEK_END)
                if handle.read() != BGZF_END:
                    raise EOFError("the end marker of bgzip is missing")
                return
        with gzip.open(path, "rb") as handle:
            while handle.read(1 << 20):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: truncated or corrupt compressed file ({error})") from error


@contextmanager
def regular_file(path: str | Path, what: str) -> Iterator[Path]:
    """Context with an input as a regular file. A pipe or standard input ('-') is copied to a temporary file.

    Parameters
    ----------
    path : str or pathlib.Path
    what : str
        Description of the file, for error messages.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    InputError
        If the file does not exist.
    OutputError
        If the copy cannot be written to the temporary folder (TMPDIR).
    """
    pipe = str(path) == "-" or (os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode))
    if not pipe:
        yield require_file(path, what)
        return
    with tempfile.TemporaryDirectory(prefix="regzoo-") as folder:
        copy = Path(folder) / "standard-input"
        with write_errors(copy), open(copy, "wb") as out:
            if str(path) == "-":
                shutil.copyfileobj(sys.stdin.buffer, out)
            else:
                with open(path, "rb") as source:
                    shutil.copyfileobj(source, out)
        yield copy


def cache_folder(*parts: str) -> Path:
    """Folder under REGZOO_CACHE (default ~/.cache/regzoo), created if missing."""
    folder = Path(os.environ.get("REGZOO_CACHE", Path.home() / ".cache" / "regzoo")).joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot create this folder ({error.strerror}); set REGZOO_CACHE to another folder"
        ) from error
    return folder
