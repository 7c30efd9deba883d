"""Writing outputs that are never left half-written."""

import errno
import hashlib
import os
import socket
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from regzoo.errors import OutputError

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")  # SAM specification, 4.1.2


#: Errors of a disk that takes no more: full, over quota, a limit on file sizes, read-only.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def write_errors(path: str | Path) -> Iterator[None]:
    """Turn a full disk, in whichever library it shows, into an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        reason = os.strerror(error.errno)
        raise OutputError(f"{path}: cannot write ({reason}); free some space or choose another place") from error


@contextmanager
def finished_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    A symbolic link is followed and an existing file keeps its mode. The content is on the disk (fsync) before the file
    is renamed. What a killed run left of the same output is removed.

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
        suffix = "".join(path.suffixes[-2:])
        handle, name = tempfile.mkstemp(suffix, f"{mark}{os.getpid()}-", path.parent)
    except OSError as error:
        raise OutputError(f"{given}: cannot write there ({error.strerror})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        with write_errors(given):
            yield temporary
            temporary.chmod(_mode(path))
            _to_disk(temporary)
            try:
                os.replace(temporary, path)
            except OSError as error:
                raise OutputError(f"{given}: cannot write there ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


def process_runs(number: int) -> bool:
    """Whether a process of this host runs."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def refuse_overwrite(output: str | Path, inputs: Iterable[str | Path | None]) -> None:
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


class BgzipWriter:
    """A bgzip file (SAM specification, 4.1) written through a Python handle, so that no failed write goes unnoticed.

    Parameters
    ----------
    path : str or pathlib.Path
    """

    _BLOCK = 0xFF00  # bytes of text in a block; compressed, it must fit 64 KiB

    def __init__(self, path: str | Path):
        self._out, self._buffer = open(path, "wb"), bytearray()

    def write(self, data: bytes | memoryview) -> None:
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

    def close(self) -> None:
        """Write what is left and the end marker."""
        try:
            if self._buffer:
                self._write_block(bytes(self._buffer))
                self._buffer.clear()
            self._out.write(BGZF_END)
        finally:
            self._out.close()
