"""Sections of YAML and JSON files, checked key by key before anything is done with them."""

import difflib
import typing
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from regzoo.errors import InputError

#: Bytes of the largest YAML file that is read.
LARGEST = 2_000_000


class Section(BaseModel):
    """Part of a YAML file; a key that is none of its fields is an error, and no value is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def read_yaml(path, error=InputError):
    """Content of a YAML file.

    Parameters
    ----------
    path : str or pathlib.Path
    error : type
        Class of the errors.

    Raises
    ------
    RegzooError
        Of class `error`, if the file is missing, larger than `LARGEST`, not UTF-8, or not YAML.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise error(f"{path}: {path.stat().st_size:,} bytes are too many for a YAML file of this kind")
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(f"{path}: cannot read this file ({problem.strerror})") from problem
    except ValueError as problem:
        raise error(f"{path}: not UTF-8 text ({problem})") from problem
    try:
        return yaml.safe_load(text)
    except Exception as problem:  # besides YAMLError, PyYAML raises what int(), dates and deep nesting raise
        raise error(f"{path}: not valid YAML: {type(problem).__name__}: {problem}") from problem


def validated(kind, content, where, error=InputError, prefix=""):
    """A section from plain values.

    Parameters
    ----------
    kind : type
        The `pydantic.BaseModel`.
    content : object
        Plain values of YAML or JSON.
    where : str or pathlib.Path
        Named first in messages.
    error : type
        Class of the error.
    prefix : str
        Put before the keys in messages.

    Raises
    ------
    RegzooError
        Of class `error`; it names every key that is unknown, missing or has an impossible value.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as problem:
        raise error(f"{where}: {problems(problem, _fields(kind), prefix)}") from problem


def problems(error, fields=(), prefix="", most=10):
    """The problems of a pydantic.ValidationError in one line, with the nearest of `fields` beside an unknown key."""
    texts = []
    for one in error.errors(include_url=False, include_input=False)[:most]:
        key = (prefix + ".".join(str(part) for part in one["loc"])).rstrip(".")
        known = one["loc"] and one["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        close = difflib.get_close_matches(str(one["loc"][-1]), sorted(fields), 1) if known else []
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        if known and one["loc"][-1] in fields:
            hint = " (it is a key of another section)"
        text = one["msg"] if one["loc"] or one["type"] != "model_type" else "expected keys and values"
        texts.append((f"{key}: " if key else "") + text + hint)
    more = error.error_count() - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def _fields(kind):
    """Names of the fields of a section and of all sections in it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return set(kind.model_fields).union(*(_fields(field.annotation) for field in kind.model_fields.values()))
    return set().union(*map(_fields, typing.get_args(kind)))
