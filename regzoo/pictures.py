"""Formats of pictures, and the packages that draw them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from regzoo.errors import OutputError
from regzoo.output.files import finished_file
from regzoo.output.tables import check_suffix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 200  # resolution of .png, and of images such as heat maps in .svg and .pdf


def require_packages(output: str | Path, *names: str) -> None:
    """Raise an OutputError with the pip command if a package required by an output is not installed."""
    modules = {"scikit-learn": "sklearn"}
    missing = [name for name in names if find_spec(modules.get(name, name)) is None]
    if missing:
        packages = " ".join(missing)
        raise OutputError(f"{output}: required packages are not installed; run: pip install {packages}")


def picture(path: str | Path | None, packages: tuple[str, ...], draw: Callable[[], Figure]) -> Figure:
    """Draw a figure and, with a path, write it.

    Parameters
    ----------
    path : str or pathlib.Path, optional
        File with a suffix of `SUFFIXES`.
    packages : tuple of str
        Packages that drawing needs.
    draw : callable
        Returns the figure. It is called after the checks.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OutputError
        If the suffix is unknown, a package is not installed, or the file cannot be written.
    """
    if path is not None:
        check_suffix(path, SUFFIXES, stdout=False)
    require_packages(path or "the picture", *packages)
    figure = draw()
    if path is not None:
        with finished_file(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    return figure
