"""Files of variant scores: tables, VCF and BCF, chosen by suffix. Every write is checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from regzoo.errors import OutputError
from regzoo.options import VCF_KEYS, check_choice
from regzoo.output.files import BgzipWriter
from regzoo.output.tables import TABLES, Matrix, Schema, Table, check_suffix, closing_table, new_table
from regzoo.sequence import Alleles, Records, count_records
from regzoo.sequence.alleles import status_texts

VCF = (".vcf", ".vcf.gz")
BCF = (".bcf",)
SUFFIXES = (*TABLES, *VCF, *BCF)

_COLUMNS = {"record": int, "chrom": str, "pos": int, "id": str, "ref": str, "alt": str, "status": str}
STATUS_KEY, _NORMALISED_KEY = "REGZOO_STATUS", "REGZOO_NORMALISED"
_BINARY = pa.large_binary()  # lines with many samples may be long


@dataclass(eq=False)
class Batch:
    """Scored alleles, as writers take them.

    Attributes
    ----------
    records : regzoo.sequence.Records
    alleles : regzoo.sequence.Alleles, length N
        As they were scored, with their status.
    moved : numpy.ndarray, bool, shape (N,)
        Alleles that left-normalisation changed.
    scores : dict of str to numpy.ndarray, float32, shape (N, columns)
        NaN where an allele was not scored.
    names : dict of str to pyarrow.StringArray, length N
        With the summary 'absmax': the target of the largest magnitude, '' where not scored.
    """

    records: Records
    alleles: Alleles
    moved: np.ndarray
    scores: dict[str, np.ndarray]
    names: dict[str, pa.StringArray]


def score_schema(groups: Mapping[str, Sequence[str]], named: Collection[str]) -> tuple[Schema, dict[str, str]]:
    """Columns of a table of variant scores, and the HDF5 datasets that hold them.

    Parameters
    ----------
    groups : dict of str to list of str
        Tables of scores, 'SCORE' or 'MODEL:SCORE', and their columns.
    named : iterable of str
        Tables whose alleles also have the name of a target (of the summary 'absmax').

    Returns
    -------
    schema : dict
        record, chrom, pos, id, ref, alt, status; SCORE:COLUMN for each column; SCORE:absmax_target.
    datasets : dict of str to str
        /variants/COLUMN, /scores/SCORE with the names of its columns in /columns/SCORE, /absmax_target/SCORE. Models
        have '/' in their names, which makes them groups in the file.
    """
    schema: dict[str, Any] = dict(_COLUMNS)
    schema |= {f"scores/{key}": Matrix(columns, f"{key}:", labels=f"columns/{key}") for key, columns in groups.items()}
    schema |= {f"{key}:absmax_target": str for key in named}
    datasets = {name: f"variants/{name}" for name in _COLUMNS}
    return schema, datasets | {f"{key}:absmax_target": f"absmax_target/{key}" for key in named}


def score_columns(batch: Batch, texts: Sequence[str]) -> dict:
    """Columns of a batch, by the names of `score_schema`; `texts` are those of the status codes."""
    alleles = batch.alleles
    columns = {
        "record": alleles.record,
        "chrom": alleles.contig_texts(),
        "pos": alleles.pos,
        "id": alleles.identifier,
        "ref": alleles.ref_texts(),
        "alt": alleles.alt_texts(),
        "status": pa.DictionaryArray.from_arrays(pa.array(alleles.status), pa.array(texts)),
    }
    columns |= {f"scores/{key}": table for key, table in batch.scores.items()}
    return columns | {f"{key}:absmax_target": names for key, names in batch.names.items()}


@contextmanager
def open_writer(
    path: str | Path,
    suffix: str,
    groups: Mapping[str, Sequence[str]],
    named: Mapping[str, Sequence[str]],
    header: Sequence[str],
    vcf_keys: str = "packed",
    texts: Sequence[str] | None = None,
) -> Iterator[ScoreTable | VcfWriter]:
    """Open a file of variant scores for batches.

    Parameters
    ----------
    path : str or pathlib.Path
        Not used for standard output.
    suffix : str
        One of `SUFFIXES`, or '-'.
    groups, named
        See `score_schema`.
    header : list of str
        Header of the VCF that was read.
    vcf_keys : str
        A key of `regzoo.options.VCF_KEYS`.
    texts : list of str, optional
        Texts of the status codes.
    """
    check_choice("way to write VCF keys", vcf_keys, VCF_KEYS)
    texts = status_texts() if texts is None else texts
    if suffix in BCF:
        text = Path(f"{path}.vcf")  # beside an unfinished file, whose name it shares
        try:
            with closing_table(VcfWriter(text, False, groups, named, header, vcf_keys, texts)) as writer:
                yield writer
            write_bcf(text, path, writer.records)
        finally:
            text.unlink(missing_ok=True)
        return
    if suffix in VCF:
        with closing_table(VcfWriter(path, suffix == ".vcf.gz", groups, named, header, vcf_keys, texts)) as writer:
            yield writer
        found = count_records(path)
        if found != writer.records:
            raise OutputError(f"{path}: {writer.records} records were written, but {found} are in the file")
        return
    schema, datasets = score_schema(groups, named)
    with closing_table(
        ScoreTable(new_table(None if suffix == "-" else path, suffix, schema, None, datasets), texts)
    ) as writer:
        yield writer


class ScoreTable:
    """Batches as rows of a table.

    Parameters
    ----------
    table : regzoo.output.tables.Table
        With the columns of `score_schema`.
    texts : list of str
        Texts of the status codes.
    """

    def __init__(self, table: Table, texts: Sequence[str]):
        self.table, self._texts = table, texts
        self.close = table.close

    def write(self, batch: Batch) -> None:
        """Append the alleles of a batch."""
        self.table.write(score_columns(batch, self._texts))


def write_bcf(text: str | Path, path: str | Path, records: int) -> None:
    """Write a VCF file as BCF, with htslib, and check that every record is there.

    Parameters
    ----------
    text : pathlib.Path
        VCF.
    path : pathlib.Path
    records : int

    Raises
    ------
    OutputError
        If BCF cannot hold a record, or records are missing in the result.
    """
    import pysam

    number = 0
    try:
        with pysam.VariantFile(str(text)) as source, pysam.VariantFile(str(path), "wb", header=source.header) as out:
            for number, record in enumerate(source, 1):  # noqa: B007 - named in the error
                out.write(record)
        with pysam.VariantFile(str(path)) as result:
            found = sum(1 for _ in result)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: htslib cannot write BCF after record {number} ({error}); use .vcf.gz") from error
    if found != records:
        raise OutputError(f"{path}: {records} records were scored, but {found} are in the BCF; use .vcf.gz")


class InfoWriter:
    """The records' own lines with INFO fields added. Fields of these names that an earlier run wrote are replaced.

    Parameters
    ----------
    path : str or pathlib.Path
    compressed : bool
        Write bgzip.
    keys : InfoKeys
        The fields.
    header : list of str
        Of the VCF that was read.

    Attributes
    ----------
    records : int
        Records written so far.
    """

    def __init__(self, path: str | Path, compressed: bool, keys: InfoKeys, header: Sequence[str]):
        self.records, self._keys = 0, keys
        kept = [line for line in header[:-1] if not line.startswith(keys.prefixes)]
        self._out = BgzipWriter(path) if compressed else open(path, "wb")
        text = "\n".join([*kept, *keys.lines, header[-1]])
        self._out.write(f"{text}\n".encode("utf-8", "surrogateescape"))

    def append(self, records: Records, entries: Sequence[tuple[str, Any]], more: Sequence[Any] = ()) -> None:
        """Append records.

        Parameters
        ----------
        records : regzoo.sequence.Records
        entries : sequence of (str, pyarrow.StringArray)
            Keys and values; the values are those of alleles, which are joined by commas.
        more : sequence of pyarrow.StringArray
            Further text of each record's INFO.
        """
        pieces: list[Any] = []
        for key, texts in entries:
            pieces += [f";{key}=" if pieces else f"{key}=", _joined(texts, records.counts)]
        head, info, tail = _parts(records)
        info = self._own_info(info)
        pieces = [_bytes(piece) if isinstance(piece, str) else piece.cast(_BINARY) for piece in [*pieces, *more]]
        lines = pc.binary_join_element_wise(head, info, *pieces, tail, _bytes("\n"), _bytes(""))
        self._out.write(lines.buffers()[2])
        self.records += len(records)

    def _own_info(self, info):
        """INFO of the input with a ';' at its end, without fields of an earlier run; '' where there is none."""
        mine = pc.match_substring(info, b"REGZOO_")
        if pc.any(mine).as_py():
            kept = [self._stripped(text) if ours else text for text, ours in zip(info.to_pylist(), mine.to_pylist())]
            info = pa.array(kept, _BINARY)
        none = pc.or_(pc.equal(info, _bytes(".")), pc.equal(info, _bytes("")))
        return pc.if_else(none, _bytes(""), pc.binary_join_element_wise(info, _bytes(";"), _bytes("")))

    def _stripped(self, info):
        return b";".join(e for e in info.split(b";") if e.partition(b"=")[0].decode("latin-1") not in self._keys.names)

    def close(self) -> None:
        """Finish the file."""
        self._out.close()


class VcfWriter(InfoWriter):
    """The records' own lines, with INFO fields REGZOO_SCORE added; REGZOO_SCORE_MODEL for several models.

    Each alternate has one entry: a number for a score of one column or with a key for each column, else the columns
    separated by '|'. Alleles that were normalised have POS:REF:ALT in REGZOO_NORMALISED. Fields of these names that an
    earlier run wrote are replaced.

    Parameters
    ----------
    path : str or pathlib.Path
    compressed : bool
        Write bgzip.
    groups, named, header, vcf_keys, texts
        See `open_writer`.

    Attributes
    ----------
    records : int
        Records written so far.
    """

    def __init__(
        self,
        path: str | Path,
        compressed: bool,
        groups: Mapping[str, Sequence[str]],
        named: Mapping[str, Sequence[str]],
        header: Sequence[str],
        vcf_keys: str,
        texts: Sequence[str],
    ):
        self._words = pa.array([info_word(text) for text in texts])
        keys = InfoKeys()
        self._columns, self._named = [], []  # (key, group, columns) and (key, group)
        for group, columns in groups.items():
            model, _, name = group.rpartition(":")
            of_model = f" of {model}" if model else ""
            if len(columns) == 1 or vcf_keys == "each":
                for place, column in enumerate(columns):
                    parts = name.upper(), model, column if len(columns) > 1 else ""
                    about = f"{name}{of_model}, for {column}; '.' where not scored"
                    key = keys.declare(parts, "A", "Float", about)
                    self._columns.append((key, group, [place]))
            else:
                about = f"{name}{of_model}, for {'|'.join(columns)}; '.' where not scored"
                key = keys.declare((name.upper(), model), "A", "String", about)
                self._columns.append((key, group, list(range(len(columns)))))
            if group in named:
                parts = name.upper(), model, "ABSMAX_TARGET"
                key = keys.declare(parts, "A", "String", f"Target of the largest magnitude of {name}{of_model}")
                self._named.append((key, group))
        super().__init__(path, compressed, keys, header)

    def write(self, batch: Batch) -> None:
        """Append the records of a batch."""
        entries = [(key, _numbers_text(batch.scores[group][:, columns])) for key, group, columns in self._columns]
        entries += [(key, _words(batch.names[group])) for key, group in self._named]
        status = pa.DictionaryArray.from_arrays(pa.array(batch.alleles.status), self._words).cast(pa.string())
        entries.append((STATUS_KEY, status))
        self.append(batch.records, entries, [_normalised(batch, batch.records.counts)] if batch.moved.any() else ())


class InfoKeys:
    """INFO keys of an output, and their header lines.

    Parameters
    ----------
    normalised : bool
        Whether alleles may have been left-normalised.

    Attributes
    ----------
    names : set of str
    lines : list of str
        Of the header.
    """

    def __init__(self, normalised: bool = True):
        self.names = {STATUS_KEY, _NORMALISED_KEY}
        self.lines: list[str] = []
        self._add(STATUS_KEY, ".", "String", "For each alternate: scored, or why it could not be")
        if normalised:
            text = "POS:REF:ALT that was scored where left-normalising moved the allele"
            self._add(_NORMALISED_KEY, "A", "String", text)

    def declare(self, parts: Sequence[str], number: str, kind: str, description: str) -> str:
        """A new key of some words."""
        key = wanted = re.sub(r"[^0-9A-Za-z]", "_", "_".join(["REGZOO", *filter(None, parts)]))
        count = 1
        while key in self.names:
            count += 1
            key = f"{wanted}_{count}"
        self.names.add(key)
        self._add(key, number, kind, description)
        return key

    def _add(self, key, number, kind, description):
        text = description.replace("\\", "/").replace('"', "'")
        self.lines.append(f'##INFO=<ID={key},Number={number},Type={kind},Description="{text}">')

    @property
    def prefixes(self) -> tuple[str, ...]:
        """How header lines of these keys start."""
        return tuple(f"##INFO=<ID={key}," for key in self.names)


def _bytes(text):
    """A scalar of the type of lines."""
    return pa.scalar(text.encode(), _BINARY)


def _parts(records):
    """Each line up to INFO, its INFO, and the rest, as arrays of bytes."""
    bounds = np.stack([records.starts[:, 0], records.starts[:, 7], records.ends[:, 7], records.line_ends], axis=1)
    offsets = np.append(bounds.ravel(), records.line_ends[-1])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(records.data)]
    pieces = pa.Array.from_buffers(_BINARY, len(offsets) - 1, buffers)
    return [pieces.take(pa.array(np.arange(part, len(pieces), 4))) for part in range(3)]


def _numbers_text(values):
    """Scores of each allele in INFO: columns separated by '|', '.' where there is no score."""
    columns = [pa.array(column, from_pandas=True).cast(pa.string()) for column in np.ascontiguousarray(values.T)]
    texts = [pc.fill_null(column, ".") for column in columns]
    if len(texts) == 1:
        return texts[0]
    none = pa.array(np.isnan(values).all(axis=1))
    return pc.if_else(none, ".", pc.binary_join_element_wise(*texts, "|"))


def _words(texts):
    """Names as values of INFO fields, '.' for an empty one."""
    known = {text: info_word(text) or "." for text in pc.unique(texts).to_pylist()}
    return pa.array([known[text] for text in texts.to_pylist()], pa.string())


def _joined(texts, counts):
    """Texts of the alleles of each record, separated by commas."""
    if len(texts) == len(counts):
        return texts
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), texts), ",")


def _normalised(batch, counts):
    """INFO entries of the records of which an allele was moved, '' of others."""
    alleles = batch.alleles
    position = pa.array(alleles.pos).cast(pa.string())
    texts = pc.binary_join_element_wise(position, alleles.ref_texts(), alleles.alt_texts(), ":")
    joined = _joined(pc.if_else(pa.array(batch.moved), texts, "."), counts)
    first = alleles.record[0]
    some = np.bincount((alleles.record - first)[batch.moved], minlength=len(counts)) > 0
    return pc.if_else(pa.array(some), pc.binary_join_element_wise(f";{_NORMALISED_KEY}", joined, "="), "")


def info_word(text: str) -> str:
    """Text as one value of an INFO field."""
    return re.sub(r"[\s,;=]+", "_", text.replace(", ", "_"))


def score_suffix(output: str | Path) -> str:
    """Suffix of an output of variant scores, or '-'; an OutputError if there is no such format."""
    return check_suffix(output, SUFFIXES)
