"""Files of variant scores: TSV, VCF, Parquet and HDF5, chosen by suffix. Every write is checked."""

import gzip
import io
import re
import sys
from contextlib import contextmanager, suppress

import numpy as np

from regzoo.errors import OutputError
from regzoo.options import VCF_KEYS, check_choice
from regzoo.sequence.files import BgzipWriter
from regzoo.sequence.variants import upper_letters

_COLUMNS = ("record", "chrom", "pos", "id", "ref", "alt", "status")
_NUMBER = "%.7g".__mod__
_STATUS_KEY, _NORMALISED_KEY = "REGZOO_STATUS", "REGZOO_NORMALISED"


def check_suffix(output):
    """Class of the writer that a file name's suffix chooses; '-' is TSV on standard output.

    Raises
    ------
    OutputError
        If the suffix is none of the known ones.
    """
    if str(output) == "-":
        return _TsvWriter
    for suffixes, kind in _WRITERS.items():
        if str(output).endswith(suffixes):
            return kind
    known = ", ".join(s for suffixes in _WRITERS for s in suffixes)
    raise OutputError(f"{output}: unknown suffix; use one of {known}, or - for TSV on standard output")


@contextmanager
def open_writer(path, groups, named, header, vcf_keys="packed"):
    """The writer of a file of variant scores.

    Parameters
    ----------
    path : str or pathlib.Path
    groups : dict of str to list of str
        Tables of scores, 'SCORE' or 'MODEL:SCORE', and their columns.
    named : iterable of str
        Tables whose alleles also have the name of a target (of the summary 'absmax').
    header : list of str
        Header of the VCF that was read.
    vcf_keys : str
        A key of `regzoo.options.VCF_KEYS`.
    """
    check_choice("way to write VCF keys", vcf_keys, VCF_KEYS)
    writer = check_suffix(path)(path, groups, named, header, vcf_keys)
    try:
        yield writer
    except BaseException:
        with suppress(Exception):  # the first error is the one to show
            writer.close()
        raise
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


def _name_columns(named):
    return [f"{key}:absmax_target" for key in named]


class _TsvWriter:
    """One row for each allele; score columns are named SCORE:TARGET; empty where not scored."""

    def __init__(self, path, groups, named, header, vcf_keys):
        self.file = sys.stdout.buffer if str(path) == "-" else open(path, "wb")
        # Neither name nor time in gzip's header: the same scores make the same bytes.
        zipped = str(path).endswith(".gz")
        self.zip = gzip.GzipFile("", "wb", fileobj=self.file, mtime=0) if zipped else None
        self.out = io.TextIOWrapper(self.zip or self.file, encoding="utf-8", newline="\n")
        self.out.write("\t".join([*_COLUMNS, *_score_columns(groups), *_name_columns(named)]) + "\n")

    def write(self, batch):
        table = np.concatenate(list(batch.scores.values()), axis=1)
        names = list(zip(*batch.names.values())) if batch.names else [()] * len(table)
        for *fixed, row, named in zip(*_fixed_columns(batch).values(), table.tolist(), names):
            values = ["" if v != v else _NUMBER(v) for v in row]
            self.out.write("\t".join([*map(str, fixed), *values, *named]) + "\n")

    def close(self):
        self.out.flush()
        self.out.detach()  # standard output stays open
        if self.zip:
            self.zip.close()
        if self.file is not sys.stdout.buffer:
            self.file.close()


class _ParquetWriter:
    """The TSV's columns, typed."""

    def __init__(self, path, groups, named, header, vcf_keys):
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"record": pa.int64(), "pos": pa.int64()}
        fields = [(name, types.get(name, pa.string())) for name in _COLUMNS]
        fields += [(name, pa.float32()) for name in _score_columns(groups)]
        fields += [(name, pa.string()) for name in _name_columns(named)]
        self.pa, self.schema = pa, pa.schema(fields)
        self.out = pq.ParquetWriter(path, self.schema)

    def write(self, batch):
        table = np.concatenate(list(batch.scores.values()), axis=1)
        columns = [*_fixed_columns(batch).values(), *np.ascontiguousarray(table.T), *batch.names.values()]
        arrays = [self.pa.array(values, field.type) for values, field in zip(columns, self.schema)]
        self.out.write_table(self.pa.Table.from_arrays(arrays, schema=self.schema))

    def close(self):
        self.out.close()


class _Hdf5Writer:
    """/variants/COLUMN of length N, /scores/SCORE (N, columns), or /scores/MODEL:SCORE, and their names in /columns/SCORE.

    With the summary 'absmax' also /absmax_target/SCORE, names of length N. Models have '/' in their names, which makes them
    groups in the file.
    """

    def __init__(self, path, groups, named, header, vcf_keys):
        import h5py

        from regzoo.sequence.hdf5 import NewHdf5

        self.out = NewHdf5(path)
        text = h5py.string_dtype()
        names = [f"variants/{name}" for name in _COLUMNS] + [f"absmax_target/{key}" for key in named]
        for name in names:
            kind = np.int64 if name in ("variants/record", "variants/pos") else text
            self.out.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(4096,), compression="gzip")
        for key, columns in groups.items():
            self.out.create_dataset(f"columns/{key}", data=columns, dtype=text)
            self.out.create_dataset(
                f"scores/{key}", (0, len(columns)), np.float32, maxshape=(None, len(columns)),
                chunks=(max(1, 65536 // len(columns)), len(columns)), compression="gzip", compression_opts=1,
            )  # fmt: skip

    def write(self, batch):
        tables = {f"variants/{k}": v for k, v in _fixed_columns(batch).items()}
        tables |= {f"scores/{k}": v for k, v in batch.scores.items()}
        tables |= {f"absmax_target/{k}": v for k, v in batch.names.items()}
        for name, values in tables.items():
            data = self.out[name]
            data.resize(len(data) + len(values), axis=0)
            data[len(data) - len(values) :] = values
        self.out.check()

    def close(self):
        self.out.close()


class _VcfWriter:
    """The records' own lines, with INFO fields REGZOO_SCORE added, of several models REGZOO_SCORE_MODEL.

    One entry an alternate: a number where a score has one column or a key for each; otherwise the columns separated by '|'.
    Alleles that were normalised are told as POS:REF:ALT. Fields of these names that an earlier run wrote are replaced.
    """

    def __init__(self, path, groups, named, header, vcf_keys):
        self._keys = {_STATUS_KEY, _NORMALISED_KEY}
        lines = []

        def declare(key, number, kind, description):
            text = description.replace("\\", "/").replace('"', "'")
            lines.append(f'##INFO=<ID={key},Number={number},Type={kind},Description="{text}">')

        def new_key(*parts):
            key = wanted = re.sub(r"[^0-9A-Za-z]", "_", "_".join(["REGZOO", *filter(None, parts)]))
            count = 1
            while key in self._keys:
                count += 1
                key = f"{wanted}_{count}"
            self._keys.add(key)
            return key

        self.columns, self.named = [], []  # (key, group, columns) and (key, group)
        for group, columns in groups.items():
            model, _, name = group.rpartition(":")
            of_model = f" of {model}" if model else ""
            if len(columns) == 1 or vcf_keys == "each":
                for place, column in enumerate(columns):
                    key = new_key(name.upper(), model, column if len(columns) > 1 else "")
                    declare(key, "A", "Float", f"{name}{of_model}, for {column}; '.' where not scored")
                    self.columns.append((key, group, [place]))
            else:
                key = new_key(name.upper(), model)
                declare(key, "A", "String", f"{name}{of_model}, for {'|'.join(columns)}; '.' where not scored")
                self.columns.append((key, group, list(range(len(columns)))))
            if group in named:
                key = new_key(name.upper(), model, "ABSMAX_TARGET")
                declare(key, "A", "String", f"Target of the largest magnitude of {name}{of_model}")
                self.named.append((key, group))
        declare(_STATUS_KEY, ".", "String", "For each alternate: scored, or why it could not be")
        declare(_NORMALISED_KEY, "A", "String", "POS:REF:ALT that was scored where left-normalising moved the allele")
        ours = tuple(f"##INFO=<ID={key}," for key in self._keys)
        kept = [line for line in header[:-1] if not line.startswith(ours)]
        self.out = BgzipWriter(path) if str(path).endswith(".gz") else open(path, "wb")
        self._write_line("\n".join([*kept, *lines, header[-1]]))

    def _write_line(self, text):
        self.out.write(f"{text}\n".encode("utf-8", "surrogateescape"))

    def write(self, batch):
        tables = [(key, batch.scores[group][:, columns].tolist()) for key, group, columns in self.columns]
        start = 0
        for record, count in batch.records:
            rows = slice(start, start + count)
            start += count
            added = [f"{key}={','.join(map(_entry, table[rows]))}" for key, table in tables]
            added += [
                f"{key}={','.join(_word(t) or '.' for t in batch.names[group][rows])}" for key, group in self.named
            ]
            added.append(f"{_STATUS_KEY}={','.join(map(_word, batch.status[rows]))}")
            own = record.pos, upper_letters(record.fields[3])
            moved = [f"{a.pos}:{a.ref}:{a.alt}" if (a.pos, a.ref) != own else "." for a in batch.alleles[rows]]
            if any(text != "." for text in moved):
                added.append(f"{_NORMALISED_KEY}={','.join(moved)}")
            info = record.fields[7]
            if "REGZOO_" in info:
                info = ";".join(e for e in info.split(";") if e.partition("=")[0] not in self._keys)
            kept = [] if info in (".", "") else [info]
            self._write_line("\t".join([*record.fields[:7], ";".join(kept + added), *record.fields[8:]]))

    def close(self):
        self.out.close()


def _entry(row):
    """Scores of one allele in INFO: '.' where it was not scored."""
    if all(v != v for v in row):
        return "."
    return "|".join("." if v != v else _NUMBER(v) for v in row)


def _word(text):
    """Text as one value of an INFO field."""
    return re.sub(r"[\s,;=]+", "_", text.replace(", ", "_"))


_WRITERS = {
    (".tsv", ".tsv.gz"): _TsvWriter,
    (".vcf", ".vcf.gz"): _VcfWriter,
    (".parquet",): _ParquetWriter,
    (".h5", ".hdf5"): _Hdf5Writer,
}
