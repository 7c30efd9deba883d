"""Options of a scan with their defaults for a model, and the columns that it predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regzoo.calibration import Adjustment
from regzoo.effects.evaluator import Evaluator
from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.options import check_at_least


@dataclass
class Options:
    """Options with their defaults for a model."""

    model: Model
    given_step: int | None
    threshold: Any
    fdr: float | None
    min_length: int | None
    max_length: int | None
    precision: str
    batch_size: int
    adjustment: Adjustment | None = None

    def __post_init__(self):
        if self.given_step is not None and not isinstance(self.given_step, (int, np.integer)):
            raise InputError(f"step: expected a whole number of bases, got {self.given_step!r}")
        length = self.model.input_length
        incremental = Evaluator(self.model, precision=self.precision).incremental
        pools = incremental.pools if incremental is not None and incremental.shares else 0
        step = max(1, length // 4)
        step -= step % pools if 0 < pools <= step else 0
        self.step = step if self.given_step is None else self.given_step
        self.shared = incremental if pools and self.step and math.lcm(self.step, pools) < length else None
        own = None if self.adjustment is None else self.adjustment.shown_thresholds()
        self.thresholds = own  # of each target
        if self.threshold is None and self.fdr is None and own is None and self.model.outputs == "probabilities":
            self.threshold = 0.5
        self.calls = own is not None or self.threshold is not None or self.fdr is not None

    def threshold_of(self, track: Track) -> float:
        """Smallest prediction of a called window of a track."""
        return self.threshold if self.thresholds is None else self.thresholds[track.place]

    def check(self, wanted: bool) -> None:
        """Raise an InputError for an option that is not valid; `wanted`: elements are asked for."""
        name, length = self.model.name, self.model.input_length
        if not 1 <= self.step <= length:
            raise InputError(f"step: expected 1 to {length}, the window of {name}; got {self.step}")
        check_at_least(1, batch_size=self.batch_size)
        if self.fdr is not None and not 0 < self.fdr < 1:
            raise InputError(f"fdr: expected a fraction between 0 and 1, got {self.fdr}")
        given = {"a threshold": self.threshold, "an fdr": self.fdr, "threshold_from": self.thresholds}
        if len(several := [name for name, value in given.items() if value is not None]) > 1:
            raise InputError(f"give either {' or '.join(several)}: each of them chooses the threshold")
        if wanted and not self.calls:
            raise InputError(
                f"{name} does not predict probabilities, so that elements need a threshold: give threshold or fdr"
            )
        if self.threshold is not None:
            highest = 1 if self.model.outputs == "probabilities" else math.inf
            if not (math.isfinite(self.threshold) and self.threshold <= highest):
                raise InputError(
                    f"threshold: expected a number that predictions of {name} can reach, got {self.threshold}"
                )
        for what, value in (("min_length", self.min_length), ("max_length", self.max_length)):
            if value is not None and value < 1:
                raise InputError(f"{what}: expected 1 or more, got {value}")
        if self.max_length is not None and self.max_length < max(length, self.min_length or 0):
            raise InputError(
                f"max_length {self.max_length}: no element can be that short; expected at least the window of {name} "
                f"({length} bases) and min_length"
            )


@dataclass(frozen=True)
class Track:
    """One column of predictions."""

    label: str
    column: int
    strand: str
    place: int


def tracks_of(model: Model, targets: Sequence[str], use_strand: bool | None) -> list[Track]:
    """Columns that a scan predicts: each target, on each strand where these are predicted separately."""
    both = model.stranded if use_strand is None else use_strand
    strands = (("+", ".plus"), ("-", ".minus")) if both else ((".", ""),)
    return [
        Track(f"{model.targets[column]}{suffix}", column, strand, place)
        for place, column in enumerate(model.columns(targets))
        for strand, suffix in strands
    ]
