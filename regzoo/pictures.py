"""What all pictures have in common: their formats, and the packages that draw them."""

from importlib.util import find_spec

from regzoo.errors import OutputError

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 200  # of .png; the parts of .svg and .pdf that are images, such as heat maps, have it too


def require_packages(output, *names):
    """Raise an OutputError, with pip's command, if a package that an output needs is not installed."""
    modules = {"scikit-learn": "sklearn"}
    missing = [name for name in names if find_spec(modules.get(name, name)) is None]
    if missing:
        packages = " ".join(missing)
        raise OutputError(f"{output}: this needs packages that are not installed; run: pip install {packages}")
