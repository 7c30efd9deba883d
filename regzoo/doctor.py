"""Checks of an installation."""

import importlib.metadata
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from regzoo.description import read_description
from regzoo.errors import RegzooError
from regzoo.nets.checkpoint import file_digest
from regzoo.sections import read_yaml
from regzoo.zoo import catalogue, model_folder, zoo_folder

_INSTALL = "run `make env` in the checkout"


@dataclass
class Check:
    """Result of one check.

    Attributes
    ----------
    name : str
    passed : bool
    found : str
        What was found, for the user.
    fix : str
        How to fix the problem if the check did not pass.
    """

    name: str
    passed: bool
    found: str
    fix: str = ""


def diagnose() -> list[Check]:
    """Check this installation."""
    checks = [_python(), _packages(), _command(), _plugin(), _zoo(), _source(), _official()]
    devices = ["cpu"] + [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    checks.append(Check("torch devices", True, ", ".join(devices)))
    return checks


def _python():
    version = ".".join(map(str, sys.version_info[:3]))
    required = importlib.metadata.metadata("regzoo")["Requires-Python"]
    return Check("python", SpecifierSet(required).contains(version), version, f"use Python {required}")


def _packages():
    """Compare installed versions with the requirements of the library."""
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
    """Check that the command `kipoi` of this environment is that of the zoo."""
    path = Path(sys.executable).parent / "kipoi"
    if not path.exists():
        found = shutil.which("kipoi")
        return Check("kipoi command", False, found or "missing", _INSTALL + "; `regzoo kipoi …` works without it")
    ours = "regzoo" in re.sub(r"^#!.*", "", path.read_text(errors="replace"))
    fix = "run `pip install --force-reinstall --no-deps -e .` in the checkout; until then use `regzoo kipoi …`"
    return Check("kipoi command", ours, f"{path}{'' if ours else ' was overwritten by another install'}", fix)


def _plugin():
    try:
        import regzoo.kipoi  # noqa: F401 - must come first, because it adapts the plugin

        import kipoi.plugin  # isort: skip
        import kipoi_veff  # isort: skip
    except Exception as error:  # an import in a broken environment can raise any error
        return Check("kipoi_veff plugin", False, f"{type(error).__name__}: {error}", _INSTALL)
    passed = kipoi.plugin.is_plugin("kipoi_veff")
    return Check("kipoi_veff plugin", passed, f"version {kipoi_veff.__version__}", _INSTALL)


def _zoo():
    try:
        return Check("zoo", True, f"{zoo_folder()}, {len(catalogue())} models")
    except RegzooError as error:
        return Check("zoo", False, str(error), "set REGZOO_HOME to the checkout")


def _source():
    """Check that this zoo is a source in Kipoi's configuration."""
    from regzoo.register import SOURCE, config_path

    fix = "run `regzoo register`"
    try:
        path = Path(read_yaml(config_path())["model_sources"][SOURCE]["local_path"])
    except (RegzooError, KeyError, TypeError):
        return Check("kipoi source", False, f"no source {SOURCE!r} in {config_path()}", fix)
    try:
        passed = path.resolve() == (zoo_folder() / "models").resolve()
    except (RegzooError, ValueError):  # no zoo, which has its own check, or not a valid path
        passed = False
    return Check("kipoi source", passed, f"{SOURCE} -> {path}", fix)


def _official():
    """Check the official weights in the cache. Those that are missing are downloaded when they are needed."""
    ready: list[tuple[str, Path]] = []
    wrong: list[tuple[str, Path]] = []
    try:
        for name in [name for name, entry in catalogue().items() if entry.get("status") == "official"]:
            official = read_description(model_folder(name)).args.official
            if official and official.file.is_file():
                (ready if file_digest(official.file, "md5") == official.md5 else wrong).append((name, official.file))
    except (RegzooError, OSError) as error:
        fix = "set REGZOO_HOME to the checkout, and REGZOO_CACHE to a folder that you can read"
        return Check("official weights", False, str(error), fix)
    names = ", ".join(name for name, _ in wrong or ready)
    if wrong:
        fix = f"remove {' '.join(str(path) for _, path in wrong)}"
        return Check("official weights", False, f"wrong MD5: {names}", fix)
    return Check("official weights", True, names or "none in the cache; downloaded at first use")
