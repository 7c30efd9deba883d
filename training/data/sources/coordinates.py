"""Coordinates and a genome in the layout of genomic_benchmarks (Gresova et al. 2023).

Files are named SPLIT/CLASS.csv and have the columns region, start, end and strand.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence import Genome
from regzoo.sequence.codes import reverse_complement
from training.data.records import column, read_table
from training.data.sources.base import Piece, Source


class CoordinatesData(Source):
    """Intervals of each class and a genome. If a class is called `positive`, it is the only target; else each class is
    one.

    Intervals on the strand '-' are reverse-complemented. `length` is needed where intervals differ in length.
    """

    format: Literal["coordinates"]
    genome: str
    classes: dict[str, str] = {"positive": "positive", "negative": "negative"}
    files: dict[str, str] = {"train": "train", "test": "test"}

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return ["positive"] if "positive" in self.classes else list(self.classes)

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        genome = Genome(self.root / self.genome)
        for split, folder in self.files.items():
            for target, name in self.classes.items():
                path = next(
                    (
                        p
                        for p in (self.root / folder / f"{name}.csv.gz", self.root / folder / f"{name}.csv")
                        if p.is_file()
                    ),
                    None,
                )
                if path is None:
                    raise InputError(f"{self.root / folder}: no {name}.csv or {name}.csv.gz")
                sequences, groups = self._sequences(path, genome)
                labels = {t: np.full(len(sequences), float(t == target), np.float32) for t in self.targets}
                yield Piece(path, split, sequences, labels, groups)

    @staticmethod
    def _sequences(path, genome):
        table = read_table(path)
        sequences = []
        regions, strands = column(table, "region", path), column(table, "strand", path)
        for line, start, end in zip(table.index, column(table, "start", path), column(table, "end", path)):
            try:
                number, start, end = genome.number(regions[line]), int(start), int(end)
                if not 0 <= start < end <= genome.lengths[number]:
                    raise InputError(
                        f"{regions[line]}:{start}-{end} is not within the contig's {genome.lengths[number]} bases; use "
                        "coordinates and a genome of one assembly"
                    )
            except (InputError, ValueError) as error:
                raise InputError(f"{path}, line {line}: {error}") from error
            codes = genome.windows(np.array([number]), np.array([start]), end - start)[0]
            sequences.append(reverse_complement(codes) if strands[line] == "-" else codes)
        return sequences, list(regions)
