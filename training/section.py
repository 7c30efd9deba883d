"""Parts of YAML files, checked field by field, with the nearest name beside a misspelt one."""

import difflib
import typing
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from regzoo.errors import InputError


class Section(BaseModel):
    """Part of a YAML file; a key that is none of its fields is an error."""

    model_config = ConfigDict(extra="forbid")


def read_section(path, kind):
    """Read and check a YAML file.

    Parameters
    ----------
    path : str or pathlib.Path
        Whose `data` may be the name of another YAML file in the same folder, for recipes of one data set.
    kind : type
        The `Section` that the file is.

    Returns
    -------
    Section

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or has an unknown, missing or impossible value; every problem is named.
    """
    content = read_yaml(path)
    if isinstance(content, dict) and isinstance(content.get("data"), str):
        content["data"] = read_yaml(Path(path).parent / content["data"])
    return validated(kind, content, path)


def validated(kind, content, where):
    """A section of plain values, or an InputError that begins with `where` and names every problem."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        fields = sorted(_fields(kind))
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}{_nearest(e, fields)}" for e in error.errors()]
        raise InputError(f"{where}: " + "; ".join(problems)) from error


def read_yaml(path):
    """Content of a YAML file; an InputError if it is missing or is not YAML."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot read this file ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {error}") from error


def _nearest(error, fields):
    close = difflib.get_close_matches(str(error["loc"][-1]), fields, 1)
    return f" (did you mean {close[0]!r}?)" if error["type"] == "extra_forbidden" and close else ""


def _fields(kind):
    """Names of the fields of a section and of all sections in it."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return set(kind.model_fields).union(*(_fields(field.annotation) for field in kind.model_fields.values()))
    return set().union(*map(_fields, typing.get_args(kind)))
