"""Kipoi's writers, patched: HDF5 on numpy 2, BED, an error for unknown suffixes, and no half-written files."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kipoi.pipeline
import kipoi.writers
from kipoi.writers import BatchWriter, BedBatchWriter

from regzoo.errors import OutputError
from regzoo.kipoi import old_numpy

_get_writer = kipoi.writers.get_writer
_predict_to_file = kipoi.pipeline.Pipeline.predict_to_file
# The options of `get_writer` that a writer takes. `predict_to_file` also hands it those of the dataloader.
_WRITER_OPTIONS = ("hdf5_chunk_size", "parquet_chunk_size")


class FinishedWriter(BatchWriter):
    """One of Kipoi's writers on a temporary file that is renamed to the output when it is closed.

    Parameters
    ----------
    path : str
        The output.
    make : callable
        Takes a path and returns the writer.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """

    def __init__(self, path: str | Path, make: Callable[[str], BatchWriter]):
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

    def batch_write(self, batch: dict) -> None:
        """Write one batch of predictions."""
        self.writer.batch_write(batch)

    def close(self) -> None:
        """Finish the file and give it its name."""
        self.writer.close()
        if self.temporary.exists():
            os.replace(self.temporary, self.path)

    def __del__(self):
        if hasattr(self, "temporary"):
            self.temporary.unlink(missing_ok=True)


def get_writer(output_file: str | Path, metadata_schema: Any = None, **options) -> FinishedWriter:
    """Kipoi's `get_writer`. The writer's file appears when it is closed.

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
        kept = {name: options[name] for name in _WRITER_OPTIONS if name in options}
        return _get_writer(path, metadata_schema, **kept)

    return FinishedWriter(output_file, make)


def predict_to_file(
    pipeline: Any,
    output_file: str,
    dataloader_kwargs: dict,
    batch_size: int = 32,
    keep_inputs: bool = False,
    keep_metadata: bool = False,
    **options,
) -> None:
    """Kipoi's `Pipeline.predict_to_file`; BED output keeps the metadata, from which the intervals are taken."""
    keep_metadata = keep_metadata or Path(output_file).suffix == ".bed"
    _predict_to_file(pipeline, output_file, dataloader_kwargs, batch_size, keep_inputs, keep_metadata, **options)


def patch() -> None:
    """Replace Kipoi's writers by these."""
    kipoi.writers.np = old_numpy
    kipoi.writers.get_writer = get_writer
    kipoi.pipeline.Pipeline.predict_to_file = predict_to_file
