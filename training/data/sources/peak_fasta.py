"""Peaks as FASTA files with coordinates in the headers, against shuffled and real background."""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.fasta import read_fasta
from regzoo.sequence.shuffle import shuffled_dinucleotides
from training.data.negatives import gc_content, nearest_contents
from training.data.peaks import Coverage
from training.data.sources.base import SPLITS, Piece, Source

_PLACE = re.compile(r"(\w+):(\d+)-(\d+)")


class _Track(NamedTuple):
    """Peaks of one file: contig, start, end (0-based, half-open) and base codes of each."""

    contigs: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray
    sequences: list[np.ndarray]


class PeakFastaData(Source):
    """One file of peaks per target. Every peak is labelled for all targets by overlap; negatives have no label.

    There are two kinds of negatives: `shuffled` ones keep the dinucleotides of a peak, `gc_matched` ones are windows
    of other FASTA files with the G+C content nearest to that of a peak.
    """

    format: Literal["peak_fasta"]
    tracks: dict[str, str] = Field(min_length=1, description="target -> FASTA with headers like chr1:100-200")
    overlap: float = Field(
        0.5, gt=0, le=1, description="fraction of a window that a peak of another target must cover to label it"
    )
    contigs: dict[str, list[str]] = Field(
        {"dev": ["chr7"], "test": ["chr8", "chr9"]}, description="split -> contigs; all others are train"
    )
    shuffled: float = Field(1.0, ge=0, description="shuffled negatives per peak")
    background: dict[str, list[str]] = Field(
        {}, description="split -> FASTA files, or parts of them as file.fa:0-150000"
    )
    gc_matched: float = Field(0.0, ge=0, description="background negatives per peak")
    step: int = Field(25, gt=0, description="bases between background windows")
    seed: int = 1

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return list(self.tracks)

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        rng = np.random.default_rng(self.seed)
        tracks = {target: self._track(self.root / file) for target, file in self.tracks.items()}
        split_of = {name: split for split, names in self.contigs.items() for name in names}
        for target, labels in self._labels(tracks).items():
            track = tracks[target]
            split = np.array([split_of.get(contig, "train") for contig in track.contigs])
            for name in SPLITS:
                own = np.flatnonzero(split == name)
                rows = [track.sequences[i] for i in own]
                yield Piece(self.root / self.tracks[target], name, rows, {t: v[own] for t, v in labels.items()})
                yield from self._negatives(name, rows, rng)

    def _labels(self, tracks):
        """For the peaks of each track, the labels of every target: whether its peaks cover enough of them."""
        number: dict[str, int] = {}
        places = {}
        for target, track in tracks.items():
            contigs = [number.setdefault(contig, len(number)) for contig in track.contigs]
            places[target] = np.array(contigs), track.starts, track.ends
        covers = {target: Coverage(*place) for target, place in places.items()}
        return {
            target: {
                t: (cover.bases(*places[target]) >= self.overlap * (track.ends - track.starts)).astype(np.float32)
                for t, cover in covers.items()
            }
            for target, track in tracks.items()
        }

    @staticmethod
    def _track(path):
        headers, sequences = read_fasta(path)
        contigs, starts, ends = [], [], []
        for header in headers:
            place = _PLACE.search(header)
            if not place:
                raise InputError(f"{path}, record {header!r}: expected coordinates like chr1:100-200 in the header")
            contigs.append(place[1])
            starts.append(int(place[2]))
            ends.append(int(place[3]))
        return _Track(tuple(contigs), np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), sequences)

    def _negatives(self, split, peaks, rng):
        """Pieces of negatives for some peaks of a split."""
        chosen = [peaks[i] for i in _drawn(len(peaks), self.shuffled, rng)]
        yield self._negative_piece(split, [shuffled_dinucleotides(codes[None], rng)[0] for codes in chosen])
        chosen = [peaks[i] for i in _drawn(len(peaks), self.gc_matched, rng)]
        if chosen:
            windows = rng.permutation(self._background(split, len(chosen[0])))
            nearest = nearest_contents(gc_content(windows), gc_content(np.stack(chosen)))
            yield self._negative_piece(split, windows[nearest])

    def _negative_piece(self, split, rows):
        return Piece(self.root, split, rows, {target: np.zeros(len(rows), np.float32) for target in self.targets})

    def _background(self, split, length):
        """Distinct windows without unknown bases from the split's files, uint8, shape (N, length)."""
        windows = []
        for text in self.background.get(split, []):
            file, _, part = text.partition(":")
            start, _, end = part.partition("-")
            for codes in read_fasta(self.root / file)[1]:
                codes = codes[int(start or 0) : int(end) if end else None]
                if len(codes) >= length:
                    windows.append(np.lib.stride_tricks.sliding_window_view(codes, length)[:: self.step])
        if not windows:
            raise InputError(f"{self.root}: gc_matched negatives need `background` for {split}")
        distinct = np.unique(np.concatenate(windows), axis=0)
        return distinct[(distinct < UNKNOWN).all(axis=1)]


def _drawn(count, ratio, rng):
    """Indices of `count` items in random order, so often that there are `ratio` for each item."""
    return rng.permutation(np.resize(np.arange(count), round(ratio * count)))
