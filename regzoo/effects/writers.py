"""Files of variant scores: TSV, VCF, Parquet and HDF5, chosen by suffix."""

import gzip
from contextlib import contextmanager

import cyvcf2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from regzoo.errors import OutputError

_COLUMNS = ("record", "chrom", "pos", "id", "ref", "alt", "status")
_STATUS_KEY = "REGZOO_STATUS"


@contextmanager
def open_writer(path, output, targets, scores, model_name, reader):
    """The writer of a file of variant scores.

    Parameters
    ----------
    path : pathlib.Path
        What is written.
    output : str or pathlib.Path
        The name that the user gave, whose suffix chooses the format.
    targets, scores : sequence of str
    model_name : str
    reader : cyvcf2.VCF
        Source of a VCF's header.

    Raises
    ------
    OutputError
        If the suffix is none of the known ones.
    """
    name = str(output)
    for suffixes, kind in _WRITERS.items():
        if name.endswith(suffixes):
            writer = kind(path, list(targets), list(scores), model_name, reader)
            break
    else:
        known = ", ".join(s for suffixes in _WRITERS for s in suffixes)
        raise OutputError(f"{output}: unknown suffix; use one of {known}")
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


class _TsvWriter:
    """One row for each allele; score columns are named SCORE:TARGET; empty where not scored."""

    def __init__(self, path, targets, scores, model_name, reader):
        self.out = gzip.open(path, "wt") if str(path).endswith(".gz") else open(path, "w")
        names = [f"{score}:{target}" for score in scores for target in targets]
        self.out.write("\t".join([*_COLUMNS, *names]) + "\n")

    def write(self, batch):
        table = np.concatenate(list(batch.scores.values()), axis=1)
        for *fixed, row in zip(*_fixed_columns(batch).values(), table):
            values = ["" if np.isnan(v) else f"{v:.7g}" for v in row]
            self.out.write("\t".join([*map(str, fixed), *values]) + "\n")

    def close(self):
        self.out.close()


class _ParquetWriter:
    """The TSV's columns, typed."""

    def __init__(self, path, targets, scores, model_name, reader):
        types = {"record": pa.int64(), "pos": pa.int64()}
        fields = [(name, types.get(name, pa.string())) for name in _COLUMNS]
        self.names = {score: [f"{score}:{target}" for target in targets] for score in scores}
        fields += [(name, pa.float32()) for names in self.names.values() for name in names]
        self.schema = pa.schema(fields, metadata={"model": model_name})
        self.out = pq.ParquetWriter(path, self.schema)

    def write(self, batch):
        columns = _fixed_columns(batch)
        for score, names in self.names.items():
            columns |= {name: batch.scores[score][:, i] for i, name in enumerate(names)}
        self.out.write_table(pa.table(columns, schema=self.schema))

    def close(self):
        self.out.close()


class _Hdf5Writer:
    """/variants/COLUMN of length N, /scores/SCORE of shape (N, targets), /targets; the model's name as attribute."""

    def __init__(self, path, targets, scores, model_name, reader):
        self.out = h5py.File(path, "w")
        self.out.attrs["model"] = model_name
        text = h5py.string_dtype()
        self.out.create_dataset("targets", data=targets, dtype=text)
        for name in _COLUMNS:
            kind = np.int64 if name in ("record", "pos") else text
            self.out.create_dataset(
                f"variants/{name}", (0,), kind, maxshape=(None,), chunks=(4096,), compression="gzip"
            )
        for name in scores:
            self.out.create_dataset(
                f"scores/{name}", (0, len(targets)), np.float32, maxshape=(None, len(targets)),
                chunks=(max(1, 65536 // len(targets)), len(targets)), compression="gzip", compression_opts=1,
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
    """The records as they were, with INFO fields REGZOO_SCORE: one entry an alternate, its targets separated by '|'."""

    def __init__(self, path, targets, scores, model_name, reader):
        listed = "|".join(t.replace('"', "'") for t in targets)
        for score in scores:
            reader.add_info_to_header(
                {"ID": f"REGZOO_{score.upper()}", "Number": "A", "Type": "String",
                 "Description": f"{score} of {model_name}, for targets {listed}; '.' where not scored"}
            )  # fmt: skip
        reader.add_info_to_header(
            {"ID": _STATUS_KEY, "Number": ".", "Type": "String",
             "Description": "For each alternate: scored, or why it could not be"}
        )  # fmt: skip
        self.out = cyvcf2.Writer(str(path), reader, "wz" if str(path).endswith(".gz") else "w")
        self.out.write_header()

    def write(self, batch):
        start = 0
        for record, count in batch.records:
            rows = slice(start, start + count)
            start += count
            for score, table in batch.scores.items():
                entries = [
                    "." if np.isnan(row).all() else "|".join(f"{value:.7g}" for value in row) for row in table[rows]
                ]
                record.INFO[f"REGZOO_{score.upper()}"] = ",".join(entries)
            record.INFO[_STATUS_KEY] = ",".join(text.replace(" ", "_").replace(",", "") for text in batch.status[rows])
            self.out.write_record(record)

    def close(self):
        self.out.close()


_WRITERS = {
    (".tsv", ".tsv.gz"): _TsvWriter,
    (".vcf", ".vcf.gz"): _VcfWriter,
    (".parquet",): _ParquetWriter,
    (".h5", ".hdf5"): _Hdf5Writer,
}
