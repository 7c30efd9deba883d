"""Sections of a recipe's YAML: checked key by key, with a suggestion for a misspelt key."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from regzoo.sections import read_yaml, validated

__all__ = ["Section", "read_content", "read_section", "read_yaml", "validated"]

AnySection = TypeVar("AnySection", bound=BaseModel)


class Section(BaseModel):
    """Part of a YAML file. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


def read_content(path: str | Path) -> Any:
    """Content of a recipe's YAML file; a file name under `data` is replaced by the content of that file in the same
    folder.
    """
    content = read_yaml(path)
    if isinstance(content, dict) and isinstance(content.get("data"), str):
        content["data"] = read_yaml(Path(path).parent / content["data"])
    return content


def read_section(path: str | Path, section: type[AnySection]) -> AnySection:
    """Read and check a YAML file.

    Parameters
    ----------
    path : str or pathlib.Path
        As of `read_content`.
    section : type
        The `Section` that the file holds.

    Returns
    -------
    Section

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or has an unknown, missing or invalid value. Every problem is named.
    """
    return validated(section, read_content(path), path)
