"""Thresholds and temperatures that a model's validation data chose, which come with the model as calibration.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import Field

from regzoo.errors import InputError, ModelError
from regzoo.evaluate.calibration import scaled
from regzoo.model import Model
from regzoo.options import THRESHOLDS, check_choice
from regzoo.output.files import finished_file
from regzoo.sections import Section, read_yaml, validated
from regzoo.zoo import model_folder

#: The file's name in a model directory.
FILE = "calibration.yaml"


class OfTarget(Section):
    """What was fitted for one target.

    Attributes
    ----------
    threshold : float
        Probability from which on a window is called; the one of the largest MCC.
    temperature : float
        Divides the log odds.
    examples, positive : int
        Examples it was fitted on, and how many of them are positive.
    """

    threshold: float = Field(ge=0, le=1)
    temperature: float = Field(gt=0)
    examples: int = Field(ge=2)
    positive: int = Field(ge=1)


class Calibration(Section):
    """Content of calibration.yaml.

    Attributes
    ----------
    fitted_on : str
        The split; always 'dev'.
    targets : dict of str to OfTarget
        By name. A target without both classes in the split is missing.
    """

    fitted_on: Literal["dev"] = "dev"
    targets: Annotated[dict[str, OfTarget], Field(min_length=1)]

    def save(self, folder: str | Path) -> None:
        """Write the file into a model directory."""
        with finished_file(Path(folder) / FILE) as temporary:
            temporary.write_text(yaml.safe_dump(self.model_dump(), sort_keys=False, width=110), encoding="utf-8")


def calibration_of(model: Model) -> Calibration:
    """The calibration that comes with a model.

    Raises
    ------
    ModelError
        If none does, the file is not valid, or the model does not predict probabilities.
    """
    if model.outputs != "probabilities":
        raise ModelError(f"{model.name} predicts {model.outputs}, not probabilities: it has no calibration")
    try:
        path = model_folder(model.name) / FILE
    except ModelError:  # a network of one's own
        path = None
    if path is None or not path.is_file():
        raise ModelError(
            f"{model.name}: no thresholds and temperatures from validation come with this model (no {FILE}); give a "
            f"threshold yourself, or for a model with a recipe run `python -m training calibrate {model.name}`"
        )
    found = validated(Calibration, read_yaml(path, ModelError), path, ModelError)
    unknown = [name for name in found.targets if name not in model.targets]
    if unknown:
        raise ModelError(f"{path}: targets.{unknown[0]}: the model has no such target")
    return found


class Adjustment:
    """What is done to the predictions of some targets of a model: scaling, a threshold, both or neither.

    Parameters
    ----------
    model : Model
    columns : sequence of int
        Indices of the targets.
    threshold_from : str, optional
        A key of `regzoo.options.THRESHOLDS`.
    calibrated : bool
        Divide log odds by the temperatures.

    Attributes
    ----------
    thresholds : numpy.ndarray, float64, shape (targets,), or None
        On the scale of the model's own probabilities.

    Raises
    ------
    InputError
        If there is no such source of thresholds.
    ModelError
        As of `calibration_of`, or if the calibration lacks a target. Not if nothing is to be done.
    """

    def __init__(
        self, model: Model, columns: Sequence[int], threshold_from: str | None = None, calibrated: bool = False
    ):
        self.thresholds: np.ndarray | None = None
        self._temperatures: np.ndarray | None = None
        if threshold_from is not None:
            check_choice("source of thresholds", threshold_from, THRESHOLDS)
        if threshold_from is None and not calibrated:
            return
        known, names = calibration_of(model).targets, [model.targets[i] for i in columns]
        missing = [name for name in names if name not in known]
        if missing:
            raise ModelError(
                f"{model.name}: the calibration has no target {missing[0]!r}, whose validation data have only one "
                f"class; choose among {', '.join(list(known)[:8])}{', …' if len(known) > 8 else ''}"
            )
        if threshold_from is not None:
            self.thresholds = np.array([known[name].threshold for name in names])
        if calibrated:
            self._temperatures = np.array([known[name].temperature for name in names])

    def values(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions, calibrated if so wished.

        Parameters
        ----------
        predictions : numpy.ndarray, float, shape (..., targets)
            Probabilities of the model.

        Returns
        -------
        numpy.ndarray, same shape and type
        """
        if self._temperatures is None:
            return predictions
        return scaled(predictions, self._temperatures).astype(predictions.dtype)

    def calls(self, predictions: np.ndarray) -> np.ndarray:
        """Whether the model's own probabilities reach the thresholds, bool, shape (..., targets)."""
        return predictions >= self.thresholds

    def shown_thresholds(self) -> np.ndarray | None:
        """The thresholds on the scale of `values`, float64, shape (targets,); None where there are none."""
        return None if self.thresholds is None else self.values(self.thresholds)


def check_threshold(threshold: float | None, threshold_from: str | None) -> None:
    """Raise an InputError if a threshold is given in two ways."""
    if threshold is not None and threshold_from is not None:
        raise InputError(f"give either threshold ({threshold}) or threshold_from ({threshold_from!r}), not both")
