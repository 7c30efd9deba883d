"""Registration of this zoo as a source in Kipoi's configuration."""

import os
from pathlib import Path

import yaml

from regzoo.errors import InputError, OutputError
from regzoo.home import SOURCE, zoo_folder
from regzoo.output.files import finished_file
from regzoo.sections import read_yaml


def config_path() -> Path:
    """Path of Kipoi's configuration file."""
    return Path(os.path.expanduser("~")) / ".kipoi" / "config.yaml"


def register(name: str = SOURCE) -> Path:
    """Add the models of this checkout to Kipoi's sources. Other sources and settings are kept.

    Parameters
    ----------
    name : str
        Name of the source.

    Returns
    -------
    pathlib.Path
        The configuration file.

    Raises
    ------
    InputError
        If the existing configuration is not YAML, or not a mapping.
    OutputError
        If the configuration cannot be written.
    """
    path = config_path()
    config = (read_yaml(path) if path.exists() else None) or {}
    if not isinstance(config, dict) or not isinstance(config.get("model_sources") or {}, dict):
        raise InputError(f"{path}: expected a mapping, with a mapping `model_sources`; correct or remove this file")
    sources = config["model_sources"] = config.get("model_sources") or {}
    # Kipoi's default source, which Kipoi does not add to an existing configuration.
    home = path.parent
    sources.setdefault(
        "kipoi",
        {
            "type": "git",
            "remote_url": "https://github.com/kipoi/models.git",
            "local_path": f"{home / 'models'}/",
            "auto_update": True,
        },
    )
    sources[name] = {"type": "local", "local_path": f"{zoo_folder() / 'models'}"}
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{home}: cannot create this folder ({error.strerror})") from error
    with finished_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, indent=4))
    return path
