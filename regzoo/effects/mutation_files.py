"""Files of saturation mutagenesis, chosen by suffix: HDF5, TSV, pictures, kipoi's mutation maps."""

from contextlib import contextmanager

import h5py
import numpy as np

from regzoo.errors import OutputError
from regzoo.sequence import decode
from regzoo.sequence.files import finished_file

_PICTURES = (".png", ".svg")


def check_outputs(outputs, loci):
    """Raise an OutputError if a suffix is unknown, or a picture is asked of several loci."""
    for output in outputs:
        name = str(output)
        if not name.endswith(tuple(_WRITERS)):
            raise OutputError(f"{output}: unknown suffix; use one of {', '.join(_WRITERS)}")
        if name.endswith(_PICTURES) and loci > 1:
            raise OutputError(f"{output}: a picture shows one locus, but there are {loci}; use .h5 or .tsv")


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
    out = h5py.File(path, "w")
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
        from regzoo.effects.picture import draw

        figure = draw(result, targets, kind, model_name)
        figure.savefig(path, bbox_inches="tight", dpi=150)

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
    ".png": _picture,
    ".svg": _picture,
}
