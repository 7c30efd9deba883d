"""Files of saturation mutagenesis, chosen by suffix: HDF5, TSV, pictures, kipoi's mutation maps."""

from contextlib import contextmanager
from importlib.util import find_spec

import h5py
import numpy as np

from regzoo.effects.picture import BASES_A_ROW, MOST_ROWS, draw, rows_of
from regzoo.errors import OutputError
from regzoo.pictures import DPI, SUFFIXES, require_packages
from regzoo.sequence import decode
from regzoo.sequence.files import finished_file
from regzoo.sequence.hdf5 import NewHdf5


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
        name = str(output)
        if not name.endswith(tuple(_WRITERS)):
            raise OutputError(f"{output}: unknown suffix; use one of {', '.join(_WRITERS)}")
        if name.endswith(".mutmap.h5") and find_spec("kipoi_veff") is None:
            raise OutputError(f"{output}: this needs kipoi-veff, which is not installed; `regzoo doctor` says how")
        if not name.endswith(SUFFIXES):
            continue
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
    writer = next(kind for suffix, kind in _WRITERS.items() if str(output).endswith(suffix))
    with finished_file(output) as path:
        write, close = writer(path, targets, alleles, kind, model_name)
        try:
            yield write
        except BaseException:
            if writer is not _mutation_map:  # which writes at its end
                close()
            raise
        close()


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


def _tsv(path, targets, alleles, kind, model_name):
    out = open(path, "w")
    out.write("\t".join(["chrom", "pos", "name", "ref", "alt", *(f"{kind}:{t}" for t in targets)]) + "\n")

    def write(result):
        for offset, base in enumerate(decode(result.reference)):
            for allele, row in zip(alleles, result.effects[offset].tolist()):
                if allele != base:
                    values = ("" if v != v else f"{v:.7g}" for v in row)
                    fixed = (result.contig, result.start + offset + 1, result.name, base, allele)
                    out.write("\t".join([*map(str, fixed), *values]) + "\n")

    return write, out.close


def _picture(path, targets, alleles, kind, model_name):
    def write(result):
        figure = draw(result, targets, kind, model_name)
        figure.savefig(path, dpi=DPI)

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
    ".tsv": _tsv,
    **dict.fromkeys(SUFFIXES, _picture),
}
