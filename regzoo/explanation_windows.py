"""Windows to explain: of intervals, of both alleles of variants, or of sequences."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regzoo.effects.windows import allele_windows, check_alleles
from regzoo.embedding import read_regions
from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.sequence import Genome, open_variants
from regzoo.sequence.alleles import Status, status_texts
from regzoo.sequence.intervals import as_intervals, is_narrow_peak, locate_windows, refuse_problems
from regzoo.sequence.variants import BATCH

logger = logging.getLogger(__name__)


@dataclass
class Window:
    """A window to explain: base codes on the forward strand, place, name, and whether the reverse strand is read.

    Both alleles of a variant have the same `origin`, the reference window, whose shuffles they are compared with. The
    third window of a substitution, 'difference', has no prediction of its own: it is that of the two before it.
    """

    codes: np.ndarray
    contig: str
    start: int
    name: str
    minus: bool = False
    difference: bool = False
    origin: np.ndarray | None = None


def explained_windows(inputs: Any, genome: Genome | None, model: Model, use_strand: bool | None) -> list[Window]:
    """The windows that `regzoo.explain` explains; arguments as of that function, opened and loaded."""
    if genome is None:
        return _sequence_windows(inputs, model)
    if _are_variants(inputs):
        return _allele_windows(inputs, genome, model)
    intervals, source = as_intervals(inputs)
    centred = intervals.around_summits(source) if is_narrow_peak(source) else intervals
    numbers, starts, problems = locate_windows(centred, genome, model.input_length)
    refuse_problems(intervals, genome, source, problems)
    reverse = model.stranded if use_strand is None else use_strand
    minus = (intervals.strands == "-") & reverse
    codes = genome.windows(numbers, starts, model.input_length)
    contigs = [genome.contigs[number] for number in numbers]
    rows = zip(codes, contigs, starts.tolist(), intervals.names.tolist(), minus.tolist())
    return [Window(*row) for row in rows]


def _sequence_windows(inputs, model):
    regions, source = read_regions(inputs, None)
    for region in regions:
        if len(region.codes) != model.input_length:
            raise InputError(
                f"{source}: {region.name} has {len(region.codes)} bases, but {model.name} reads windows of "
                f"{model.input_length}; give intervals and a genome"
            )
    return [Window(np.array(region.codes), region.contig, region.start, region.name) for region in regions]


def _are_variants(inputs):
    if isinstance(inputs, (list, tuple)) and inputs:
        return all(isinstance(text, str) and text.count(":") == 3 for text in inputs)
    text = str(inputs).lower() if isinstance(inputs, (str, Path)) else ""
    return text.endswith((".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")) or text.count(":") == 3


def _allele_windows(inputs, genome, model):
    """Windows of both alleles and of their difference; alleles that cannot be explained are counted in a warning."""
    windows: list[Window] = []
    left_out: Counter[int] = Counter()
    length = model.input_length
    with open_variants([inputs] if isinstance(inputs, str) and not Path(inputs).exists() else inputs) as source:
        for records in source.batches(BATCH):
            status = check_alleles(records.alleles, genome, length)
            left_out.update(status[status != Status.SCORED].tolist())
            alleles = records.alleles.take(np.flatnonzero(status == Status.SCORED))
            ref, alt, places = allele_windows(alleles, genome, length)
            substitution = alleles.ref_length == alleles.alt_length
            for row, name in enumerate(_allele_names(alleles)):
                place = genome.contigs[places[row, 0]], int(places[row, 1])
                windows += [
                    Window(codes[row], *place, f"{name}_{side}", origin=ref[row])
                    for codes, side in ((ref, "ref"), (alt, "alt"))
                ]
                if substitution[row]:
                    windows.append(Window(alt[row], *place, f"{name}_difference", difference=True))
    if left_out:
        texts = status_texts(length)
        reasons = ", ".join(f"{count} {texts[code]}" for code, count in left_out.items())
        logger.warning("%d alleles are left out: %s", left_out.total(), reasons)
    if not windows:
        raise InputError("no allele can be explained")
    return windows


def _allele_names(alleles):
    texts = (side.to_pylist() for side in (alleles.contig_texts(), alleles.ref_texts(), alleles.alt_texts()))
    rows = zip(alleles.identifier.to_pylist(), alleles.pos.tolist(), *texts)
    _, record, counts = np.unique(alleles.record, return_inverse=True, return_counts=True)
    return [
        f"{chrom}:{pos}:{ref}:{alt}" if name in (".", "") else f"{name}:{ref}:{alt}" if count > 1 else name
        for (name, pos, chrom, ref, alt), count in zip(rows, counts[record])
    ]
