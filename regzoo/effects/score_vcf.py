"""Scoring the variants of a VCF file: every allele comes out, scored or with the reason why not."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

import numpy as np
from tqdm import tqdm

from regzoo.effects.alleles import allele_windows, problem_with
from regzoo.effects.evaluator import Evaluator
from regzoo.effects.scores import SCORES, score
from regzoo.effects.writers import open_writer
from regzoo.errors import InputError
from regzoo.sequence import Genome, open_vcf, read_records, reverse_complement
from regzoo.sequence.files import finished_file
from regzoo.zoo import load_model

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
    scores : dict of str to numpy.ndarray, float32, shape (N, targets)
        NaN where an allele was not scored.
    """

    records: list
    alleles: list
    status: list
    scores: dict


def score_vcf(
    vcf,
    fasta,
    model,
    output,
    scores=("diff", "logit"),
    targets=None,
    strict=False,
    batch_size=64,
    progress=True,
    incremental=True,
    grid=1,
):
    """Score every allele of a VCF file and write the result.

    Parameters
    ----------
    vcf, fasta : str or pathlib.Path
    model : str or regzoo.zoo.Model
        Name, path or loaded model.
    output : str or pathlib.Path
        .tsv, .vcf, .vcf.gz, .parquet or .h5, plain TSV also .tsv.gz.
    scores : sequence of str
        Of `regzoo.effects.SCORES`.
    targets : sequence of str, optional
        Names of the targets to write; all without it.
    strict : bool
        Do not score variants whose window reaches over a contig's end; otherwise N stands for what is outside.
    batch_size : int
        Alleles in one pass of the model.
    progress : bool
        Show a progress bar on standard error.
    incremental : bool
        Evaluate alternates by what they change, which is exact up to rounding; False evaluates every window in full.
    grid : int
        Windows start at multiples of it, so that the variants of a dense VCF share most of their evaluation; 1 centres
        every variant exactly.

    Returns
    -------
    collections.Counter
        Alleles by status: 'scored', and each reason why not.

    Raises
    ------
    regzoo.errors.RegzooError
        If an input, the model, a score, a target or the output is not usable; nothing is written then.
    """
    unknown = [name for name in scores if name not in SCORES]
    if unknown:
        raise InputError(f"no score {unknown[0]!r}; there are {', '.join(SCORES)}")
    model = load_model(model) if isinstance(model, str) else model
    columns = target_columns(model, targets)
    names = [model.targets[i] for i in columns]
    genome, evaluator = Genome(fasta), Evaluator(model, incremental)
    counts = Counter()
    with ExitStack() as stack:
        reader = open_vcf(vcf)
        temporary = stack.enter_context(finished_file(output))
        writer = stack.enter_context(open_writer(temporary, output, names, scores, model.name, reader))
        bar = stack.enter_context(tqdm(desc="scoring", unit=" alleles", disable=not progress))
        for records in _groups(read_records(reader, vcf), max(batch_size, GROUP)):
            batch = _score_batch(records, genome, evaluator, scores, columns, strict, batch_size, grid)
            writer.write(batch)
            counts.update(batch.status)
            bar.update(len(batch.alleles))
    return counts


def grid_difference(vcf, fasta, model, grid, sample=64):
    """How far scores on a grid are from exactly centred ones, on a sample of a VCF.

    Parameters
    ----------
    vcf, fasta : str or pathlib.Path
    model : regzoo.zoo.Model
    grid : int
    sample : int
        The VCF's first alleles that can be scored.

    Returns
    -------
    largest : float
        Largest absolute difference of `diff`, over alleles and targets.
    correlation : float
        Pearson correlation of all `diff` values; NaN when they do not vary.
    """
    genome, evaluator = Genome(fasta), Evaluator(model)
    alleles = (a for _, of_record in read_records(open_vcf(vcf), vcf) for a in of_record)
    usable = [a for a in islice(alleles, 16 * sample) if not problem_with(a, genome, model.input_length)][:sample]
    if not usable:
        return 0.0, float("nan")
    centred, gridded = (score("diff", *predict_alleles(usable, genome, evaluator, grid=g)).ravel() for g in (1, grid))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.abs(centred - gridded).max()), float(np.corrcoef(centred, gridded)[0, 1])


def target_columns(model, targets):
    """Indices of named targets of a model, or of all.

    Raises
    ------
    InputError
        If the model has no such target; the message says which it has.
    """
    if not targets:
        return list(range(len(model.targets)))
    for name in targets:
        if name not in model.targets:
            some = ", ".join(model.targets[:8]) + (", …" if len(model.targets) > 8 else "")
            raise InputError(f"model {model.name} has no target {name!r}; it has {some}")
    return [model.targets.index(name) for name in targets]


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


def _score_batch(records, genome, evaluator, scores, columns, strict, batch_size, grid):
    alleles = [allele for _, of_record in records for allele in of_record]
    status = [problem_with(allele, genome, evaluator.model.input_length, strict) or SCORED for allele in alleles]
    rows = [i for i, text in enumerate(status) if text == SCORED]
    values = {name: np.full((len(alleles), len(columns)), np.nan, dtype=np.float32) for name in scores}
    if rows:
        predictions = predict_alleles([alleles[i] for i in rows], genome, evaluator, batch_size, grid)
        for name in scores:
            values[name][rows] = score(name, *(p if p is None else p[:, columns] for p in predictions))
    return Batch([(record, len(of_record)) for record, of_record in records], alleles, status, values)


def predict_alleles(alleles, genome, evaluator, batch_size=64, grid=1):
    """Predictions of both alleles, and of their reverse complements where the model's scores merge strands.

    Parameters
    ----------
    alleles : sequence of regzoo.sequence.Allele, length N
        Without a problem.
    genome : regzoo.sequence.Genome
    evaluator : regzoo.effects.evaluator.Evaluator
    batch_size : int
    grid : int
        Windows start at multiples of it; 1 centres them exactly.

    Returns
    -------
    ref, alt, ref_rc, alt_rc : numpy.ndarray, float32, shape (N, targets), or None for the last two
    """
    length = evaluator.model.input_length
    ref, alt, places = allele_windows(alleles, genome, length, grid)
    # Alternates of one record, and records of one window, share their reference.
    places, first, windows = np.unique(places, axis=0, return_index=True, return_inverse=True)
    windows = windows.ravel()
    result = []
    for turn in (False, True)[: 1 + evaluator.model.merge_strands]:
        sides = (reverse_complement(ref[first]), reverse_complement(alt)) if turn else (ref[first], alt)
        where = places * [1, -1] if turn else places
        predicted, of_changed = evaluator.predict(sides[0], windows, sides[1], where, batch_size)
        result += [predicted[windows], of_changed]
    return (*result, None, None)[:4]
