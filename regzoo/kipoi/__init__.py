"""The bridge to Kipoi. Importing it patches Kipoi and its plugins for current libraries and adds the zoo's source.

torch, kipoi_veff and kipoi_interpret are imported when they are first used.
"""

import importlib
import importlib.util

from regzoo.kipoi import imports

imports.install()

import kipoi.config  # noqa: E402
import kipoi.plugin  # noqa: E402
import kipoi_conda.utils  # noqa: E402

from regzoo.home import SOURCE, zoo_folder  # noqa: E402
from regzoo.kipoi import descriptions, old_pkg_resources, writers  # noqa: E402

for module in (kipoi_conda, kipoi_conda.utils):
    module.get_package_version = old_pkg_resources.get_package_version
    module.compatible_versions = old_pkg_resources.compatible_versions
writers.patch()
descriptions.patch()

if importlib.util.find_spec("kipoi_veff") and not kipoi.plugin.is_plugin("kipoi_veff"):
    kipoi.plugin.PLUGINS.append(
        {
            "plugin": "kipoi_veff",
            "url": "https://github.com/kipoi/kipoi-veff",
            "cli": True,
            "description": "Variant effect prediction.",
        }
    )


def _lazy_command(plugin):
    """The command of a plugin, in place of `kipoi.plugin.get_cli_fn`, which imports every plugin at once."""

    def command(name, arguments):
        return kipoi.plugin.load_plugin(plugin).cli_main(name, arguments)

    return command


kipoi.plugin.get_cli_fn = _lazy_command

if SOURCE not in kipoi.config.model_sources():
    kipoi.config.add_source(SOURCE, kipoi.config.LocalSource(str(zoo_folder() / "models")))

_CLASSES = {"SequenceDataset": "regzoo.kipoi.dataloader", "ZooModel": "regzoo.kipoi.model"}
__all__ = ["SequenceDataset", "ZooModel"]


def __getattr__(name):
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_CLASSES[name]), name)
    return value
