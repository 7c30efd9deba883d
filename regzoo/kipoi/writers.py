"""Kipoi's output files, mended: HDF5 on numpy 2, BED, unknown suffixes, and nothing left half-written."""

import os
import tempfile
from pathlib import Path

import kipoi.writers
from kipoi.writers import BatchWriter, BedBatchWriter

from regzoo.errors import OutputError
from regzoo.kipoi import old_numpy

_get_writer = kipoi.writers.get_writer


class FinishedWriter(BatchWriter):
    """A writer of Kipoi's on a temporary file, which takes the output's name when it is closed.

    Parameters
    ----------
    path : str
        The output.
    make : callable
        Gives the writer for a path.
    """

    def __init__(self, path, make):
        self.path = Path(path)
        try:
            handle, temporary = tempfile.mkstemp(
                prefix=".unfinished-", suffix=self.path.suffix, dir=self.path.absolute().parent
            )
        except OSError as error:
            raise OutputError(f"{path}: cannot write there ({error.strerror})") from error
        os.close(handle)
        os.unlink(temporary)  # Kipoi's writers append to a file that is there
        self.temporary = Path(temporary)
        self.writer = make(temporary)

    def batch_write(self, batch):
        self.writer.batch_write(batch)

    def close(self):
        self.writer.close()
        if self.temporary.exists():
            os.replace(self.temporary, self.path)

    def __del__(self):
        if hasattr(self, "temporary"):
            self.temporary.unlink(missing_ok=True)


def get_writer(output_file, metadata_schema=None, **options):
    """Kipoi's `get_writer`, for every suffix that it names.

    Raises
    ------
    OutputError
        If the suffix has no working writer, or the folder cannot be written to.
    """
    suffix = Path(output_file).suffix
    if suffix not in (".tsv", ".bed", ".h5", ".hdf5", ".parquet", ".pq", ".pqt"):
        raise OutputError(f"{output_file}: no writer for {suffix!r}; use .tsv, .bed, .h5 or .parquet")

    def make(path):
        if suffix == ".bed":
            return BedBatchWriter(path, metadata_schema=metadata_schema)
        return _get_writer(path, metadata_schema, **options)

    return FinishedWriter(output_file, make)


def mend():
    """Put the mended parts in Kipoi's place."""
    kipoi.writers.np = old_numpy
    kipoi.writers.get_writer = get_writer
