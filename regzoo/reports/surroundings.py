"""Saturation mutagenesis of both alleles of variants, each in a small genome of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from regzoo.effects.mutate import saturation_mutagenesis
from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.reports.sequences import Locus, PlacedMotif
from regzoo.sequence import Genome, decode
from regzoo.sequence.codes import encode

#: Bases that are shown of each allele's surroundings.
SPAN = 61
_CHANGE = re.compile(r"(breaks|makes) (.+) \(p .+\)")
_PSEUDOCOUNT = 0.001


class Surroundings:
    """Effects of all changes around the alleles of variants on the target of each.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns chrom, pos (1-based), ref, alt, model, target.
    models : sequence of Model
    genome : Genome
    batch_size : int
    progress : bool
    span : int
        Bases that are shown.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        models: Sequence[Model],
        genome: Genome,
        batch_size: int = 64,
        progress: bool = False,
        span: int = SPAN,
    ):
        self._found: dict[int, list[Locus]] = {}
        self._span = span
        rows = rows.reset_index(drop=True)
        for model in models:
            own = [(i, row) for i, row in enumerate(rows.itertuples()) if row.model == model.name]
            self._of_model(model, own, genome, batch_size, progress)

    def of(self, number: int) -> list[Locus] | None:
        """Reference and alternate of a row; None where its contig is missing or its model was not given."""
        return self._found.get(number)

    def _of_model(self, model, rows, genome, batch_size, progress):
        span = min(self._span, model.input_length)
        flank, left = model.input_length + span, span // 2
        sequences: dict[str, np.ndarray] = {}
        kept = []
        for i, row in rows:
            try:
                sequences |= {f"{i}-{side}": codes for side, codes in enumerate(_alleles(genome, row, flank))}
            except InputError:
                continue
            kept.append((i, row))
        if not kept:
            return
        start = flank - left
        loci = pd.DataFrame({"chrom": list(sequences), "start": start, "end": start + span})
        targets = list(dict.fromkeys(row.target for _, row in kept))
        options: dict[str, Any] = {"targets": targets, "batch_size": batch_size, "progress": progress}
        found: Any = saturation_mutagenesis(model, loci, Genome.from_sequences(sequences), **options)
        by_name = {one.contig: one for one in found}
        for i, row in kept:
            self._found[i] = [
                _locus(by_name[f"{i}-{side}"], targets.index(row.target), row, side, left) for side in (0, 1)
            ]


def _alleles(genome, row, flank):
    """Base codes of both alleles with `flank` bases on either side, N over the ends of the contig."""
    number, start = genome.number(row.chrom), row.pos - 1
    left, right = genome.windows([number, number], [start - flank, start + len(row.ref)], flank)
    return [np.concatenate([left, encode(allele), right]) for allele in (row.ref, row.alt)]


def _locus(result, target, row, side, left):
    allele = (row.ref, row.alt)[side]
    length = len(result.reference)
    before = [f"{row.pos - left + k:,}" for k in range(left)]
    inside = [f"{row.pos + k:,}" if k < len(row.ref) else f"+{k - len(row.ref) + 1}" for k in range(len(allele))]
    after = [f"{row.pos + len(row.ref) + k:,}" for k in range(length)]
    shown = allele if len(allele) <= 20 else f"{allele[:16]}… ({len(allele)} bases)"
    return Locus(
        f"{('Reference', 'Alternate')[side]}, {shown}",
        [*before, *inside, *after][:length],
        decode(result.reference),
        result.effects[:, :5, target],
        (left, min(length, left + len(allele))),
    )


def placed_motif(text: str, loci: list[Locus], motifs: dict[str, np.ndarray] | None) -> PlacedMotif | None:
    """Where the motif of an allele's report matches best over the allele; None without motifs.

    Parameters
    ----------
    text : str
        Column motif of `regzoo.alleles`, such as 'breaks CTCF (p 2e-07 → 3e-04)'.
    loci : list of Locus
    motifs : dict of str to numpy.ndarray, shape (4, width), optional
    """
    match = _CHANGE.fullmatch(text)
    if match is None or not motifs or match[2] not in motifs:
        return None
    side = 0 if match[1] == "breaks" else 1
    pwm = np.asarray(motifs[match[2]], dtype=float)
    locus, width = loci[side], pwm.shape[1]
    codes, best = encode(locus.sequence), None
    low, high = max(0, locus.marked[0] - width + 1), min(len(codes) - width, locus.marked[1] - 1)
    for strand, one in (("+", pwm), ("-", pwm[::-1, ::-1])):
        odds = np.vstack([np.log2((one + _PSEUDOCOUNT) / (0.25 + _PSEUDOCOUNT)), np.zeros(width)])
        for start in range(low, high + 1):
            score = float(odds[codes[start : start + width], np.arange(width)].sum())
            if best is None or score > best[0]:
                best = score, PlacedMotif(match[2], strand, side, start, _bits(one))
    return best[1] if best else None


def _bits(pwm):
    """Heights of the letters of a logo, shape (4, width)."""
    safe = np.clip(pwm, 1e-9, 1)
    return pwm * np.maximum(0, 2 + (safe * np.log2(safe)).sum(axis=0))
