"""A data set on disk from peaks and a genome: base codes, bit-packed labels, splits by chromosome, a manifest.

Windows are read, labelled and written in chunks, so that memory does not grow with the data set.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from pydantic import Field
from tqdm import tqdm

from regzoo.errors import InputError
from regzoo.nets.checkpoint import file_digest
from regzoo.output.files import finished_file
from regzoo.output.hdf5 import NewHdf5
from regzoo.sequence import Genome
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.shared_kmers import kmer_hashes, near_duplicates
from regzoo.sequence.shuffle import shuffled_dinucleotides
from training.data.negatives import gc_content, gc_matched
from training.data.peaks import Coverage, bin_signal, overlap_labels, read_peaks, soft_masked, summit_windows, tiles
from training.section import Section, read_section

SPLITS = ("train", "dev", "test")
CHUNK = 8192  # windows in memory at once
LEAK_KMER, SAMPLE = 40, 512  # leakage between splits is counted on one of SAMPLE k-mers


class Windows(Section):
    """Where windows are, and when a track labels them."""

    kind: Literal["summits", "tiles"] = Field(
        "summits", description="windows around summits, or around the labelled bins of a tiled genome"
    )
    length: int = Field(1000, gt=0, description="bases of a window; its bin is in the middle")
    bin: int = Field(200, gt=0, description="bases that are labelled")
    overlap: float = Field(0.5, gt=0, le=1, description="fraction of the bin that a peak must cover")
    near_duplicates: float | None = Field(
        None,
        gt=0,
        le=1,
        description="drop windows whose 16-mers have this Jaccard index with those of an earlier window",
    )


class Negatives(Section):
    """Additional windows without label."""

    kind: Literal["none", "gc_matched", "gc_repeat_matched", "dinucleotide_shuffle"] = Field(
        "none", description="gc_repeat_matched: matched by the quarter of the fraction of lower-case bases, too"
    )
    ratio: float = Field(1.0, gt=0, description="negatives per labelled window")


class Split(Section):
    """Contigs of dev and test; all others are train. The default is that of DeepSEA."""

    dev: list[str] = ["chr7"]
    test: list[str] = ["chr8", "chr9"]


class Build(Section):
    """Everything needed to make a data set; paths are relative to the YAML file."""

    genome: str
    tracks: dict[str, str] = Field(min_length=1, description="target -> BED, narrowPeak or bigBed")
    signal: dict[str, str] = Field({}, description="regression target -> bigWig; the value is the mean over the bin")
    windows: Windows = Windows()
    negatives: Negatives = Negatives()
    blacklist: str | None = None
    split: Split = Split()
    seed: int = 1


def build(path: str | Path, output: str | Path, progress: bool = True) -> dict[str, Any]:
    """Build a data set.

    Parameters
    ----------
    path : str or pathlib.Path
        YAML of a `Build`.
    output : str or pathlib.Path
        HDF5: codes (N, length), labels (N, ceil(targets / 8)) packed by bit, signal (N, signals), contig, start,
        split, peak (False for negatives). The attribute `manifest` is the manifest as JSON.
    progress : bool

    Returns
    -------
    dict
        The manifest: sources with their sha256, options, counts by class and split, dropped windows, leakage between
        splits.

    Raises
    ------
    InputError
        If a file is not valid, genome and peaks are of different assemblies, or a split is empty.
    """
    options = read_section(path, Build)
    here = Path(path).resolve().parent
    genome = Genome(here / options.genome)
    tracks = [read_peaks(here / file, genome) for file in options.tracks.values()]
    blacklist = read_peaks(here / options.blacklist, genome) if options.blacklist else None
    numbers, starts, left_out = _places(options, genome, tracks, blacklist)
    split_of = _split_of(genome, options.split)
    manifest = _manifest(options, here) | {"left out": left_out}
    rng = np.random.default_rng(options.seed)
    with finished_file(output) as temporary, NewHdf5(temporary) as out:
        writer = _Writer(out, options, genome, [here / file for file in options.signal.values()])
        bar = tqdm(total=len(numbers), desc="building", unit=" windows", disable=not progress)
        for at in range(0, len(numbers), CHUNK):
            rows = slice(at, at + CHUNK)
            codes, labels = _windows(options, genome, tracks, numbers[rows], starts[rows])
            writer.add(codes, labels, numbers[rows], starts[rows], split_of[numbers[rows]], True)
            bar.update(len(codes))
        for codes, place, first in _negatives(options, genome, tracks, blacklist, numbers, starts, rng):
            labels = np.zeros((len(codes), len(tracks)), dtype=bool)
            writer.add(codes, labels, place, first, split_of[place], False)
        bar.close()
        manifest |= writer.report(options.tracks)
        empty = [split for split in SPLITS if not manifest["windows"][split]]
        if empty:
            raise InputError(f"{path}: no window in {', '.join(empty)}; choose other contigs for the split")
        out.attrs["manifest"] = json.dumps(manifest)
    return manifest


def _manifest(options, folder):
    """Options, targets and sources of a data set."""
    files = [options.genome, *options.tracks.values(), *options.signal.values()]
    files += [options.blacklist] if options.blacklist else []
    return {
        "options": options.model_dump(),
        "targets": list(options.tracks),
        "signal": list(options.signal),
        "sources": {file: file_digest(folder / file) for file in files},
    }


def _places(options, genome, tracks, blacklist):
    """Contigs and starts of the labelled windows, and counts of those left out."""
    length, bin_size = options.windows.length, options.windows.bin
    if options.windows.kind == "tiles":
        numbers, bins = tiles(genome, bin_size)
        labelled = overlap_labels(numbers, bins, bins + bin_size, tracks, options.windows.overlap).any(axis=1)
        numbers, starts = numbers[labelled], bins[labelled] - (length - bin_size) // 2
    else:
        numbers, starts = summit_windows(tracks, length, bin_size)
    inside = (starts >= 0) & (starts + length <= genome.lengths[numbers])
    listed = np.zeros(len(numbers), dtype=bool)
    if blacklist is not None:
        listed = (
            Coverage(blacklist.numbers, blacklist.starts, blacklist.ends).bases(numbers, starts, starts + length) > 0
        )
    numbers, starts, left_out = (
        numbers[inside & ~listed],
        starts[inside & ~listed],
        {"over a contig's end": int((~inside).sum()), "blacklisted": int((inside & listed).sum())},
    )
    keep, repeated = _distinct(genome, numbers, starts, length)
    numbers, starts = numbers[keep], starts[keep]
    left_out |= {"repeated on either strand": repeated}
    if options.windows.near_duplicates:
        parts = (
            genome.windows(numbers[at : at + CHUNK], starts[at : at + CHUNK], length)
            for at in range(0, len(numbers), CHUNK)
        )
        near = near_duplicates(parts, options.windows.near_duplicates)
        numbers, starts = numbers[~near], starts[~near]
        left_out |= {"nearly the same as another": int(near.sum())}
    return numbers, starts, left_out


def _distinct(genome, numbers, starts, length):
    """Rows without repeats on either strand and mostly unknown windows, and how many are left out."""
    keys = np.empty(len(numbers), dtype=np.uint64)
    known = np.empty(len(numbers), dtype=bool)
    for at in range(0, len(numbers), CHUNK):
        rows = slice(at, at + CHUNK)
        codes = genome.windows(numbers[rows], starts[rows], length)
        keys[rows], known[rows] = kmer_hashes(codes, length)[:, 0], (codes == UNKNOWN).mean(axis=1) < 0.1
    first = np.zeros(len(numbers), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return np.flatnonzero(first & known), int((~(first & known)).sum())


def _windows(options, genome, tracks, numbers, starts):
    length, bin_size = options.windows.length, options.windows.bin
    codes = genome.windows(numbers, starts, length)
    first = starts + (length - bin_size) // 2
    labels = overlap_labels(numbers, first, first + bin_size, tracks, options.windows.overlap)
    if options.windows.kind == "summits":
        # A window made for a summit has that track's label, whatever fraction of the bin the peak covers.
        middles = _bins(numbers, starts + length // 2, bin_size)
        for column, track in enumerate(tracks):
            labels[:, column] |= np.isin(middles, _bins(track.numbers, track.summits, bin_size))
    return codes, labels


def _bins(numbers, places, bin_size):
    """One number for each contig and bin."""
    return (numbers << 40) + places // bin_size


def _negatives(options, genome, tracks, blacklist, numbers, starts, rng):
    """Chunks of (codes, contigs, starts) of negatives."""
    kind, length = options.negatives.kind, options.windows.length
    if kind == "none" or not len(numbers):
        return
    count = round(options.negatives.ratio * len(numbers))
    rows = np.sort(rng.permutation(np.resize(np.arange(len(numbers)), count)))
    parts = tracks if blacklist is None else [*tracks, blacklist]
    excluded = Coverage(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("numbers", "starts", "ends")))
    masked = _quarters_masked(genome, length) if kind == "gc_repeat_matched" else None
    for at in range(0, count, CHUNK):
        chosen = rows[at : at + CHUNK]
        codes = genome.windows(numbers[chosen], starts[chosen], length)
        if kind == "dinucleotide_shuffle":
            yield shuffled_dinucleotides(codes, rng), numbers[chosen], starts[chosen]
        else:
            strata = masked(numbers[chosen], starts[chosen]) if masked else None
            place, first = gc_matched(genome, length, gc_content(codes), excluded, rng, strata, masked)
            yield genome.windows(place, first, length), place, first


def _quarters_masked(genome, length):
    """A function of contigs and starts: the quarter, 0 to 3, of the fraction of lower-case bases in a window."""
    repeats = soft_masked(genome.path, genome)
    return lambda numbers, starts: np.minimum(4 * repeats.bases(numbers, starts, starts + length) // length, 3)


def _split_of(genome, split):
    """Split of each contig, as its index in `SPLITS`."""
    result = np.zeros(len(genome.contigs), dtype=np.uint8)
    for value, names in ((1, split.dev), (2, split.test)):
        for name in names:
            number = genome.number(name)
            if result[number]:
                raise InputError(f"split: contig {name} is in dev and in test")
            result[number] = value
    return result


class _Writer:
    """Appends windows to the file and counts them."""

    def __init__(self, out, options, genome, signal):
        length, targets = options.windows.length, len(options.tracks)
        self.out, self.targets, self.options, self.genome, self.signal = out, targets, options, genome, signal
        self.counts = np.zeros((3, 2), dtype=np.int64)  # split, kind
        self.positive = np.zeros((3, targets), dtype=np.int64)
        self.kmers: list[set[int]] = [set(), set(), set()]
        out.create_dataset("contigs", data=genome.contigs, dtype=h5py.string_dtype())
        width = -(-targets // 8)
        columns: dict[str, tuple[tuple[int, ...], type]] = {
            "codes": ((length,), np.uint8),
            "labels": ((width,), np.uint8),
            "contig": ((), np.int32),
            "start": ((), np.int64),
            "split": ((), np.uint8),
            "peak": ((), bool),
        }
        if signal:
            columns["signal"] = (len(signal),), np.float32
        for name, (shape, kind) in columns.items():
            out.create_dataset(
                name,
                (0, *shape),
                kind,
                maxshape=(None, *shape),
                chunks=(1024, *shape),
                compression="gzip",
                compression_opts=1,
            )

    def add(self, codes, labels, numbers, starts, split, peak):
        """Append windows."""
        windows = self.options.windows
        first = starts + (windows.length - windows.bin) // 2
        values = {
            "codes": codes,
            "labels": np.packbits(labels, axis=1),
            "contig": numbers,
            "start": starts,
            "split": split,
            "peak": np.full(len(codes), peak),
        }
        if self.signal:
            means = [bin_signal(path, self.genome, numbers, first, first + windows.bin) for path in self.signal]
            values["signal"] = np.stack(means, axis=1)
        for name, rows in values.items():
            data = self.out[name]
            data.resize(len(data) + len(rows), axis=0)
            data[len(data) - len(rows) :] = rows
        hashes = kmer_hashes(codes, min(LEAK_KMER, codes.shape[1]))
        for value in range(3):
            own = split == value
            self.counts[value, int(not peak)] += own.sum()
            self.positive[value] += labels[own].sum(axis=0)
            # Chosen by their value, the sampled k-mers are the same in every split.
            part = hashes[own].ravel()
            self.kmers[value].update(part[part % np.uint64(SAMPLE) == 0].tolist())

    def report(self, targets: Iterable[str]) -> dict[str, Any]:
        """Counts of windows and of leakage between splits, for the manifest."""
        shared = {
            f"{a} and {b}": len(self.kmers[SPLITS.index(a)] & self.kmers[SPLITS.index(b)])
            for a, b in (("train", "dev"), ("train", "test"), ("dev", "test"))
        }
        return {
            "windows": {split: int(self.counts[i].sum()) for i, split in enumerate(SPLITS)},
            "negatives": {split: int(self.counts[i, 1]) for i, split in enumerate(SPLITS)},
            "positive": {split: dict(zip(targets, self.positive[i].tolist())) for i, split in enumerate(SPLITS)},
            "leakage": {
                "kmer": LEAK_KMER,
                "one of so many looked at": SAMPLE,
                "shared": shared,
                "looked at": {s: len(k) for s, k in zip(SPLITS, self.kmers)},
            },
        }


def read_built(path: Path, targets: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read windows and labels, or signals, of a built data set.

    Parameters
    ----------
    path : pathlib.Path
    targets : list of str
        Tracks, or signals, in the order of the labels' columns.

    Returns
    -------
    dict of str to (codes, labels)
        split -> numpy.ndarray, uint8, shape (N, length), and float32, shape (N, targets): 0 or 1 for tracks, values
        for signals.

    Raises
    ------
    InputError
        If the file is not a built data set or lacks a target.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such data set; make it with `python -m training build`")
    try:
        with h5py.File(path) as file:
            manifest = json.loads(file.attrs["manifest"])
            names = manifest["targets"] + manifest["signal"]
            missing = [target for target in targets if target not in names]
            if missing:
                raise InputError(f"{path}: no target {missing[0]!r}; it has {', '.join(names)}")
            values = np.unpackbits(file["labels"][()], axis=1)[:, : len(manifest["targets"])].astype(np.float32)
            if manifest["signal"]:
                values = np.concatenate([values, file["signal"][()]], axis=1)
            values = values[:, [names.index(target) for target in targets]]
            codes, split = file["codes"][()], file["split"][()]
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: not a data set of `python -m training build` ({error})") from error
    return {name: (codes[split == i], values[split == i]) for i, name in enumerate(SPLITS)}
