"""The `postprocessing` section of model.yaml and dataloader.yaml, which Kipoi no longer reads and kipoi_veff needs."""

import inspect
from pathlib import Path

import yaml


class Postprocessing:
    """Class attribute of Kipoi's models and dataloaders: {'variant_effects': its arguments} of their YAML, or {}.

    Parameters
    ----------
    file : str
        Name of the YAML in `source_dir`.
    parser : str
        Class of kipoi_veff.specs that holds the section.
    """

    def __init__(self, file, parser):
        self.file, self.parser = file, parser

    def __get__(self, instance, owner):
        holder = owner if instance is None else instance
        section = self._content(holder).get("postprocessing", {}).get("variant_effects")
        if section is None:
            return {}
        import kipoi_veff.specs

        return {"variant_effects": getattr(kipoi_veff.specs, self.parser).from_config(section)}

    def _content(self, holder):
        folder = getattr(holder, "source_dir", None)
        path = Path(folder) / self.file if folder else None
        if path is not None and path.is_file():
            return yaml.safe_load(path.read_text()) or {}
        # A dataloader that a package brings (kipoiseq, this one) is described elsewhere than in the model's folder.
        described = getattr(holder, "description_file", None)
        # `default_args` make a subclass without a docstring, so that of its bases counts.
        owner = holder if inspect.isclass(holder) else type(holder)
        text = Path(described).read_text() if described else inspect.getdoc(owner) or ""
        if "postprocessing:" not in text:
            return {}
        return yaml.safe_load(text)
