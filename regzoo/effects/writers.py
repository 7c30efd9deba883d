"""Files of variant scores: TSV, VCF, Parquet and HDF5, chosen by suffix."""

import gzip
import io
import re
from contextlib import contextmanager

import cyvcf2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from regzoo.errors import OutputError

_COLUMNS = ("record", "chrom", "pos", "id", "ref", "alt", "status")
_NUMBER = "%.7g".__mod__
_STATUS_KEY, _NORMALISED_KEY = "REGZOO_STATUS", "REGZOO_NORMALISED"


def check_suffix(output):
    """Class of the writer that a file name's suffix chooses.

    Raises
    ------
    OutputError
        If the suffix is none of the known ones.
    """
    for suffixes, kind in _WRITERS.items():
        if str(output).endswith(suffixes):
            return kind
    known = ", ".join(s for suffixes in _WRITERS for s in suffixes)
    raise OutputError(f"{output}: unknown suffix; use one of {known}")


@contextmanager
def open_writer(path, groups, reader):
    """The writer of a file of variant scores.

    Parameters
    ----------
    path : pathlib.Path
    groups : dict of str to list of str
        Tables of scores, 'SCORE' or 'MODEL:SCORE', and their columns.
    reader : cyvcf2.VCF
        Source of a VCF's header.
    """
    writer = check_suffix(path)(path, groups, reader)
    try:
        yield writer
    finally:
        writer.close()


def _fixed_columns(batch):
    alleles = batch.alleles
    values = (
        [a.record for a in alleles], [a.contig for a in alleles], [a.pos for a in alleles],
        [a.identifier for a in alleles], [a.ref for a in alleles], [a.alt for a in alleles], batch.status,
    )  # fmt: skip
    return dict(zip(_COLUMNS, values))


def _score_columns(groups):
    return [f"{key}:{column}" for key, columns in groups.items() for column in columns]


class _TsvWriter:
    """One row for each allele; score columns are named SCORE:TARGET; empty where not scored."""

    def __init__(self, path, groups, reader):
        # Neither name nor time in gzip's header: the same scores make the same bytes.
        self.file = open(path, "wb")
        zipped = str(path).endswith(".gz")
        self.out = io.TextIOWrapper(gzip.GzipFile("", "wb", fileobj=self.file, mtime=0) if zipped else self.file)
        self.out.write("\t".join([*_COLUMNS, *_score_columns(groups)]) + "\n")

    def write(self, batch):
        table = np.concatenate(list(batch.scores.values()), axis=1)
        for *fixed, row in zip(*_fixed_columns(batch).values(), table.tolist()):
            values = ["" if v != v else _NUMBER(v) for v in row]
            self.out.write("\t".join([*map(str, fixed), *values]) + "\n")

    def close(self):
        self.out.close()
        self.file.close()


class _ParquetWriter:
    """The TSV's columns, typed."""

    def __init__(self, path, groups, reader):
        types = {"record": pa.int64(), "pos": pa.int64()}
        fields = [(name, types.get(name, pa.string())) for name in _COLUMNS]
        fields += [(name, pa.float32()) for name in _score_columns(groups)]
        self.schema = pa.schema(fields)
        self.out = pq.ParquetWriter(path, self.schema)

    def write(self, batch):
        table = np.concatenate(list(batch.scores.values()), axis=1)
        arrays = [*_fixed_columns(batch).values(), *np.ascontiguousarray(table.T)]
        arrays = [pa.array(values, field.type) for values, field in zip(arrays, self.schema)]
        self.out.write_table(pa.Table.from_arrays(arrays, schema=self.schema))

    def close(self):
        self.out.close()


class _Hdf5Writer:
    """/variants/COLUMN of length N, /scores/SCORE (N, columns), or /scores/MODEL:SCORE, and their names in /columns/SCORE.

    Models have '/' in their names, which makes them groups in the file.
    """

    def __init__(self, path, groups, reader):
        self.out = h5py.File(path, "w")
        text = h5py.string_dtype()
        for name in _COLUMNS:
            kind = np.int64 if name in ("record", "pos") else text
            self.out.create_dataset(
                f"variants/{name}", (0,), kind, maxshape=(None,), chunks=(4096,), compression="gzip"
            )
        for key, columns in groups.items():
            self.out.create_dataset(f"columns/{key}", data=columns, dtype=text)
            self.out.create_dataset(
                f"scores/{key}", (0, len(columns)), np.float32, maxshape=(None, len(columns)),
                chunks=(max(1, 65536 // len(columns)), len(columns)), compression="gzip", compression_opts=1,
            )  # fmt: skip

    def write(self, batch):
        tables = {f"variants/{k}": v for k, v in _fixed_columns(batch).items()}
        tables |= {f"scores/{k}": v for k, v in batch.scores.items()}
        for name, values in tables.items():
            data = self.out[name]
            data.resize(len(data) + len(values), axis=0)
            data[len(data) - len(values) :] = values

    def close(self):
        self.out.close()


class _VcfWriter:
    """The records as they were, with INFO fields REGZOO_SCORE, of several models REGZOO_SCORE_MODEL.

    One entry an alternate, its targets separated by '|'. Alleles that were normalised are told as POS:REF:ALT.
    """

    def __init__(self, path, groups, reader):
        self.keys = {}
        for group, columns in groups.items():
            model, _, name = group.rpartition(":")
            self.keys[group] = re.sub(r"\W", "_", f"REGZOO_{name.upper()}" + (f"_{model}" if model else ""))
            listed = "|".join(column.replace('"', "'") for column in columns)
            of_model = f" of {model}" if model else ""
            self._declare(reader, self.keys[group], "A", f"{name}{of_model}, for {listed}; '.' where not scored")
        self._declare(reader, _STATUS_KEY, ".", "For each alternate: scored, or why it could not be")
        self._declare(
            reader, _NORMALISED_KEY, "A", "POS:REF:ALT that was scored where left-normalising moved the allele"
        )
        self.out = cyvcf2.Writer(str(path), reader, "wz" if str(path).endswith(".gz") else "w")
        self.out.write_header()

    @staticmethod
    def _declare(reader, key, number, description):
        reader.add_info_to_header({"ID": key, "Number": number, "Type": "String", "Description": description})

    def write(self, batch):
        start = 0
        for record, count in batch.records:
            rows = slice(start, start + count)
            start += count
            for group, table in batch.scores.items():
                entries = ["." if np.isnan(row).all() else "|".join(map(_NUMBER, row.tolist())) for row in table[rows]]
                record.INFO[self.keys[group]] = ",".join(entries)
            record.INFO[_STATUS_KEY] = ",".join(text.replace(" ", "_").replace(",", "") for text in batch.status[rows])
            moved = [f"{a.pos}:{a.ref}:{a.alt}" if a.pos != record.POS or a.ref != record.REF.upper() else "."
                     for a in batch.alleles[rows]]  # fmt: skip
            if any(text != "." for text in moved):
                record.INFO[_NORMALISED_KEY] = ",".join(moved)
            self.out.write_record(record)

    def close(self):
        self.out.close()


_WRITERS = {
    (".tsv", ".tsv.gz"): _TsvWriter,
    (".vcf", ".vcf.gz"): _VcfWriter,
    (".parquet",): _ParquetWriter,
    (".h5", ".hdf5"): _Hdf5Writer,
}
