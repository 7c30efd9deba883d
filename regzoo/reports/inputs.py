"""What a report is about: variants, a table that another command wrote, or a model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from regzoo.errors import InputError
from regzoo.sequence.files import open_bytes, require_file
from regzoo.zoo import catalogue

_VARIANT_FILES = (".vcf", ".vcf.gz", ".bcf")
_TABLES = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".parquet")
_TRACKS = (".bedgraph", ".bedgraph.gz")
_PEAKS = (".narrowpeak", ".narrowpeak.gz", ".bed", ".bed.gz")
_ALLELES = {"chrom", "pos", "ref", "alt", "status", "model", "target", "value_ref", "value_alt", "diff"}
_WRITTEN_BY = (
    "a VCF, a list of variants, a table of `regzoo alleles`, `score`, `predict`, `scan`, `explain`, `compare`, "
)
_KINDS = f"{_WRITTEN_BY}`transfer`, `benchmark` or of `python -m training evaluate`, or a model's name"


@dataclass
class Input:
    """One input of a report.

    Attributes
    ----------
    kind : str
        'model', 'variants', 'alleles', 'scores', 'predictions', 'elements', 'track', 'contributions', 'explanation',
        'peaks', 'benchmark', 'comparison', 'transfer', 'evaluation' or 'result' (an object of `compare` or `transfer`).
    value : object
        A path, a data frame, or what was given.
    source : str
        For messages and for the page.
    """

    kind: str
    value: Any
    source: str


def read_input(given: Any) -> Input:
    """Find out what an input is, and read it where it is a table.

    Parameters
    ----------
    given : str, pathlib.Path, pandas.DataFrame, list of str, or result of `regzoo.compare` or `regzoo.transfer`

    Returns
    -------
    Input

    Raises
    ------
    InputError
        If there is no such file, or it is of none of the known kinds.
    """
    if isinstance(given, pd.DataFrame):
        return Input(kind_of_table(given.columns, "the data frame"), given, "a data frame")
    if isinstance(given, (list, tuple)):
        return Input("variants", list(given), f"{len(given):,} variants")
    if not isinstance(given, (str, Path)):
        if hasattr(given, "to_markdown") or hasattr(given, "matrix"):
            return Input("result", given, type(given).__name__.lower())
        raise InputError(f"expected {_KINDS}; got {type(given).__name__}")
    name = str(given).lower()
    if name == "-" or name.endswith(_VARIANT_FILES):
        return Input("variants", given, "standard input" if name == "-" else Path(given).name)
    if (Path(given) / "model.yaml").is_file() or str(given) in catalogue():
        return Input("model", given, str(given))
    return _of_file(given, name)


def _of_file(given, name):
    source = Path(given).name
    known = (*_TABLES, *_TRACKS, *_PEAKS, ".json", ".h5", ".hdf5")
    if not name.endswith(known) and not Path(given).exists():
        if str(given).count(":") == 3:
            return Input("variants", [given], "1 variant")
        raise InputError(f"{given}: no such file, and no model of this name; expected {_KINDS}")
    path = require_file(given, "input of the report")
    if not name.endswith(known):
        raise InputError(f"{given}: unknown kind of file; expected {_KINDS}")
    if name.endswith(_TRACKS):
        return Input("track", _track(path), source)
    if name.endswith(_PEAKS):
        return Input("peaks", path, source)
    if name.endswith(".json"):
        return Input("benchmark", _benchmark(path), source)
    if name.endswith((".h5", ".hdf5")):
        return Input("explanation", path, source)
    table = read_table(path)
    kind = kind_of_table(table.columns, given)
    return Input(kind, given if kind == "variants" else table, source)


def read_table(path: str | Path) -> pd.DataFrame:
    """A table of another command.

    Raises
    ------
    InputError
        If it cannot be read, or has no row.
    """
    name = str(path).lower()
    try:
        if name.endswith(".parquet"):
            table = pd.read_parquet(path)
        else:
            texts = {
                key: str for key in ("chrom", "id", "ref", "alt", "name", "orientation", "motif", "model", "target")
            }
            table = pd.read_csv(path, sep="," if ".csv" in name else "\t", dtype=texts, low_memory=False)
            for key in table.columns.intersection([*texts, "call", "status", "effect", "members", "kind", "note"]):
                table[key] = table[key].fillna("").astype(str)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: is empty; expected {_KINDS}") from None
    except (ValueError, OSError, EOFError, ArithmeticError) as error:
        raise InputError(f"{path}: cannot read this table ({error})") from error
    if not len(table):
        raise InputError(f"{path}: has a header, but no row; there is nothing to report")
    return table


def kind_of_table(columns: Iterable[str], source: Any) -> str:
    """Which command wrote a table, by its columns.

    Raises
    ------
    InputError
        If no known one did.
    """
    found = {str(name) for name in columns}
    for kind, needed, matches in (
        ("alleles", _ALLELES, True),
        ("scores", {"record", "chrom", "pos", "ref", "alt", "status"}, not {"value_ref", "diff"} & found),
        ("variants", {"chrom", "pos", "ref", "alt"}, not {"value_ref", "diff"} & found),
        ("contributions", {"chrom", "pos", "name", "ref"}, "alt" not in found),
        ("elements", {"chrom", "start", "end", "target", "value", "summit"}, True),
        ("predictions", {"chrom", "start", "end", "name", "status"}, True),
        ("transfer", {"model", "trained", "tested", "metric", "value"}, True),
        ("benchmark", {"model", "target", "data_set", "metric", "value"}, True),
        ("comparison", {"target", "model", "examples", "difference"}, True),
        ("evaluation", {"target", "examples"}, True),
    ):
        if needed <= found and matches:
            return kind
    missing = sorted(_ALLELES - found)
    if len(missing) < 4:
        raise InputError(f"{source}: a table of `regzoo alleles` without {', '.join(missing)}; write it again")
    raise InputError(f"{source}: columns {', '.join(sorted(found)[:8])} are of no known table; expected {_KINDS}")


def _benchmark(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = pd.DataFrame(content["rows"])
        missing = {"model", "target", "data_set", "metric", "value", "low", "high"} - set(rows)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path}: expected JSON that `regzoo benchmark` wrote, with `rows` ({error})") from error
    if missing or rows.empty:
        what = f"without {', '.join(sorted(missing))}" if missing else "no row"
        raise InputError(f"{path}: rows of `regzoo benchmark` expected, found {what}")
    for key in ("suite", "command"):
        rows.attrs[key] = str(content.get(key, ""))
    return rows


def _track(path):
    """A bedGraph file."""
    rows = []
    with open_bytes(path) as handle:
        for number, line in enumerate(handle, 1):
            fields = line.decode("utf-8", "replace").split()
            if not fields or fields[0] in ("track", "browser") or fields[0].startswith("#"):
                continue
            try:
                rows.append((fields[0], int(fields[1]), int(fields[2]), float(fields[3])))
            except (IndexError, ValueError):
                raise InputError(f"{path}, line {number}: expected contig, start, end and value of bedGraph") from None
    if not rows:
        raise InputError(f"{path}: no value in this bedGraph file")
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "value"])
