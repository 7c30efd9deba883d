"""Reporter assays of 3'UTRs, with oligos and measurements in different files."""

import logging
from collections.abc import Iterable
from typing import Literal

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.fasta import read_fasta
from regzoo.suites.utr3_tasks import oligo_name
from training.data.records import column, numbers, read_table
from training.data.sources.base import Piece, Source

logger = logging.getLogger(__name__)

MATCHED = 0.95  # fraction of the variants that must have oligos; in the published files 129 of 15,266 have none


class GriesemerData(Source):
    """MPRAu (Griesemer et al. 2021): log2 fold change of reference and alternate oligos in six cell types."""

    format: Literal["griesemer"]
    table: str = "fastUTR_mpra.txt.gz"
    oligos: list[str] = ["ENCFF770UJN.fasta.gz", "ENCFF090JTW.fasta.gz"]
    cells: list[str] = ["GM12878", "HEK293FT", "HEPG2", "HMEC", "K562", "SKNSH"]

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return self.cells

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        path = self.root / self.table
        sequences: dict[str, np.ndarray] = {}
        for file in self.oligos:
            for header, codes in zip(*read_fasta(self.root / file)):
                for name in header.split("/"):  # an oligo can belong to several variants
                    sequences.setdefault(name, codes)
        table = read_table(path)
        ids = column(table, "mpra_variant_id", path)
        found = np.array([oligo_name(name, "ref", sequences) is not None for name in ids])
        if found.mean() < MATCHED:
            raise InputError(
                f"{path}: no oligo for {(~found).sum()} of {len(ids)} variants, such as {ids[~found].iloc[0]!r}"
            )
        if not found.all():
            logger.warning(
                "%s: %d of %d variants have no oligo of their name and are left out, such as %s",
                path,
                (~found).sum(),
                len(ids),
                ids[~found].iloc[0],
            )
        table, ids = table[found], ids[found]
        for allele, word in (("ref", "Ref"), ("alt", "Alt")):
            rows = [sequences[str(oligo_name(name, allele, sequences))] for name in ids]
            labels = {c: numbers(column(table, f"log2FoldChange_{word}_{c}", path), path) for c in self.cells}
            yield Piece(path, "train", rows, labels, list(ids))
