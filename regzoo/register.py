"""Writing this zoo as a source into Kipoi's configuration."""

import os
from pathlib import Path

import yaml

from regzoo.errors import InputError, OutputError
from regzoo.home import SOURCE, zoo_folder
from regzoo.output.files import finished_file
from regzoo.sections import read_yaml


def config_path():
    """Kipoi's configuration file."""
    return Path(os.path.expanduser("~")) / ".kipoi" / "config.yaml"


def register(name=SOURCE):
    """Make models/ of this checkout a Kipoi source, keeping every other source and setting.

    Parameters
    ----------
    name : str
        Of the source.

    Returns
    -------
    pathlib.Path
        The configuration file.

    Raises
    ------
    InputError
        If the configuration there is not YAML, or not of keys and values.
    """
    path = config_path()
    config = (read_yaml(path) if path.exists() else None) or {}
    if not isinstance(config, dict) or not isinstance(config.get("model_sources") or {}, dict):
        raise InputError(f"{path}: expected keys and values, and in `model_sources` too; mend or remove it")
    sources = config["model_sources"] = config.get("model_sources") or {}
    # Kipoi's own default, which it does not add to a configuration that is there already.
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
        raise OutputError(f"{home}: cannot make this folder ({error.strerror})") from error
    with finished_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, indent=4))
    return path
