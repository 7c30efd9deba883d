"""Where the zoo is. Imported without torch, so that commands which only list models start quickly."""

import os
from pathlib import Path

from regzoo.errors import ModelError

#: Name of this zoo among Kipoi's sources.
SOURCE = "regzoo"


def requirement() -> str:
    """Requirement for pip of this library: REGZOO_REPOSITORY, such as git+https://HOST/regzoo@v0.2.0, or the checkout.

    No package index has the name, so that a model's environment must not ask one for it.
    """
    source = os.environ.get("REGZOO_REPOSITORY") or Path(__file__).resolve().parents[1].as_uri()
    return f"regzoo @ {source}"


def zoo_folder() -> Path:
    """The checkout that holds models/ and zoo_index.yaml: REGZOO_HOME, or the one this library is in.

    Raises
    ------
    ModelError
        If there is none.
    """
    folder = Path(os.environ.get("REGZOO_HOME", Path(__file__).resolve().parents[1]))
    if not (folder / "zoo_index.yaml").is_file():
        raise ModelError(f"{folder}: no zoo_index.yaml there; set REGZOO_HOME to the zoo's checkout")
    return folder
