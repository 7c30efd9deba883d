"""Fitting a supervised recipe: examples, network, training loop and metrics on dev."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regzoo.errors import InputError
from training.augment import augment
from training.data import Examples, load_examples
from training.loop import Loop, Plan, peak_memory
from training.networks import load_run, make_network, predict
from training.objective import Supervised
from training.recipe import PROSE, FitRecipe
from training.run import Run, write_weights
from training.scores import check_dev, dev_line, evaluate_splits

DRY_STEPS = 4


def fit(
    recipe_path: str | Path, threads: int | None = None, track: str | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Train a recipe, or resume its run.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional
        CPU threads; PyTorch's default without it.
    track : str, optional
        'tensorboard' or 'wandb' (offline without an account).
    dry_run : bool
        Train a few batches in the run's sub-folder dry-run, and estimate the hours that the whole run would take.

    Returns
    -------
    dict
        Metrics on dev, as written to metrics.json in the run's folder. With several processes, only the main one
        returns them. `training.evaluate.evaluate_run` adds those on test.

    Raises
    ------
    InputError
        If the recipe, its data or a teacher's run is not valid, no target can be evaluated on dev, or the checkpoint
        belongs to another recipe.
    TrainingError
        If the loss is not finite. The last checkpoint is kept.
    OutputError
        If the disk is full. The last checkpoint is kept.
    """
    run = Run(recipe_path, "fit")
    recipe, folder = run.recipe, run.folder
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    splits, report = load_examples(recipe.data)
    if dry_run:
        steps = recipe.optimiser.epochs * steps_of_epoch(recipe, splits["train"])
        recipe, splits, folder = _shortened(recipe, splits, folder)
    check_dev(recipe.data, splits["dev"])  # in every process, before one of them waits for another
    network, loop = fit_network(recipe, splits, folder, track)
    state = loop.run()
    if not loop.accelerator.is_main_process:
        return {}
    write_weights(folder / "model.safetensors", state)
    network.load_state_dict(loop.kept_state(), strict=False)
    predictions = {"dev": predict(network.eval(), splits["dev"].codes, recipe.data).cpu().numpy()}
    metrics = _facts(recipe, splits, network, loop) | {"data": report}
    metrics |= evaluate_splits(recipe.data, splits, predictions)
    if dry_run:
        shutil.rmtree(folder)
        return {"dry run": _estimate(loop, steps, metrics)} | metrics
    run.write_metrics(metrics)
    loop.finish({"dev": metrics["dev"]}, ["model.safetensors", "metrics.json"])
    return metrics


def _estimate(loop, steps, metrics):
    """Hours and memory of a run of `steps` steps, from a few of them."""
    return {
        "steps": steps,
        "hours": round(loop.minutes / loop.step * steps / 60, 2),
        "peak_memory_mb": round(metrics["peak_memory_mb"]),
    }


def _facts(recipe, splits, network, loop):
    """Sizes and costs of a run, for metrics.json."""
    return {
        "parameters": sum(p.numel() for name, p in network.named_parameters() if ".lora_" not in name),
        "trained_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "input_length": splits["train"].codes.shape[1],
        "threads": torch.get_num_threads(),
        "device": str(loop.accelerator.device),
        "minutes": loop.minutes,
        "epochs": (loop.best["step"] if loop.best else loop.step) / steps_of_epoch(recipe, splits["train"]),
        "peak_memory_mb": peak_memory(),
        "rows": {split: len(part) for split, part in splits.items()},
    }


def _shortened(recipe, splits, folder):
    """A recipe of one epoch over a few batches of examples, and an empty folder for it."""
    folder = folder / "dry-run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    options = recipe.optimiser.model_copy(update={"epochs": 1})
    few = {}
    for name, part in splits.items():
        rows = np.unique(np.linspace(0, len(part) - 1, DRY_STEPS * options.batch_size).astype(int))  # from all files
        few[name] = part.take(rows)
    return recipe.model_copy(update={"optimiser": options}), few, folder


def fit_network(
    recipe: FitRecipe,
    splits: dict[str, Examples],
    folder: Path,
    track: str | None = None,
    after_epoch: Callable[[float], None] | None = None,
) -> tuple[nn.Module, Loop]:
    """The network of a recipe and the loop that trains it.

    Parameters
    ----------
    recipe : training.recipe.FitRecipe
    splits : dict of str to training.data.Examples
    folder : pathlib.Path
    track : str, optional
    after_epoch : callable, optional
        Called after each epoch with the score on dev.

    Returns
    -------
    network : torch.nn.Module
    loop : training.loop.Loop

    Raises
    ------
    InputError
        If there are adapters but no backbone, or distillation of targets that are not binary.
    """
    train, options, data = splits["train"], recipe.optimiser, recipe.data
    torch.manual_seed(recipe.seed)
    network = make_network(recipe, train.codes.shape[1])
    std = torch.from_numpy(np.nanstd(train.labels, axis=0)) if data.task == "regression" else None
    if recipe.distillation and data.task != "binary":
        raise InputError(f"{recipe.model}: distillation needs binary targets, not {data.task}")
    teachers = (
        [load_run(Run(path, "fit", "probe")) for path in recipe.distillation.teachers] if recipe.distillation else []
    )
    weight = recipe.distillation.weight if recipe.distillation else 0.0
    objective = Supervised(network, data, options.label_smoothing, std, teachers, weight)
    steps = steps_of_epoch(recipe, train)

    def validate(model):
        line = dev_line(data, splits["dev"], predict(model, splits["dev"].codes, data).cpu().numpy())
        if after_epoch:
            after_epoch(line["score"])
        return line

    plan = Plan(
        folder,
        recipe.model_dump(mode="json", exclude=PROSE),
        recipe.seed,
        options.epochs * steps,
        steps,
        options.patience,
        track,
    )
    return network, Loop(network, objective, _Batches(recipe, train), options, plan, validate)


def steps_of_epoch(recipe: FitRecipe, examples: Examples) -> int:
    """Number of steps that read every example once."""
    return math.ceil(len(examples) / recipe.optimiser.batch_size)


class _Batches:
    """Augmented batches. Order and augmentation depend only on the seed and on the numbers of epoch and step."""

    def __init__(self, recipe, examples):
        self.recipe, self.size, self.steps = recipe, recipe.optimiser.batch_size, steps_of_epoch(recipe, examples)
        self.codes, self.labels = torch.from_numpy(examples.codes), torch.from_numpy(examples.labels)
        self.options = recipe.augmentation
        if recipe.data.stranded:
            self.options = self.options.model_copy(update={"reverse_complement": False})
        self.epoch, self.order = -1, np.empty(0, dtype=np.int64)

    def __call__(self, step, part, parts):
        epoch, at = divmod(step, self.steps)
        if epoch != self.epoch:
            self.order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.codes))
            self.epoch = epoch
        rows = self.order[at * self.size : (at + 1) * self.size]
        rows = rows[part::parts] if len(rows) >= parts else rows  # no part of a small last batch may be empty
        generator = torch.Generator().manual_seed((self.recipe.seed * 100_003 + step) * parts + part)
        return augment(self.codes[rows], self.options, generator), self.labels[rows]
