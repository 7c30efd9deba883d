"""Opening input files, plain or compressed, and the cache folder."""

import gzip
import os
import shutil
import stat
import sys
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path

from regzoo.errors import InputError, OutputError
from regzoo.output.files import BGZF_END, write_errors


def require_file(path, what):
    """`path` as a Path, or an InputError that says `what` is missing."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such {what}")
    return path


def is_gzip(path):
    """Whether a file starts like gzip or bgzip."""
    with open(path, "rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def open_bytes(path):
    """Binary handle of a plain or gzipped file."""
    return gzip.open(path, "rb") if is_gzip(path) else open(path, "rb")


def check_complete(path):
    """Raise an InputError if a compressed file is cut off; a plain file passes.

    bgzip files end with a marker of 28 bytes; other gzip files are decompressed to the end.
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
def regular_file(path, what):
    """An input as a regular file: itself, or a temporary copy of a pipe or of standard input ('-').

    Parameters
    ----------
    path : str or pathlib.Path
    what : str
        Named in the error.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    InputError
        If there is no such file.
    OutputError
        If the copy does not fit in the temporary folder (TMPDIR).
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


def cache_folder(*parts):
    """A folder under REGZOO_CACHE (default ~/.cache/regzoo), made when missing."""
    folder = Path(os.environ.get("REGZOO_CACHE", Path.home() / ".cache" / "regzoo")).joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({error.strerror}); set REGZOO_CACHE") from error
    return folder
