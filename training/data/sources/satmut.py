"""Saturation mutagenesis reporter assays (Kircher et al. 2019): measured effects of all substitutions of an element."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from regzoo.errors import InputError
from regzoo.sequence.codes import BASES, UNKNOWN, encode
from regzoo.sequence.fasta import read_fasta
from training.data.records import column, numbers, read_table
from training.data.sources.base import Piece, Source

_PLACE = re.compile(r"^(\S+) \S+:(\d+)-\d+")


class SatmutData(Source):
    """Windows with the alternate allele of each substitution, padded with N; the label is the measured log2 effect.

    Groups are elements, so that `holdout: {by: group}` evaluates on elements that were not used for training.
    """

    format: Literal["satmut"]
    length: int = Field(gt=0)
    effects: str = Field("effects.tsv.gz", description="columns Pos, Ref, Alt, Barcodes, Coefficient, Element")
    elements: str = Field("elements.fa", description="records as >NAME CONTIG:START-END, 1-based")
    tags: int = Field(10, description="smallest number of barcodes of a variant")

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return ["effect"]

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        path, elements = self.root / self.effects, read_elements(self.root / self.elements)
        table = read_table(path)
        names, ref, alt = (column(table, name, path) for name in ("Element", "Ref", "Alt"))
        tags, places, values = (numbers(column(table, n, path), path) for n in ("Barcodes", "Pos", "Coefficient"))
        chosen = np.flatnonzero((tags >= self.tags) & alt.isin(list(BASES)))
        sequences = []
        for row in chosen:
            name, line = names.iloc[row], table.index[int(row)]
            if name not in elements:
                raise InputError(f"{path}, line {line}: no element {name!r} in {self.elements}")
            start, codes = elements[name]
            place = int(places[row]) - start
            if not 0 <= place < len(codes) or codes[place] != encode(ref.iloc[row])[0]:
                raise InputError(
                    f"{path}, line {line}: REF {ref.iloc[row]} at {places[row]:.0f} is not the base of {name} there"
                )
            window = np.full(len(codes) + 2 * self.length, UNKNOWN, dtype=np.uint8)
            window[self.length : -self.length] = codes
            window[self.length + place] = encode(alt.iloc[row])[0]
            first = self.length + place - self.length // 2
            sequences.append(window[first : first + self.length])
        yield Piece(path, "train", sequences, {"effect": values[chosen]}, list(names.iloc[chosen]))


def read_elements(path: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Element -> first position and base codes, from a FASTA file with headers NAME CONTIG:START-END."""
    result = {}
    for header, codes in zip(*read_fasta(path)):
        match = _PLACE.match(header)
        if not match:
            raise InputError(f"{path}, record {header!r}: expected NAME CONTIG:START-END")
        result[match[1]] = int(match[2]), codes
    return result
