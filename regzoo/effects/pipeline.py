"""Scoring variants: every allele comes out, scored or with the reason why not."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regzoo.effects import request
from regzoo.effects.background import background_of
from regzoo.effects.masked_scores import ZeroShot, ZeroShotScorer
from regzoo.effects.run import Counts, Run
from regzoo.effects.scoring import Scorer
from regzoo.errors import InputError
from regzoo.options import Scoring
from regzoo.sequence import Genome, open_variants
from regzoo.sequence.alleles import Status
from regzoo.sequence.genome import as_genome
from regzoo.zoo import load_language_model, load_models

logger = logging.getLogger(__name__)


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
    percentile: bool = False,
    background: Any = None,
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
        VCF or BCF file, plain or compressed ('-' or a pipe is copied to a temporary file first); a table with the
        columns chrom, pos (1-based), ref, alt and optionally id; or strings CHROM:POS:REF:ALT.
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
    percentile : bool
        Add the percentile and the two-sided empirical p-value of each score among background variants.
    background : Background, path, or dict of model name to one of these, optional
        For percentiles, made by `regzoo.background`. By default the one that ships with each model.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    output : str or pathlib.Path, optional
        Write a file instead of returning a table: .tsv, .tsv.gz, .parquet, .h5, .vcf, .vcf.gz (with an index if the
        records are sorted) or .bcf; '-' is TSV on standard output.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame or Counts
        One row for each allele: record (from 1), chrom, pos, id, ref, alt, status ('scored', or why not), and the
        scores, in columns SCORE:TARGET (and SCORE_percentile:TARGET, SCORE_p:TARGET, which is
        deepsea_effect_evalue:TARGET for 'deepsea_effect'), with several models MODEL:SCORE:TARGET. `attrs` holds the
        numbers of alleles with padded windows and with unknown bases. With `output`, the number of alleles by status.

    Raises
    ------
    regzoo.RegzooError
        If an input, a model, a score, a target or the output is not valid. No output is written then.

    Examples
    --------
    >>> regzoo.score_variants("MotifResNet/tf-human", ["chr1:1600:A:T"], "hg38.fa")       # doctest: +SKIP
    """
    options = Scoring(
        scores,
        targets,
        summaries,
        strands,
        offsets,
        grid,
        batch_size,
        precision,
        strict=strict,
        normalise=normalise,
        strands_from=strands_from,
        ref_mismatch=ref_mismatch,
        anchor=anchor,
    )
    run = Run(variants, genome, output, vcf_keys, workers, resume, restart, progress)
    models = load_models(model, device)
    _warn_of_strands(models, options)
    if strands_from and not strands_from.startswith("INFO:"):
        run.inputs.append(strands_from)
    backgrounds = _backgrounds(models, options, percentile, background)
    run.request = {
        "backgrounds": {name: found.digest() for name, found in backgrounds.items()},
        "models": [request.of_model(one) for one in models],
        "functions": request.of_functions(options.scores),
        "options": dataclasses.asdict(options),
    }
    return run(partial(Scorer, models=models, options=options, backgrounds=backgrounds))


def _warn_of_strands(models, options):
    for one in models:
        if one.stranded and options.strands == "model" and not options.strands_from:
            logger.warning(
                "%s reads one strand, and all variants are scored on the forward strand; --strands-from takes the "
                "strand of each variant's gene, --strands sets one for all",
                one.name,
            )


def _backgrounds(models, options, percentile, background):
    """Model name -> Background; empty without percentiles."""
    if background is not None and not percentile:
        raise InputError("a background is used for percentiles only: ask for percentile too, or give no background")
    if not percentile:
        return {}
    if options.summaries:
        raise InputError("percentiles are those of targets, not of summaries: give either percentile or summaries")
    if background is None and (options.offsets != (0,) or options.strands != "model" or options.strands_from):
        raise InputError(
            "the backgrounds that ship with models are of centred windows and the model's own strands; for offsets or "
            "other strands, give a background made with the same options"
        )
    return {one.name: background_of(one.name, background) for one in models}


def zero_shot(
    model: Any,
    variants: Any,
    genome: str | Path | Genome,
    *,
    scores: Sequence[str] = ("p_ref", "llr"),
    length: int = 512,
    around: int = 10,
    batch_size: int = 64,
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
    batch_size : int
        Windows of 64 tokens in one pass; fewer of longer ones, more of shorter ones.
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
    options = ZeroShot(scores, length, around, batch_size)
    run = Run(variants, genome, output, vcf_keys, workers, resume, restart, progress)
    lm = load_language_model(model, device)
    run.request = {"models": request.of_language_model(lm), "options": dataclasses.asdict(options)}
    return run(partial(ZeroShotScorer, lm=lm, options=options))


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
        Number of alleles: the first ones that can be scored, among the first 2,048 records.

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
        alleles = [batch.alleles for batch in islice(source.batches(), 1)]
    usable = [part.take(np.flatnonzero(exact.check(part) == Status.SCORED)[:sample]) for part in alleles]
    if not usable or not len(usable[0]):
        return 0.0, float("nan")
    ours, theirs = (scorer(usable[0])["diff"].ravel() for scorer in (exact, fast))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.abs(ours - theirs).max()), float(np.corrcoef(ours, theirs)[0, 1])
