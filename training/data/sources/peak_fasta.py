"""Peaks as FASTA with coordinates in the headers, against shuffled and real background."""

import re
from typing import Literal

import numpy as np
from pydantic import Field

from regzoo.errors import InputError
from regzoo.sequence.codes import UNKNOWN
from training.data.negatives import gc_content, nearest_contents, shuffled_dinucleotides
from training.data.peaks import Coverage
from training.data.records import read_fasta
from training.data.sources.base import SPLITS, Piece, Source

_PLACE = re.compile(r"(\w+):(\d+)-(\d+)")


class PeakFastaData(Source):
    """A file of peaks a target, all labelled for all targets by overlap; negatives have no peak of any.

    `shuffled` negatives keep each peak's dinucleotides; `background` ones are windows of other FASTA files, as close to a
    peak's G+C content as there are.
    """

    format: Literal["peak_fasta"]
    tracks: dict[str, str] = Field(min_length=1, description="target -> FASTA with headers as chr1:100-200")
    overlap: float = Field(
        0.5, gt=0, le=1, description="share of a window that another target's peak must cover to label it"
    )
    contigs: dict[str, list[str]] = Field(
        {"dev": ["chr7"], "test": ["chr8", "chr9"]}, description="split -> contigs; the others are train"
    )
    shuffled: float = Field(1.0, ge=0, description="negatives for each peak")
    background: dict[str, list[str]] = Field(
        {}, description="split -> FASTA files, or parts of theirs as file.fa:0-150000"
    )
    gc_matched: float = Field(0.0, ge=0, description="negatives for each peak from the background")
    step: int = Field(25, gt=0, description="between background windows")
    seed: int = 1

    @property
    def targets(self):
        return list(self.tracks)

    def read(self):
        rng = np.random.default_rng(self.seed)
        tracks = {target: self._peaks(self.root / file) for target, file in self.tracks.items()}
        names = sorted({name for contigs, *_ in tracks.values() for name in contigs})
        number = {name: i for i, name in enumerate(names)}
        place = {
            t: (np.array([number[c] for c in contigs]), starts, ends)
            for t, (contigs, starts, ends, _) in tracks.items()
        }
        covers = {t: Coverage(*where) for t, where in place.items()}
        split_of = {name: next((s for s, own in self.contigs.items() if name in own), "train") for name in names}
        for target, (contigs, starts, ends, sequences) in tracks.items():
            labels = {
                t: (cover.bases(*place[target]) >= self.overlap * (ends - starts)).astype(np.float32)
                for t, cover in covers.items()
            }
            split = np.array([split_of[c] for c in contigs])
            for name in SPLITS:
                own = np.flatnonzero(split == name)
                rows = [sequences[i] for i in own]
                yield Piece(self.root / self.tracks[target], name, rows, {t: v[own] for t, v in labels.items()})
                yield from self._negatives(name, rows, rng)

    def _peaks(self, path):
        headers, sequences = read_fasta(path)
        places = [_PLACE.search(header) for header in headers]
        if None in places:
            raise InputError(f"{path}, record {headers[places.index(None)]!r}: no coordinates as chr1:100-200 in it")
        contigs, starts, ends = zip(*(place.groups() for place in places))
        return contigs, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), sequences

    def _negatives(self, split, peaks, rng):
        zero = lambda rows: {t: np.zeros(len(rows), np.float32) for t in self.targets}  # noqa: E731
        chosen = [peaks[i] for i in _times(len(peaks), self.shuffled, rng)]
        rows = [shuffled_dinucleotides(codes[None], rng)[0] for codes in chosen]
        yield Piece(self.root, split, rows, zero(rows))
        chosen = [peaks[i] for i in _times(len(peaks), self.gc_matched, rng)]
        if chosen:
            windows = rng.permutation(self._background(split, len(chosen[0])))
            rows = windows[nearest_contents(gc_content(windows), gc_content(np.stack(chosen)))]
            yield Piece(self.root, split, rows, zero(rows))

    def _background(self, split, length):
        """Distinct windows of the split's files without unknown bases, uint8, shape (N, length)."""
        windows = []
        for text in self.background.get(split, []):
            file, _, part = text.partition(":")
            start, _, end = part.partition("-")
            for codes in read_fasta(self.root / file)[1]:
                codes = codes[int(start or 0) : int(end) if end else None]
                if len(codes) >= length:
                    windows.append(np.lib.stride_tricks.sliding_window_view(codes, length)[:: self.step])
        if not windows:
            raise InputError(f"{self.root}: no background for {split}, which gc_matched negatives need")
        windows = np.unique(np.concatenate(windows), axis=0)
        return windows[(windows < UNKNOWN).all(axis=1)]


def _times(count, ratio, rng):
    return rng.permutation(np.resize(np.arange(count), round(ratio * count)))
