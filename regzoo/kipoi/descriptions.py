"""What Kipoi's descriptions lack: the section `postprocessing` of kipoi_veff, and where this library comes from."""

import inspect
from pathlib import Path
from typing import Any

import kipoi.data
import kipoi.model
import kipoi.specs
import yaml

from regzoo.home import requirement


def _parsed(content: dict, parser: str) -> dict[str, Any]:
    section = (content.get("postprocessing") or {}).get("variant_effects")
    if section is None:
        return {}
    import kipoi_veff.specs

    return {"variant_effects": getattr(kipoi_veff.specs, parser).from_config(section)}


class Postprocessing:
    """Class attribute of models and dataloaders: {'variant_effects': arguments}, or {} without that section.

    Parameters
    ----------
    file : str
        Name of the YAML file in `source_dir`.
    parser : str
        Class of kipoi_veff.specs that holds the arguments.
    """

    def __init__(self, file: str, parser: str):
        self.file, self.parser = file, parser

    def __get__(self, instance, owner):
        return _parsed(self._content(owner if instance is None else instance), self.parser)

    def _content(self, holder):
        folder = getattr(holder, "source_dir", None)
        path = Path(folder) / self.file if folder else None
        if path is not None and path.is_file():
            return yaml.safe_load(path.read_text()) or {}
        # A dataloader of a package is described in its docstring (kipoiseq) or in a file of the package (this one).
        file = getattr(holder, "description_file", None)
        # getdoc: `default_args` make a subclass without a docstring; it has that of its base.
        owner = holder if inspect.isclass(holder) else type(holder)
        text = Path(file).read_text() if file else inspect.getdoc(owner) or ""
        if "postprocessing:" not in text:
            return {}
        return yaml.safe_load(text)


class DescriptionPostprocessing:
    """The same attribute of `ModelDescription` and `DataLoaderDescription`, from the YAML that they were made of."""

    def __init__(self, parser: str):
        self.parser = parser

    def __get__(self, instance, owner):
        if instance is None:
            return self
        return _parsed({"postprocessing": getattr(instance, "_postprocessing", None)}, self.parser)


def _extend(description):
    """Make a description class keep the section of its configuration, and require this library where it is used."""
    from_config = description.from_config.__func__

    def keeping(cls, cfg):
        made = from_config(cls, {key: value for key, value in cfg.items() if key != "postprocessing"})
        made._postprocessing = cfg.get("postprocessing")
        if str(cfg.get("defined_as", "")).startswith("regzoo."):
            made.dependencies.pip = [*made.dependencies.pip, requirement()]
        return made

    description.from_config = classmethod(keeping)


def patch() -> None:
    """Give Kipoi's models, dataloaders and their descriptions the attribute `postprocessing`."""
    kipoi.model.BaseModel.postprocessing = Postprocessing("model.yaml", "VarEffectModelArgs")
    kipoi.data.BaseDataLoader.postprocessing = Postprocessing("dataloader.yaml", "VarEffectDataLoaderArgs")
    for description, parser in (
        (kipoi.specs.ModelDescription, "VarEffectModelArgs"),
        (kipoi.specs.DataLoaderDescription, "VarEffectDataLoaderArgs"),
    ):
        if not isinstance(description.__dict__.get("postprocessing"), DescriptionPostprocessing):
            description.postprocessing = DescriptionPostprocessing(parser)
            _extend(description)
