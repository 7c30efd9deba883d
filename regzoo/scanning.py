"""Predictions of a model along a genome, as tracks and called elements."""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from regzoo.calibration import Adjustment
from regzoo.effects.evaluator import Evaluator
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.evaluate.overlap import FAR, Space, as_regions, compare_elements, located, merged
from regzoo.model import Model
from regzoo.options import PRECISIONS, check_at_least, check_choice, distinct
from regzoo.output.files import finished_file, refuse_overwrite, write_errors
from regzoo.output.tables import TABLES, check_suffix, open_table
from regzoo.output.tracks import BEDGRAPH, BIGWIG, require_bigwig, write_bedgraph, write_bigwig
from regzoo.sequence.codes import UNKNOWN, one_hot, reverse_complement
from regzoo.sequence.genome import Genome, as_genome
from regzoo.sequence.shuffle import shuffled_dinucleotides
from regzoo.strands import strand_mean
from regzoo.zoo import load_model

logger = logging.getLogger(__name__)

PEAKS = (".narrowpeak", ".bed")
_ELEMENTS = {
    "chrom": str,
    "start": int,
    "end": int,
    "name": str,
    "score": int,
    "strand": str,
    "target": str,
    "value": float,
    "summit": int,
    "windows": int,
}
_BLOCK = 4096  # most windows that are predicted and kept together
_BLOCK_BASES = 1 << 25  # most bases in all of them
_BASES = 1 << 14  # of a sequence whose windows share their convolutions
_PIECE = 10_000  # bases that are shuffled together, so that regional composition is kept


@dataclass
class Scanned:
    """What a scan found.

    Attributes
    ----------
    windows : int
        Windows that were predicted.
    skipped : int
        Windows of unknown bases only, which were not.
    not_finite : int
        Windows whose prediction is NaN or infinite. They are in no track and in no element.
    short_contigs : list of str
        Contigs that are shorter than a window, when the whole genome is scanned.
    thresholds : dict of str to float
        Threshold of each target; empty where no elements are called.
    elements, bases : dict of str to int
        Number of elements of each target, and bases that they cover.
    too_short, too_long : int
        Elements left out for their length.
    files : list of pathlib.Path
        What was written.
    comparison : pandas.DataFrame or None
        See `regzoo.overlap`; with `compare`.
    """

    windows: int = 0
    skipped: int = 0
    not_finite: int = 0
    short_contigs: list[str] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    bases: dict[str, int] = field(default_factory=dict)
    too_short: int = 0
    too_long: int = 0
    files: list[Path] = field(default_factory=list)
    comparison: pd.DataFrame | None = None

    def attributes(self) -> dict[str, Any]:
        """Counts, thresholds and the rows of the comparison, for `attrs` of a table of elements."""
        names = ("windows", "skipped", "not_finite", "short_contigs", "thresholds", "too_short", "too_long")
        result = {name: getattr(self, name) for name in names}
        if self.comparison is not None:
            result["comparison"] = self.comparison.to_dict("records")
        return result


def scan(
    model: Any,
    genome: Any,
    *,
    regions: Any = None,
    step: int | None = None,
    targets: Sequence[str] = (),
    threshold: float | None = None,
    fdr: float | None = None,
    threshold_from: str | None = None,
    calibrated: bool = False,
    min_length: int | None = None,
    max_length: int | None = None,
    use_strand: bool | None = None,
    compare: Any = None,
    seed: int = 0,
    precision: str = "float32",
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> pd.DataFrame | Scanned:
    """Predict a genome in a sliding window; write tracks and call elements.

    Windows never reach over the end of a region or contig: the last window is moved to end there. Windows of unknown
    bases only are skipped. An element is the union of overlapping or adjoining windows at or above the threshold.

    Parameters
    ----------
    model : str, pathlib.Path or Model
    genome : str, pathlib.Path or Genome
        FASTA (plain, gzipped, bgzipped) or .2bit.
    regions : str, pathlib.Path, list of str, or pandas.DataFrame, optional
        A BED file, a data frame with columns chrom, start, end, or contigs and loci 'CHROM:START-END' (1-based,
        inclusive). Overlapping and adjoining regions are merged. The whole genome by default.
    step : int, optional
        Bases between windows, at most the window's length. By default a quarter of it, rounded down to a multiple of
        the pooling width where windows then share convolutions.
    targets : sequence of str
        Targets to predict; all by default.
    threshold : float, optional
        Smallest prediction of a called window. 0.5 by default for models of probabilities; needed to call elements with
        other models.
    fdr : float, optional
        Instead of `threshold`: choose the smallest threshold at which the windows called in shuffled sequence are at
        most this fraction of those called in the regions. The regions are shuffled in pieces of 10,000 bases that keep
        their dinucleotides. Each target has its own threshold. Doubles the work.
    threshold_from : str, optional
        Instead of `threshold`: a key of `regzoo.options.THRESHOLDS`. Each target has its own threshold.
    calibrated : bool
        Divide the log odds of predictions by the temperature that was fitted on the model's validation data (Guo et al.
        2017), in tracks and elements. `threshold` is then one of calibrated probabilities. Thresholds of
        `threshold_from` are calibrated in the same way, so that the elements do not change.
    min_length, max_length : int, optional
        Elements shorter or longer than this, in bases, are left out and counted.
    use_strand : bool, optional
        Predict each strand and call its elements separately, as targets TARGET.plus and TARGET.minus. By default only
        for models of RNA and promoters (`Model.stranded`). Otherwise the forward strand is read.
    compare : str, pathlib.Path, list of str, or pandas.DataFrame, optional
        Known intervals to compare the elements with; see `regzoo.overlap`.
    seed : int
        Of the shuffled sequence and of the permutations of `compare`.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    batch_size : int
        Windows in one pass of the network, where they do not share convolutions.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    output : str, pathlib.Path, or a list of them, optional
        Write files instead of returning elements. Tracks: .bw (needs pybigtools) or .bedgraph, one file for each
        target, which is named OUTPUT.TARGET.bw where there are several. Elements: .narrowPeak, .bed, .tsv, .tsv.gz,
        .parquet or .h5; '-' is TSV on standard output.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame or Scanned
        Elements, sorted: chrom, start, end (0-based, half-open), name, score (0 to 1000), strand, target, value (of the
        best window), summit (0-based centre of the best window), windows (at or above the threshold). `attrs` holds
        the thresholds, the counts of `Scanned`, and with `compare` the rows of the comparison. With `output`, a
        summary.

    Raises
    ------
    regzoo.RegzooError
        If an input, the model, an option or an output is not valid. Nothing is written then.

    Notes
    -----
    In a track, each base has the prediction of the window whose centre is the nearest, at most half a step away. The
    target of a profile model is the mean over its bins.

    Predictions are kept in a temporary file (TMPDIR), 4 bytes for each window and target. Memory grows with the number
    of elements only, and with `fdr` by the bases of the longest region and about 40 bytes for each window.

    Examples
    --------
    >>> regzoo.scan("MotifResNet/ctcf-pu1", "hg38.fa", regions="chr20", targets=["CTCF"])   # doctest: +SKIP
    """
    check_choice("precision", precision, PRECISIONS)
    check_at_least(0, seed=seed)
    loaded = load_model(model, device)
    outputs = [] if output is None else [output] if isinstance(output, (str, Path)) else list(output)
    adjustment = Adjustment(loaded, loaded.columns(distinct(targets)), threshold_from, calibrated)
    options = _Options(loaded, step, threshold, fdr, min_length, max_length, precision, batch_size, adjustment)
    options.check(wanted=output is None or compare is not None or any(not _is_track(path) for path in outputs))
    tracks = _tracks(loaded, distinct(targets), use_strand)
    inputs = [given for given in (genome, regions, compare) if isinstance(given, (str, Path))]
    opened = as_genome(genome)
    spans = _Spans(opened, regions, loaded)
    summary = Scanned(short_contigs=spans.short)
    known = None if compare is None else Space(opened, spans.numbers, spans.starts, spans.ends).known(compare)
    with ExitStack() as files:
        destinations = _open_outputs(files, outputs, tracks, inputs)
        real, null = _spools(files, spans, tracks, options, summary, seed, progress)
        table = pd.DataFrame()  # where no elements are called
        if options.calls:
            for number, track in enumerate(tracks):
                value = options.threshold_of(track) if fdr is None else _fdr_threshold(real, null, number, track, fdr)
                summary.thresholds[track.label] = float(value)
            table = _call(spans, tracks, real, options, summary)
            if known is not None:
                summary.comparison = compare_elements(table, list(summary.elements), known, seed=seed)
        _write_all(destinations, table, spans, tracks, real, options)
        summary.files = [Path(path) for _, path, _, _ in destinations if path != "-"]
    if output is not None:
        return summary
    table.attrs |= summary.attributes()
    return table


def _spools(files, spans, tracks, options, summary, seed, progress):
    """Predictions of all windows, and with an FDR those in shuffled sequence."""
    real, null = files.enter_context(_Spool()), None
    total = spans.count(options.step) * (1 if options.fdr is None else 2)
    with tqdm(total=total, desc="scanning", unit=" windows", disable=not progress) as bar:
        _predict(spans, tracks, options, real, summary, bar)
        if options.fdr is not None:
            null = files.enter_context(_Spool())
            _predict(spans, tracks, options, null, None, bar, seed)
    return real, null


def _write_all(destinations, table, spans, tracks, real, options):
    """Write the elements and tracks to their files."""
    genome = spans.genome
    for kind, path, temporary, number in destinations:
        if number is None:
            _write_elements(kind, temporary, table)
            continue
        blocks = _bins(spans, real, number, options.step, options.model.input_length)
        if kind in BIGWIG:
            sizes = {genome.contigs[i]: int(genome.lengths[i]) for i in np.unique(spans.numbers)}
            write_bigwig(temporary, blocks, sizes, path)
        else:
            write_bedgraph(temporary, blocks, tracks[number].label)


@dataclass
class _Options:
    """Options with their defaults for a model."""

    model: Model
    given_step: int | None
    threshold: Any
    fdr: float | None
    min_length: int | None
    max_length: int | None
    precision: str
    batch_size: int
    adjustment: Adjustment | None = None

    def __post_init__(self):
        if self.given_step is not None and not isinstance(self.given_step, (int, np.integer)):
            raise InputError(f"step: expected a whole number of bases, got {self.given_step!r}")
        length = self.model.input_length
        incremental = Evaluator(self.model, precision=self.precision).incremental
        pools = incremental.pools if incremental is not None and incremental.shares else 0
        step = max(1, length // 4)
        step -= step % pools if 0 < pools <= step else 0
        self.step = step if self.given_step is None else self.given_step
        self.shared = incremental if pools and self.step and math.lcm(self.step, pools) < length else None
        own = None if self.adjustment is None else self.adjustment.shown_thresholds()
        self.thresholds = own  # of each target
        if self.threshold is None and self.fdr is None and own is None and self.model.outputs == "probabilities":
            self.threshold = 0.5
        self.calls = own is not None or self.threshold is not None or self.fdr is not None

    def threshold_of(self, track):
        """Smallest prediction of a called window of a track."""
        return self.threshold if self.thresholds is None else self.thresholds[track.place]

    def check(self, wanted):
        """Raise an InputError for an option that is not valid; `wanted`: elements are asked for."""
        name, length = self.model.name, self.model.input_length
        if not 1 <= self.step <= length:
            raise InputError(f"step: expected 1 to {length}, the window of {name}; got {self.step}")
        check_at_least(1, batch_size=self.batch_size)
        if self.fdr is not None and not 0 < self.fdr < 1:
            raise InputError(f"fdr: expected a fraction between 0 and 1, got {self.fdr}")
        given = {"a threshold": self.threshold, "an fdr": self.fdr, "threshold_from": self.thresholds}
        if len(several := [name for name, value in given.items() if value is not None]) > 1:
            raise InputError(f"give either {' or '.join(several)}: each of them chooses the threshold")
        if wanted and not self.calls:
            raise InputError(
                f"{name} does not predict probabilities, so that elements need a threshold: give threshold or fdr"
            )
        if self.threshold is not None:
            highest = 1 if self.model.outputs == "probabilities" else math.inf
            if not (math.isfinite(self.threshold) and self.threshold <= highest):
                raise InputError(
                    f"threshold: expected a number that predictions of {name} can reach, got {self.threshold}"
                )
        for what, value in (("min_length", self.min_length), ("max_length", self.max_length)):
            if value is not None and value < 1:
                raise InputError(f"{what}: expected 1 or more, got {value}")
        if self.max_length is not None and self.max_length < max(length, self.min_length or 0):
            raise InputError(
                f"max_length {self.max_length}: no element can be that short; expected at least the window of {name} "
                f"({length} bases) and min_length"
            )


@dataclass(frozen=True)
class _Track:
    """One column of predictions."""

    label: str
    column: int
    strand: str
    place: int


def _tracks(model, targets, use_strand):
    both = model.stranded if use_strand is None else use_strand
    strands = (("+", ".plus"), ("-", ".minus")) if both else ((".", ""),)
    return [
        _Track(f"{model.targets[column]}{suffix}", column, strand, place)
        for place, column in enumerate(model.columns(targets))
        for strand, suffix in strands
    ]


def _is_track(path):
    return str(path).lower().endswith((*BEDGRAPH, *BIGWIG))


def _open_outputs(files, outputs, tracks, inputs):
    """(suffix, path, temporary path, number of the track or None) of each file, all still empty."""
    found: list[tuple[str, Any, int | None]] = []
    for output in outputs:
        kind = check_suffix(output, (*PEAKS, *TABLES, *BEDGRAPH, *BIGWIG))
        if kind in BIGWIG:
            require_bigwig()
        if kind not in (*BEDGRAPH, *BIGWIG):
            found.append((kind, output, None))
        elif len(tracks) == 1:
            found.append((kind, output, 0))
        else:
            stem, suffix = str(output)[: -len(kind)], str(output)[-len(kind) :]
            names = [re.sub(r"[^\w.+-]", "_", track.label) for track in tracks]
            if len({name.lower() for name in names}) < len(names):
                names = [f"{number}.{name}" for number, name in enumerate(names)]
            found += [(kind, f"{stem}.{name}{suffix}", number) for number, name in enumerate(names)]
    resolved = [str(path) if path == "-" else Path(path).resolve() for _, path, _ in found]
    for path in (path for (_, path, _), place in zip(found, resolved) if resolved.count(place) > 1):
        raise OutputError(f"{path}: is given twice; each output needs a name of its own")
    for _, path, _ in found:
        refuse_overwrite(path, inputs)
    return [
        (kind, path, path if path == "-" else files.enter_context(finished_file(path)), number)
        for kind, path, number in found
    ]


class _Spans:
    """Regions to scan, merged, in alphabetical order of contigs.

    Attributes
    ----------
    numbers, starts, ends : numpy.ndarray, int64, shape (N,)
        Contig, and 0-based half-open bounds.
    short : list of str
        Contigs of the whole genome that are shorter than a window.
    """

    def __init__(self, genome: Genome, regions: Any, model: Model):
        self.genome, self.length, self.short = genome, model.input_length, []
        if regions is None:
            long = genome.lengths >= self.length
            self.short = [name for name, kept in zip(genome.contigs, long) if not kept]
            if not long.any():
                raise InputError(f"{genome.path}: no contig has the {self.length} bases that {model.name} reads")
            self.numbers = np.flatnonzero(long)
            self.starts, self.ends = np.zeros(len(self.numbers), dtype=np.int64), genome.lengths[self.numbers]
        else:
            intervals, source = as_regions(regions, genome)
            self.numbers = located(intervals, source, genome)
            self.starts, self.ends = intervals.starts, intervals.ends
            self._check(intervals, source, model)
        order = np.array(sorted(range(len(genome.contigs)), key=genome.contigs.__getitem__))
        rank = np.argsort(order)[self.numbers] * FAR
        starts, ends = merged(rank + self.starts, rank + self.ends, adjoining=True)
        self.numbers, self.starts, self.ends = order[starts // FAR], starts % FAR, ends % FAR

    def _check(self, intervals, source, model):
        for i in np.flatnonzero(self.ends - self.starts < self.length):
            raise InputError(
                f"{source}, {intervals.unit} {intervals.lines[i]}: {intervals.contigs[i]}:{self.starts[i] + 1}-"
                f"{self.ends[i]} has {self.ends[i] - self.starts[i]} bases, but {model.name} reads windows of "
                f"{self.length}; widen or remove this region"
            )

    def windows(self, region: int, step: int) -> np.ndarray:
        """Starts of the windows of a region, relative to it; the last one ends with it."""
        last = int(self.ends[region] - self.starts[region]) - self.length
        regular = np.arange(0, last + 1, step)
        return regular if regular[-1] == last else np.append(regular, last)

    def count(self, step: int) -> int:
        """Number of windows."""
        last = self.ends - self.starts - self.length
        return int(np.sum(-(-last // step) + 1))

    def contig(self, region: int) -> str:
        """Name of a region's contig."""
        return self.genome.contigs[self.numbers[region]]

    def codes(self, region: int) -> np.ndarray:
        """Base codes of a region, a view."""
        return self.genome.codes(self.contig(region))[self.starts[region] : self.ends[region]]


class _Spool:
    """Predictions in a temporary file, block by block, each track of a block by itself."""

    def __init__(self):
        self.file, self.blocks = tempfile.TemporaryFile(), []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, region: int, starts: np.ndarray, values: np.ndarray) -> None:
        """Append starts, int64, shape (N,), and predictions, float32, shape (N, tracks)."""
        with write_errors(tempfile.gettempdir()):
            self.blocks.append((region, len(starts), self.file.seek(0, 2)))
            self.file.write(starts.astype(np.int64).tobytes())
            self.file.write(np.ascontiguousarray(values.T, dtype=np.float32).tobytes())

    def track(self, number: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Region, starts, shape (N,), and predictions of one track, shape (N,), of each block."""
        for region, count, place in self.blocks:
            self.file.seek(place)
            starts = np.frombuffer(self.file.read(8 * count), dtype=np.int64)
            self.file.seek(place + 8 * count + 4 * count * number)
            yield region, starts, np.frombuffer(self.file.read(4 * count), dtype=np.float32)

    def values(self, number: int) -> np.ndarray:
        """All predictions of one track, sorted."""
        return np.sort(np.concatenate([values for _, _, values in self.track(number)]))


def _predict(spans, tracks, options, spool, summary, bar, seed=None):
    """Predict the windows of all regions, with a seed those of their shuffled sequence, into a spool."""
    predictor = _Predictor(options, tracks)
    size = max(1, min(_BLOCK, _BLOCK_BASES // spans.length))
    windows = skipped = not_finite = 0
    for region in range(len(spans.numbers)):
        codes, starts = spans.codes(region), spans.windows(region, options.step)
        if seed is not None:
            rng = np.random.default_rng([seed, int(spans.numbers[region]), int(spans.starts[region])])
            codes = _shuffled(np.array(codes), rng)
        for low in range(0, len(starts), size):
            block = starts[low : low + size]
            part = np.asarray(codes[block[0] : block[-1] + spans.length])
            local = block - block[0]
            known = np.concatenate([[0], np.cumsum(part < UNKNOWN)])
            some = known[local + spans.length] > known[local]
            if some.any():
                values = predictor(part, local[some])
                finite = np.isfinite(values).all(axis=1)
                spool.write(region, (block + spans.starts[region])[some][finite], values[finite])
                not_finite += int(np.sum(~finite))
            windows, skipped = windows + int(np.sum(some)), skipped + int(np.sum(~some))
            bar.update(len(block))
    if not windows:
        raise InputError(f"{spans.genome.path}: the regions hold no known base")
    if windows == not_finite:
        raise ModelError(f"{options.model.name}: every prediction is NaN or infinite")
    if summary is not None:
        summary.windows, summary.skipped, summary.not_finite = windows, skipped, not_finite


def _shuffled(codes, rng):
    """Base codes with each run of known bases shuffled in place, in pieces of at most `_PIECE` bases."""
    edges = np.flatnonzero(np.diff(codes < UNKNOWN, prepend=False, append=False))
    for start, end in edges.reshape(-1, 2).tolist():
        for low in range(start, end, _PIECE):
            piece = slice(low, min(low + _PIECE, end))
            codes[piece] = shuffled_dinucleotides(codes[None, piece], rng)[0]
    return codes


class _Predictor:
    """Predictions of windows of one sequence, for each track.

    Where the network allows it, windows of one pooling phase share their convolutions, which are evaluated over the
    sequence that contains them.
    """

    def __init__(self, options, tracks):
        self.model, self.options, self.length = options.model, options, options.model.input_length
        self.columns = [
            (strand == "-", [i for i, track in enumerate(tracks) if track.strand == strand])
            for strand in dict.fromkeys(track.strand for track in tracks)
        ]
        self.tracks = tracks

    def __call__(self, codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Predictions, float32, shape (N, tracks), of base codes, shape (L,), and increasing starts, shape (N,)."""
        result = np.empty((len(starts), len(self.tracks)), dtype=np.float32)
        for minus, members in self.columns:
            if minus:
                turned = reverse_complement(codes[None])[0]
                values = self._windows(turned, (len(codes) - self.length - starts)[::-1])[::-1]
            else:
                values = self._windows(codes, starts)
            values = values if values.ndim == 2 else values.mean(axis=2)
            columns = list(dict.fromkeys(track.column for track in self.tracks))
            values = values[:, columns]
            if self.options.adjustment is not None:
                values = self.options.adjustment.values(values)
            result[:, members] = values[:, [self.tracks[i].place for i in members]]
        return result

    def _windows(self, codes, starts):
        shared = self.options.shared
        result = np.empty((len(starts), *self.model.output_shape), dtype=np.float32)
        alone = [np.arange(len(starts))]
        if shared is not None:
            runs = list(self._runs(starts, shared.pools))
            alone = [run for run in runs if len(run) == 1]
            for run in runs:
                if len(run) > 1:
                    result[run] = self._together(codes, starts[run])
        if alone:
            rows = np.concatenate(alone)
            windows = np.lib.stride_tricks.sliding_window_view(codes, self.length)[starts[rows]]
            result[rows] = self.model.predict(windows, self.options.batch_size, self.options.precision)
        return result

    def _runs(self, starts, pools):
        """Windows that overlap and have the same pooling phase, at most `_BASES` from the first to the last one."""
        for phase in np.unique(starts % pools):
            members = np.flatnonzero(starts % pools == phase)
            own = starts[members]
            cut = (np.diff(own) >= self.length) | (np.diff((own - own[0]) // _BASES) > 0)
            yield from np.split(members, np.flatnonzero(cut) + 1)

    @torch.inference_mode()
    def _together(self, codes, starts):
        first, end = starts[0], starts[-1] + self.length
        part, local = codes[None, first:end], torch.from_numpy(starts - first)
        forward = self._shared(part, local)
        if not self.model.module.reverse_complement:
            return forward
        return strand_mean(forward, self._shared(reverse_complement(part), end - first - self.length - local))

    def _shared(self, codes, starts):
        x = torch.from_numpy(one_hot(codes)).transpose(1, 2).contiguous()
        return self.model.module.activation(self.options.shared.shared_reference(x, starts, self.length)[0]).numpy()


def _bins(spans, spool, number, step, length):
    """Blocks of a track: around each window's centre, up to half way to the next window's, at most a step wide."""
    for region, starts, values in spool.track(number):
        first, last = spans.starts[region], spans.ends[region] - length
        before = first + (starts - first - 1) // step * step
        after = np.minimum(starts + step, last)
        half = length // 2
        low = np.where(starts > first, (before + starts + 1) // 2, starts - step // 2)
        high = np.where(starts < last, (starts + after + 1) // 2, starts - step // 2 + step)
        yield spans.contig(region), low + half, high + half, values


def _fdr_threshold(real, null, number, track, fdr):
    """Smallest prediction at which the windows called in shuffled sequence are at most a fraction of those called."""
    values, shuffled = real.values(number), null.values(number)
    at, first = np.unique(values, return_index=True)
    called = len(values) - first
    wrong = len(shuffled) - np.searchsorted(shuffled, at)
    right = np.flatnonzero(wrong <= fdr * called)
    if not len(right):
        raise InputError(
            f"{track.label}: no threshold has an fdr of {fdr}; shuffled sequence is predicted as high as the regions "
            f"(largest {shuffled[-1]:.4g} and {values[-1]:.4g}). Give a larger fdr or a threshold"
        )
    return float(at[right[0]])


def _call(spans, tracks, spool, options, summary):
    """Elements of all tracks as a data frame, sorted by place."""
    length, parts = options.model.input_length, []
    for number, track in enumerate(tracks):
        rows = pd.DataFrame(
            [row for group in _called(spool, number, summary.thresholds[track.label], length) for row in group],
            columns=["region", "start", "end", "value", "summit", "windows"],
        )
        size = rows.end - rows.start
        short, long = size < (options.min_length or 0), size > (options.max_length or math.inf)
        summary.too_short, summary.too_long = summary.too_short + int(short.sum()), summary.too_long + int(long.sum())
        rows = rows[~(short | long)]
        summary.elements[track.label] = len(rows)
        summary.bases[track.label] = int((rows.end - rows.start).sum())
        largest = 1.0 if options.model.outputs == "probabilities" else rows.value.max()
        scaled = 1000 * rows.value / largest if len(rows) and largest > 0 else 0 * rows.value
        parts.append(
            rows.assign(
                chrom=[spans.contig(region) for region in rows.region],
                strand=track.strand,
                target=track.label,
                name=[f"{track.label}_{i + 1}" for i in range(len(rows))],
                score=np.rint(np.clip(scaled, 0, 1000)).astype(np.int64),
            )
        )
    table = pd.concat(parts).sort_values(["region", "start"], kind="stable")[list(_ELEMENTS)]
    kinds = {int: "int64", float: "float32", str: "str"}
    return table.astype({name: kinds[kind] for name, kind in _ELEMENTS.items()}).reset_index(drop=True)


def _called(spool, number, threshold, length):
    """Elements of a track, in lists: region, start, end, value, summit and number of called windows."""
    last, held = None, (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))  # the element that may go on
    for region, starts, values in spool.track(number):
        if region != last:
            yield _merged(last, *held, length)
            last, held = region, (starts[:0], values[:0])
        high = values >= threshold
        starts, values = np.concatenate([held[0], starts[high]]), np.concatenate([held[1], values[high]])
        gaps = np.flatnonzero(np.diff(starts) > length)
        cut = gaps[-1] + 1 if len(gaps) else 0
        yield _merged(region, starts[:cut], values[:cut], length)
        held = starts[cut:], values[cut:]
    yield _merged(last, *held, length)


def _merged(region, starts, values, length):
    """Elements of called windows: those that overlap or adjoin are one."""
    if not len(starts):
        return []
    first = np.concatenate([[0], np.flatnonzero(np.diff(starts) > length) + 1, [len(starts)]])
    found = []
    for low, high in zip(first[:-1].tolist(), first[1:].tolist()):
        best = low + int(np.argmax(values[low:high]))
        summit = int(starts[best]) + length // 2
        found.append(
            (region, int(starts[low]), int(starts[high - 1]) + length, float(values[best]), summit, high - low)
        )
    return found


def _write_elements(kind, path, table):
    """Write elements as narrowPeak, BED or a table."""
    if kind not in PEAKS:
        with open_table(path, _ELEMENTS) as out:
            out.write({name: table[name].to_numpy() for name in _ELEMENTS})
        return
    with open(path, "w") as out:
        for row in table.itertuples():
            name = re.sub(r"\s", "_", row.name)
            line = f"{row.chrom}\t{row.start}\t{row.end}\t{name}\t{row.score}\t{row.strand}"
            if kind == ".narrowpeak":
                line += f"\t{row.value:.7g}\t-1\t-1\t{row.summit - row.start}"
            out.write(line + "\n")


def report(summary: Scanned) -> str:
    """What a scan found, in lines of text."""
    lines = [f"{summary.windows:,} windows -> {', '.join(map(str, summary.files)) or 'standard output'}"]
    for count, what in (
        (summary.skipped, "windows skipped: unknown bases only"),
        (summary.not_finite, "windows left out: prediction not finite"),
        (len(summary.short_contigs), "contigs skipped: shorter than a window"),
        (summary.too_short, "elements left out: shorter than the minimum"),
        (summary.too_long, "elements left out: longer than the maximum"),
    ):
        if count:
            lines.append(f"  {count:>9,}  {what}")
    lines += [
        f"  {count:>9,}  elements of {name} at {summary.thresholds[name]:.4g} or more, {summary.bases[name]:,} bases"
        for name, count in summary.elements.items()
    ]
    return "\n".join(lines)
