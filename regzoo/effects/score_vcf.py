"""Scoring the variants of a VCF file: every allele comes out, scored or with the reason why not."""

import dataclasses
import logging
import multiprocessing
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pysam
import torch
from tqdm import tqdm

from regzoo.effects.alleles import left_normalised, problem_with
from regzoo.effects.journal import Journal
from regzoo.effects.scoring import Scorer
from regzoo.effects.writers import check_suffix, open_writer
from regzoo.errors import RegzooError
from regzoo.nets.checkpoint import state_digest
from regzoo.options import Scoring
from regzoo.sequence import count_records, open_vcf, read_records
from regzoo.sequence.files import finished_file
from regzoo.zoo import load_model

logger = logging.getLogger(__name__)

SCORED = "scored"
GROUP = 2048  # alleles scored together: changes of one kind make products large enough to run at full speed


@dataclass
class Batch:
    """Scored alleles in the file's order, as writers take them.

    Attributes
    ----------
    records : list of (cyvcf2.Variant, number of alleles)
    alleles : list of regzoo.sequence.Allele, length N
    status : list of str, length N
        'scored', or why not.
    scores : dict of str to numpy.ndarray, float32, shape (N, columns)
        NaN where an allele was not scored.
    """

    records: list
    alleles: list
    status: list
    scores: dict


def score_vcf(vcf, fasta, model, output, progress=True, workers=1, resume=False, **options):
    """Score every allele of a VCF file and write the result.

    Memory does not grow with the file. Finished batches are kept in OUTPUT.parts until the output is whole.

    Parameters
    ----------
    vcf, fasta : str or pathlib.Path
    model : str or regzoo.zoo.Model, or a list of them
        Names, paths or loaded models.
    output : str or pathlib.Path
        .tsv, .tsv.gz, .vcf, .vcf.gz (with a tabix index if the records are sorted), .parquet or .h5.
    progress : bool
        Show a progress bar on standard error.
    workers : int
        Processes; each has its share of the CPU's threads.
    resume : bool
        Use what a killed run with the same inputs and options left; the output is the same byte for byte.
    **options
        Fields of `regzoo.options.Scoring`.

    Returns
    -------
    collections.Counter
        Alleles by status: 'scored', and each reason why not.

    Raises
    ------
    regzoo.errors.RegzooError
        If an input, a model, a score, a target or the output is not usable; nothing is written then.
    """
    options = Scoring(**{k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in options.items()})
    models = [load_model(m) if isinstance(m, str) else m for m in (model if isinstance(model, list) else [model])]
    check_suffix(output)
    weights = {model.name: state_digest(model.module) for model in models}
    return _run(vcf, fasta, output, progress, workers, resume, weights, partial(Scorer, fasta, models, options))


def zero_shot_vcf(vcf, fasta, model, output, progress=True, workers=1, resume=False, **options):
    """Score every allele of a VCF file by what a masked language model expects, and write the result.

    Parameters
    ----------
    model : str
        As `regzoo.nets.lookup.load_language_model` takes it.
    **options
        Fields of `regzoo.effects.zero_shot.ZeroShot`.
    vcf, fasta, output, progress, workers, resume
        As of `score_vcf`; so are what is returned and raised.
    """
    from regzoo.effects.zero_shot import ZeroShot, ZeroShotScorer
    from regzoo.nets.lookup import load_language_model

    options = ZeroShot(**{k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in options.items()})
    check_suffix(output)
    lm = load_language_model(model)
    weights = {str(model): state_digest(lm.net)}
    return _run(vcf, fasta, output, progress, workers, resume, weights, partial(ZeroShotScorer, fasta, lm, options))


def _run(vcf, fasta, output, progress, workers, resume, weights, make_scorer):
    """Score, keep what is finished, write; the scorer is made here and in each worker."""
    scorer = make_scorer()
    counts, order = Counter(), _Order()
    with ExitStack() as stack:
        reader = open_vcf(vcf)
        journal = Journal(output, _request(vcf, fasta, weights, scorer.options, workers), resume)
        try:
            temporary = stack.enter_context(finished_file(output))
            writer = stack.enter_context(open_writer(temporary, scorer.groups, reader))
            compute = stack.enter_context(_computing(scorer, make_scorer, workers))
            total = count_records(vcf) if progress else None
            bar = stack.enter_context(tqdm(desc="scoring", unit=" records", total=total, disable=not progress))
            records = read_records(reader, vcf)
            for batch in _batches(records, scorer, journal, compute, 2 * workers if workers > 1 else 0):
                writer.write(batch)
                order.see(batch.records)
                counts.update(batch.status)
                bar.update(len(batch.records))
        except RegzooError:
            journal.remove()
            raise
    if str(output).endswith(".vcf.gz"):
        if order.sorted:
            pysam.tabix_index(str(output), preset="vcf", force=True)
        else:
            logger.warning("%s: its records are not sorted, so that there is no tabix index for it", output)
    journal.remove()
    return counts


def _batches(records, scorer, journal, compute, ahead):
    """Scored batches in order; up to `ahead` are being computed meanwhile."""
    waiting = deque()
    for number, group in enumerate(_groups(records, max(scorer.options.batch_size, GROUP))):
        batch, rows = _prepared(group, scorer)
        known = journal.load(number)
        waiting.append((number, batch, rows, known, None if known else compute([batch.alleles[i] for i in rows])))
        if len(waiting) > ahead:
            yield _completed(*waiting.popleft(), scorer, journal)
    while waiting:
        yield _completed(*waiting.popleft(), scorer, journal)


def _prepared(group, scorer):
    """A batch without its scores, and the rows that can have some."""
    alleles = [allele for _, of_record in group for allele in of_record]
    strict = scorer.options.strict
    status = [problem_with(allele, scorer.genome, scorer.length, strict) or SCORED for allele in alleles]
    rows = [i for i, text in enumerate(status) if text == SCORED]
    if scorer.options.normalise:
        for i in rows:
            alleles[i] = left_normalised(alleles[i], scorer.genome)
    return Batch([(record, len(of_record)) for record, of_record in group], alleles, status, {}), rows


def _completed(number, batch, rows, known, result, scorer, journal):
    if known is None:
        known = result()
        journal.save(number, known)
    for name, columns in scorer.groups.items():
        batch.scores[name] = np.full((len(batch.alleles), len(columns)), np.nan, dtype=np.float32)
        batch.scores[name][rows] = known[name]
    return batch


class _computing:
    """Context whose value takes alleles and gives a function that returns their scores."""

    def __init__(self, scorer, make_scorer, workers):
        self.scorer, self.pool = scorer, None
        if workers > 1:
            threads = max(1, torch.get_num_threads() // workers)
            self.pool = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), _start_worker, (make_scorer, threads)
            )

    def __enter__(self):
        if self.pool:
            return lambda alleles: self.pool.submit(_in_worker, alleles).result
        return lambda alleles: lambda: self.scorer(alleles)

    def __exit__(self, *error):
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def _start_worker(make_scorer, threads):
    global _scorer
    torch.set_num_threads(threads)
    _scorer = make_scorer()


def _in_worker(alleles):
    return _scorer(alleles)


class _Order:
    """Whether records came sorted by contig and position."""

    def __init__(self):
        self.sorted, self._place, self._contigs = True, (None, 0), set()

    def see(self, records):
        for record, _ in records:
            contig, pos = record.CHROM, record.POS
            if contig != self._place[0]:
                self.sorted &= contig not in self._contigs
                self._contigs.add(contig)
            elif pos < self._place[1]:
                self.sorted = False
            self._place = contig, pos


def _request(vcf, fasta, weights, options, workers):
    """What the numbers of a run depend on."""
    files = {str(Path(p).resolve()): [Path(p).stat().st_size, Path(p).stat().st_mtime_ns] for p in (vcf, fasta)}
    threads = [workers, torch.get_num_threads()]
    return {"files": files, "models": weights, "options": dataclasses.asdict(options), "threads": threads}


def difference_from_exact(vcf, fasta, model, grid=1, precision="float32", sample=64):
    """How far scores with a grid or in bfloat16 are from exactly centred ones in float32, on a sample of a VCF.

    Parameters
    ----------
    vcf, fasta : str or pathlib.Path
    model : regzoo.zoo.Model
    grid : int
    precision : str
    sample : int
        The VCF's first alleles that can be scored.

    Returns
    -------
    largest : float
        Largest absolute difference of `diff`, over alleles and targets.
    correlation : float
        Pearson correlation of all `diff` values; NaN when they do not vary.
    """
    fast = Scorer(fasta, [model], Scoring(("diff",), grid=grid, precision=precision))
    exact = Scorer(fasta, [model], Scoring(("diff",)))
    alleles = (a for _, of_record in read_records(open_vcf(vcf), vcf) for a in of_record)
    usable = [a for a in islice(alleles, 16 * sample) if not problem_with(a, exact.genome, model.input_length)][:sample]
    if not usable:
        return 0.0, float("nan")
    values = [scorer(usable)["diff"].ravel() for scorer in (exact, fast)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.abs(values[0] - values[1]).max()), float(np.corrcoef(*values)[0, 1])


def _groups(records, size):
    """Lists of consecutive (record, alleles) with at least `size` alleles, the last with what is left."""
    group, count = [], 0
    for record, alleles in records:
        group.append((record, alleles))
        count += len(alleles)
        if count >= size:
            yield group
            group, count = [], 0
    if group:
        yield group
