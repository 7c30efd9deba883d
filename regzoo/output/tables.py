"""Tables of results as TSV, Parquet or HDF5, chosen by suffix, or as a pandas DataFrame.

>>> schema = {"chrom": str, "start": int, "predictions": Matrix(["tf0", "tf1"])}
>>> with open_table("out.parquet", schema, {"model": "Basset/tf-human"}) as table:
...     table.write({"chrom": ["chr1"], "start": [100], "predictions": np.zeros((1, 2), np.float32)})
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from regzoo.errors import OutputError
from regzoo.output.files import finished_file

if TYPE_CHECKING:
    import pandas as pd

TSV = (".tsv", ".tsv.gz")
HDF5 = (".h5", ".hdf5")
TABLES = (*TSV, ".parquet", *HDF5)

_TEXT_ROWS = 4096  # of an HDF5 chunk of numbers or strings
_MATRIX_CHUNK = 1 << 16  # values in an HDF5 chunk of a matrix


@dataclass(frozen=True)
class Matrix:
    """Float32 columns that are computed together, written as one array of shape (rows, columns).

    TSV, Parquet and data frames have one column for each, named `prefix` + name. HDF5 has one two-dimensional dataset.

    Attributes
    ----------
    columns : sequence of str
    prefix : str
    labels : str
        HDF5 dataset that holds the names; none when empty.
    """

    columns: Sequence[str]
    prefix: str = ""
    labels: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the columns, with the prefix."""
        return [f"{self.prefix}{name}" for name in self.columns]


@dataclass(frozen=True)
class Vector:
    """A float32 vector in each row, written as an array of shape (rows, width).

    Parquet and data frames have one column of lists, HDF5 a two-dimensional dataset. TSV cannot hold it.

    Attributes
    ----------
    width : int
    """

    width: int


#: What a column holds: `int` (int64), `float` (float32), `str`, a `Matrix` or a `Vector`.
Schema = Mapping[str, "type | Matrix | Vector"]

_ARROW = {int: pa.int64(), float: pa.float32(), str: pa.string()}


def check_suffix(output: str | Path, known: Sequence[str] = TABLES, stdout: bool = True) -> str:
    """Suffix of an output file, in lower case.

    Parameters
    ----------
    output : str or pathlib.Path
        '-' stands for TSV on standard output.
    known : sequence of str
        Suffixes that can be written.
    stdout : bool
        Whether '-' is allowed.

    Returns
    -------
    str
        One of `known`, the longest that fits, or '-'.

    Raises
    ------
    OutputError
        If the suffix is not known.
    """
    name = str(output).lower()
    if stdout and name == "-":
        return name
    found = [suffix for suffix in known if name.endswith(suffix)]
    if not found:
        more = ", or - for TSV on standard output" if stdout else ""
        raise OutputError(f"{output}: unknown suffix; use one of {', '.join(known)}{more}")
    return max(found, key=len)


@contextmanager
def open_table(
    output: str | Path | None,
    schema: Schema,
    metadata: Mapping[str, str] | None = None,
    datasets: Mapping[str, str] | None = None,
) -> Iterator[Table]:
    """Open a table for writing. The file is put in place when the block ends without an error.

    Parameters
    ----------
    output : str or pathlib.Path or None
        A file with a suffix of `TABLES`; '-' for TSV on standard output; None to collect a data frame.
    schema : dict of str to type, Matrix or Vector
        Columns in their order.
    metadata : dict of str to str, optional
        Attributes of the HDF5 file, metadata of the Parquet schema. TSV has none.
    datasets : dict of str to str, optional
        HDF5 dataset of a column, where it is not the column's name.

    Yields
    ------
    Table

    Raises
    ------
    OutputError
        If the suffix is not known, or the file cannot be written.
    """
    if output is None:
        yield FrameTable(schema)
        return
    suffix = check_suffix(output)
    if suffix == "-":
        with closing_table(new_table(None, suffix, schema)) as table:
            yield table
        return
    with finished_file(output) as path, closing_table(new_table(path, suffix, schema, metadata, datasets)) as table:
        yield table


def new_table(
    path: str | Path | None,
    suffix: str,
    schema: Schema,
    metadata: Mapping[str, str] | None = None,
    datasets: Mapping[str, str] | None = None,
) -> Table:
    """The table of a suffix, or of '-', on a path that the caller puts in place. Arguments as of `open_table`."""
    if suffix in (*TSV, "-"):
        return TsvTable(path, schema, compressed=suffix.endswith(".gz"))
    if path is None:
        raise OutputError(f"{suffix} needs a path")
    if suffix in HDF5:
        return Hdf5Table(path, schema, metadata, datasets)
    return ParquetTable(path, schema, metadata)


@contextmanager
def closing_table(table: Any) -> Iterator[Any]:
    """Close a writer at the end of the block; after an error, the first error is raised and not that of closing."""
    try:
        yield table
    except BaseException:
        with suppress(Exception):
            table.close()
        raise
    table.close()


class Table:
    """Rows that are written block by block.

    Parameters
    ----------
    schema : dict of str to type, Matrix or Vector
    """

    def __init__(self, schema: Schema):
        self.schema = dict(schema)
        self.arrow = pa.schema([field for name, kind in self.schema.items() for field in _fields(name, kind)])

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows.

        Parameters
        ----------
        columns : dict of str to array
            Each column of the schema: a numpy or pyarrow array or a list, or of a Matrix or Vector a numpy array,
            float32, shape (rows, width). NaN is written as a missing value where the format has them.
        """
        self._write({name: columns[name] for name in self.schema})

    def _write(self, columns):
        raise NotImplementedError

    def close(self) -> None:
        """Write what is buffered and close the file."""

    def _block(self, columns):
        """Columns as a pyarrow table; NaN is null."""
        arrays = []
        for name, kind in self.schema.items():
            arrays += _arrays(columns[name], kind)
        return pa.Table.from_arrays(arrays, schema=self.arrow)


def _fields(name, kind):
    if isinstance(kind, Matrix):
        return [pa.field(column, pa.float32()) for column in kind.names]
    return [pa.field(name, pa.list_(pa.float32(), kind.width) if isinstance(kind, Vector) else _ARROW[kind])]


def _arrays(values, kind):
    if isinstance(kind, Matrix):
        return [pa.array(column, pa.float32(), from_pandas=True) for column in np.ascontiguousarray(values.T)]
    if isinstance(kind, Vector):
        flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel())
        return [pa.FixedSizeListArray.from_arrays(flat, kind.width)]
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return [values.cast(_ARROW[kind])]
    return [pa.array(values, _ARROW[kind], from_pandas=kind is float)]


class TsvTable(Table):
    """Tab-separated text, UTF-8: one line of names, then a line for each row; missing values are empty.

    Numbers have the fewest digits that give the same float32 when they are read back. A compressed table is one gzip
    stream without a time stamp, so that the same rows make the same bytes.

    Parameters
    ----------
    path : str or pathlib.Path or None
        None for standard output.
    schema : dict of str to type or Matrix
    compressed : bool
    """

    def __init__(self, path: str | Path | None, schema: Schema, compressed: bool = False):
        super().__init__(schema)
        self._file = sys.stdout.buffer if path is None else open(path, "wb")
        self._out = gzip.GzipFile("", "wb", 6, self._file, mtime=0) if compressed else self._file
        for name in self.arrow.names:
            _check_text(name, "the name of a column")
        self._out.write(("\t".join(self.arrow.names) + "\n").encode("utf-8", "surrogateescape"))

    def _write(self, columns):
        block = self._block(columns)
        if block.num_rows:
            lines = _lines(block)
            _check_lines(lines, block)
            self._out.write(lines)

    def close(self) -> None:
        """Finish the file."""
        try:
            if self._out is not self._file:
                self._out.close()
            self._file.flush()
        finally:
            if self._file is not sys.stdout.buffer:  # which stays open
                self._file.close()


def _lines(block):
    """Rows of a pyarrow table as lines of tab-separated text, a buffer of bytes."""
    cells = [pc.fill_null(column.combine_chunks().cast(pa.string()), "") for column in block.columns]
    lines = pc.binary_join_element_wise(*cells[:-1], pc.binary_join_element_wise(cells[-1], "", "\n"), "\t")
    return lines.buffers()[2]


def _check_lines(lines, block):
    """Raise an OutputError if a text of a block has a tab or a line end, of which the lines then have too many."""
    data = lines.to_pybytes()
    seen = [data.count(character) for character in (b"\t", b"\n", b"\r")]
    if seen == [block.num_rows * (block.num_columns - 1), block.num_rows, 0]:
        return
    for name, column in zip(block.column_names, block.columns):
        if not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
            for text in column.to_pylist():
                _check_text(text, f"column {name}")


def _check_text(text, what):
    if text and any(character in text for character in "\t\n\r"):
        raise OutputError(
            f"{what}: {text!r} has a tab or a line end, which TSV cannot hold; rename it or write .parquet"
        )


class ParquetTable(Table):
    """One Parquet file, a row group for each block that is written.

    Parameters
    ----------
    path : str or pathlib.Path
    schema : dict of str to type, Matrix or Vector
    metadata : dict of str to str, optional
    """

    def __init__(self, path: str | Path, schema: Schema, metadata: Mapping[str, str] | None = None):
        import pyarrow.parquet as pq

        super().__init__(schema)
        self.arrow = self.arrow.with_metadata(metadata)
        self._out = pq.ParquetWriter(path, self.arrow)

    def _write(self, columns):
        self._out.write_table(self._block(columns))

    def close(self) -> None:
        """Finish the file."""
        self._out.close()


class Hdf5Table(Table):
    """One HDF5 dataset for each column, with a matrix or a vector as a two-dimensional one. NaN stays NaN.

    Parameters
    ----------
    path : str or pathlib.Path
    schema : dict of str to type, Matrix or Vector
    metadata : dict of str to str, optional
    datasets : dict of str to str, optional
        See `open_table`.
    """

    def __init__(
        self,
        path: str | Path,
        schema: Schema,
        metadata: Mapping[str, str] | None = None,
        datasets: Mapping[str, str] | None = None,
    ):
        import h5py

        from regzoo.output.hdf5 import NewHdf5

        super().__init__(schema)
        self._out = NewHdf5(path)
        self._out.attrs.update(metadata or {})
        self._names = {name: (datasets or {}).get(name, name) for name in schema}
        text = h5py.string_dtype()
        for name, kind in self.schema.items():
            shape: tuple[int, ...] = ()
            chunks: tuple[int, ...] = (_TEXT_ROWS,)
            if isinstance(kind, (Matrix, Vector)):
                width = kind.width if isinstance(kind, Vector) else len(kind.columns)
                shape, dtype, chunks = (width,), np.float32, (max(1, _MATRIX_CHUNK // max(1, width)), max(1, width))
            else:
                dtype = {int: np.int64, float: np.float32, str: text}[kind]
            packed = {} if isinstance(kind, Vector) else {"compression": "gzip", "compression_opts": 1}
            self._out.create_dataset(
                self._names[name], (0, *shape), dtype, maxshape=(None, *shape), chunks=chunks, **packed
            )
            if isinstance(kind, Matrix) and kind.labels:
                self._out.create_dataset(kind.labels, data=list(kind.columns), dtype=text)

    def _write(self, columns):
        for name, values in columns.items():
            if isinstance(values, (pa.Array, pa.ChunkedArray)):
                values = values.to_pylist() if self.schema[name] is str else values.to_numpy()
            values = np.asarray(values, dtype=object if self.schema[name] is str else None)
            data = self._out[self._names[name]]
            start = len(data)
            data.resize(start + len(values), axis=0)
            data[start:] = values
        self._out.check()

    def close(self) -> None:
        """Finish the file."""
        self._out.close()


class FrameTable(Table):
    """Rows that are collected in memory.

    Parameters
    ----------
    schema : dict of str to type, Matrix or Vector
    """

    def __init__(self, schema: Schema):
        super().__init__(schema)
        self._blocks: list[pa.Table] = []

    def _write(self, columns):
        self._blocks.append(self._block(columns))

    def frame(self) -> pd.DataFrame:
        """What was written.

        Returns
        -------
        pandas.DataFrame
            Missing numbers are NaN.
        """
        return pa.concat_tables([self.arrow.empty_table(), *self._blocks]).to_pandas()
