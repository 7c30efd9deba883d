"""Files of saturation mutagenesis, chosen by suffix: HDF5, tables, pictures, mutation maps of kipoi-veff."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from regzoo.effects.picture import BASES_A_ROW, MOST_ROWS, draw, rows_of
from regzoo.errors import OutputError
from regzoo.output.files import finished_file
from regzoo.output.hdf5 import NewHdf5
from regzoo.output.tables import TABLES, Matrix, check_suffix, open_table
from regzoo.pictures import DPI, SUFFIXES, require_packages
from regzoo.sequence import decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from regzoo.effects.mutate import Saturation


def check_outputs(outputs, sizes, targets):
    """Raise an OutputError if an output cannot be written as asked.

    Parameters
    ----------
    outputs : list of str or pathlib.Path
        An unknown suffix, or a format whose packages are not installed, is refused.
    sizes : list of int
        Bases of each locus; a picture shows one.
    targets : int
        Number of targets; a picture has room for some.
    """
    for output in outputs:
        suffix = check_suffix(output, SUFFIXES_OF_MUTATIONS)
        if suffix == ".mutmap.h5" and find_spec("kipoi_veff") is None:
            raise OutputError(f"{output}: this needs kipoi-veff, which is not installed; `regzoo doctor` says how")
        if suffix in SUFFIXES:
            _check_picture(output, sizes, targets)


def _check_picture(output, sizes, targets):
    if len(sizes) > 1:
        raise OutputError(f"{output}: a picture shows one locus, but there are {len(sizes)}; use .h5 or .tsv")
    if rows_of(sizes[0]) * targets > MOST_ROWS:
        raise OutputError(
            f"{output}: {targets} targets of {sizes[0]} bases take {rows_of(sizes[0]) * targets} rows, but a picture has "
            f"{MOST_ROWS} of {BASES_A_ROW} bases at most; choose targets, or a shorter locus"
        )
    require_packages(output, "matplotlib", "logomaker")


@contextmanager
def open_output(output, targets, alleles, kind, model_name):
    """A function that writes one `Saturation` after the other; the file is in place when the block ends well.

    Parameters
    ----------
    output : str or pathlib.Path
        Its suffix has been checked.
    targets, alleles : sequence of str
        Columns of the effects.
    kind, model_name : str
        What the effects are.
    """
    suffix = check_suffix(output, SUFFIXES_OF_MUTATIONS)
    if suffix not in _WRITERS:
        schema = {"chrom": str, "pos": int, "name": str, "ref": str, "alt": str}
        with open_table(output, schema | {"effects": Matrix(targets, f"{kind}:")}, {"model": model_name}) as table:
            yield partial(_write_rows, table, len(schema))
        return
    writer = _WRITERS[suffix]
    with finished_file(output) as path:
        write, close = writer(path, targets, alleles, kind, model_name)
        try:
            yield write
        except BaseException:
            if writer is not _mutation_map:  # which writes at its end
                close()
            raise
        close()


def _write_rows(table, fixed, result):
    frame = result.to_frame()
    columns = {name: frame[name].to_numpy() for name in frame.columns[:fixed]}
    table.write(columns | {"effects": frame.iloc[:, fixed:].to_numpy(np.float32)})


def _hdf5(path, targets, alleles, kind, model_name):
    """/loci/000000/effects (positions, alleles, targets), with contig, start, name and reference; /alleles, /targets."""
    out = NewHdf5(path)
    out.attrs.update(model=model_name, score=kind)
    out.create_dataset("targets", data=targets, dtype=h5py.string_dtype())
    out.create_dataset("alleles", data=alleles, dtype=h5py.string_dtype())
    count = 0

    def write(result):
        nonlocal count
        group = out.create_group(f"loci/{count:06d}")
        count += 1
        group.attrs.update(contig=result.contig, start=result.start, name=result.name)
        group.create_dataset("reference", data=np.frombuffer(decode(result.reference).encode(), dtype="S1"))
        group.create_dataset("effects", data=result.effects, compression="gzip", compression_opts=1)

    return write, out.close


def save_picture(result: Saturation, path: str | Path | None, targets: list[str]) -> Figure:
    """Draw one locus and, with a path, write the picture. See `Saturation.plot`."""
    output = path or "the picture"
    if path is not None and not str(path).endswith(SUFFIXES):
        raise OutputError(f"{path}: unknown suffix; use one of {', '.join(SUFFIXES)}")
    _check_picture(output, [len(result.reference)], len(targets))
    figure = draw(result, targets)
    if path is not None:
        with finished_file(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    return figure


def _picture(path, targets, alleles, kind, model_name):
    def write(result):
        draw(result, targets).savefig(path, dpi=DPI)

    return write, lambda: None


def _mutation_map(path, targets, alleles, kind, model_name):
    from regzoo.kipoi.mutation_map import mutation_map_entry, save_mutation_map

    entries = []

    def write(result):
        entries.append(mutation_map_entry(result, targets, kind))

    return write, lambda: save_mutation_map(path, entries)


_WRITERS = {
    ".mutmap.h5": _mutation_map,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    **dict.fromkeys(SUFFIXES, _picture),
}
SUFFIXES_OF_MUTATIONS = (".mutmap.h5", *TABLES, *SUFFIXES)
