"""Recipes: one YAML per model, checked field by field before any work starts."""

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from regzoo.errors import InputError


class Section(BaseModel):
    """Part of a recipe; a key that is none of its fields is an error."""

    model_config = ConfigDict(extra="forbid")


class Data(Section):
    """Where the examples are: a folder of GUE tasks, one target each, or a set of `python -m training build`."""

    format: Literal["gue", "built"] = "gue"
    folder: str = Field(description="of the tasks, or the built set's file")
    description: str = Field("", description="for the model card: what it is, source, licence")
    tasks: dict[str, str] = Field(
        description="target name -> sub-folder with train.csv(.gz), dev.csv(.gz), test.csv(.gz), or the built set's target"
    )
    overlap_kmer: int = Field(40, description="drop training rows that share a k-mer of this length with dev or test")


class Architecture(Section):
    """Name and arguments of `regzoo.nets.build`; input_length and n_targets come from the data."""

    name: str
    arguments: dict[str, Any] = {}


class Augmentation(Section):
    """Random changes of a training window, drawn anew every epoch."""

    reverse_complement: bool = True
    shift: int = Field(0, ge=0, description="largest shift in bases; what comes in from outside is N")
    mutate: float = Field(0.0, ge=0, le=1, description="share of bases replaced by a random base")
    erase: int = Field(0, ge=0, description="longest stretch replaced by N")


class Distillation(Section):
    """Soft targets from trained teachers, averaged over teachers and both strands."""

    teachers: list[str] = Field(description="recipes whose finished runs are averaged")
    weight: float = Field(0.7, ge=0, le=1, description="share of the loss; every target of every row has a soft label")


class Optimiser(Section):
    """AdamW with linear warm-up and cosine decay to zero."""

    epochs: int = Field(gt=0)
    batch_size: int = Field(256, gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    ema: float = Field(
        0.999, ge=0, lt=1, description="decay of the averaged weights, which are the ones kept; 0 for none"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    precision: Literal["float32", "bf16"] = "bf16"


class Recipe(Section):
    """Everything that makes a trained model again.

    `model` is its name in the zoo (GROUP/MODEL). `published` holds other models' test MCC × 100 in the order of the
    tasks, for the model card, as `limits` does; `notes` keeps the log of what was tried.
    """

    model: str
    title: str
    data: Data
    architecture: Architecture
    augmentation: Augmentation = Augmentation()
    distillation: Distillation | None = None
    optimiser: Optimiser
    seed: int = 1
    published: dict[str, list[float]] = {}
    limits: str = ""
    notes: str = ""


def _nearest_key(error, sections):
    """' (did you mean …?)' for an unknown key, from the fields of all sections."""
    fields = {name for section in sections for name in section.model_fields}
    close = difflib.get_close_matches(str(error["loc"][-1]), sorted(fields), 1)
    return f" (did you mean {close[0]!r}?)" if error["type"] == "extra_forbidden" and close else ""


def read_recipe(path, kind, sections):
    """Read and check a YAML file.

    Parameters
    ----------
    path : str or pathlib.Path
    kind : type
        The `Section` that the file is.
    sections : tuple of type
        Those in it, for suggestions.

    Returns
    -------
    Section

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or has an unknown, missing or impossible value; every problem is named.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot read this recipe ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}{_nearest_key(e, (kind, *sections))}" for e in error.errors()
        ]
        raise InputError(f"{path}: " + "; ".join(problems)) from error


def recipe_kind(path):
    """'language_model', 'probe' or 'supervised', by the sections that a file has; 'supervised' where it cannot be read."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError):  # which its loader tells
        return "supervised"
    keys = content if isinstance(content, dict) else ()
    return "language_model" if "corpus" in keys else "probe" if "backbone" in keys else "supervised"


def load_recipe(path):
    """Read and check the recipe of a supervised model, a `Recipe`; errors as of `read_recipe`."""
    return read_recipe(path, Recipe, (Data, Architecture, Augmentation, Distillation, Optimiser))
