"""Parts of a recipe's YAML, checked field by field, with the nearest name beside a misspelt one."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from regzoo.sections import read_yaml, validated

__all__ = ["Section", "read_section", "read_yaml", "validated"]


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
