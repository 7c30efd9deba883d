"""Labelled variants in VCF files of one class each, as of ClinVar, gnomAD, eQTLs or CADD."""

import logging
from collections.abc import Iterable
from typing import Literal

import numpy as np
from pydantic import Field

from regzoo.effects.windows import allele_windows, check_alleles
from regzoo.errors import InputError
from regzoo.sequence import Genome, read_alleles
from regzoo.sequence.alleles import STATUS_TEXTS, Status
from training.data.sources.base import Piece, Source

logger = logging.getLogger(__name__)


class VariantsData(Source):
    """Windows of the alternate alleles of VCF files: 1 for those of `positive`, 0 for those of `negative`.

    Groups are contigs, so that `holdout: {by: group}` splits by chromosome.
    """

    format: Literal["variants"]
    genome: str
    length: int = Field(gt=0)
    positive: list[str] = Field(min_length=1)
    negative: list[str] = Field(min_length=1)

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return ["positive"]

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        genome = Genome(self.root / self.genome)
        for label, files in ((1.0, self.positive), (0.0, self.negative)):
            for file in files:
                path = self.root / file
                alleles = self._alleles(path, genome)
                _, alternate, _ = allele_windows(alleles, genome, self.length)
                labels = {"positive": np.full(len(alleles), label, np.float32)}
                yield Piece(path, "train", alternate, labels, [alleles.contigs[i] for i in alleles.contig.tolist()])

    def _alleles(self, path, genome):
        alleles = read_alleles(path)
        status = check_alleles(alleles, genome, self.length)
        for reason in np.unique(status[status != Status.SCORED]).tolist():
            records = alleles.record[status == reason]
            text = STATUS_TEXTS[reason]
            logger.warning("%s: %d alleles left out, first of record %d: %s", path, len(records), records[0], text)
        kept = np.flatnonzero(status == Status.SCORED)
        if not len(kept):
            raise InputError(f"{path}: no allele of it can be used; the genome may be of another assembly")
        return alleles.take(kept)
