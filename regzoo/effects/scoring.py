"""Scores of alleles by one or several models."""

import numpy as np

from regzoo.effects.alleles import allele_windows
from regzoo.effects.evaluator import Evaluator
from regzoo.effects.scores import PROBABILITY_SCORES, PROFILE_SCORES, score, summarise
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


class Scorer:
    """Scores of alleles.

    Parameters
    ----------
    fasta : str or pathlib.Path
    models : sequence of regzoo.zoo.Model
    options : regzoo.options.Scoring

    Attributes
    ----------
    groups : dict of str to list of str
        Tables of scores and their columns: 'SCORE', with several models 'MODEL:SCORE' -> targets or summaries.

    Raises
    ------
    InputError
        If a model lacks a target, or its outputs are not what a score is made for.
    """

    def __init__(self, fasta, models, options):
        self.options, self.genome = options, Genome(fasta)
        self.evaluators = [Evaluator(model, options.incremental, options.precision) for model in models]
        self.columns = [self._columns(model, models) for model in models]
        self.groups = {}
        for model, columns in zip(models, self.columns):
            for name in options.scores:
                check_score(model, name)
                key = f"{model.name}:{name}" if len(models) > 1 else name
                self.groups[key] = list(options.summaries) or [model.targets[i] for i in columns]
        self.length = max(model.input_length for model in models)

    def _columns(self, model, models):
        wanted = self.options.targets
        if len(models) > 1:
            known = {target for other in models for target in other.targets}
            wanted = [t for t in wanted if t in model.targets or t not in known]
            if self.options.targets and not wanted:
                raise InputError(f"model {model.name} has none of the targets {', '.join(self.options.targets)}")
        return target_columns(model, wanted)

    def __call__(self, alleles):
        """Scores of alleles without a problem.

        Parameters
        ----------
        alleles : sequence of regzoo.sequence.Allele, length N

        Returns
        -------
        dict of str to numpy.ndarray, float32, shape (N, columns)
            By the keys of `groups`.
        """
        tables = [
            table
            for evaluator, columns in zip(self.evaluators, self.columns)
            for table in self._tables(alleles, evaluator, columns)
        ]
        return dict(zip(self.groups, tables))

    def _tables(self, alleles, evaluator, columns):
        options, sums = self.options, [0.0] * len(self.options.scores)
        merge = "max" if options.strands == "max" else "mean"
        for offset in options.offsets:
            sides = predict_alleles(
                alleles, self.genome, evaluator, options.batch_size, options.grid, offset, options.strands
            )
            sides = [None if side is None else side[:, columns] for side in sides]
            sums = [
                total + score(name, *sides, strands=merge) / len(options.offsets)
                for total, name in zip(sums, options.scores)
            ]
        for total in sums:
            if options.summaries:
                total = np.stack([summarise(name, total) for name in options.summaries], axis=1)
            yield np.asarray(total, dtype=np.float32)


def turns(model, strands):
    """Whether windows are read turned round, for each reading that a score needs, by a key of `regzoo.options.STRANDS`."""
    if strands == "reverse":
        return (True,)
    both = strands in ("mean", "max") or (strands == "model" and model.merge_strands)
    return (False, True) if both else (False,)


def check_score(model, name):
    """Raise an InputError if a score is not made for what a model predicts."""
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
