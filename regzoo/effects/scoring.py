"""Scores of alleles by one or several models."""

import numpy as np

from regzoo.effects.alleles import allele_windows, problem_with, variant_offset
from regzoo.effects.evaluator import Evaluator
from regzoo.effects.scores import (
    PROBABILITY_SCORES,
    PROFILE_SCORES,
    imported_score,
    largest_target,
    score,
    summarise,
)
from regzoo.effects.strands import Strands
from regzoo.errors import InputError
from regzoo.options import SCORES, check_choice
from regzoo.sequence import Genome, reverse_complement


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


def default_scores(model):
    """Scores of a model when none are named: diff, and logit where it predicts probabilities."""
    return ("diff", "logit") if model.gives("probabilities") else ("diff",)


class Scorer:
    """Scores of alleles.

    Parameters
    ----------
    fasta : str or pathlib.Path
    models : sequence of regzoo.zoo.Model
        Of distinct names.
    options : regzoo.options.Scoring

    Attributes
    ----------
    groups : dict of str to list of str
        Tables of scores and their columns: 'SCORE', with several models 'MODEL:SCORE' -> targets or summaries.
    named : dict of str to list of str
        With the summary 'absmax': for each table the targets of which one has the largest magnitude.
    strands : regzoo.effects.strands.Strands or None

    Raises
    ------
    InputError
        If a model lacks a target, its outputs are not what a score is made for, or two models have one name.
    """

    def __init__(self, fasta, models, options):
        names = [model.name for model in models]
        if len(set(names)) < len(names):
            raise InputError(f"several models are called {max(names, key=names.count)}; give them different names")
        self.options, self.genome = options, Genome(fasta)
        self.evaluators = [Evaluator(model, options.incremental, options.precision) for model in models]
        self.columns = [self._columns(model, models) for model in models]
        self.scores = [options.scores or default_scores(model) for model in models]
        self.groups, self.named = {}, {}
        for model, columns, scores in zip(models, self.columns, self.scores):
            targets = [model.targets[i] for i in columns]
            for name in scores:
                check_score(model, name)
                key = f"{model.name}:{name}" if len(models) > 1 else name
                self.groups[key] = list(options.summaries) or targets
                if "absmax" in options.summaries:
                    self.named[key] = targets
        self.strands = Strands(options.strands_from, self.genome) if options.strands_from else None
        self._offsets = {model.input_length: self._moved(model.input_length) for model in models}

    def _moved(self, length):
        """Offsets by which windows move from where `variant_offset` puts them."""
        anchor = variant_offset(length, self.options.anchor) - variant_offset(length)
        return [offset - anchor for offset in self.options.offsets]

    def _columns(self, model, models):
        wanted = self.options.targets
        if len(models) > 1:
            known = {target for other in models for target in other.targets}
            wanted = [t for t in wanted if t in model.targets or t not in known]
            if self.options.targets and not wanted:
                raise InputError(f"model {model.name} has none of the targets {', '.join(self.options.targets)}")
        return target_columns(model, wanted)

    def problem(self, allele):
        """Why an allele cannot be scored, or '' when it can."""
        options = self.options
        for length, offsets in self._offsets.items():
            reason = problem_with(
                allele, self.genome, length, options.strict, offsets, options.grid, options.ref_mismatch == "replace"
            )
            if reason:
                return reason
        return ""

    def __call__(self, alleles):
        """Scores of alleles without a problem.

        Parameters
        ----------
        alleles : sequence of regzoo.sequence.Allele, length N

        Returns
        -------
        dict of str to numpy.ndarray
            float32, shape (N, columns), by the keys of `groups`; int64, shape (N,), by those of `named` with ':absmax_target', the
            index of a target.
        """
        if self.strands is None:
            return self._tables(alleles, self.options.strands)
        result = {}
        for sign, strands in (("+", "forward"), ("-", "reverse")):
            rows = [i for i, allele in enumerate(alleles) if allele.strand == sign]
            if rows:
                for key, values in self._tables([alleles[i] for i in rows], strands).items():
                    result.setdefault(key, np.zeros((len(alleles), *values.shape[1:]), values.dtype))[rows] = values
        return result

    def _tables(self, alleles, strands):
        tables = [
            table
            for evaluator, columns, scores in zip(self.evaluators, self.columns, self.scores)
            for table in self._of_model(alleles, evaluator, columns, scores, strands)
        ]
        result = {}
        for key, values in zip(self.groups, tables, strict=True):
            if key in self.named:
                result[f"{key}:absmax_target"] = largest_target(values)
            if self.options.summaries:
                values = np.stack([summarise(name, values) for name in self.options.summaries], axis=1)
            result[key] = np.asarray(values, dtype=np.float32)
        return result

    def _of_model(self, alleles, evaluator, columns, scores, strands):
        """Scores by one model, shape (N, targets) each, averaged over offsets."""
        options, sums = self.options, [0.0] * len(scores)
        merge = "max" if strands == "max" else "mean"
        for offset in self._offsets[evaluator.model.input_length]:
            sides = predict_alleles(alleles, self.genome, evaluator, options.batch_size, options.grid, offset, strands)
            sides = [None if side is None else side[:, columns] for side in sides]
            sums = [
                total + score(name, *sides, strands=merge) / len(options.offsets) for total, name in zip(sums, scores)
            ]
        return sums

    def unscored(self, alleles, tables):
        """Why an allele has no score although it was computed, '' where it has; list of length N."""
        finite = np.all([np.isfinite(tables[key]).all(axis=1) for key in self.groups], axis=0)
        return ["" if good else "prediction is not a finite number" for good in finite]


def turns(model, strands):
    """Whether windows are read turned round, for each reading that a score needs, by a key of `regzoo.options.STRANDS`."""
    if strands == "reverse":
        return (True,)
    both = strands in ("mean", "max") or (strands == "model" and model.merge_strands)
    return (False, True) if both else (False,)


def check_score(model, name):
    """Raise an InputError if a score is not made for what a model predicts."""
    if "." in name:
        imported_score(name)
        return
    check_choice("score", name, SCORES)
    if name in PROFILE_SCORES and len(model.output_shape) == 1:
        raise InputError(f"score {name!r} compares profiles, but model {model.name} predicts one value a target")
    if name in PROBABILITY_SCORES and not model.gives("probabilities"):
        raise InputError(f"score {name!r} is made for probabilities, but model {model.name} gives values; use diff")
    if name == "log2fc" and model.gives("values"):
        raise InputError(f"score 'log2fc' is made for positive outputs, but model {model.name} gives values; use diff")


def predict_alleles(alleles, genome, evaluator, batch_size=64, grid=1, offset=0, strands="model"):
    """Predictions of both alleles, on the other strand too where scores merge strands, or on that one alone.

    Parameters
    ----------
    alleles : sequence of regzoo.sequence.Allele, length N
        Without a problem.
    genome : regzoo.sequence.Genome
    evaluator : regzoo.effects.evaluator.Evaluator
    batch_size : int
    grid : int
        Windows start at multiples of it; 1 centres them exactly.
    offset : int
        Bases by which windows are moved.
    strands : str
        As in `regzoo.options.Scoring`.

    Returns
    -------
    ref, alt, ref_rc, alt_rc : numpy.ndarray, float32, shape (N, targets), or None for the last two
    """
    length = evaluator.model.input_length
    ref, alt, places = allele_windows(alleles, genome, length, grid, offset)
    # Alternates of one record, and records of one window, share their reference.
    places, first, windows = np.unique(places, axis=0, return_index=True, return_inverse=True)
    windows = windows.ravel()
    result = []
    for turn in turns(evaluator.model, strands):
        sides = (reverse_complement(ref[first]), reverse_complement(alt)) if turn else (ref[first], alt)
        where = places * [1, -1] if turn else places
        predicted, of_changed = evaluator.predict(sides[0], windows, sides[1], where, batch_size)
        if turn and predicted.ndim == 3:
            predicted, of_changed = predicted[:, :, ::-1], of_changed[:, :, ::-1]
        result += [predicted[windows], of_changed]
    return (*result, None, None)[:4]
