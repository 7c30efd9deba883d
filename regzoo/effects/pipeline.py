"""Scoring variants: every allele comes out, scored or with the reason why not."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from tqdm import tqdm

import regzoo
from regzoo.effects.journal import Journal
from regzoo.effects.scores import imported_score
from regzoo.effects.scoring import FLAGS, AlleleScorer, Scorer
from regzoo.effects.windows import left_normalised
from regzoo.effects.workers import computing
from regzoo.effects.writers import BCF, VCF, Batch, ScoreTable, open_writer, score_schema, score_suffix
from regzoo.effects.zero_shot import ZeroShot, ZeroShotScorer
from regzoo.errors import InputError, OutputError, RegzooError
from regzoo.nets.checkpoint import state_digest
from regzoo.options import VCF_KEYS, Scoring, check_choice
from regzoo.output.files import finished_file, refuse_overwrite
from regzoo.output.tables import FrameTable
from regzoo.sequence import Genome, Records, Variants, count_records, open_variants
from regzoo.sequence.alleles import Status, status_texts
from regzoo.sequence.files import regular_file
from regzoo.sequence.genome import as_genome
from regzoo.sequence.variants import BATCH
from regzoo.zoo import load_language_model, load_models

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


def score_variants(
    model: Any,
    variants: Any,
    genome: str | Path | Genome,
    *,
    scores: Sequence[str] = (),
    targets: Sequence[str] = (),
    summaries: Sequence[str] = (),
    strands: str = "model",
    strands_from: str = "",
    offsets: Sequence[int] = (0,),
    grid: int = 1,
    anchor: str = "veff",
    ref_mismatch: str = "report",
    normalise: bool = False,
    strict: bool = False,
    precision: str = "float32",
    batch_size: int = 64,
    vcf_keys: str = "packed",
    workers: int = 1,
    resume: bool = False,
    restart: bool = False,
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame | Counts:
    """Score every allele of a set of variants.

    Memory does not grow with the number of variants when an output is given. Finished batches are kept in OUTPUT.parts
    until the output is complete.

    Parameters
    ----------
    model : str, pathlib.Path, Model, or a list of them
        Names, paths of model directories, or loaded models. One that is given twice is used once.
    variants : str, pathlib.Path, pandas.DataFrame, or list of str
        VCF or BCF file, plain or compressed ('-' or a pipe is copied to a temporary file first); a table with the columns
        chrom, pos (1-based), ref, alt and optionally id; or strings CHROM:POS:REF:ALT.
    genome : str, pathlib.Path or Genome
        FASTA or .2bit file.
    scores : sequence of str
        Keys of `regzoo.options.SCORES`, or import paths of functions. By default diff, and logit of models that predict
        probabilities.
    targets : sequence of str
        Targets to score; all by default.
    summaries : sequence of str
        Keys of `regzoo.options.SUMMARIES`; they replace the targets.
    strands : str
        A key of `regzoo.options.STRANDS`.
    strands_from : str
        BED file of genes, or 'INFO:KEY': the strand on which each variant is scored.
    offsets : sequence of int
        Bases by which windows are moved; scores are averaged over them.
    grid : int
        Windows start at multiples of it; 1 centres each exactly.
    anchor : str
        A key of `regzoo.options.ANCHORS`.
    ref_mismatch : str
        A key of `regzoo.options.REF_MISMATCHES`.
    normalise : bool
        Left-align and trim indels before they are scored.
    strict : bool
        Do not score variants with a window that extends past a contig's end.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    batch_size : int
        Windows in one full pass of the network.
    vcf_keys : str
        A key of `regzoo.options.VCF_KEYS`, for VCF output.
    workers : int
        Processes; each has its share of the CPU's threads.
    resume : bool
        Continue a stopped run with the same inputs and options; the output is the same byte for byte.
    restart : bool
        Remove what a stopped run left. Without either, unfinished batches are an error.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    output : str or pathlib.Path, optional
        Write a file instead of returning a table: .tsv, .tsv.gz, .parquet, .h5, .vcf, .vcf.gz (with an index if the records
        are sorted) or .bcf; '-' is TSV on standard output.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame or Counts
        One row for each allele: record (from 1), chrom, pos, id, ref, alt, status ('scored', or why not), and the scores,
        in columns SCORE:TARGET, with several models MODEL:SCORE:TARGET. `attrs` holds the numbers of alleles with padded
        windows and with unknown bases. With `output`, the number of alleles by status.

    Raises
    ------
    regzoo.RegzooError
        If an input, a model, a score, a target or the output is not valid. No output is written then.

    Examples
    --------
    >>> regzoo.score_variants("MotifResNet/tf-human", ["chr1:1600:A:T"], "hg38.fa")       # doctest: +SKIP
    """
    options = Scoring(
        scores, targets, summaries, strands, offsets, grid, batch_size, precision,
        strict=strict, normalise=normalise, strands_from=strands_from, ref_mismatch=ref_mismatch, anchor=anchor,
    )  # fmt: skip
    run = _Run(variants, genome, output, vcf_keys, workers, resume, restart, progress)
    models = load_models(model, device)
    for one in models:
        if one.stranded and strands == "model" and not strands_from:
            logger.warning(
                "%s reads one strand, and all variants are scored on the forward strand; --strands-from takes the strand of each "
                "variant's gene, --strands sets one for all",
                one.name,
            )
    if strands_from and not strands_from.startswith("INFO:"):
        run.inputs.append(strands_from)
    run.request = {
        "models": [_of_model(one) for one in models], "functions": _sources(options.scores),
        "options": dataclasses.asdict(options),
    }  # fmt: skip
    return run(partial(Scorer, models=models, options=options))


def zero_shot(
    model: Any,
    variants: Any,
    genome: str | Path | Genome,
    *,
    scores: Sequence[str] = ("p_ref", "llr"),
    length: int = 512,
    around: int = 10,
    vcf_keys: str = "packed",
    workers: int = 1,
    resume: bool = False,
    restart: bool = False,
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame | Counts:
    """Score every allele of a set of variants by what a masked language model expects, without any training.

    Parameters
    ----------
    model : str, pathlib.Path or LanguageModel
        As `regzoo.zoo.load_language_model` takes it.
    scores : sequence of str
        Keys of `regzoo.options.ZERO_SHOT`.
    length : int
        Bases of the window that the model reads.
    around : int
        Bases on each side of the variant over which its influence is measured.
    variants, genome, vcf_keys, workers, resume, restart, device, output, progress
        See `score_variants`.

    Returns
    -------
    pandas.DataFrame or Counts
        As of `score_variants`, with columns zero_shot:SCORE.

    Raises
    ------
    regzoo.RegzooError
        If an input, the model, a score or the output is not valid. No output is written then.
    """
    options = ZeroShot(scores, length, around)
    run = _Run(variants, genome, output, vcf_keys, workers, resume, restart, progress)
    lm = load_language_model(model, device)
    words, file = repr(lm.tokenizer.vocabulary).encode(), getattr(lm.tokenizer, "path", None)
    run.request = {
        "models": [str(model), state_digest(lm.net), repr(lm.net), repr(getattr(lm.net, "config", None)), lm.source],
        "tokenizer": [type(lm.tokenizer).__name__, hashlib.sha256(words).hexdigest(), file and _file_digest(file)],
        "options": dataclasses.asdict(options),
    }
    return run(partial(ZeroShotScorer, lm=lm, options=options))


@dataclass
class _Run:
    """One run of a scorer over variants. Its checks need no model, so they come before one is loaded."""

    variants: Any
    genome: Any
    output: Any
    vcf_keys: str
    workers: int
    resume: bool
    restart: bool
    progress: bool
    inputs: list = field(default_factory=list)  # further input files
    request: dict = field(default_factory=dict)  # what the numbers depend on, besides the inputs
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self):
        check_choice("way to write VCF keys", self.vcf_keys, VCF_KEYS)
        if self.workers < 1:
            raise InputError(f"workers: expected 1 or more, got {self.workers}")
        self.suffix = None if self.output is None else score_suffix(self.output)
        if self.suffix in (None, "-") and (self.resume or self.restart):
            what = "standard output" if self.suffix else "a returned table"
            raise InputError(f"{what} cannot be resumed; give resume and restart with an output file")

    def __call__(self, make_scorer: Callable[..., AlleleScorer]) -> pd.DataFrame | Counts:
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
                self._write(work, scorer, source, None)
                return self.counts
            request = self.request | _request(source, variants, genome, self.inputs, self.workers)
            with Journal(self.output, request, self.resume, self.restart) as journal:
                order = _Order()
                with finished_file(self.output) as temporary:
                    self._write(partial(work, journal=journal, order=order), scorer, source, temporary)
                    for suffix in (".tbi", ".csi") if self.suffix in (".vcf.gz", ".bcf") else ():
                        Path(f"{self.output}{suffix}").unlink(missing_ok=True)  # of an earlier output
                if self.suffix in (".vcf.gz", ".bcf"):
                    _index(self.output, self.suffix, order)
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
        with (
            computing(scorer, make_scorer, self.workers) as compute,
            in_background(partial(_finish, writer, journal)) as finish,
            tqdm(desc="scoring", unit=" records", total=total, disable=not self.progress) as bar,
        ):
            prepared = read_ahead(_prepared(records, scorer) for records in source.batches(max(BATCH, scorer.batch_size)))
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
    """A function that does its work in a thread, one call at a time and in order; it raises what the call before raised."""
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
        alleles = replace(
            alleles,
            letters=changed.letters,
            **{name: getattr(alleles, name).copy() for name in ("pos", "ref_start", "ref_length", "alt_start", "alt_length")},
        )
        for name in ("pos", "ref_start", "ref_length", "alt_start", "alt_length"):
            getattr(alleles, name)[rows] = getattr(changed, name)
    return Batch(records, alleles, moved, {}, {}), rows


def _finish(writer, journal, number, batch, known):
    """Keep the tables of a batch, unless they were kept before, and write it."""
    if journal:
        journal.save(number, known)
    writer.write(batch)


def _computed(prepared, scorer, journal, compute, ahead):
    """Numbers of batches in order, scored batches and their tables; up to `ahead` are being computed meanwhile."""
    waiting = deque()
    for number, (batch, rows) in enumerate(prepared):
        known = journal.load(number) if journal else None
        result = None if known else compute(batch.alleles.take(rows)) if len(rows) else partial(_nothing, scorer)
        waiting.append((number, batch, rows, known, result))
        if len(waiting) > ahead:
            yield _completed(*waiting.popleft(), scorer)
    while waiting:
        yield _completed(*waiting.popleft(), scorer)


def _completed(number, batch, rows, known, result, scorer):
    if known is None:
        try:
            known = result()
        except BrokenProcessPool as error:
            raise RegzooError(
                "a worker process was killed, perhaps for lack of memory; give fewer --workers or a smaller --batch-size"
            ) from error
    scored = batch.alleles.take(rows)
    status = scorer.check_scores(scored, known)
    batch.alleles.status[rows] = status
    for key, columns in scorer.groups.items():
        values = batch.scores[key] = np.full((len(batch.alleles), len(columns)), np.nan, dtype=np.float32)
        values[rows] = np.where(np.isfinite(known[key]), known[key], np.nan)
    for key, targets in scorer.named.items():
        index = np.full(len(batch.alleles), len(targets))
        index[rows] = np.where(status == Status.SCORED, known[f"{key}:absmax_target"], len(targets))
        batch.names[key] = pa.DictionaryArray.from_arrays(pa.array(index), pa.array([*targets, ""])).cast(pa.string())
    return number, batch, known


def _nothing(scorer):
    """Tables of no allele."""
    tables = {key: np.empty((0, len(columns)), np.float32) for key, columns in scorer.groups.items()}
    tables |= {f"{key}:absmax_target": np.empty(0, np.int64) for key in scorer.named}
    return tables | {name: np.empty(0, dtype=bool) for name in FLAGS}


class _Order:
    """Whether records are sorted by contig and position, and the largest end of one."""

    def __init__(self):
        self.sorted, self.end, self._contig, self._pos, self._contigs = True, 0, -1, 0, set()

    def see(self, records):
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


def _index(output, suffix, order):
    """Index a finished .vcf.gz or .bcf; the output is complete without one."""
    import pysam

    if not order.sorted:
        logger.warning("%s: its records are not sorted, so it has no index", output)
        return
    far = suffix == ".bcf" or order.end > _TABIX_END
    index, preset = f"{output}{'.csi' if far else '.tbi'}", "bcf" if suffix == ".bcf" else "vcf"
    try:
        with finished_file(index) as temporary:
            pysam.tabix_index(str(output), preset=preset, force=True, index=str(temporary), csi=far)
    except (OSError, OutputError) as error:
        logger.warning("%s: is finished, but its index could not be made (%s)", output, error)


def _request(source: Variants, variants, genome, inputs, workers):
    """What the numbers of a run depend on, besides the models and options."""
    of_genome = {}
    for path in (genome.path, Path(f"{genome.path}.fai")):
        if path.is_file():
            of_file = path.stat()
            of_genome[str(path.resolve())] = [of_file.st_size, of_file.st_mtime_ns, of_file.st_ino]
    return {
        "vcf": _file_digest(variants) if isinstance(variants, (str, Path)) else source.digest,
        "genome": of_genome,
        "files": [_file_digest(path) for path in inputs],
        "threads": [workers, torch.get_num_threads()],
        "code": [_code_digest(), torch.__version__, np.__version__],
    }


def _of_model(model):
    """What the predictions of a model depend on."""
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "module"}
    module = [repr(model.module), model.module.reverse_complement, str(model.device)]
    return {"fields": repr(fields), "module": module, "weights": state_digest(model.module)}


def _sources(scores):
    """Digests of the modules of imported scoring functions."""
    modules = {name: inspect.getmodule(imported_score(name)) for name in scores if "." in name}
    files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
    return {name: file and _file_digest(file) for name, file in files.items()}


def _file_digest(path):
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@cache
def _code_digest():
    """Digest of this library's own code."""
    digest = hashlib.sha256()
    for path in sorted(Path(regzoo.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def difference_from_exact(
    model: Any,
    variants: Any,
    genome: str | Path | Genome,
    grid: int = 1,
    precision: str = "float32",
    sample: int = 64,
) -> tuple[float, float]:
    """How far scores on a grid or in bfloat16 are from exactly centred ones in float32, on a sample of the variants.

    Parameters
    ----------
    model, variants, genome
        See `score_variants`; one model.
    grid : int
    precision : str
    sample : int
        Number of alleles: the first ones that can be scored, among the first `BATCH` records.

    Returns
    -------
    largest : float
        Largest absolute difference of `diff`, over alleles and targets.
    correlation : float
        Pearson correlation of all `diff` values; NaN when they do not vary.
    """
    models, genome = load_models(model), as_genome(genome)
    fast = Scorer(genome, models, Scoring(("diff",), grid=grid, precision=precision))
    exact = Scorer(genome, models, Scoring(("diff",)))
    with open_variants(variants) as source:
        first = next(source.batches(), None)
    rows = np.flatnonzero(exact.check(first.alleles) == Status.SCORED)[:sample] if first else ()
    if not len(rows):
        return 0.0, float("nan")
    usable = first.alleles.take(rows)
    values = [scorer(usable)["diff"].ravel() for scorer in (exact, fast)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.abs(values[0] - values[1]).max()), float(np.corrcoef(*values)[0, 1])
