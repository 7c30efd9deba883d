"""The part of `pkg_resources` that Kipoi and kipoi_veff use. setuptools 81 and later no longer have it."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.specifiers import SpecifierSet


def resource_filename(module: str, resource: str) -> str:
    """Path of a file beside an imported module."""
    return str(Path(sys.modules[module].__file__ or "").parent / resource)


def get_package_version(package: str) -> str | None:
    """Version of an installed distribution, or None; in place of `kipoi_conda.utils.get_package_version`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def compatible_versions(installed_version: str, req_version: str) -> bool:
    """Whether a version satisfies a requirement such as '>=1.2'; in place of `kipoi_conda.utils.compatible_versions`.

    Raises
    ------
    ValueError
        If the requirement has no comparison that packaging knows.
    """
    return SpecifierSet(req_version).contains(installed_version, prereleases=True)
