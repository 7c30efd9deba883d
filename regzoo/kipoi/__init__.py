"""The bridge to Kipoi: importing it mends Kipoi's writers and puts the kipoi_veff plugin back."""

import importlib.util
import logging.config
import sys
import unittest.mock
import warnings

warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

import kipoi.config  # noqa: E402
import kipoi.data  # noqa: E402
import kipoi.model  # noqa: E402
import kipoi.plugin  # noqa: E402

from regzoo.kipoi import imports, writers  # noqa: E402
from regzoo.kipoi.postprocessing import Postprocessing  # noqa: E402


def _no_warning_of_postprocessing(record):
    # Kipoi warns of the section that `postprocessing` reads for it, and its conformance test fails on any warning.
    return "{'postprocessing'}" not in record.getMessage()


logging.getLogger("kipoi_utils.external.related.mixins").addFilter(_no_warning_of_postprocessing)
imports.install()
writers.mend()
kipoi.model.BaseModel.postprocessing = Postprocessing("model.yaml", "VarEffectModelArgs")
kipoi.data.BaseDataLoader.postprocessing = Postprocessing("dataloader.yaml", "VarEffectDataLoaderArgs")

if importlib.util.find_spec("kipoi_veff"):
    if "kipoi_veff" in sys.modules:
        warnings.warn("import regzoo.kipoi before kipoi_veff, which otherwise fails on this numpy", stacklevel=2)
    # Importing the plugin would configure logging anew and silence every logger that is there.
    with unittest.mock.patch("logging.config.fileConfig"):
        from regzoo.kipoi import veff

    veff.mend()
    kipoi.plugin.PLUGINS.append(
        {
            "plugin": "kipoi_veff",
            "url": "https://github.com/kipoi/kipoi-veff",
            "cli": True,
            "description": "Variant effect prediction.",
        }
    )

from regzoo.kipoi.dataloader import SequenceDataset  # noqa: E402
from regzoo.kipoi.model import ZooModel  # noqa: E402
from regzoo.register import SOURCE  # noqa: E402
from regzoo.zoo import zoo_folder  # noqa: E402

if SOURCE not in kipoi.config.model_sources():
    kipoi.config.add_source(SOURCE, kipoi.config.LocalSource(str(zoo_folder() / "models")))

__all__ = ["SequenceDataset", "ZooModel"]
