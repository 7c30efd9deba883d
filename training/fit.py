"""Fitting a supervised recipe: examples, network, loop, and the evaluation that follows."""

import json
import math
import shutil

import numpy as np
import torch

from regzoo.errors import InputError
from training.augment import augment
from training.data import Examples, load_examples
from training.loop import Loop, Plan, peak_memory, write_text, write_weights
from training.networks import load_run, make_network, predict, run_folder
from training.objective import Supervised
from training.recipe import load_recipe
from training.scores import check_dev, dev_line, evaluate_splits

_PROSE = {
    "notes": True,
    "limits": True,
    "published": True,
    "title": True,
    "data": {"title", "description"},
}  # free to change
DRY_STEPS = 4


def fit(recipe_path, threads=None, track=None, dry_run=False):
    """Train a recipe, or go on where a stopped run of it was.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional
        CPU threads; PyTorch's own choice without it.
    track : str, optional
        'tensorboard' or 'wandb' (offline without an account).
    dry_run : bool
        Go the whole way with a few batches, in the run's sub-folder dry-run, and estimate the hours that all would take.

    Returns
    -------
    dict
        Metrics on dev, as written to metrics.json in the run's folder; of several processes only the main one has them.
        `training.evaluate.evaluate_run` adds those on test.

    Raises
    ------
    InputError
        If the recipe, its data, or a teacher's run is not usable, no target can be judged on dev, or the checkpoint is of
        another recipe.
    TrainingError
        If the loss is not finite, or the disk is full; the last checkpoint is kept.
    """
    recipe, folder = load_recipe(recipe_path), run_folder(recipe_path)
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    splits, report = load_examples(recipe.data)
    if dry_run:
        steps = recipe.optimiser.epochs * steps_of_epoch(recipe, splits["train"])
        recipe, splits, folder = _shortened(recipe, splits, folder)
    check_dev(recipe.data, splits["dev"])  # in every process, before any of them waits for another
    network, loop = fit_network(recipe, splits, folder, track)
    state = loop.run()
    if not loop.accelerator.is_main_process:
        return {}
    write_weights(folder / "model.safetensors", state)
    network.load_state_dict(loop.kept_state(), strict=False)
    network.eval()
    metrics = {
        "parameters": sum(p.numel() for name, p in network.named_parameters() if ".lora_" not in name),
        "trained_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "input_length": splits["train"].codes.shape[1],
        "threads": torch.get_num_threads(), "device": str(loop.accelerator.device), "minutes": loop.minutes,
        "epochs": (loop.best["step"] if loop.best else loop.step) / steps_of_epoch(recipe, splits["train"]),
        "peak_memory_mb": peak_memory(), "data": report,
        "rows": {split: len(part) for split, part in splits.items()},
    }  # fmt: skip
    predictions = {"dev": predict(network, splits["dev"].codes, recipe.data).cpu().numpy()}
    metrics |= evaluate_splits(recipe.data, splits, predictions)
    if dry_run:
        shutil.rmtree(folder)
        return {"dry run": {"steps": steps, "hours": round(loop.minutes / loop.step * steps / 60, 2),
                            "peak_memory_mb": round(metrics["peak_memory_mb"])}} | metrics  # fmt: skip
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    loop.finish({"dev": metrics["dev"]}, ["model.safetensors", "metrics.json"])
    return metrics


def _shortened(recipe, splits, folder):
    """A recipe of one epoch over a few batches of examples, and a fresh folder for it."""
    folder = folder / "dry-run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    options = recipe.optimiser.model_copy(update={"epochs": 1})
    few = {}
    for name, part in splits.items():
        rows = np.unique(np.linspace(0, len(part) - 1, DRY_STEPS * options.batch_size).astype(int))  # of every file
        few[name] = Examples(part.codes[rows], part.labels[rows])
    return recipe.model_copy(update={"optimiser": options}), few, folder


def fit_network(recipe, splits, folder, track=None, look=None):
    """The network of a recipe and the loop that trains it.

    Parameters
    ----------
    recipe : training.recipe.Recipe
    splits : dict of str to training.data.Examples
    folder : pathlib.Path
    track : str, optional
    look : callable, optional
        Also called after each epoch, with dev's score.

    Returns
    -------
    network : torch.nn.Module
    loop : training.loop.Loop

    Raises
    ------
    InputError
        If adapters have no backbone, or targets to distil are not binary.
    """
    train, options, data = splits["train"], recipe.optimiser, recipe.data
    torch.manual_seed(recipe.seed)
    network = make_network(recipe, train.codes.shape[1])
    spread = torch.from_numpy(np.nanstd(train.labels, axis=0)) if data.task == "regression" else None
    if recipe.distillation and data.task != "binary":
        raise InputError(f"{recipe.model}: distillation is of binary targets, not of {data.task}")
    teachers = [load_run(path) for path in recipe.distillation.teachers] if recipe.distillation else []
    weight = recipe.distillation.weight if recipe.distillation else 0.0
    objective = Supervised(network, data, options.label_smoothing, spread, teachers, weight)
    steps = steps_of_epoch(recipe, train)

    def after_epoch(model):
        line = dev_line(data, splits["dev"], predict(model, splits["dev"].codes, data).cpu().numpy())
        if look:
            look(line["score"])
        return line

    plan = Plan(folder, recipe.model_dump(mode="json", exclude=_PROSE), recipe.seed, options.epochs * steps, steps,
                options.patience, track)  # fmt: skip
    return network, Loop(network, objective, _Batches(recipe, train), options, plan, after_epoch)


def steps_of_epoch(recipe, examples):
    """Steps in which every example is seen once."""
    return math.ceil(len(examples) / recipe.optimiser.batch_size)


class _Batches:
    """Augmented batches: every epoch's order, and every step's changes, depend on the seed and their number alone."""

    def __init__(self, recipe, examples):
        self.recipe, self.size, self.steps = recipe, recipe.optimiser.batch_size, steps_of_epoch(recipe, examples)
        self.codes, self.labels = torch.from_numpy(examples.codes), torch.from_numpy(examples.labels)
        self.options = recipe.augmentation
        if recipe.data.stranded:
            self.options = self.options.model_copy(update={"reverse_complement": False})
        self.epoch, self.order = None, None

    def __call__(self, step, part, parts):
        epoch, at = divmod(step, self.steps)
        if epoch != self.epoch:
            self.epoch, self.order = (
                epoch,
                np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.codes)),
            )
        rows = self.order[at * self.size : (at + 1) * self.size]
        rows = rows[part::parts] if len(rows) >= parts else rows  # every part of a small last batch has some
        generator = torch.Generator().manual_seed((self.recipe.seed * 100_003 + step) * parts + part)
        return augment(self.codes[rows], self.options, generator), self.labels[rows]
