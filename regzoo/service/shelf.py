"""What the service was started with: a genome, and models that are loaded once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regzoo.errors import InputError, ModelError
from regzoo.model import Model
from regzoo.options import close_names
from regzoo.sequence import Genome
from regzoo.sequence.genome import as_genome
from regzoo.zoo import catalogue, load_model, load_models


class Shelf:
    """The models and the genome that requests can use, by name.

    Parameters
    ----------
    models : sequence of models
        As `regzoo.load_model` takes them; they are loaded at once. Without any, every model whose weights ship with the
        zoo, except language models, is loaded when it is first asked for.
    genome : str, pathlib.Path, Genome or None
    device : str
        As of `regzoo.load_model`.

    Raises
    ------
    RegzooError
        If the genome or a model cannot be read.
    InputError
        If a model predicts profiles.
    """

    def __init__(self, models: Sequence[Any] = (), genome: Any = None, device: str = "auto"):
        self._device = device
        self._loaded = {model.name: model for model in (load_models(list(models), device) if models else ())}
        for model in self._loaded.values():
            if model.bins is not None:
                raise InputError(f"{model.name}: predicts profiles, which the service does not show")
        entries = catalogue().items()
        shipped = [name for name, one in entries if one.get("status") == "trained" and not name.startswith("LM/")]
        #: Names that a request may give.
        self.names: list[str] = list(self._loaded) or shipped
        self.genome: Genome | None = None
        if genome is not None:
            self.genome = copy.copy(as_genome(genome))
            self.genome.path = Path(self.genome.path.name)  # messages do not show folders

    def check(self, name: str) -> None:
        """Refuse the name of a model that the service was not started with.

        Raises
        ------
        ModelError
            If there is no such model here.
        """
        if name not in self.names:
            raise ModelError(f"no model {name[:80]!r} in this service{close_names(name[:80], self.names)}")

    def model(self, name: str) -> Model:
        """A model by its name.

        Raises
        ------
        ModelError
            If there is no such model here.
        """
        self.check(name)
        if name not in self._loaded:
            self._loaded[name] = load_model(name, self._device)
        return self._loaded[name]
