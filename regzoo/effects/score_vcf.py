"""Scoring the variants of a VCF file: every allele comes out, scored or with the reason why not."""

import dataclasses
import hashlib
import inspect
import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import regzoo
from regzoo.effects.alleles import left_normalised
from regzoo.effects.journal import Journal
from regzoo.effects.scores import imported_score
from regzoo.effects.scoring import Scorer
from regzoo.effects.writers import check_suffix, open_writer
from regzoo.errors import InputError, ModelError, OutputError, RegzooError
from regzoo.nets.checkpoint import state_digest
from regzoo.options import VCF_KEYS, Scoring, check_choice
from regzoo.sequence import count_records, open_vcf, read_records
from regzoo.sequence.files import finished_file, refuse_overwrite, regular_file
from regzoo.zoo import load_model, model_folder

logger = logging.getLogger(__name__)

SCORED = "scored"
GROUP = 2048  # alleles scored together: changes of one kind make products large enough to run at full speed
_TABIX_END = 2**29  # positions beyond it need a .csi index


@dataclass
class Batch:
    """Scored alleles in the file's order, as writers take them.

    Attributes
    ----------
    records : list of (regzoo.sequence.variants.Record, number of alleles)
    alleles : list of regzoo.sequence.Allele, length N
    status : list of str, length N
        'scored', or why not.
    scores : dict of str to numpy.ndarray, float32, shape (N, columns)
        NaN where an allele was not scored.
    names : dict of str to list of str, length N
        With the summary 'absmax', by the keys of `scores`: the target of the largest magnitude, '' where not scored.
    """

    records: list
    alleles: list
    status: list
    scores: dict
    names: dict


def score_vcf(
    vcf, fasta, model, output, progress=True, workers=1, resume=False, restart=False, vcf_keys="packed", **options
):
    """Score every allele of a VCF file and write the result.

    Memory does not grow with the file. Finished batches are kept in OUTPUT.parts until the output is whole.

    Parameters
    ----------
    vcf : str or pathlib.Path
        VCF or BCF, plain or compressed; '-' or a pipe is copied to a temporary file first.
    fasta : str or pathlib.Path
    model : str or regzoo.zoo.Model, or a list of them
        Names, paths or loaded models. One that is given twice is used once.
    output : str or pathlib.Path
        .tsv, .tsv.gz, .vcf, .vcf.gz (with a tabix index if the records are sorted), .parquet or .h5; '-' is TSV on
        standard output.
    progress : bool
        Show a progress bar on standard error.
    workers : int
        Processes; each has its share of the CPU's threads.
    resume : bool
        Use what a stopped run with the same inputs and options left; the output is the same byte for byte.
    restart : bool
        Remove what a stopped run left. Without either, such a rest is an error.
    vcf_keys : str
        A key of `regzoo.options.VCF_KEYS`, for VCF output.
    **options
        Fields of `regzoo.options.Scoring`.

    Returns
    -------
    collections.Counter
        Alleles by status: 'scored', and each reason why not.

    Raises
    ------
    regzoo.errors.RegzooError
        If an input, a model, a score, a target or the output is not usable; no output is written then.
    """
    options = Scoring(**{k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in options.items()})
    given = list(model) if isinstance(model, (list, tuple)) else [model]
    given = [str(m) if isinstance(m, Path) else m for m in given]
    # By identity and name: models do not compare.
    given = [m for i, m in enumerate(given) if not any(m is o or (isinstance(m, str) and m == o) for o in given[:i])]
    models = [load_model(m) if isinstance(m, str) else m for m in given]
    check_suffix(output)
    for one in models:
        if one.stranded and options.strands == "model" and not options.strands_from:
            logger.warning(
                "%s reads one strand, and all variants are scored on the forward strand; --strands-from takes the strand of each "
                "variant's gene, --strands sets one for all",
                one.name,
            )
    extra = [options.strands_from] if options.strands_from and not options.strands_from.startswith("INFO:") else []
    request = {"models": [_of_model(one) for one in models], "functions": _sources(options.scores)}
    make_scorer = partial(Scorer, fasta, models, options)
    return _run(vcf, fasta, output, request, make_scorer, progress, workers, resume, restart, vcf_keys, extra)


def zero_shot_vcf(
    vcf, fasta, model, output, progress=True, workers=1, resume=False, restart=False, vcf_keys="packed", **options
):
    """Score every allele of a VCF file by what a masked language model expects, and write the result.

    Parameters
    ----------
    model : str
        As `regzoo.nets.lookup.load_language_model` takes it.
    **options
        Fields of `regzoo.effects.zero_shot.ZeroShot`.
    vcf, fasta, output, progress, workers, resume, restart, vcf_keys
        As of `score_vcf`; so are what is returned and raised.
    """
    from regzoo.effects.zero_shot import ZeroShot, ZeroShotScorer
    from regzoo.nets.lookup import load_language_model

    options = ZeroShot(**{k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in options.items()})
    check_suffix(output)
    lm = load_language_model(model)
    words, file = repr(lm.tokenizer.vocabulary).encode(), getattr(lm.tokenizer, "path", None)
    request = {
        "models": [str(model), state_digest(lm.net), repr(lm.net), repr(getattr(lm.net, "config", None)), lm.source],
        "tokenizer": [type(lm.tokenizer).__name__, hashlib.sha256(words).hexdigest(), file and _file_digest(file)],
    }
    make_scorer = partial(ZeroShotScorer, fasta, lm, options)
    return _run(vcf, fasta, output, request, make_scorer, progress, workers, resume, restart, vcf_keys)


def _run(vcf, fasta, output, request, make_scorer, progress, workers, resume, restart, vcf_keys, extra=()):
    """Score, keep what is finished, write; the scorer is made here and in each worker. `extra` are further input files."""
    check_choice("way to write VCF keys", vcf_keys, VCF_KEYS)
    refuse_overwrite(output, [vcf, fasta, f"{fasta}.fai", *extra])
    to_file = str(output) != "-"
    if not to_file and (resume or restart):
        raise InputError("standard output cannot be resumed; give --resume and --restart with an output file")
    with regular_file(vcf, "VCF file") as path:
        reader, scorer = open_vcf(path), make_scorer()
        total = count_records(path) if progress else None
        work = partial(_write, reader, scorer, make_scorer, vcf_keys, workers, progress, total)
        if not to_file:
            return work("-", None)[0]
        request |= _request(path, fasta, extra, scorer.options, workers)
        with Journal(output, request, resume, restart) as journal:
            with finished_file(output) as temporary:
                counts, order = work(temporary, journal)
                for suffix in (".tbi", ".csi"):  # of an earlier output
                    if str(output).endswith(".vcf.gz"):
                        Path(f"{output}{suffix}").unlink(missing_ok=True)
            if str(output).endswith(".vcf.gz"):
                _index(output, order)
    return counts


def _write(reader, scorer, make_scorer, vcf_keys, workers, progress, total, path, journal):
    """Write the whole output; counts by status, and the order of the records."""
    counts, order = Counter(), _Order()
    with (
        open_writer(path, scorer.groups, scorer.named, reader.header, vcf_keys) as writer,
        _computing(scorer, make_scorer, workers) as compute,
        tqdm(desc="scoring", unit=" records", total=total, disable=not progress) as bar,
    ):
        for batch in _batches(read_records(reader), scorer, journal, compute, 2 * workers if workers > 1 else 0):
            writer.write(batch)
            order.see(batch.records)
            counts.update(batch.status)
            bar.update(len(batch.records))
    return counts, order


def _index(output, order):
    """Index a finished .vcf.gz; without one it is whole all the same."""
    import pysam

    if not order.sorted:
        logger.warning("%s: its records are not sorted, so that there is no tabix index for it", output)
        return
    far = order.end > _TABIX_END
    index = f"{output}{'.csi' if far else '.tbi'}"
    try:
        with finished_file(index) as temporary:
            pysam.tabix_index(str(output), preset="vcf", force=True, index=str(temporary), csi=far)
    except (OSError, OutputError) as error:
        logger.warning("%s: is finished, but its index could not be made (%s)", output, error)


def _batches(records, scorer, journal, compute, ahead):
    """Scored batches in order; up to `ahead` are being computed meanwhile."""
    waiting = deque()
    for number, group in enumerate(_groups(records, max(scorer.options.batch_size, GROUP))):
        batch, rows = _prepared(group, scorer)
        known = journal.load(number) if journal else None
        waiting.append((number, batch, rows, known, None if known else compute([batch.alleles[i] for i in rows])))
        if len(waiting) > ahead:
            yield _completed(*waiting.popleft(), scorer, journal)
    while waiting:
        yield _completed(*waiting.popleft(), scorer, journal)


def _prepared(group, scorer):
    """A batch without its scores, and the rows that can have some."""
    alleles = [allele for _, of_record in group for allele in of_record]
    status = [scorer.problem(allele) or SCORED for allele in alleles]
    if scorer.strands:
        of_alleles = [record for record, of_record in group for _ in of_record]
        for i, (record, allele) in enumerate(zip(of_alleles, alleles)):
            if status[i] == SCORED:
                allele.strand, reason = scorer.strands.strand(record, allele)
                status[i] = reason or SCORED
    rows = [i for i, text in enumerate(status) if text == SCORED]
    if scorer.options.normalise:
        for i in rows:
            alleles[i] = left_normalised(alleles[i], scorer.genome)
    return Batch([(record, len(of_record)) for record, of_record in group], alleles, status, {}, {}), rows


def _completed(number, batch, rows, known, result, scorer, journal):
    if known is None:
        try:
            known = result() if rows else _nothing(scorer)
        except BrokenProcessPool as error:
            raise RegzooError(
                "a worker process was killed, perhaps for lack of memory; give fewer --workers or a smaller --batch-size"
            ) from error
        if journal:
            journal.save(number, known)
    reasons = scorer.unscored([batch.alleles[i] for i in rows], known) if rows else []
    for row, reason in zip(rows, reasons):
        batch.status[row] = reason or SCORED
    for key, columns in scorer.groups.items():
        values = batch.scores[key] = np.full((len(batch.alleles), len(columns)), np.nan, dtype=np.float32)
        values[rows] = np.where(np.isfinite(known[key]), known[key], np.nan)
    for key, targets in scorer.named.items():
        names = batch.names[key] = [""] * len(batch.alleles)
        for row, target, reason in zip(rows, known[f"{key}:absmax_target"], reasons):
            names[row] = "" if reason else targets[target]
    return batch


def _nothing(scorer):
    """Scores of no allele."""
    tables = {key: np.empty((0, len(columns)), np.float32) for key, columns in scorer.groups.items()}
    return tables | {f"{key}:absmax_target": np.empty(0, np.int64) for key in scorer.named}


class _computing:
    """Context whose value takes alleles and gives a function that returns their scores.

    Workers end with this process, however it ends: each waits for the end of a pipe that only this process holds open.
    """

    def __init__(self, scorer, make_scorer, workers):
        self.scorer, self.pool = scorer, None
        if workers > 1:
            threads = max(1, torch.get_num_threads() // workers)
            context = multiprocessing.get_context("spawn")
            self._others, self._alive = context.Pipe(duplex=False)
            self.pool = ProcessPoolExecutor(workers, context, _start_worker, (make_scorer, threads, self._others))

    def __enter__(self):
        if self.pool:
            return lambda alleles: self.pool.submit(_in_worker, alleles).result if alleles else None
        return lambda alleles: partial(self.scorer, alleles)

    def __exit__(self, kind, error, trace):
        if self.pool:
            if kind is not None:
                self._alive.close()  # what is being computed is of no use
            self.pool.shutdown(cancel_futures=True)
            self._alive.close()
            self._others.close()


def _start_worker(make_scorer, threads, alive):
    global _scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group; the main process decides
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    torch.set_num_threads(threads)
    _scorer = make_scorer()


def _end_with(alive):
    try:
        alive.recv()
    except (EOFError, OSError):
        os._exit(1)


def _in_worker(alleles):
    return _scorer(alleles)


class _Order:
    """Whether records came sorted by contig and position, and the largest end of one."""

    def __init__(self):
        self.sorted, self.end, self._place, self._contigs = True, 0, (None, 0), set()

    def see(self, records):
        for record, _ in records:
            contig, pos = record.fields[0], record.pos
            if contig != self._place[0]:
                self.sorted &= contig not in self._contigs
                self._contigs.add(contig)
            elif pos < self._place[1]:
                self.sorted = False
            self._place = contig, pos
            self.end = max(self.end, pos + len(record.fields[3]))


def _request(vcf, fasta, extra, options, workers):
    """What the numbers of a run depend on, besides the models."""
    genome = {}
    for path in (Path(fasta), Path(f"{fasta}.fai")):
        if path.is_file():
            of_file = path.stat()
            genome[str(path.resolve())] = [of_file.st_size, of_file.st_mtime_ns, of_file.st_ino]
    return {
        "vcf": _file_digest(vcf),
        "genome": genome,
        "files": [_file_digest(path) for path in extra],
        "options": dataclasses.asdict(options),
        "threads": [workers, torch.get_num_threads()],
        "code": [_code_digest(), torch.__version__, np.__version__],
    }


def _of_model(model):
    """What the predictions of a model depend on."""
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "module"}
    try:
        definition = _file_digest(model_folder(model.name) / "model.yaml")
    except ModelError:  # one that was made in Python
        definition = None
    module = [repr(model.module), model.module.reverse_complement, str(model.device)]
    return {"fields": repr(fields), "module": module, "weights": state_digest(model.module), "definition": definition}


def _sources(scores):
    """Digests of the modules of imported scoring functions."""
    modules = {name: inspect.getmodule(imported_score(name)) for name in scores if "." in name}
    files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
    return {name: file and _file_digest(file) for name, file in files.items()}


def _file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@cache
def _code_digest():
    """Digest of this library's own code."""
    digest = hashlib.sha256()
    for path in sorted(Path(regzoo.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
    alleles = (a for _, of_record in read_records(open_vcf(vcf)) for a in of_record)
    usable = [a for a in islice(alleles, 16 * sample) if not exact.problem(a)][:sample]
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
