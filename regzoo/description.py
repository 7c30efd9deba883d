"""model.yaml, checked key by key: it comes with a model, so that it is not trusted."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from regzoo.activations import ACTIVATIONS
from regzoo.errors import ModelError
from regzoo.nets.checkpoint import Official
from regzoo.sections import Section, read_yaml, validated

_ACTIVATION_NAMES = tuple(ACTIVATIONS)


class Arguments(Section):
    """`args`: what a model is made of. File names are relative to the model directory."""

    architecture: str
    arguments: dict[str, Any]
    targets: str = Field(min_length=1)
    weights: str | None = Field(None, min_length=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    official: Official | None = None
    activation: Literal[_ACTIVATION_NAMES] = "sigmoid"
    reverse_complement: bool = False

    @model_validator(mode="after")
    def _one_source(self):
        if (self.weights is None) == (self.official is None):
            raise ValueError("give either `weights` or `official`")
        return self


class _Open(BaseModel):
    """A section of Kipoi's, of which only some keys are read here."""

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
    """A model.yaml: `args`, and the keys of Kipoi."""

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
    def use_strand(self):
        """Whether intervals on '-' are turned round unless it is said otherwise."""
        return isinstance(self.default_dataloader, _Loader) and self.default_dataloader.default_args.use_strand


def read_description(folder):
    """Read and check the model.yaml of a model directory.

    Parameters
    ----------
    folder : str or pathlib.Path

    Returns
    -------
    Description

    Raises
    ------
    ModelError
        If the file is missing, is not YAML, or a key is unknown, missing or impossible; every problem is named.
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


def inside(folder, name, key):
    """Path of a file that a model.yaml names.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model directory.
    name : str
        Relative to it.
    key : str
        Of the model.yaml, for the message.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelError
        If the file is not in the folder, by its name or through a link.
    """
    folder = Path(folder)
    try:
        path = (folder / name).resolve()
        held = path.is_relative_to(folder.resolve()) and len(name) < 256
    except (OSError, ValueError, RuntimeError):  # a null byte, or a loop of links
        held = False
    if not held:
        raise ModelError(f"{folder / 'model.yaml'}: {key}: {name[:200]!r} is not a file inside the model directory")
    return folder / name
