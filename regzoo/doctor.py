"""Checks of an installation, each with how to mend it."""

import importlib.metadata
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from packaging.requirements import Requirement

from regzoo.errors import RegzooError
from regzoo.sections import read_yaml
from regzoo.zoo import catalogue, zoo_folder

_INSTALL = "run `make env` in the checkout"


@dataclass
class Check:
    """One finding: what was looked at, whether it is right, what was seen, and how to mend it."""

    name: str
    right: bool
    seen: str
    mend: str = ""


def diagnose():
    """Check this installation.

    Returns
    -------
    list of Check
    """
    version = ".".join(map(str, sys.version_info[:3]))
    checks = [Check("python", (3, 10) <= sys.version_info[:2] <= (3, 12), version, "use Python 3.10, 3.11 or 3.12")]
    checks += [_packages(), _command(), _plugin(), _zoo(), _source()]
    devices = ["cpu"] + [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    checks.append(Check("torch devices", True, ", ".join(devices)))
    return checks


def _packages():
    """Installed versions against the library's declared requirements."""
    wrong = []
    requirements = [Requirement(text) for text in importlib.metadata.requires("regzoo") or []]
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": "veff"}):
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    return Check("packages", not wrong, "; ".join(wrong) or "all as required", _INSTALL)


def _command():
    """Whether `kipoi` of this environment is the zoo's."""
    path = Path(sys.executable).parent / "kipoi"
    if not path.exists():
        found = shutil.which("kipoi")
        return Check("kipoi command", False, found or "missing", _INSTALL + "; `regzoo kipoi …` works all the same")
    ours = "regzoo" in re.sub(r"^#!.*", "", path.read_text(errors="replace"))
    mend = "`pip install --force-reinstall --no-deps -e .` in the checkout; until then use `regzoo kipoi …`"
    return Check("kipoi command", ours, f"{path}{'' if ours else ' was overwritten by another install'}", mend)


def _plugin():
    try:
        import regzoo.kipoi  # noqa: F401 - first, or the plugin is imported without what mends it

        import kipoi.plugin  # isort: skip
        import kipoi_veff  # isort: skip
    except Exception as error:  # whatever an import in a broken environment may raise
        return Check("kipoi_veff plugin", False, f"{type(error).__name__}: {error}", _INSTALL)
    right = kipoi.plugin.is_plugin("kipoi_veff")
    return Check("kipoi_veff plugin", right, f"version {kipoi_veff.__version__}", _INSTALL)


def _zoo():
    try:
        return Check("zoo", True, f"{zoo_folder()}, {len(catalogue())} models")
    except RegzooError as error:
        return Check("zoo", False, str(error), "set REGZOO_HOME to the checkout")


def _source():
    """Whether Kipoi's configuration knows this zoo."""
    from regzoo.register import SOURCE, config_path

    mend = "run `regzoo register`"
    try:
        path = Path(read_yaml(config_path())["model_sources"][SOURCE]["local_path"])
    except (RegzooError, KeyError, TypeError):
        return Check("kipoi source", False, f"no source {SOURCE!r} in {config_path()}", mend)
    try:
        right = path.resolve() == (zoo_folder() / "models").resolve()
    except (RegzooError, ValueError):  # no zoo, which is a finding of its own, or not a path
        right = False
    return Check("kipoi source", right, f"{SOURCE} -> {path}", mend)
