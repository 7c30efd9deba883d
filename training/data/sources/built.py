"""Sets made by `python -m training build`."""

from typing import Literal

from pydantic import Field

from training.data.build import read_built
from training.data.sources.base import Piece, Source


class BuiltData(Source):
    """A set made by `python -m training build`, in which every window has every label."""

    format: Literal["built"]
    tasks: dict[str, str] = Field(min_length=1, description="target -> the set's track, or of a regression its signal")

    @property
    def targets(self):
        return list(self.tasks)

    def read(self):
        for split, (codes, labels) in read_built(self.root, list(self.tasks.values())).items():
            yield Piece(self.root, split, codes, dict(zip(self.tasks, labels.T)))
