"""Sets made by `python -m training build`."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from training.data.build import read_built
from training.data.sources.base import Piece, Source


class BuiltData(Source):
    """A set made by `python -m training build`; every window has a label of every target."""

    format: Literal["built"]
    tasks: dict[str, str] = Field(min_length=1, description="target -> a track of the set, or for regressions a signal")

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in the order of the labels' columns."""
        return list(self.tasks)

    def read(self) -> Iterable[Piece]:
        """Read the files; an InputError names the file and the record that is not valid."""
        for split, (codes, labels) in read_built(self.root, list(self.tasks.values())).items():
            yield Piece(self.root, split, codes, dict(zip(self.tasks, labels.T)))
