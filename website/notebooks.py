"""The notebooks: `python -m website.notebooks` executes them and keeps their outputs."""

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from regzoo.home import zoo_folder

#: Seconds that a cell may take.
TIMEOUT = 300


def notebooks() -> list[Path]:
    """Paths of the notebooks."""
    return sorted((zoo_folder() / "docs" / "notebooks").glob("*.ipynb"))


def execute(path: Path) -> Any:
    """Execute a notebook in an empty folder.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    nbformat.NotebookNode
        With outputs, and without times.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises an error.
    """
    notebook = nbformat.read(path, as_version=4)
    threads = os.environ.get("OMP_NUM_THREADS", "2")
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=TIMEOUT, resources={"metadata": {"path": folder}})
        client.execute(env=os.environ | {"OMP_NUM_THREADS": threads, "PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    for one in notebooks():
        nbformat.write(execute(one), one)
        print(f"{one.name}: {one.stat().st_size / 1e3:,.0f} kB")
