"""HDF5 files for output, whose failed writes are errors."""

import io
from pathlib import Path

import h5py


class _KeepsErrors(io.FileIO):
    """A file that keeps the first error of a write for later: HDF5 crashes when it cannot write while it closes."""

    error = None

    def write(self, data):
        data = memoryview(data)
        done = 0
        try:
            while done < len(data):
                done += super().write(data[done:])
        except OSError as error:
            self.error = self.error or error
        return len(data)

    def truncate(self, size=None):
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size


class NewHdf5(h5py.File):
    """A new HDF5 file, as `h5py.File(path, "w")`.

    `check` and `close` raise an OSError if the disk took less than was written.

    Parameters
    ----------
    path : str or pathlib.Path
    """

    def __init__(self, path: str | Path):
        self._file = _KeepsErrors(path, "w+b")
        super().__init__(self._file, "w")

    def check(self) -> None:
        """Raise the error of an earlier write, if there is one."""
        error, self._file.error = self._file.error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()
        self.check()
