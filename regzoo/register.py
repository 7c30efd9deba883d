"""Writing this zoo as a source into Kipoi's configuration."""

import os
from pathlib import Path

import yaml

from regzoo.errors import InputError
from regzoo.sequence.files import finished_file
from regzoo.zoo import zoo_folder

SOURCE = "regzoo"


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
        If the configuration there is not valid YAML.
    """
    path = config_path()
    try:
        config = (yaml.safe_load(path.read_text()) if path.exists() else None) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML; mend or remove it ({error})") from error
    sources = config.setdefault("model_sources", {})
    # Kipoi's own default, which it does not add to a configuration that is there already.
    home = path.parent
    sources.setdefault(
        "kipoi",
        {"type": "git", "remote_url": "https://github.com/kipoi/models.git", "local_path": f"{home / 'models'}/",
         "auto_update": True},
    )  # fmt: skip
    sources[name] = {"type": "local", "local_path": f"{zoo_folder() / 'models'}"}
    home.mkdir(parents=True, exist_ok=True)
    with finished_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, indent=4))
    return path
