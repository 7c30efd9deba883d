"""A recipe's run: its folder, its metrics, and how its files are written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from regzoo.errors import InputError, OutputError
from regzoo.output.files import finished_file
from training.recipe import load_recipe

HOME = Path(__file__).resolve().parents[1]


class Run:
    """The run of a recipe, in the working directory's folder `runs`.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    *kinds : str
        Kinds of recipes that are accepted, as of `training.recipe.load_recipe`.

    Attributes
    ----------
    recipe_path : pathlib.Path
    recipe : training.recipe.Recipe
    folder : pathlib.Path
        Holds checkpoint.pt, log.json, model.safetensors, metrics.json and what `evaluate` writes.

    Raises
    ------
    InputError
        If the recipe is not valid.
    """

    def __init__(self, recipe_path: str | Path, *kinds: str):
        self.recipe_path = Path(recipe_path)
        self.recipe: Any = load_recipe(recipe_path, *kinds)
        self.folder = _folder(self.recipe_path, self.recipe.model)

    @property
    def name(self) -> str:
        """The recipe's path for cards and the index: relative to the checkout if it lies in it."""
        path = self.recipe_path.resolve()
        return path.relative_to(HOME).as_posix() if path.is_relative_to(HOME) else self.recipe_path.as_posix()

    def metrics(self) -> dict[str, Any]:
        """Content of metrics.json; an InputError if the run has not finished."""
        path = self.folder / "metrics.json"
        if not path.exists():
            raise InputError(f"{self.recipe_path}: no finished run in {self.folder}; run fit or pretrain first")
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON ({error}); run fit again for {self.recipe_path}") from error

    def evaluated_metrics(self) -> dict[str, Any]:
        """Metrics on dev and test; an InputError if the run has not finished or was not evaluated on test."""
        metrics = self.metrics()
        splits = {split for counts in metrics["data"]["targets"].values() for split in counts} - {"train"}
        if missing := sorted(splits - metrics.keys()):
            raise InputError(
                f"{self.recipe_path}: the run in {self.folder} has no metrics on {' and '.join(missing)}; run "
                f"`python -m training evaluate {self.recipe_path}` first"
            )
        return metrics

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json."""
        write_text(self.folder / "metrics.json", json.dumps(metrics, indent=1))


def _folder(recipe_path, model):
    """runs/GROUP/MODEL, or runs/FOLDER/RECIPE, the name of older runs of this checkout's recipes, where only that
    exists.
    """
    folder, path = Path("runs") / model, recipe_path.resolve()
    older = Path("runs") / path.parent.name / path.stem
    return older if path.is_relative_to(HOME) and _holds_run(older) and not _holds_run(folder) else folder


def _holds_run(folder):
    return any((folder / name).exists() for name in ("checkpoint.pt", "metrics.json"))


def run_folder(recipe_path: str | Path) -> Path:
    """Folder of a recipe's run."""
    return Run(recipe_path).folder


def write(path: Path, writer: Callable[[Path], Any]) -> None:
    """Write a file; it appears only when it is complete.

    Parameters
    ----------
    path : pathlib.Path
    writer : callable
        Writes to the temporary path that it is given.

    Raises
    ------
    OutputError
        If the disk is full. What the file held before is kept.
    """
    with finished_file(path) as temporary:
        try:
            writer(temporary)
        except RuntimeError as error:
            if "PytorchStreamWriter" not in str(error):
                raise
            raise OutputError(f"{path}: cannot write ({error}); is the disk full?") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file as `write` does."""
    write(path, lambda temporary: temporary.write_text(text))


def write_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, as `write` does."""
    write(path, lambda temporary: temporary.write_bytes(save({k: v.contiguous() for k, v in state.items()})))
