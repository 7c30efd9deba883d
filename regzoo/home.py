"""Where the zoo is. Imported without torch, so that commands which only list models start quickly."""

import os
from pathlib import Path

from regzoo.errors import ModelError

#: Name of this zoo among Kipoi's sources.
SOURCE = "regzoo"


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
