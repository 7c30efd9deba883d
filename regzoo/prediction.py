"""Predictions for intervals of a genome, or for sequences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from regzoo.calibration import Adjustment
from regzoo.errors import InputError, OutputError
from regzoo.model import Model
from regzoo.options import CENTRES, PRECISIONS, check_at_least, check_choice, distinct
from regzoo.output.files import finished_file, refuse_overwrite
from regzoo.output.tables import TABLES, Matrix, check_suffix, closing_table, open_table
from regzoo.output.tracks import BEDGRAPH, mean_of_overlaps, write_bedgraph
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.genome import as_genome
from regzoo.sequence.intervals import (
    Intervals,
    as_intervals,
    is_narrow_peak,
    locate_windows,
    refuse_overhang,
    refuse_problems,
)
from regzoo.zoo import load_models

_NOT_FINITE = "prediction not finite"
_BATCHES_PER_BLOCK = 16


@dataclass
class Predicted:
    """What became of the intervals.

    Attributes
    ----------
    statuses : collections.Counter
        Intervals by status: 'ok', or why there is no prediction.
    padded : int
        Windows, summed over models, that reach over a contig's end and are padded with N.
    unknown : int
        Windows, summed over models, with a base on the contig that is not A, C, G, T or U.
    """

    statuses: Counter[str]
    padded: int = 0
    unknown: int = 0


def predict(
    model: Any,
    inputs: Any,
    genome: Any = None,
    *,
    targets: Sequence[str] = (),
    centre: str | None = None,
    use_strand: bool | None = None,
    strict: bool = False,
    threshold_from: str | None = None,
    calibrated: bool = False,
    precision: str = "float32",
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame | Predicted:
    """Predict intervals of a genome, or sequences.

    Windows are taken around the centres of the intervals. An interval whose contig is not in the genome, or that lies
    off its contig, keeps its row: `status` says why, and it has no predictions.

    Parameters
    ----------
    model : str, pathlib.Path, Model, or a list of them
        Name, path of a model directory, or loaded model. Repeated models count once.
    inputs : str, pathlib.Path, list of str, pandas.DataFrame, or array
        Intervals: a BED or narrowPeak file ('-' for standard input), a data frame with columns chrom, start, end and
        optionally name and strand, or loci 'CHROM:START-END' (1-based, inclusive). Or sequences of the model's window
        length: strings, base codes (uint8, shape (N, L)) or one-hot (shape (N, 4, L)); or without `genome` the path of
        a FASTA file whose records have that length.
    genome : str, pathlib.Path or Genome, optional
        FASTA (plain, gzipped, bgzipped) or .2bit. Needed for intervals.
    targets : sequence of str
        Targets to predict; all by default. With several models, those that each of them has.
    centre : str, optional
        A key of `regzoo.options.CENTRES`; by default 'summit' for files named .narrowPeak and 'middle' otherwise.
    use_strand : bool, optional
        Reverse-complement intervals on '-'. By default only for models of RNA and promoters (`Model.stranded`).
    strict : bool
        Raise an error for windows that reach over a contig's end, instead of padding them with N.
    threshold_from : str, optional
        Also call classes: a column call:TARGET for each target, 1 where the model's probability is at or above the
        target's threshold and 0 below. A key of `regzoo.options.THRESHOLDS`.
    calibrated : bool
        Divide the log odds by the temperature that was fitted on the model's validation data (Guo et al. 2017). Calls
        do not change.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    batch_size : int
        Windows in one pass of the network.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    output : str or pathlib.Path, optional
        Write a file instead of returning a table: .tsv, .tsv.gz, .parquet, .h5, or for intervals and one target
        .bedgraph; '-' is TSV on standard output.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame or Predicted
        For intervals: columns chrom, start, end, name, strand, window_start, window_end, status, and one for each
        target; `attrs` holds the numbers of windows that were padded and that have unknown bases. For sequences: one
        column for each target. Targets are named MODEL:TARGET with several models, and TARGET:BIN for profiles. With
        `threshold_from`, columns of calls follow. With `output`, a summary.

    Raises
    ------
    regzoo.RegzooError
        If an input, a model, an option or the output is not valid, or no interval can be predicted. Nothing is written
        then.

    Examples
    --------
    >>> regzoo.predict("MotifResNet/tf-human", "peaks.bed", "hg38.fa")       # doctest: +SKIP
    >>> regzoo.predict("MotifResNet/tf-human", ["ACGT" * 25 + "A"])          # doctest: +SKIP
    """
    check_choice("precision", precision, PRECISIONS)
    check_at_least(1, batch_size=batch_size)
    if centre is not None:
        check_choice("centre", centre, CENTRES)
    models = load_models(model, device)
    columns = columns_of_models(models, distinct(targets))
    adjustments = _Adjustments(models, columns, threshold_from, calibrated)
    if genome is None:
        return _predict_sequences(models, columns, adjustments, inputs, precision, batch_size, output)
    if output is not None:
        refuse_overwrite(output, [given for given in (inputs, genome) if isinstance(given, (str, Path))])
    intervals, source = as_intervals(inputs)
    summits = centre == "summit" or (centre is None and is_narrow_peak(source))
    opened, ways = as_genome(genome), (summits, use_strand, strict, precision, batch_size)
    run = _Run(models, columns, adjustments, intervals, source, opened, *ways)
    table: Any
    with _open_output(output, run) as table:
        for block in tqdm(run, total=len(run), desc="predicting", unit=" blocks", disable=not progress):
            table.write(block)
    if output is not None:
        return run.summary
    frame = table.frame()
    frame.attrs |= {"padded": run.summary.padded, "unknown": run.summary.unknown}
    return frame


class _Adjustments:
    """Calibration and calls of the targets of several models."""

    def __init__(self, models, columns, threshold_from, calibrated):
        self._parts = [Adjustment(model, chosen, threshold_from, calibrated) for model, chosen in zip(models, columns)]
        self.names = _names(models, columns)
        #: Columns of the table that hold the predictions.
        self.schema = {"predictions": Matrix(self.names, labels="targets")}
        if threshold_from is not None:
            self.schema["calls"] = Matrix(self.names, "call:")

    def columns(self, predictions):
        """Columns of `schema` from each model's predictions, shape (N, targets) or (N, targets, bins)."""
        found: dict[str, list[np.ndarray]] = {"predictions": [], "calls": []}
        for part, values in zip(self._parts, predictions):
            by_target = np.moveaxis(values, 1, -1)
            found["predictions"].append(np.moveaxis(part.values(by_target), -1, 1).reshape(len(values), -1))
            if "calls" in self.schema:
                found["calls"].append(np.moveaxis(part.calls(by_target), -1, 1).reshape(len(values), -1))
        return {name: np.concatenate(found[name], axis=1).astype(np.float32) for name in self.schema}


def _predict_sequences(models, columns, adjustments, sequences, precision, batch_size, output):
    records = None
    if isinstance(sequences, (Path, Intervals, pd.DataFrame)) or (
        isinstance(sequences, str) and not re.fullmatch("[A-Za-z]+", sequences)
    ):
        records = _read_records(models, sequences)
        sequences = np.stack(list(records.values()))
    values = adjustments.columns(
        one.predict(sequences, batch_size, precision)[:, chosen] for one, chosen in zip(models, columns)
    )
    named = {} if records is None else {"name": str}
    table: Any
    with open_table(output, named | adjustments.schema, _about(models)) as table:
        table.write({"name": list(records or ()), **values})
    return table.frame() if output is None else Predicted(Counter(ok=len(values["predictions"])))


def _read_records(models, path):
    """Base codes of every record of a FASTA file, by name; each as long as the models' windows."""
    if (
        not isinstance(path, (str, Path))
        or is_narrow_peak(path)
        or str(path).lower().endswith((".bed", ".bed.gz"))
        or path == "-"
    ):
        raise InputError("intervals need a genome: give a FASTA or .2bit file")
    if not Path(path).is_file() and ":" in str(path):
        raise InputError(f"{path}: a locus needs a genome: give a FASTA or .2bit file")
    fasta = as_genome(path)
    for model in models:
        wrong = np.flatnonzero(fasta.lengths != model.input_length)
        if len(wrong):
            raise InputError(
                f"{path}: {fasta.contigs[wrong[0]]} has {fasta.lengths[wrong[0]]} bases, but {model.name} "
                f"reads windows of {model.input_length}; give intervals and this file as the genome"
            )
    return {name: np.array(fasta.codes(name)) for name in fasta.contigs}


def _about(models):
    return {"model": ", ".join(one.name for one in models)}


def columns_of_models(models: Sequence[Model], targets: Sequence[str]) -> list[list[int]]:
    """For each model, the indices of those of the named targets that it has; of all its targets without names.

    Raises
    ------
    InputError
        If a model has none of the targets, or no model has one of them.
    """
    if len(models) == 1:
        return [models[0].columns(targets)]
    known = {target for model in models for target in model.targets}
    columns = []
    for model in models:
        wanted = [target for target in targets if target in model.targets or target not in known]
        if targets and not wanted:
            raise InputError(f"model {model.name} has none of the targets {', '.join(targets)}")
        columns.append(model.columns(wanted))
    return columns


def _names(models, columns):
    """Names of the prediction columns."""
    names = []
    for model, chosen in zip(models, columns):
        prefix = f"{model.name}:" if len(models) > 1 else ""
        for name in (f"{prefix}{model.targets[i]}" for i in chosen):
            names += [name] if model.bins is None else [f"{name}:{b}" for b in range(model.bins)]
    return names


class _Run:
    """Blocks of finished rows, as columns of a table; `summary` is complete when all have been taken."""

    def __init__(
        self,
        models,
        columns,
        adjustments,
        intervals,
        source,
        genome,
        summits,
        use_strand,
        strict,
        precision,
        batch_size,
    ):
        self.models, self.columns, self.genome, self.intervals = models, columns, genome, intervals
        self.adjustments, self.names = adjustments, adjustments.names
        self.use_strand, self.precision, self.batch_size = use_strand, precision, batch_size
        centred = intervals.around_summits(source) if summits else intervals
        self.numbers, _, self.problems = locate_windows(centred, genome, min(one.input_length for one in models))
        self.usable = self.problems == ""
        if not self.usable.any():
            refuse_problems(intervals, genome, source, self.problems)
        self.starts = {one.input_length: centred.resized(one.input_length) for one in models}
        self.summary = Predicted(Counter())
        for one in models:
            first, length = self.starts[one.input_length], one.input_length
            if strict:
                refuse_overhang(centred, genome, source, self.numbers, first, length, self.usable)
            over = (first < 0) | (first + length > genome.lengths[self.numbers])
            self.summary.padded += int(np.sum(self.usable & over))
        self.fixed = {
            "chrom": intervals.contigs,
            "start": intervals.starts,
            "end": intervals.ends,
            "name": intervals.names,
            "strand": intervals.strands,
            **_window_columns(models, self.starts),
        }

    @property
    def schema(self):
        """Columns of the table, and the HDF5 datasets of those that lie in a group."""
        fixed = {name: int if values.dtype.kind == "i" else str for name, values in self.fixed.items()} | {
            "status": str
        }
        return fixed | self.adjustments.schema, {n: f"intervals/{n}" for n in fixed}

    def __len__(self):
        return -(-len(self.intervals) // (_BATCHES_PER_BLOCK * self.batch_size))

    def __iter__(self):
        size = _BATCHES_PER_BLOCK * self.batch_size
        for start in range(0, len(self.intervals), size):
            yield self._block(np.arange(start, min(start + size, len(self.intervals))))

    def _block(self, rows):
        usable = self.usable[rows]
        values = {
            name: np.full((len(rows), len(self.names)), np.nan, dtype=np.float32) for name in self.adjustments.schema
        }
        if usable.any():
            for name, found in self.adjustments.columns(self._predictions(rows[usable])).items():
                values[name][usable] = found
        finite = np.isfinite(values["predictions"]).all(axis=1)
        status = np.where(usable, np.where(finite, "ok", _NOT_FINITE), self.problems[rows])
        for matrix in values.values():
            matrix[status != "ok"] = np.nan
        self.summary.statuses.update(status.tolist())
        return {name: column[rows] for name, column in self.fixed.items()} | {"status": status, **values}

    def _predictions(self, rows):
        parts = []
        for model, chosen in zip(self.models, self.columns):
            first, length = self.starts[model.input_length][rows], model.input_length
            reverse = model.stranded if self.use_strand is None else self.use_strand
            on_minus = (self.intervals.strands[rows] == "-") & reverse
            codes = self.genome.windows(self.numbers[rows], first, length, on_minus)
            outside = np.maximum(-first, 0) + np.maximum(first + length - self.genome.lengths[self.numbers[rows]], 0)
            self.summary.unknown += int(np.sum((codes == UNKNOWN).sum(axis=1) > outside))
            parts.append(model.predict(codes, self.batch_size, self.precision)[:, chosen])
        return parts


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


@contextmanager
def _open_output(output: str | Path | None, run: _Run) -> Iterator[Any]:
    if output is not None and check_suffix(output, (*TABLES, *BEDGRAPH)) in BEDGRAPH:
        if "calls" in run.adjustments.schema:
            raise OutputError(f"{output}: bedGraph holds predictions only, no calls; write a table")
        if len(run.names) != 1:
            raise OutputError(f"{output}: bedGraph holds one track, but there are {len(run.names)} targets; choose one")
        with finished_file(output) as path, closing_table(_BedGraph(path, run)) as table:
            yield table
        return
    schema, datasets = run.schema
    with open_table(output, schema, _about(run.models), datasets) as table:
        yield table


class _BedGraph:
    """The windows that were read, sorted; where several overlap, the mean of their predictions."""

    def __init__(self, path, run):
        self.path, self.run = path, run
        self.rows: dict[str, list[tuple[int, int, float]]] = {}

    def write(self, columns):
        ok = columns["status"] == "ok"
        spans = (columns["chrom"], columns["window_start"], columns["window_end"], columns["predictions"][:, 0])
        for contig, start, end, value in zip(*(column[ok] for column in spans)):
            self.rows.setdefault(str(contig), []).append((start, end, value))

    def close(self):
        write_bedgraph(self.path, self._blocks(), self.run.names[0], self.run.models[0].name)

    def _blocks(self):
        genome = self.run.genome
        for contig in sorted(self.rows):
            starts, ends, values = map(np.array, zip(*self.rows[contig]))
            size = genome.lengths[genome.number(contig)]
            yield contig, *mean_of_overlaps(np.maximum(starts, 0), np.minimum(ends, size), values)
