"""Validation of model.yaml, which comes with a model and is not trusted."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from regzoo.activations import ACTIVATIONS
from regzoo.errors import ModelError
from regzoo.nets.checkpoint import Official
from regzoo.sections import Section, read_yaml, validated


class Arguments(Section):
    """Section `args`: architecture, targets and weights. File names are relative to the model directory."""

    architecture: str
    arguments: dict[str, Any]
    targets: str = Field(min_length=1)
    weights: str | None = Field(None, min_length=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    official: Official | None = None
    activation: str = "sigmoid"
    reverse_complement: bool = False

    @field_validator("activation")
    @classmethod
    def _known_activation(cls, value):
        if value not in ACTIVATIONS:
            raise ValueError(f"expected one of {', '.join(ACTIVATIONS)}")
        return value

    @model_validator(mode="after")
    def _one_source(self):
        if (self.weights is None) == (self.official is None):
            raise ValueError("expected either `weights` or `official`")
        return self


class _Open(BaseModel):
    """A section defined by Kipoi. Keys that are not used here are ignored."""

    model_config = ConfigDict(strict=True)


class _LoaderArguments(_Open):
    length: int | None = None
    use_strand: bool = False


class _Loader(_Open):
    default_args: _LoaderArguments = _LoaderArguments()


class _VariantEffects(_Open):
    use_rc: bool = False


class _Postprocessing(_Open):
    variant_effects: _VariantEffects = _VariantEffects()


class _Test(_Open):
    expect: str | dict[str, Any] | None = None


class Description(Section):
    """Content of a model.yaml: `args`, and the keys of Kipoi."""

    args: Arguments
    default_dataloader: str | _Loader = _Loader()
    postprocessing: _Postprocessing = _Postprocessing()
    test: _Test = _Test()
    defined_as: str | None = None
    type: str | None = None
    info: Any = None
    dependencies: Any = None
    schema_: Any = Field(None, alias="schema")
    writers: Any = None
    path: Any = None

    @property
    def use_strand(self) -> bool:
        """Whether intervals on the '-' strand are reverse complemented by default."""
        return isinstance(self.default_dataloader, _Loader) and self.default_dataloader.default_args.use_strand


def read_description(folder: str | Path) -> Description:
    """Read and validate the model.yaml of a model directory.

    Parameters
    ----------
    folder : str or pathlib.Path

    Returns
    -------
    Description

    Raises
    ------
    ModelError
        If the file is missing or not YAML, or a key is unknown, missing or not valid. The message names each problem.
    """
    path = Path(folder) / "model.yaml"
    description = validated(Description, read_yaml(path, ModelError), path, ModelError)
    loader, length = description.default_dataloader, description.args.arguments.get("input_length")
    if isinstance(loader, _Loader) and loader.default_args.length not in (None, length):
        raise ModelError(
            f"{path}: default_dataloader.default_args.length is {loader.default_args.length}, but "
            f"args.arguments.input_length is {length}"
        )
    if isinstance(description.test.expect, str):
        inside(folder, description.test.expect, "test.expect")
    return description


def inside(folder: str | Path, name: str, key: str) -> Path:
    """Path of a file named in a model.yaml.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model directory.
    name : str
        File name, relative to the folder.
    key : str
        Key of the model.yaml, for error messages.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelError
        If the file is outside the folder, by its name or through a symbolic link.
    """
    folder = Path(folder)
    try:
        path = (folder / name).resolve()
        valid = path.is_relative_to(folder.resolve()) and len(name) < 256
    except (OSError, ValueError, RuntimeError):  # a null byte or a loop of links
        valid = False
    if not valid:
        raise ModelError(f"{folder / 'model.yaml'}: {key}: {name[:200]!r} is not a file inside the model directory")
    return folder / name
