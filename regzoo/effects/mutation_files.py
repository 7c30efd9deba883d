"""Output files of saturation mutagenesis: HDF5, tables, pictures and mutation maps of kipoi-veff."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from regzoo.pictures import DPI, SUFFIXES, picture, require_packages
from regzoo.sequence import decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from regzoo.effects.mutate import Saturation


def check_outputs(outputs: Sequence[str | Path], sizes: Sequence[int], targets: int) -> None:
    """Validate output files.

    Parameters
    ----------
    outputs : sequence of str or pathlib.Path
    sizes : sequence of int
        Length of each locus, in bases.
    targets : int
        Number of targets.

    Raises
    ------
    OutputError
        If a suffix is unknown, a required package is not installed, or a picture would show more than one locus or more
        than `MOST_ROWS` rows.
    """
    for output in outputs:
        suffix = check_suffix(output, SUFFIXES_OF_MUTATIONS)
        if suffix == ".mutmap.h5" and find_spec("kipoi_veff") is None:
            raise OutputError(f"{output}: kipoi-veff is not installed; run `regzoo doctor` for instructions")
        if suffix in SUFFIXES:
            _check_picture(output, sizes, targets)


def _check_picture(output, sizes, targets):
    if len(sizes) > 1:
        raise OutputError(f"{output}: a picture shows one locus, but there are {len(sizes)}; use .h5 or .tsv")
    if rows_of(sizes[0]) * targets > MOST_ROWS:
        raise OutputError(
            f"{output}: {targets} targets of {sizes[0]} bases take {rows_of(sizes[0]) * targets} rows, but a picture "
            f"has at most {MOST_ROWS} rows of {BASES_A_ROW} bases; select targets or a shorter locus"
        )
    require_packages(output, "matplotlib", "logomaker")


@contextmanager
def open_output(
    output: str | Path, targets: Sequence[str], alleles: Sequence[str], kind: str, model_name: str
) -> Iterator[Callable[[Saturation], None]]:
    """Context with a function that writes one `Saturation` per call. The file appears when the block ends without
    error.

    Parameters
    ----------
    output : str or pathlib.Path
        A file with a valid suffix; see `check_outputs`.
    targets, alleles : sequence of str
        Targets and alleles of the effects.
    kind, model_name : str
        Names of the score and of the model.
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
            if writer is not _mutation_map:  # its close writes the file
                close()
            raise
        close()


def _write_rows(table, fixed, result):
    frame = result.to_frame()
    columns = {name: frame[name].to_numpy() for name in frame.columns[:fixed]}
    table.write(columns | {"effects": frame.iloc[:, fixed:].to_numpy(np.float32)})


def _hdf5(path, targets, alleles, kind, model_name):
    """Layout: /targets, /alleles, and for each locus /loci/NUMBER/effects, shape (positions, alleles, targets)."""
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
    """Draw one locus and write the picture if a path is given. See `Saturation.plot`."""
    _check_picture(path or "the picture", [len(result.reference)], len(targets))
    return picture(path, ("matplotlib", "logomaker"), lambda: draw(result, targets))


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
