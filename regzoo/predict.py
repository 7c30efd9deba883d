"""Predictions for the intervals of a BED file: labelled columns, chosen targets, the format by suffix."""

import gzip
import io
import sys
from collections import Counter
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from regzoo.effects.scoring import target_columns
from regzoo.errors import InputError, OutputError
from regzoo.options import CENTRES, PRECISIONS, check_choice
from regzoo.sequence import Genome, read_bed
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.files import finished_file, refuse_overwrite
from regzoo.sequence.intervals import is_narrow_peak, locate_windows, refuse_overhang, refuse_problems
from regzoo.zoo import load_model

_NOT_FINITE = "prediction not finite"


@dataclass
class Predicted:
    """What became of the intervals.

    Attributes
    ----------
    statuses : collections.Counter
        Intervals by status: 'ok', or why there is no prediction.
    padded : int
        Windows, of any model, that reach over a contig's end and are padded with N.
    unknown : int
        Windows, of any model, with a base on the contig that is not A, C, G, T or U.
    """

    statuses: Counter
    padded: int = 0
    unknown: int = 0


def predict_bed(bed, fasta, model, output, targets=None, use_strand=None, strict=False, batch_size=64, progress=True,
                precision="float32", centre=None):  # fmt: skip
    """Predict windows around the intervals' centres and write a table.

    An interval whose contig is not in the FASTA, or that lies off its contig, keeps its row: its status says why, and it has
    no values.

    Parameters
    ----------
    bed : str or pathlib.Path
        '-' is standard input.
    fasta : str or pathlib.Path
    model : str or regzoo.zoo.Model, or a list of them
        Names, paths or loaded models; one that is repeated counts once.
    output : str or pathlib.Path
        .tsv, .tsv.gz, .parquet, .h5, or .bedgraph (one target); '-' is TSV on standard output.
    targets : sequence of str, optional
        Names of the targets to write; all without it. With several models, those of each that has some of them. Of a profile
        model each is a column a bin, 'TARGET:BIN'.
    use_strand : bool, optional
        Reverse-complement intervals on the '-' strand; without it, as each model says.
    strict : bool
        Refuse windows that reach over a contig's end; otherwise N stands for what is outside.
    batch_size : int
    progress : bool
        Show a progress bar on standard error.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    centre : str, optional
        A key of `regzoo.options.CENTRES`. Without it, 'summit' for files named .narrowPeak, 'middle' for others.

    Returns
    -------
    Predicted

    Raises
    ------
    regzoo.errors.RegzooError
        If an input, a model, a target or the output is not usable, or no interval can be predicted; nothing is written then.
    """
    check_choice("precision", precision, PRECISIONS)
    if centre is not None:
        check_choice("centre", centre, CENTRES)
    refuse_overwrite(output, (bed, fasta))
    models = _load_models(model)
    columns = columns_of_models(models, list(dict.fromkeys(targets or ())))
    names = [name for one, chosen in zip(models, columns) for name in _names(one, chosen, len(models) > 1)]
    kind = _kind(output, names)
    intervals, genome = read_bed(bed), Genome(fasta)
    summits = centre == "summit" or (centre is None and is_narrow_peak(bed))
    centred = intervals.around_summits(bed) if summits else intervals
    shortest = min(one.input_length for one in models)
    numbers, _, problems = locate_windows(centred, genome, shortest)
    if (problems != "").all():
        refuse_problems(intervals, genome, bed, problems)
    usable = problems == ""
    starts = {one.input_length: centred.resized(one.input_length) for one in models}
    result = Predicted(Counter())
    for one in models:
        first, length = starts[one.input_length], one.input_length
        if strict:
            refuse_overhang(centred, genome, bed, numbers, first, length, usable)
        result.padded += int(np.sum(usable & ((first < 0) | (first + length > genome.lengths[numbers]))))
    fixed = {"chrom": intervals.contigs, "start": intervals.starts, "end": intervals.ends, "name": intervals.names,
             "strand": intervals.strands, **_window_columns(models, starts)}  # fmt: skip
    with ExitStack() as stack:
        path = stack.enter_context(nullcontext() if str(output) == "-" else finished_file(output))
        write = stack.enter_context(
            kind(path, [*fixed, "status"], names, ", ".join(one.name for one in models), genome)
        )
        bar = stack.enter_context(tqdm(total=len(intervals), desc="predicting", unit=" windows", disable=not progress))
        for start in range(0, len(intervals), 16 * batch_size):
            rows = np.arange(start, min(start + 16 * batch_size, len(intervals)))
            ok = rows[usable[rows]]
            parts = []
            for one, chosen in zip(models, columns) if len(ok) else ():
                first, length = starts[one.input_length][ok], one.input_length
                codes = genome.windows(numbers[ok], first, length, _reverse(one, use_strand, intervals.strands[ok]))
                outside = np.maximum(-first, 0) + np.maximum(first + length - genome.lengths[numbers[ok]], 0)
                result.unknown += int(np.sum((codes == UNKNOWN).sum(axis=1) > outside))
                parts.append(one.predict(codes, batch_size, precision)[:, chosen].reshape(len(ok), -1))
            values = np.full((len(rows), len(names)), np.nan, dtype=np.float32)
            if parts:
                values[usable[rows]] = np.concatenate(parts, axis=1)
            status = np.where(
                usable[rows], np.where(np.isfinite(values).all(axis=1), "ok", _NOT_FINITE), problems[rows]
            )
            values[status != "ok"] = np.nan
            result.statuses.update(status.tolist())
            write({name: column[rows] for name, column in fixed.items()} | {"status": status}, values)
            bar.update(len(rows))
        write.finish()
    return result


def _load_models(model):
    """Loaded models, each once."""
    given = model if isinstance(model, (list, tuple)) else [model]
    if not given:
        raise InputError("no model is given")
    models = {}
    for one in (str(one) if isinstance(one, Path) else one for one in given):
        name = one if isinstance(one, str) else one.name
        if name not in models:
            models[name] = load_model(one) if isinstance(one, str) else one
        elif not isinstance(one, str) and models[name] is not one:
            raise InputError(f"two models are named {name!r}; their columns could not be told apart")
    return list(models.values())


def columns_of_models(models, targets):
    """For each model, the indices of the named targets that it has, or of all its targets.

    Raises
    ------
    InputError
        If a model has none of the targets, or no model has one of them.
    """
    if len(models) == 1:
        return [target_columns(models[0], targets)]
    known = {target for model in models for target in model.targets}
    columns = []
    for model in models:
        wanted = [target for target in targets if target in model.targets or target not in known]
        if targets and not wanted:
            raise InputError(f"model {model.name} has none of the targets {', '.join(targets)}")
        columns.append(target_columns(model, wanted))
    return columns


def _names(model, chosen, with_model):
    names = [f"{model.name}:{model.targets[i]}" if with_model else model.targets[i] for i in chosen]
    if len(model.output_shape) == 2:  # a profile: a column a bin
        names = [f"{name}:{b}" for name in names for b in range(model.output_shape[1])]
    return names


def _window_columns(models, starts):
    """The windows that are read, as columns: one pair, or one for each model if they differ in length."""
    if len(starts) == 1:
        ((length, first),) = starts.items()
        return {"window_start": first, "window_end": first + length}
    return {
        f"{model.name}:{name}": starts[model.input_length] + offset
        for model in models
        for name, offset in (("window_start", 0), ("window_end", model.input_length))
    }


def _reverse(model, use_strand, strands):
    used = model.stranded if use_strand is None else use_strand
    return strands == "-" if used else np.zeros(len(strands), dtype=bool)


class _Table:
    """A table that is written block by block; calling it takes columns by name, and values, shape (rows, targets)."""

    def __init__(self, path, columns, targets, model_name, genome):
        self.path, self.columns, self.targets, self.genome = path, columns, targets, genome
        self.open(path, model_name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.out.close()

    def finish(self):
        """Called after the last block."""


class _Tsv(_Table):
    def open(self, path, model_name):
        self.out = open(path, "w") if path else sys.stdout
        self.out.write("\t".join([*self.columns, *self.targets]) + "\n")

    def __call__(self, columns, values):
        for *fixed, row in zip(*columns.values(), values.tolist()):
            cells = ("" if v != v else f"{v:.7g}" for v in row)
            self.out.write("\t".join([*map(str, fixed), *cells]) + "\n")

    def __exit__(self, *error):
        if self.path:
            self.out.close()


class _TsvGz(_Tsv):
    def open(self, path, model_name):
        # Without the name and the time of the temporary file, so that the same table gives the same bytes.
        self.raw = open(path, "wb")
        self.out = io.TextIOWrapper(gzip.GzipFile("", "wb", 6, self.raw, 0))
        self.out.write("\t".join([*self.columns, *self.targets]) + "\n")

    def __exit__(self, *error):
        with self.raw:
            self.out.close()


class _BedGraph(_Table):
    """The windows that were read, in order; where several overlap, the mean of their predictions."""

    def open(self, path, model_name):
        self.out = open(path, "w")
        name = self.targets[0].replace('"', "'")
        self.out.write(f'track type=bedGraph name="{name}" description="{model_name}"\n')
        self.rows = {}

    def __call__(self, columns, values):
        ok = columns["status"] == "ok"
        spans = zip(columns["chrom"][ok], columns["window_start"][ok], columns["window_end"][ok], values[ok, 0])
        for contig, start, end, value in spans:
            self.rows.setdefault(str(contig), []).append((start, end, value))

    def finish(self):
        for contig in sorted(self.rows):
            starts, ends, values = np.array(self.rows[contig], dtype=float).T
            starts, ends = np.maximum(starts, 0), np.minimum(ends, self.genome.lengths[self.genome.number(contig)])
            bounds = np.unique(np.concatenate([starts, ends]))
            change, count = np.zeros(len(bounds)), np.zeros(len(bounds), dtype=np.int64)
            for places, sign in ((np.searchsorted(bounds, starts), 1), (np.searchsorted(bounds, ends), -1)):
                np.add.at(change, places, sign * values)
                np.add.at(count, places, sign)
            total, count = np.cumsum(change), np.cumsum(count)
            for i in np.flatnonzero(count):
                self.out.write(f"{contig}\t{bounds[i]:.0f}\t{bounds[i + 1]:.0f}\t{total[i] / count[i]:.7g}\n")


class _Parquet(_Table):
    def open(self, path, model_name):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.pa = pa
        fields = [(name, pa.int64() if _is_position(name) else pa.string()) for name in self.columns]
        self.schema = pa.schema(fields + [(t, pa.float32()) for t in self.targets], metadata={"model": model_name})
        self.out = pq.ParquetWriter(path, self.schema)

    def __call__(self, columns, values):
        arrays = [self.pa.array(c, type=f.type) for c, f in zip([*columns.values(), *values.T], self.schema)]
        self.out.write_table(self.pa.Table.from_arrays(arrays, schema=self.schema))


class _Hdf5(_Table):
    def open(self, path, model_name):
        import h5py

        from regzoo.sequence.hdf5 import NewHdf5

        self.out = NewHdf5(path)
        self.out.attrs["model"] = model_name
        self.out.create_dataset("targets", data=self.targets, dtype=h5py.string_dtype())
        for name in self.columns:
            kind = np.int64 if _is_position(name) else h5py.string_dtype()
            self.out.create_dataset(f"intervals/{name}", (0,), kind, maxshape=(None,), chunks=(4096,))
        width = len(self.targets)
        self.out.create_dataset("predictions", (0, width), np.float32, maxshape=(None, width), chunks=(256, width))

    def __call__(self, columns, values):
        names = [f"intervals/{name}" for name in columns] + ["predictions"]
        for name, new in zip(names, [*columns.values(), values]):
            data = self.out[name]
            data.resize(len(data) + len(new), axis=0)
            data[len(data) - len(new) :] = new.astype(object) if new.dtype.kind == "U" else new


def _is_position(name):
    return name.endswith(("start", "end"))


_TABLES = {".tsv": _Tsv, ".tsv.gz": _TsvGz, ".parquet": _Parquet, ".h5": _Hdf5, ".hdf5": _Hdf5, ".bedgraph": _BedGraph,
           ".bg": _BedGraph}  # fmt: skip


def _kind(output, targets):
    """The table of an output's suffix."""
    name = str(output).lower()
    kind = _Tsv if name == "-" else next((kind for suffix, kind in _TABLES.items() if name.endswith(suffix)), None)
    if kind is None:
        raise OutputError(f"{output}: unknown suffix; use one of {', '.join(_TABLES)}, or - for TSV on standard output")
    if kind is _BedGraph and len(targets) != 1:
        raise OutputError(f"{output}: bedGraph holds one track, but {len(targets)} targets are asked for; choose one")
    return kind
