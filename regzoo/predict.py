"""Predictions for the intervals of a BED file: labelled columns, chosen targets, the format by suffix."""

from contextlib import ExitStack

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from regzoo.effects.scoring import target_columns
from regzoo.errors import OutputError
from regzoo.options import PRECISIONS, check_choice
from regzoo.sequence import Genome, place_windows, read_bed
from regzoo.sequence.files import finished_file
from regzoo.zoo import load_model

_COLUMNS = ("chrom", "start", "end", "name", "strand")


def predict_bed(bed, fasta, model, output, targets=None, use_strand=None, strict=False, batch_size=64, progress=True,
                precision="float32"):  # fmt: skip
    """Predict windows around the intervals' centres and write a table.

    Parameters
    ----------
    bed, fasta : str or pathlib.Path
    model : str or regzoo.zoo.Model
        Name, path or loaded model.
    output : str or pathlib.Path
        .tsv, .parquet, .h5, or .bedgraph (one target).
    targets : sequence of str, optional
        Names of the targets to write; all without it. Of a profile model each is a column a bin, 'TARGET:BIN'.
    use_strand : bool, optional
        Reverse-complement intervals on the '-' strand; without it, as the model says.
    strict : bool
        Refuse windows that reach over a contig's end; otherwise N stands for what is outside.
    batch_size : int
    progress : bool
        Show a progress bar on standard error.
    precision : str
        A key of `regzoo.options.PRECISIONS`.

    Returns
    -------
    int
        Number of intervals.

    Raises
    ------
    regzoo.errors.RegzooError
        If an input, the model, a target or the output is not usable; nothing is written then.
    """
    check_choice("precision", precision, PRECISIONS)
    model = load_model(model) if isinstance(model, str) else model
    chosen = target_columns(model, targets)
    names = [model.targets[i] for i in chosen]
    if len(model.output_shape) == 2:  # a profile: a column a bin
        names = [f"{name}:{b}" for name in names for b in range(model.output_shape[1])]
    intervals, genome = read_bed(bed), Genome(fasta)
    numbers, starts = place_windows(intervals, genome, model.input_length, bed, strict)
    use_strand = model.stranded if use_strand is None else use_strand
    reverse = intervals.strands == "-" if use_strand else np.zeros(len(intervals), dtype=bool)
    with ExitStack() as stack:
        temporary = stack.enter_context(finished_file(output))
        write = stack.enter_context(_open_table(temporary, str(output), names, model.name))
        bar = stack.enter_context(tqdm(total=len(intervals), desc="predicting", unit=" windows", disable=not progress))
        step = 16 * batch_size
        for start in range(0, len(intervals), step):
            rows = slice(start, start + step)
            codes = genome.windows(numbers[rows], starts[rows], model.input_length, reverse[rows])
            predictions = model.predict(codes, batch_size, precision)[:, chosen]
            fixed = (intervals.contigs, intervals.starts, intervals.ends, intervals.names, intervals.strands)
            write([column[rows] for column in fixed], predictions.reshape(len(codes), -1))
            bar.update(len(codes))
    return len(intervals)


class _Table:
    """A table that is written block by block; calling it writes (columns, predictions)."""

    def __init__(self, path, targets, model_name):
        self.targets = targets
        self.open(path, model_name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.out.close()


class _Tsv(_Table):
    def open(self, path, model_name):
        self.out = open(path, "w")
        self.out.write("\t".join([*_COLUMNS, *self.targets]) + "\n")

    def __call__(self, columns, values):
        for *fixed, row in zip(*columns, values):
            self.out.write("\t".join([*map(str, fixed), *(f"{v:.7g}" for v in row)]) + "\n")


class _BedGraph(_Table):
    def open(self, path, model_name):
        if len(self.targets) != 1:
            raise OutputError(f"bedGraph holds one track, but {len(self.targets)} targets are asked for; choose one")
        self.out = open(path, "w")
        self.out.write(f'track type=bedGraph name="{self.targets[0]}" description="{model_name}"\n')

    def __call__(self, columns, values):
        for contig, start, end, _, _, row in zip(*columns, values):
            self.out.write(f"{contig}\t{start}\t{end}\t{row[0]:.7g}\n")


class _Parquet(_Table):
    def open(self, path, model_name):
        types = {"start": pa.int64(), "end": pa.int64()}
        fields = [(name, types.get(name, pa.string())) for name in _COLUMNS]
        self.schema = pa.schema(fields + [(t, pa.float32()) for t in self.targets], metadata={"model": model_name})
        self.out = pq.ParquetWriter(path, self.schema)

    def __call__(self, columns, values):
        arrays = [pa.array(c, type=f.type) for c, f in zip([*columns, *values.T], self.schema)]
        self.out.write_table(pa.Table.from_arrays(arrays, schema=self.schema))


class _Hdf5(_Table):
    def open(self, path, model_name):
        self.out = h5py.File(path, "w")
        self.out.attrs["model"] = model_name
        self.out.create_dataset("targets", data=self.targets, dtype=h5py.string_dtype())
        for name in _COLUMNS:
            kind = np.int64 if name in ("start", "end") else h5py.string_dtype()
            self.out.create_dataset(f"intervals/{name}", (0,), kind, maxshape=(None,), chunks=(4096,))
        width = len(self.targets)
        self.out.create_dataset("predictions", (0, width), np.float32, maxshape=(None, width), chunks=(256, width))

    def __call__(self, columns, values):
        names = [f"intervals/{name}" for name in _COLUMNS] + ["predictions"]
        for name, new in zip(names, [*columns, values]):
            data = self.out[name]
            data.resize(len(data) + len(new), axis=0)
            data[len(data) - len(new) :] = new.astype(object) if new.dtype.kind == "U" else new


_TABLES = {".tsv": _Tsv, ".parquet": _Parquet, ".h5": _Hdf5, ".hdf5": _Hdf5, ".bedgraph": _BedGraph, ".bg": _BedGraph}


def _open_table(path, output, targets, model_name):
    for suffix, kind in _TABLES.items():
        if output.lower().endswith(suffix):
            return kind(path, targets, model_name)
    raise OutputError(f"{output}: unknown suffix; use one of {', '.join(_TABLES)}")
