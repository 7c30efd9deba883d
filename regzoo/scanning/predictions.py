"""Predictions of the windows of a scan: block by block, in one or several processes, kept in a temporary file."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from regzoo.effects.journal import Journal
from regzoo.effects.workers import computing, result_of
from regzoo.errors import InputError, ModelError
from regzoo.output.files import write_errors
from regzoo.scanning.options import Options, Track
from regzoo.scanning.spans import Spans
from regzoo.sequence.codes import UNKNOWN, one_hot, reverse_complement
from regzoo.sequence.genome import as_genome
from regzoo.sequence.shuffle import shuffled_dinucleotides
from regzoo.strands import strand_mean

_BLOCK = 4096  # most windows that are predicted and kept together
_BLOCK_BASES = 1 << 25  # most bases in all of them
_BASES = 1 << 14  # of a sequence whose windows share their convolutions
_PIECE = 10_000  # bases that are shuffled together, so that regional composition is kept


class Spool:
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


def shuffled(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Base codes with each run of known bases shuffled in place, in pieces of at most `_PIECE` bases."""
    edges = np.flatnonzero(np.diff(codes < UNKNOWN, prepend=False, append=False))
    for start, end in edges.reshape(-1, 2).tolist():
        for low in range(start, end, _PIECE):
            piece = slice(low, min(low + _PIECE, end))
            codes[piece] = shuffled_dinucleotides(codes[None, piece], rng)[0]
    return codes


class Predictor:
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


@dataclass(frozen=True)
class Block:
    """Windows `low` to `high` of a region, in its own or in shuffled sequence."""

    shuffled: bool
    region: int
    low: int
    high: int


class BlockPredictor:
    """Predictions of blocks of windows.

    Parameters
    ----------
    spans : Spans
    options : Options
    tracks : list of Track
    seed : int
        Of the shuffled sequence.
    """

    def __init__(self, spans: Spans, options: Options, tracks: list[Track], seed: int):
        self.spans, self.options, self.seed = spans, options, seed
        self.predictor = Predictor(options, tracks)
        self._shuffled: tuple[int, Any] = (-1, None)  # the last region and its shuffled sequence

    def blocks(self, passes: int) -> Iterator[Block]:
        """The blocks of all regions, in order; with two passes also those of their shuffled sequence."""
        size = max(1, min(_BLOCK, _BLOCK_BASES // self.spans.length))
        for shuffled in (False, True)[:passes]:
            for region in range(len(self.spans.numbers)):
                count = self.spans.count(self.options.step, region)
                for low in range(0, count, size):
                    yield Block(shuffled, region, low, min(low + size, count))

    def bases(self, block: Block) -> int:
        """Bases of a region up to the next block or the end of the region."""
        spans, step = self.spans, self.options.step
        last = block.high == spans.count(step, block.region)
        size = int(spans.ends[block.region] - spans.starts[block.region])
        return (size if last else block.high * step) - block.low * step

    def __call__(self, block: Block) -> dict[str, np.ndarray]:
        """Predict a block.

        Returns
        -------
        dict of str to numpy.ndarray
            'starts', int64 of shape (N,), and 'values', float32 of shape (N, tracks): windows with finite predictions.
            'counts', int64 of shape (3,): windows that were predicted, skipped, and not finite.
        """
        spans, codes = self.spans, self._codes(block)
        starts = spans.windows(block.region, self.options.step, block.low, block.high)
        part = np.asarray(codes[starts[0] : starts[-1] + spans.length])
        local = starts - starts[0]
        known = np.concatenate([[0], np.cumsum(part < UNKNOWN)])
        some = known[local + spans.length] > known[local]
        values = self.predictor(part, local[some])
        finite = np.isfinite(values).all(axis=1)
        return {
            "starts": (starts + spans.starts[block.region])[some][finite],
            "values": values[finite],
            "counts": np.array([np.sum(some), np.sum(~some), np.sum(~finite)], dtype=np.int64),
        }

    def _codes(self, block):
        if not block.shuffled:
            return self.spans.codes(block.region)
        if self._shuffled[0] != block.region:
            number, start = int(self.spans.numbers[block.region]), int(self.spans.starts[block.region])
            rng = np.random.default_rng([self.seed, number, start])
            self._shuffled = block.region, shuffled(np.array(self.spans.codes(block.region)), rng)
        return self._shuffled[1]


def _in_worker(genome: Path, regions: pd.DataFrame, options: Options, tracks: list[Track], seed: int) -> BlockPredictor:
    return BlockPredictor(Spans(as_genome(genome), regions, options.model), options, tracks, seed)


def predict_blocks(
    predictor: BlockPredictor,
    tracks: list[Track],
    spools: list[Spool],
    workers: int,
    journal: Journal | None,
    progress: bool,
) -> np.ndarray:
    """Predict all blocks into spools: of the regions, and of their shuffled sequence where there are two.

    Parameters
    ----------
    predictor : BlockPredictor
    tracks : list of Track
    spools : list of Spool
    workers : int
        Processes.
    journal : regzoo.effects.journal.Journal, optional
        Keeps finished blocks.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    numpy.ndarray, int64, shape (3,)
        Windows of the regions that were predicted, skipped, and not finite.

    Raises
    ------
    InputError
        If no window has a known base.
    ModelError
        If no prediction is finite.
    """
    spans, options = predictor.spans, predictor.options
    if workers > 1 and not Path(spans.genome.path).is_file():
        raise InputError("sequences in memory cannot be given to several workers; leave workers at 1")
    make = partial(_in_worker, spans.genome.path, spans.frame(), options, tracks, predictor.seed)
    counts = np.zeros((len(spools), 3), dtype=np.int64)
    total = int(np.sum(spans.ends - spans.starts)) * len(spools)
    with (
        computing(predictor, make, workers) as compute,
        tqdm(total=total, desc="scanning", unit=" bases", unit_scale=True, disable=not progress) as bar,
    ):
        blocks = predictor.blocks(len(spools))
        for number, block, found in _computed(blocks, compute, journal, 2 * workers if workers > 1 else 0):
            if journal is not None:
                journal.save(number, found)
            if len(found["starts"]):
                spools[block.shuffled].write(block.region, found["starts"], found["values"])
            counts[int(block.shuffled)] += found["counts"]
            bar.update(predictor.bases(block))
            if block.high == spans.count(options.step, block.region) and block.region == len(spans.numbers) - 1:
                _check(counts[int(block.shuffled)], predictor)
    return counts[0]


def _computed(blocks, compute, journal, ahead):
    """Numbers of blocks in order, blocks and their predictions; up to `ahead` are being computed meanwhile."""
    waiting: deque[tuple[int, Block, Any]] = deque()
    for number, block in enumerate(blocks):
        known = journal.load(number) if journal is not None else None
        waiting.append((number, block, compute(block) if known is None else partial(dict, known)))
        if len(waiting) > ahead:
            number, block, result = waiting.popleft()
            yield number, block, result_of(result)
    for number, block, result in waiting:
        yield number, block, result_of(result)


def _check(counts, predictor):
    windows, _, not_finite = counts.tolist()
    if not windows:
        raise InputError(f"{predictor.spans.genome.path}: the regions hold no known base")
    if windows == not_finite:
        raise ModelError(f"{predictor.options.model.name}: every prediction is NaN or infinite")
