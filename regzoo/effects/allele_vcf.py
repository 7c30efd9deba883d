"""Allele reports as VCF and BCF: the records of the input with INFO fields added.

Every field has one entry for each alternate. With several models or targets, the values of one alternate are separated
by '|', in the order that the header gives. With `best`, each alternate has one value, and two more fields name its
model and target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from regzoo.effects.run import Order, index_file
from regzoo.effects.writers import BCF, STATUS_KEY, VCF, InfoKeys, InfoWriter, info_word, write_bcf
from regzoo.errors import OutputError
from regzoo.output.files import finished_file
from regzoo.output.tables import check_suffix
from regzoo.sequence import count_records, open_variants

#: Columns of the report that become INFO fields REGZOO_COLUMN, with their meaning.
FIELDS = {
    "rank": ("Integer", "rank among all rows of the report"),
    "value_ref": ("Float", "largest prediction of the reference over the windows"),
    "value_alt": ("Float", "largest prediction of the alternate over the windows"),
    "diff": ("Float", "alternate - reference, of the centred window"),
    "call": ("String", "gain, loss, class (of both alleles) or none"),
    "percentile": ("Float", "of the magnitude of diff, among background variants"),
    "p": ("Float", "empirical p-value of diff"),
    "q": ("Float", "Benjamini-Hochberg's, over all rows of the report"),
}
_OF_ALLELE = {
    "pip": ("Float", "posterior inclusion probability"),
    "orientation": ("String", "what is wrong with REF and ALT"),
    "motif": ("String", "the motif that changes most"),
}
_BEST = {"model": ("String", "model of the largest effect"), "target": ("String", "target of the largest effect")}


def write_allele_vcf(
    report: pd.DataFrame, variants: Any, output: str | Path, pairs: Sequence[tuple[str, str]] | None
) -> None:
    """Write a report of `regzoo.alleles` into the records that it is about.

    Text lines are unchanged but for INFO. Fields without any value in the report are left out. Characters that INFO
    cannot hold become '_'. A .vcf.gz or .bcf with sorted records is indexed.

    Parameters
    ----------
    report : pandas.DataFrame
        As `regzoo.alleles` makes it, of all alleles of `variants`, with the column alternate: the number in the record.
    variants : path of a VCF or BCF file, data frame or list
        As given to `regzoo.alleles`.
    output : str or pathlib.Path
        .vcf, .vcf.gz or .bcf.
    pairs : sequence of (str, str), or None
        Models and targets, in the order of their values. None if the report has one row for each allele (`best`).

    Raises
    ------
    OutputError
        If the file cannot be written completely. Nothing is written then.
    InputError
        If the variants cannot be read again.
    """
    suffix, order = check_suffix(output, (*VCF, *BCF), stdout=False), Order()
    columns = ["record", "alternate", "status", "model", "target", *FIELDS, *_OF_ALLELE]
    by_alternate: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in report[columns].to_dict("records"):
        by_alternate.setdefault((row["record"], row["alternate"]), []).append(row)
    with finished_file(output) as temporary, open_variants(variants) as source:
        keys = InfoKeys(normalised=False)
        fields = _declared(keys, report, pairs)
        with _opened(temporary, suffix, keys, source.header) as writer:
            for batch in source.batches():
                order.see(batch)
                numbers = batch.alleles.record.tolist()
                rows = [
                    by_alternate[record, alternate]
                    for record, count in zip(dict.fromkeys(numbers), batch.counts.tolist())
                    for alternate in range(1, count + 1)
                ]
                entries = [(key, pa.array([_text(part, name, pairs) for part in rows])) for key, name, pairs in fields]
                statuses = pa.array([info_word(part[0]["status"]) for part in rows])
                writer.append(batch, [*entries, (STATUS_KEY, statuses)])
    if suffix != ".vcf":
        index_file(output, suffix, order)


@contextmanager
def _opened(path, suffix, keys, header) -> Iterator[InfoWriter]:
    """A writer, whose file is complete and counted afterwards."""
    text = Path(f"{path}.vcf") if suffix in BCF else path
    try:
        writer = InfoWriter(text, suffix == ".vcf.gz", keys, header)
        try:
            yield writer
        finally:
            writer.close()
        if suffix in BCF:
            write_bcf(text, path, writer.records)
        elif (found := count_records(path)) != writer.records:
            raise OutputError(f"{path}: {writer.records} records were written, but {found} are in the file")
    finally:
        if suffix in BCF:
            text.unlink(missing_ok=True)


def _declared(keys, report, pairs):
    """(key, column, model and target of each value or None) of each field; the header lines are in `keys`."""
    several = f", for {'|'.join(f'{m}:{t}' for m, t in pairs)}" if pairs and len(pairs) > 1 else ""
    fields = []
    for name, (kind, about) in {**FIELDS, **_OF_ALLELE, **(_BEST if pairs is None else {})}.items():
        if not report[name].replace("", np.nan).notna().any():
            continue
        packed = name in FIELDS and several
        kind, about = ("String", f"{about}{several}") if packed else (kind, about)
        fields.append((keys.declare((name.upper(),), "A", kind, about), name, pairs if packed else None))
    return fields


def _text(rows, name, pairs):
    """Value of one field and alternate."""
    if pairs is None:
        return _value(rows[0][name])
    by_pair = {(row["model"], row["target"]): row[name] for row in rows}
    values = [_value(by_pair.get(pair)) for pair in pairs]
    return "." if set(values) == {"."} else "|".join(values)


def _value(value):
    if value is None or value == "" or value != value:
        return "."
    if isinstance(value, str):
        return info_word(value.replace("→", "->"))
    return str(value) if isinstance(value, (int, np.integer)) else str(np.float32(value))
