"""Scores of alleles by one or several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from regzoo.effects.background import Background
from regzoo.effects.evaluator import Evaluator
from regzoo.effects.scores import (
    P_SUFFIXES,
    PROBABILITY_SCORES,
    PROFILE_SCORES,
    imported_score,
    largest_target,
    score,
    summarise,
)
from regzoo.effects.strands import Strands
from regzoo.effects.windows import check_alleles, contig_numbers, shared_windows, unknown_bases, variant_offset
from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.options import SCORES, Scoring, check_choice
from regzoo.prediction import columns_of_models
from regzoo.sequence import Alleles, Genome, reverse_complement
from regzoo.sequence.alleles import Status
from regzoo.sequence.genome import as_genome
from regzoo.strands import strands_read, to_forward

#: Tables beside the scores, bool, shape (N,): windows past a contig's end, and with unknown bases in the contig.
FLAGS = ("padded", "unknown")

#: Bytes of reference windows that are evaluated together in full.
PART = 1 << 20


class AlleleScorer(Protocol):
    """What the scoring pipeline needs of an object that scores alleles.

    Attributes
    ----------
    genome : regzoo.sequence.Genome
    batch_size : int
        Records in a batch are at least as many.
    normalise : bool
        Left-normalise alleles before they are scored.
    groups : dict of str to list of str
        Tables of scores and their columns.
    named : dict of str to list of str
        For tables that also have the name of a target for each allele, the names there are.
    strands : regzoo.effects.strands.Strands or None
        Where the strand of each allele is taken from.
    """

    genome: Genome
    batch_size: int
    normalise: bool
    groups: dict[str, list[str]]
    named: dict[str, list[str]]
    strands: Strands | None

    def check(self, alleles: Alleles) -> np.ndarray:
        """`Status` codes of alleles before they are scored, uint8, shape (N,)."""

    def __call__(self, alleles: Alleles) -> dict[str, np.ndarray]:
        """Scores of alleles of status 0.

        Returns
        -------
        dict of str to numpy.ndarray
            By the keys of `groups`: float32, shape (N, columns). By those of `named` with ':absmax_target': int64,
            shape (N,), an index of the names. By `FLAGS`: bool, shape (N,).
        """

    def check_scores(self, alleles: Alleles, tables: dict[str, np.ndarray]) -> np.ndarray:
        """`Status` codes of scored alleles, uint8, shape (N,)."""


class Scorer:
    """Scores of alleles by models that predict targets; an `AlleleScorer`.

    Parameters
    ----------
    genome : str, pathlib.Path or regzoo.sequence.Genome
    models : sequence of regzoo.model.Model
        With distinct names.
    options : regzoo.options.Scoring
    backgrounds : dict of str to Background, optional
        By model name: percentiles and p-values are added to the scores that a background has. Not with summaries.

    Attributes
    ----------
    groups : dict of str to list of str
        Tables of scores and their columns: 'SCORE', with several models 'MODEL:SCORE' -> targets or summaries. With
        backgrounds, 'SCORE_percentile' and 'SCORE_p' follow ('deepsea_effect_evalue' for 'deepsea_effect').
    named : dict of str to list of str
        With the summary 'absmax': the targets of each table.

    Raises
    ------
    InputError
        If a model lacks a target, a score is not defined for its outputs, a background has none of the scores, or two
        models have one name.
    """

    def __init__(
        self,
        genome: str | Path | Genome,
        models: Sequence[Model],
        options: Scoring,
        backgrounds: Mapping[str, Background] | None = None,
    ):
        names = [model.name for model in models]
        if len(set(names)) < len(names):
            raise InputError(f"several models are called {max(names, key=names.count)}; give them different names")
        self.options, self.genome = options, as_genome(genome)
        self.batch_size, self.normalise = options.batch_size, options.normalise
        self.evaluators = [Evaluator(model, options.incremental, options.precision) for model in models]
        self.columns = columns_of_models(models, options.targets)
        self.scores = [options.scores or default_scores(model) for model in models]
        self.groups: dict[str, list[str]] = {}
        self.named: dict[str, list[str]] = {}
        self.keys: list[str] = []  # of tables that are computed; those of percentiles are derived from them
        self.ranked: dict[str, tuple[Background, str]] = {}
        for model, columns, scores in zip(models, self.columns, self.scores):
            self._add_tables(model, [model.targets[i] for i in columns], scores, (backgrounds or {}).get(model.name))
        self.strands = Strands(options.strands_from, self.genome) if options.strands_from else None
        self._offsets = {model.input_length: self._moved(model.input_length) for model in models}

    def _add_tables(self, model, targets, scores, background):
        """Name the tables of a model's scores, and their columns."""
        if background is not None and not set(scores) & set(background.quantiles):
            raise InputError(
                f"the background of {model.name} has none of the scores {', '.join(scores)}; it has "
                f"{', '.join(background.quantiles)}"
            )
        for name in scores:
            check_score(model, name)
            key = f"{model.name}:{name}" if len(self.evaluators) > 1 else name
            self.keys.append(key)
            self.groups[key] = list(self.options.summaries) or targets
            if background is not None and name in background.quantiles:
                self.ranked[key] = background, name
                self.groups |= {f"{key}_percentile": targets, f"{key}_{P_SUFFIXES.get(name, 'p')}": targets}
            if "absmax" in self.options.summaries:
                self.named[key] = targets

    def _moved(self, length):
        """Offsets by which windows move from where `variant_offset` puts them."""
        anchor = variant_offset(length, self.options.anchor) - variant_offset(length)
        return [offset - anchor for offset in self.options.offsets]

    def check(self, alleles: Alleles) -> np.ndarray:
        """See `AlleleScorer`."""
        options, status = self.options, alleles.status
        for length, offsets in self._offsets.items():
            found = check_alleles(
                alleles, self.genome, length, options.strict, offsets, options.grid, options.ref_mismatch == "replace"
            )
            status = np.where(status == Status.SCORED, found, status)
        return status

    def check_scores(self, alleles: Alleles, tables: dict[str, np.ndarray]) -> np.ndarray:
        """See `AlleleScorer`: scores that are not finite."""
        finite = np.logical_and.reduce([np.isfinite(tables[key]).all(axis=1) for key in self.groups])
        return np.where(finite, Status.SCORED, Status.NOT_FINITE).astype(np.uint8)

    def __call__(self, alleles: Alleles) -> dict[str, np.ndarray]:
        """See `AlleleScorer`."""
        if self.strands is None:
            return self._tables(alleles, self.options.strands)
        result: dict[str, np.ndarray] = {}
        for sign, strands in ((1, "forward"), (-1, "reverse")):
            rows = np.flatnonzero(alleles.strand == sign)
            if len(rows):
                for key, values in self._tables(alleles.take(rows), strands).items():
                    result.setdefault(key, np.zeros((len(alleles), *values.shape[1:]), values.dtype))[rows] = values
        return result

    def _tables(self, alleles, strands):
        flags = {name: np.zeros(len(alleles), dtype=bool) for name in FLAGS}
        tables = [
            table
            for evaluator, columns, scores in zip(self.evaluators, self.columns, self.scores)
            for table in self._of_model(alleles, evaluator, columns, scores, strands, flags)
        ]
        result = flags
        for key, values in zip(self.keys, tables, strict=True):
            if key in self.ranked:
                background, name = self.ranked[key]
                p = P_SUFFIXES.get(name, "p")
                for derived, of in (("percentile", background.percentile), (p, background.p_value)):
                    columns = [of(name, target, values[:, i]) for i, target in enumerate(self.groups[key])]
                    result[f"{key}_{derived}"] = np.stack(columns, axis=1).astype(np.float32)
            if key in self.named:
                result[f"{key}:absmax_target"] = largest_target(values)
            if self.options.summaries:
                values = np.stack([summarise(name, values) for name in self.options.summaries], axis=1)
            result[key] = np.asarray(values, dtype=np.float32)
        return result

    def _of_model(self, alleles, evaluator, columns, scores, strands, flags):
        """Scores by one model, shape (N, targets) each, averaged over offsets; `flags` are set where they apply."""
        options = self.options
        sums: list[Any] = [0.0] * len(scores)
        merge = "max" if strands == "max" else "mean"
        length = evaluator.model.input_length
        # Windows that are evaluated in full are made in parts, which stay in the cache and need little memory.
        size = len(alleles) if evaluator.incremental else max(options.batch_size, PART // length)
        for offset in self._offsets[length]:
            parts = [
                self._predictions(alleles.take(rows), evaluator, offset, strands)
                for rows in np.split(np.arange(len(alleles)), range(size, len(alleles), size))
            ]
            *sides, padded, unknown = map(_concatenated, zip(*parts))
            flags["padded"] |= padded
            flags["unknown"] |= unknown
            if len(columns) < len(evaluator.model.targets):
                sides = [None if side is None else side[:, columns] for side in sides]
            ref, alt, ref_rc, alt_rc = sides
            values = [score(name, ref, alt, ref_rc, alt_rc, merge) for name in scores]
            sums = [total + value / len(options.offsets) for total, value in zip(sums, values)]
        return sums

    def _predictions(self, alleles, evaluator, offset, strands):
        """What `predict_windows` returns for alleles, and whether their windows are padded or have unknown bases."""
        length = evaluator.model.input_length
        ref, windows, alt, places = shared_windows(alleles, self.genome, length, self.options.grid, offset)
        numbers = np.empty(len(ref), dtype=np.int64)
        numbers[windows] = contig_numbers(alleles, self.genome)
        found = unknown_bases(ref, numbers, places[:, 1], self.genome)
        sides = predict_windows(ref, windows, alt, places, evaluator, self.options.batch_size, strands)
        return *sides, *(flag[windows] for flag in found)


def _concatenated(parts):
    if len(parts) == 1 or parts[0] is None:
        return parts[0]
    return np.concatenate(parts)


def default_scores(model: Model) -> tuple[str, ...]:
    """Scores of a model when none are named: diff, and logit where it predicts probabilities."""
    return ("diff", "logit") if model.outputs == "probabilities" else ("diff",)


def check_score(model: Model, name: str) -> None:
    """Raise an InputError if a score is not defined for what a model predicts."""
    if "." in name:
        imported_score(name)
        return
    check_choice("score", name, SCORES)
    if name in PROFILE_SCORES and len(model.output_shape) == 1:
        raise InputError(f"score {name!r} compares profiles, but model {model.name} predicts one value a target")
    if name in PROBABILITY_SCORES and model.outputs != "probabilities":
        raise InputError(f"score {name!r} is made for probabilities, but model {model.name} gives values; use diff")
    if name == "log2fc" and model.outputs == "values":
        raise InputError(f"score 'log2fc' is made for positive outputs, but model {model.name} gives values; use diff")


def predict_windows(
    ref: np.ndarray,
    windows: np.ndarray,
    alt: np.ndarray,
    places: np.ndarray,
    evaluator: Evaluator,
    batch_size: int = 64,
    strands: str = "model",
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Predictions for both alleles' windows, on both strands where a score merges them, or on one.

    Parameters
    ----------
    ref, windows, alt, places
        As `regzoo.effects.windows.shared_windows` returns them, for N alleles.
    evaluator : regzoo.effects.evaluator.Evaluator
    batch_size : int
    strands : str
        A key of `regzoo.options.STRANDS`.

    Returns
    -------
    ref, alt, ref_rc, alt_rc : numpy.ndarray, float32, shape (N, targets) or (N, targets, bins), or None for the last
    two
    """
    result = []
    for turn in strands_read(strands, evaluator.model.merge_strands):
        sides = (reverse_complement(ref), reverse_complement(alt)) if turn else (ref, alt)
        where = places * [1, -1] if turn else places
        predicted, of_changed = evaluator.predict(sides[0], windows, sides[1], where, batch_size)
        if turn:
            predicted, of_changed = to_forward(predicted), to_forward(of_changed)
        result += [predicted[windows], of_changed]
    return (*result, None, None)[:4]
