"""Files of explanations: HDF5, TF-MoDISco's input, tables, bigWig and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regzoo.errors import OutputError
from regzoo.output.files import finished_file
from regzoo.output.hdf5 import NewHdf5
from regzoo.output.tables import TSV, Matrix, Schema, check_suffix, open_table
from regzoo.output.tracks import require_bigwig, write_bigwig
from regzoo.pictures import SUFFIXES, require_packages
from regzoo.sequence import Genome, decode
from regzoo.sequence.codes import one_hot

if TYPE_CHECKING:
    from regzoo.explanation import Explanation

OUTPUTS = (".h5", ".npz", *TSV, ".parquet", ".bw", *SUFFIXES)


def check_outputs(outputs: Sequence[str | Path], windows: int, targets: int) -> None:
    """Raise an OutputError if an output cannot hold this many windows and targets."""
    for path in outputs:
        suffix = check_suffix(path, OUTPUTS, stdout=False)
        if suffix in SUFFIXES:
            require_packages(path, "matplotlib", "logomaker")
            if windows > 1:
                raise OutputError(f"{path}: a picture shows one window, but there are {windows}; use .h5 or .tsv")
        if suffix in (".npz", ".bw") and targets != 1:
            raise OutputError(f"{path}: holds one target, but there are {targets}; choose one")
        if suffix == ".bw":
            require_bigwig()


def write_explanations(
    outputs: Sequence[str | Path], found: Iterable[Explanation], names: list[str], genome: Genome | None
) -> None:
    """Write all explanations to all outputs."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_open(path, names, genome)) for path in outputs]
        for result in found:
            for write in writers:
                write(result)


@contextmanager
def _open(path, names, genome):
    suffix = check_suffix(path, OUTPUTS, stdout=False)
    if suffix in (*TSV, ".parquet"):
        schema: Schema = {"chrom": str, "pos": int, "name": str, "ref": str, "contributions": Matrix(names)}
        with open_table(path, schema) as table:
            yield lambda result: table.write(bases_of(result) | {"contributions": result.contributions})
        return
    with finished_file(path) as temporary:
        if suffix == ".h5":
            with NewHdf5(temporary) as file:
                file.create_dataset("targets", data=names)
                yield _hdf5_writer(file)
            return
        results: list[Explanation] = []
        yield results.append
        if suffix == ".npz":
            shape = (0, 4, 0)
            hot = np.stack([one_hot(r.reference) for r in results]) if results else np.zeros(shape)
            contribs = np.stack([r.hypothetical[:, :, 0].T for r in results]) if results else np.zeros(shape)
            with open(temporary, "wb") as handle:
                np.savez_compressed(handle, one_hot=hot, hypothetical_contribs=contribs)
        elif suffix == ".bw":
            sizes = dict(zip(genome.contigs, genome.lengths.tolist()))
            write_bigwig(temporary, _mean_contributions(results, genome), sizes, path)
        else:
            results[0].plot(temporary)


def bases_of(result: Explanation) -> dict:
    """Columns that say which base each row of a table is of."""
    length = len(result.reference)
    return {
        "chrom": [result.contig] * length,
        "pos": np.arange(result.start, result.start + length) + 1,
        "name": [result.name] * length,
        "ref": list(decode(result.reference)),
    }


def _hdf5_writer(file) -> Callable[[Explanation], None]:
    count = 0

    def write(result: Explanation) -> None:
        nonlocal count
        group = file.create_group(f"windows/{count:06d}")
        count += 1
        group.attrs.update(
            contig=result.contig, start=result.start, name=result.name, method=result.method, model=result.model
        )
        if result.saturation_correlation is not None:
            file.attrs["saturation_correlation"] = result.saturation_correlation
        group.create_dataset("reference", data=np.frombuffer(decode(result.reference).encode(), dtype="S1"))
        for name in ("contributions", "hypothetical", "prediction", "baseline", "completeness"):
            group.create_dataset(name, data=getattr(result, name))

    return write


def _mean_contributions(results, genome):
    """Blocks of a bigWig: the mean contribution of each base of each contig."""
    sums: dict[str, list[np.ndarray]] = {}
    for result in results:
        low = max(0, -result.start)
        high = min(len(result.reference), int(genome.lengths[genome.number(result.contig)]) - result.start)
        positions = np.arange(result.start + low, result.start + high)
        sums.setdefault(result.contig, []).append(np.stack([positions, result.contributions[low:high, 0]]))
    for contig in sorted(sums):
        positions, found = np.concatenate(sums[contig], axis=1)
        unique, rows = np.unique(positions.astype(np.int64), return_inverse=True)
        mean = np.bincount(rows, found) / np.bincount(rows)
        yield contig, unique, unique + 1, mean.astype(np.float32)
