"""Formats of pictures, and the packages that draw them."""

from importlib.util import find_spec
from pathlib import Path

from regzoo.errors import OutputError

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 200  # resolution of .png, and of images such as heat maps in .svg and .pdf


def require_packages(output: str | Path, *names: str) -> None:
    """Raise an OutputError with the pip command if a package required by an output is not installed."""
    modules = {"scikit-learn": "sklearn"}
    missing = [name for name in names if find_spec(modules.get(name, name)) is None]
    if missing:
        packages = " ".join(missing)
        raise OutputError(f"{output}: required packages are not installed; run: pip install {packages}")
