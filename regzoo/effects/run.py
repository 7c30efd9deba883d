"""One run of a scorer over variants: batches are read, scored, kept and written, at once and in order."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from regzoo.effects.journal import Journal
from regzoo.effects.request import file_digest, of_inputs
from regzoo.effects.scoring import FLAGS, AlleleScorer
from regzoo.effects.windows import left_normalised
from regzoo.effects.workers import computing, result_of
from regzoo.effects.writers import Batch, ScoreTable, open_writer, score_schema, score_suffix
from regzoo.errors import InputError, OutputError
from regzoo.options import VCF_KEYS, check_at_least, check_choice
from regzoo.output.files import finished_file, refuse_overwrite
from regzoo.output.tables import FrameTable
from regzoo.sequence import Records, count_records, open_variants
from regzoo.sequence.alleles import Status, status_texts
from regzoo.sequence.files import regular_file
from regzoo.sequence.genome import as_genome
from regzoo.sequence.variants import BATCH

logger = logging.getLogger(__name__)

_TABIX_END = 2**29  # positions beyond it need a .csi index


class Counts(Counter):
    """Alleles by status: 'scored', and each reason why not.

    Attributes
    ----------
    padded : int
        Scored alleles with a window that extends past a contig's end and is padded with N.
    unknown : int
        Scored alleles with a window that has unknown bases (N) within the contig.
    """

    padded = 0
    unknown = 0


@dataclass
class Run:
    """One run of a scorer over variants; its options are checked before a model is loaded.

    Attributes
    ----------
    variants, genome, output, vcf_keys, workers, resume, restart, progress
        See `regzoo.score_variants`.
    inputs : list
        Further input files.
    request : dict
        What the numbers depend on, besides the inputs.
    counts : Counts
        Alleles so far.

    Raises
    ------
    RegzooError
        If an option is not valid.
    """

    variants: Any
    genome: Any
    output: Any
    vcf_keys: str
    workers: int
    resume: bool
    restart: bool
    progress: bool
    inputs: list = field(default_factory=list)
    request: dict = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self):
        check_choice("way to write VCF keys", self.vcf_keys, VCF_KEYS)
        check_at_least(1, workers=self.workers)
        self.suffix = "" if self.output is None else score_suffix(self.output)
        if self.suffix in ("", "-") and (self.resume or self.restart):
            what = "standard output" if self.suffix else "a returned table"
            raise InputError(f"{what} cannot be resumed; give resume and restart with an output file")

    def __call__(self, make_scorer: Callable[..., AlleleScorer]) -> pd.DataFrame | Counts:
        """Score all variants.

        Parameters
        ----------
        make_scorer : callable
            Makes a scorer of a genome or its path; it is pickled for several workers.

        Returns
        -------
        pandas.DataFrame or Counts
            The counts with an output.
        """
        files = [path for path in (self.variants, self.genome, *self.inputs) if isinstance(path, (str, Path))]
        genome = as_genome(self.genome)
        if self.output is not None:
            refuse_overwrite(self.output, [*files, genome.path, f"{genome.path}.fai"])
        scorer = make_scorer(genome)
        with _as_file(self.variants) as variants, open_variants(variants) as source:
            work = partial(self._work, source, variants, scorer, partial(make_scorer, genome.path))
            if self.output is None:
                return self._frame(work, scorer)
            if self.suffix == "-":
                self._write(work, scorer, source, "-")
                return self.counts
            digest = file_digest(variants) if isinstance(variants, (str, Path)) else source.digest
            request = self.request | of_inputs(digest, genome, self.inputs, self.workers)
            with Journal(self.output, request, self.resume, self.restart) as journal:
                order = Order()
                with finished_file(self.output) as temporary:
                    self._write(partial(work, journal=journal, order=order), scorer, source, temporary)
                    for suffix in (".tbi", ".csi") if self.suffix in (".vcf.gz", ".bcf") else ():
                        Path(f"{self.output}{suffix}").unlink(missing_ok=True)  # of an earlier output
                if self.suffix in (".vcf.gz", ".bcf"):
                    index_file(self.output, self.suffix, order)
        return self.counts

    def _frame(self, work, scorer):
        table = FrameTable(score_schema(scorer.groups, scorer.named)[0])
        work(ScoreTable(table, _texts(scorer)))
        frame = table.frame()
        frame.attrs |= {"padded": self.counts.padded, "unknown": self.counts.unknown}
        return frame

    def _write(self, work, scorer, source, path):
        fixed = scorer.groups, scorer.named, source.header, self.vcf_keys, _texts(scorer)
        with open_writer(path, self.suffix, *fixed) as writer:
            work(writer)

    def _work(self, source, variants, scorer, make_scorer, writer, journal=None, order=None):
        """Score all batches and write them; reading, scoring and writing overlap."""
        total = count_records(variants) if self.progress and isinstance(variants, (str, Path)) else None
        texts = _texts(scorer)
        _keep_freed_memory()
        if self.workers > 1 and not Path(scorer.genome.path).is_file():
            raise InputError("sequences in memory cannot be given to several workers; leave workers at 1")
        with (
            computing(scorer, make_scorer, self.workers) as compute,
            in_background(partial(_finish, writer, journal)) as finish,
            tqdm(desc="scoring", unit=" records", total=total, disable=not self.progress) as bar,
        ):
            batches = source.batches(max(BATCH, scorer.batch_size))
            prepared = read_ahead(_prepared(records, scorer) for records in batches)
            ahead = 2 * self.workers if self.workers > 1 else 0
            for number, batch, known in _computed(prepared, scorer, journal, compute, ahead):
                finish(number, batch, known)
                if order:
                    order.see(batch.records)
                self._count(batch, known, texts)
                bar.update(len(batch.records))

    def _count(self, batch, known, texts):
        for status, count in enumerate(np.bincount(batch.alleles.status).tolist()):
            if count:
                self.counts[texts[status]] += count
        for name in FLAGS:
            setattr(self.counts, name, getattr(self.counts, name) + int(known[name].sum()))


@contextmanager
def _as_file(variants):
    """Variants, with a pipe or standard input copied to a file, which can be read more than once."""
    if not isinstance(variants, (str, Path)):
        yield variants
        return
    with regular_file(variants, "VCF file") as path:
        yield path


def _keep_freed_memory():
    """Have glibc keep the memory of one batch's arrays for the next, which then needs no new pages.

    Freeing a block that was mapped alone raises the size from which blocks are mapped alone, and that from which free
    memory is returned to the system (man 3 mallopt, M_MMAP_THRESHOLD). Blocks of up to 32 MiB count.
    """
    np.empty(31 << 20, dtype=np.uint8)


def _texts(scorer):
    return status_texts(scorer.strands.key if scorer.strands else "")


def read_ahead(items: Iterator) -> Iterator:
    """Items of an iterator in their order; the next one is made in a thread while the last one is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, items, end)
            yield item


@contextmanager
def in_background(function: Callable) -> Iterator[Callable]:
    """A function that works in a thread, one call at a time and in order; a call raises what the one before raised."""
    waiting = None
    with ThreadPoolExecutor(1) as pool:

        def call(*arguments):
            nonlocal waiting
            if waiting:
                waiting.result()
            waiting = pool.submit(function, *arguments)

        yield call
        if waiting:
            waiting.result()


def _prepared(records: Records, scorer: AlleleScorer) -> tuple[Batch, np.ndarray]:
    """A batch without its scores, and the rows that are to be scored."""
    alleles = replace(records.alleles, status=scorer.check(records.alleles))
    if scorer.strands:
        strand, status = scorer.strands.of(records, alleles)
        good = alleles.status == Status.SCORED
        alleles.strand = np.where(good, strand, 0).astype(np.int8)
        alleles.status = np.where(good, status, alleles.status)
    rows, moved = np.flatnonzero(alleles.status == Status.SCORED), np.zeros(len(alleles), dtype=bool)
    if scorer.normalise and len(rows):
        changed, moved[rows] = left_normalised(alleles.take(rows), scorer.genome)
        alleles = alleles.with_rows(rows, changed)
    return Batch(records, alleles, moved, {}, {}), rows


def _finish(writer, journal, number, batch, known):
    """Keep the tables of a batch, unless they were kept before, and write it."""
    if journal:
        journal.save(number, known)
    writer.write(batch)


def _computed(prepared, scorer, journal, compute, ahead):
    """Numbers of batches in order, scored batches and their tables; up to `ahead` are being computed meanwhile."""
    waiting: deque[tuple[Any, ...]] = deque()
    for number, (batch, rows) in enumerate(prepared):
        known = journal.load(number) if journal else None
        result = None if known else compute(batch.alleles.take(rows)) if len(rows) else partial(_nothing, scorer)
        waiting.append((number, batch, rows, known, result))
        if len(waiting) > ahead:
            yield _completed(waiting.popleft(), scorer)
    while waiting:
        yield _completed(waiting.popleft(), scorer)


def _completed(waiting, scorer):
    number, batch, rows, known, result = waiting
    if known is None:
        known = result_of(result)
    scored = batch.alleles.take(rows)
    status = scorer.check_scores(scored, known)
    batch.alleles.status[rows] = status
    for key, columns in scorer.groups.items():
        values = batch.scores[key] = np.full((len(batch.alleles), len(columns)), np.nan, dtype=np.float32)
        values[rows] = np.where(np.isfinite(known[key]), known[key], np.nan)
    for key, targets in scorer.named.items():
        chosen = np.full(len(batch.alleles), len(targets))
        chosen[rows] = np.where(status == Status.SCORED, known[f"{key}:absmax_target"], len(targets))
        names = pa.DictionaryArray.from_arrays(pa.array(chosen), pa.array([*targets, ""]))
        batch.names[key] = names.cast(pa.string())
    return number, batch, known


def _nothing(scorer):
    """Tables of no allele."""
    tables: dict[str, np.ndarray] = {
        key: np.empty((0, len(columns)), np.float32) for key, columns in scorer.groups.items()
    }
    tables |= {f"{key}:absmax_target": np.empty(0, np.int64) for key in scorer.named}
    return tables | {name: np.empty(0, dtype=bool) for name in FLAGS}


class Order:
    """Whether records are sorted by contig and position, and the largest end of one.

    Attributes
    ----------
    sorted : bool
    end : int
    """

    def __init__(self):
        self.sorted, self.end, self._contig, self._pos, self._contigs = True, 0, -1, 0, set()

    def see(self, records: Records) -> None:
        """Take the next records into account."""
        alleles = records.alleles
        first = np.cumsum(records.counts) - records.counts
        contig, pos = alleles.contig[first], alleles.pos[first]
        same = np.diff(contig, prepend=self._contig) == 0
        step = np.diff(pos, prepend=self._pos)
        self.sorted &= not (same & (step < 0)).any()
        for other in contig[~same].tolist():
            self.sorted &= other not in self._contigs
            self._contigs.add(other)
        self._contig, self._pos = contig[-1], pos[-1]
        self.end = max(self.end, int((pos + alleles.ref_length[first]).max()))


def index_file(output: str | Path, suffix: str, order: Order) -> None:
    """Index a finished .vcf.gz or .bcf; the output is complete without one."""
    import pysam

    if not order.sorted:
        logger.warning("%s: its records are not sorted, so it has no index", output)
        return
    far = suffix == ".bcf" or order.end > _TABIX_END
    index, preset = f"{output}{'.csi' if far else '.tbi'}", "bcf" if suffix == ".bcf" else "vcf"
    try:
        with finished_file(index) as temporary:
            pysam.tabix_index(str(output), preset=preset, force=True, index=str(temporary), csi=far)  # type: ignore[arg-type]
    except (OSError, OutputError) as error:
        logger.warning("%s: is finished, but its index could not be made (%s)", output, error)
