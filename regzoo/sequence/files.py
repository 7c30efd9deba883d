"""Opening input text, and writing outputs that are never left half-written."""

import gzip
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from regzoo.errors import InputError, OutputError

_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")  # SAM specification, 4.1.2


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
                handle.seek(-len(_BGZF_END), os.SEEK_END)
                if handle.read() != _BGZF_END:
                    raise EOFError("the end marker of bgzip is missing")
                return
        with gzip.open(path, "rb") as handle:
            while handle.read(1 << 20):
                pass
    except (EOFError, OSError) as error:
        raise InputError(f"{path}: truncated or corrupt compressed file ({error})") from error


@contextmanager
def finished_file(path):
    """A temporary path beside `path` that takes its place when the block ends without an error.

    Raises
    ------
    OutputError
        If the folder is missing or cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give a file name")
    try:
        # The suffixes stay, since writers choose their format by them.
        handle, temporary = tempfile.mkstemp(prefix=".unfinished-", suffix="".join(path.suffixes), dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot write there ({error.strerror})") from error
    os.close(handle)
    temporary = Path(temporary)
    try:
        yield temporary
        # mkstemp makes private files; outputs follow the user's umask.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder(*parts):
    """A folder under REGZOO_CACHE (default ~/.cache/regzoo), made when missing."""
    folder = Path(os.environ.get("REGZOO_CACHE", Path.home() / ".cache" / "regzoo")).joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({error.strerror}); set REGZOO_CACHE") from error
    return folder
