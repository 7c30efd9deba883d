"""Predictions of a model along a genome, as tracks and called elements."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regzoo.calibration import Adjustment
from regzoo.effects import request
from regzoo.effects.journal import Journal
from regzoo.errors import InputError, OutputError
from regzoo.evaluate.overlap import Space, compare_elements
from regzoo.options import PRECISIONS, check_at_least, check_choice, distinct
from regzoo.output.files import finished_file, refuse_overwrite
from regzoo.output.tables import TABLES, check_suffix
from regzoo.output.tracks import BEDGRAPH, BIGWIG, require_bigwig, write_bedgraph, write_bigwig
from regzoo.scanning.elements import PEAKS, bins, call, fdr_threshold, write_elements
from regzoo.scanning.options import Options, tracks_of
from regzoo.scanning.predictions import BlockPredictor, Spool, predict_blocks
from regzoo.scanning.spans import Spans
from regzoo.sequence.genome import as_genome
from regzoo.zoo import load_model


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
    workers: int = 1,
    resume: bool = False,
    restart: bool = False,
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
    workers : int
        Processes; each has its share of the CPU's threads.
    resume : bool
        Continue a stopped run with the same inputs and options; the output is the same byte for byte.
    restart : bool
        Remove what a stopped run left. Without either, unfinished blocks are an error.
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

    Predictions are kept in a temporary file (TMPDIR), 4 bytes for each window and target. With an output file they are
    also kept, until all outputs are complete, in the folder OUTPUT.parts of the first one, from which a stopped run
    continues. Memory grows with the number
    of elements only, and with `fdr` by the bases of the longest region and about 40 bytes for each window.

    Examples
    --------
    >>> regzoo.scan("MotifResNet/ctcf-pu1", "hg38.fa", regions="chr20", targets=["CTCF"])   # doctest: +SKIP
    """
    check_choice("precision", precision, PRECISIONS)
    check_at_least(0, seed=seed)
    check_at_least(1, workers=workers)
    loaded = load_model(model, device)
    outputs = [] if output is None else [output] if isinstance(output, (str, Path)) else list(output)
    adjustment = Adjustment(loaded, loaded.columns(distinct(targets)), threshold_from, calibrated)
    options = Options(loaded, step, threshold, fdr, min_length, max_length, precision, batch_size, adjustment)
    options.check(wanted=output is None or compare is not None or any(not _is_track(path) for path in outputs))
    tracks = tracks_of(loaded, distinct(targets), use_strand)
    inputs = [given for given in (genome, regions, compare) if isinstance(given, (str, Path))]
    opened = as_genome(genome)
    spans = Spans(opened, regions, loaded)
    summary = Scanned(short_contigs=spans.short)
    known = None if compare is None else Space(opened, spans.numbers, spans.starts, spans.ends).known(compare)
    with ExitStack() as files:
        made_from = _request(spans, tracks, options, seed, workers)
        destinations, journal = _open_outputs(files, outputs, tracks, inputs, made_from, resume, restart)
        spools = [files.enter_context(Spool()) for _ in range(1 if fdr is None else 2)]
        predictor = BlockPredictor(spans, options, tracks, seed)
        counts = predict_blocks(predictor, tracks, spools, workers, journal, progress)
        summary.windows, summary.skipped, summary.not_finite = counts.tolist()
        table = _elements(spans, tracks, options, spools, summary)
        if known is not None:
            summary.comparison = compare_elements(table, list(summary.elements), known, seed=seed)
        _write_all(destinations, table, spans, tracks, spools[0], options)
        summary.files = [Path(path) for _, path, _, _ in destinations if path != "-"]
    if output is not None:
        return summary
    table.attrs |= summary.attributes()
    return table


def _elements(spans, tracks, options, spools, summary):
    """The table of elements; empty where none are called."""
    if not options.calls:
        return pd.DataFrame()
    summary.thresholds = {track.label: _threshold(i, track, options, spools) for i, track in enumerate(tracks)}
    return call(spans, tracks, spools[0], options, summary)


def _threshold(number, track, options, spools):
    """Smallest prediction of a called window of a track."""
    if options.fdr is None:
        return float(options.threshold_of(track))
    return float(fdr_threshold(spools[0], spools[1], number, track, options.fdr))


def _request(spans, tracks, options, seed, workers):
    """What the predictions and elements depend on, besides the files to compare with."""
    regions = hashlib.sha256(b"".join(a.astype(np.int64).tobytes() for a in (spans.numbers, spans.starts, spans.ends)))
    names = ("step", "threshold", "fdr", "min_length", "max_length", "precision", "batch_size")
    made_from = request.of_inputs("", spans.genome, [], workers)
    del made_from["vcf"]
    adjusted = options.adjustment.values(np.array([[0.25] * len({track.column for track in tracks})]))
    return made_from | {
        "regions": regions.hexdigest(),
        "models": request.of_model(options.model),
        "targets": [dataclasses.astuple(track) for track in tracks],
        "options": {name: getattr(options, name) for name in names},
        "calibration": [np.asarray(adjusted).tolist(), np.asarray(options.thresholds, dtype=object).tolist()],
        "seed": seed,
    }


def _write_all(destinations, table, spans, tracks, real, options):
    """Write the elements and tracks to their files."""
    genome = spans.genome
    for kind, path, temporary, number in destinations:
        if number is None:
            write_elements(kind, temporary, table)
            continue
        blocks = bins(spans, real, number, options.step, options.model.input_length)
        if kind in BIGWIG:
            sizes = {genome.contigs[i]: int(genome.lengths[i]) for i in np.unique(spans.numbers)}
            write_bigwig(temporary, blocks, sizes, path)
        else:
            write_bedgraph(temporary, blocks, tracks[number].label)


def _is_track(path):
    return str(path).lower().endswith((*BEDGRAPH, *BIGWIG))


def _open_outputs(files, outputs, tracks, inputs, made_from, resume, restart):
    """(suffix, path, temporary path, number of the track or None) of each file, all still empty; and the journal."""
    found = _destinations(outputs, tracks, inputs)
    first = next((path for path in outputs if path != "-"), None)
    if first is None and (resume or restart):
        raise InputError("only a scan that writes a file can be resumed; give resume and restart with an output file")
    journal = None if first is None else files.enter_context(Journal(first, made_from, resume, restart))
    opened = [
        (kind, path, path if path == "-" else files.enter_context(finished_file(path)), number)
        for kind, path, number in found
    ]
    return opened, journal


def _destinations(outputs, tracks, inputs):
    """(suffix, path, number of the track or None) of each file."""
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
    return found


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
