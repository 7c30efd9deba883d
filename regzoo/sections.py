"""Validation of YAML and JSON files against pydantic models."""

import difflib
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from regzoo.errors import InputError, RegzooError

#: Size of the largest YAML file that is read, bytes.
LARGEST = 2_000_000

_Model = TypeVar("_Model", bound=BaseModel)


class _DistinctKeys(yaml.SafeLoader):
    """YAML in which a mapping that repeats a key is an error; PyYAML keeps the last value."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} is repeated", key.start_mark)
                seen.add((key.tag, key.value))
        return node


class Section(BaseModel):
    """Section of a YAML file. Unknown keys are rejected, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def read_yaml(path: str | Path, error: type[RegzooError] = InputError) -> Any:
    """Read a YAML file.

    Parameters
    ----------
    path : str or pathlib.Path
    error : type
        Class of the errors raised.

    Raises
    ------
    RegzooError
        Of class `error`, if the file is missing, larger than `LARGEST`, not UTF-8, or not YAML, or if it repeats a key.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise error(f"{path}: {path.stat().st_size:,} bytes; expected a YAML file of at most {LARGEST:,} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(f"{path}: cannot read this file ({problem.strerror})") from problem
    except ValueError as problem:
        raise error(f"{path}: not UTF-8 text ({problem})") from problem
    try:
        return yaml.load(text, _DistinctKeys)
    except Exception as problem:  # YAMLError, or errors of invalid numbers and dates and of deep nesting
        raise error(f"{path}: not valid YAML: {type(problem).__name__}: {problem}") from problem


def validated(
    kind: type[_Model],
    content: Any,
    where: str | Path,
    error: type[RegzooError] = InputError,
    prefix: str = "",
) -> _Model:
    """Validate the content of a YAML or JSON file.

    Parameters
    ----------
    kind : type
        The `pydantic.BaseModel` to validate against.
    content : object
        Content of the file.
    where : str or pathlib.Path
        The file, for error messages.
    error : type
        Class of the error raised.
    prefix : str
        Prefix of keys in error messages.

    Returns
    -------
    object
        Instance of `kind`.

    Raises
    ------
    RegzooError
        Of class `error`, if a key is unknown, missing or has an invalid value. The message names each problem.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as problem:
        raise error(f"{where}: {problems(problem, _fields(kind), prefix)}") from problem


def problems(error: ValidationError, fields: Collection[str] = (), prefix: str = "", most: int = 10) -> str:
    """Describe a validation error in one line.

    Parameters
    ----------
    error : pydantic.ValidationError
    fields : collection of str
        Valid keys. The closest one is suggested for an unknown key.
    prefix : str
        Prefix of keys.
    most : int
        Largest number of problems to describe.
    """
    texts = []
    for one in error.errors(include_url=False, include_input=False)[:most]:
        key = (prefix + ".".join(str(part) for part in one["loc"])).rstrip(".")
        known = one["loc"] and one["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        close = difflib.get_close_matches(str(one["loc"][-1]), sorted(fields), 1) if known else []
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        if known and one["loc"][-1] in fields:
            hint = " (this key belongs to another section)"
        text = one["msg"] if one["loc"] or one["type"] != "model_type" else "expected keys and values"
        texts.append((f"{key}: " if key else "") + text + hint)
    more = error.error_count() - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def _fields(kind):
    """Names of the fields of a section and its subsections."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return set(kind.model_fields).union(*(_fields(field.annotation) for field in kind.model_fields.values()))
    return set().union(*map(_fields, typing.get_args(kind)))
