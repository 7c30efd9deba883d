"""Opening input text, and writing outputs that are never left half-written."""

import errno
import gzip
import hashlib
import os
import shutil
import socket
import stat
import struct
import sys
import tempfile
import zlib
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
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: truncated or corrupt compressed file ({error})") from error


#: Errors of a disk that takes no more: full, over quota, a limit on file sizes, read-only.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def write_errors(path):
    """Turn a full disk, in whichever library it shows, into an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        reason = os.strerror(error.errno)
        raise OutputError(f"{path}: cannot write ({reason}); free some space or choose another place") from error


@contextmanager
def finished_file(path):
    """A temporary path beside `path` that takes its place when the block ends without an error.

    A symbolic link is followed and an existing file keeps its mode. The content is on the disk (fsync) before the file is
    renamed. What a killed run left of the same output is removed.

    Parameters
    ----------
    path : str or pathlib.Path

    Yields
    ------
    pathlib.Path
        An empty file with the last two suffixes of `path`, by which writers choose their format.

    Raises
    ------
    OutputError
        If the folder is missing or cannot be written to, `path` is not a regular file, or the disk is full.
    """
    given, path = path, Path(os.path.realpath(path))
    mark = f".unfinished-{_short_digest(path.name)}-{_short_digest(socket.gethostname())}-"
    try:
        if path.is_dir():
            raise OutputError(f"{given}: is a folder; give a file name")
        if path.exists() and not path.is_file():
            raise OutputError(f"{given}: is not a regular file; give a file name")
        _remove_abandoned(path.parent, mark)
        handle, temporary = tempfile.mkstemp(f"{''.join(path.suffixes[-2:])}", f"{mark}{os.getpid()}-", path.parent)
    except OSError as error:
        raise OutputError(f"{given}: cannot write there ({error.strerror})") from error
    os.close(handle)
    temporary = Path(temporary)
    try:
        with write_errors(given):
            yield temporary
            temporary.chmod(_mode(path))
            handle = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            try:
                os.replace(temporary, path)
            except OSError as error:
                raise OutputError(f"{given}: cannot write there ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _short_digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _mode(path):
    """Permissions of an existing file, or those of a new one by the user's umask."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _remove_abandoned(folder, mark):
    """Remove unfinished files of processes of this host that no longer run."""
    for left in folder.glob(f"{mark}*"):
        process = left.name[len(mark) :].partition("-")[0]
        if process.isdigit() and not process_runs(int(process)):
            left.unlink(missing_ok=True)


def process_runs(number):
    """Whether a process of this host runs."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def refuse_overwrite(output, inputs):
    """Raise an OutputError if an output is one of the inputs, under whatever name (also through a link).

    Parameters
    ----------
    output : str or pathlib.Path
    inputs : iterable of str or pathlib.Path or None
        None stands for an input that was not given.
    """
    for given in inputs:
        if given is None or "-" in (str(output), str(given)):  # standard input and output
            continue
        same = os.path.realpath(output) == os.path.realpath(given)
        if same or (os.path.exists(output) and os.path.exists(given) and os.path.samefile(output, given)):
            raise OutputError(f"{output}: is the input {given}; choose another output")


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


class BgzipWriter:
    """A bgzip file (SAM specification, 4.1) written through a Python handle, so that no failed write goes unnoticed.

    Parameters
    ----------
    path : str or pathlib.Path
    """

    _BLOCK = 0xFF00  # bytes of text in a block; compressed, it must fit 64 KiB

    def __init__(self, path):
        self._out, self._buffer = open(path, "wb"), bytearray()

    def write(self, data):
        """Append bytes."""
        self._buffer += data
        whole = len(self._buffer) // self._BLOCK * self._BLOCK
        for start in range(0, whole, self._BLOCK):
            self._write_block(bytes(self._buffer[start : start + self._BLOCK]))
        del self._buffer[:whole]

    def _write_block(self, data):
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(data) + packer.flush()
        head = bytes.fromhex("1f8b08040000000000ff060042430200") + struct.pack("<H", len(packed) + 25)
        self._out.write(head + packed + struct.pack("<II", zlib.crc32(data), len(data)))

    def close(self):
        """Write what is left and the end marker."""
        try:
            if self._buffer:
                self._write_block(bytes(self._buffer))
                self._buffer.clear()
            self._out.write(_BGZF_END)
        finally:
            self._out.close()


def cache_folder(*parts):
    """A folder under REGZOO_CACHE (default ~/.cache/regzoo), made when missing."""
    folder = Path(os.environ.get("REGZOO_CACHE", Path.home() / ".cache" / "regzoo")).joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make this folder ({error.strerror}); set REGZOO_CACHE") from error
    return folder
