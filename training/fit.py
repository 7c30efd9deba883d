"""Fitting: one loop that resumes exactly where it was stopped, and the evaluation that follows."""

import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from regzoo.errors import InputError, RegzooError
from regzoo.evaluate import bootstrap
from regzoo.nets import build
from training.augment import augment, reverse_complement
from training.data import load_examples
from training.recipe import load_recipe

_PROSE = {"notes": True, "limits": True, "published": True, "title": True, "data": {"description"}}  # free to change
CHANNELS = torch.arange(4, dtype=torch.uint8)[:, None]


class TrainingError(RegzooError):
    """Training cannot go on; the message says at which step."""


def run_folder(recipe_path):
    """Where a recipe's checkpoint, weights and metrics are: runs/GROUP/NAME beside the working directory."""
    path = Path(recipe_path)
    return Path("runs") / path.parent.name / path.stem


def fit(recipe_path, threads=None):
    """Train a recipe, or go on where a stopped run of it was.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional
        CPU threads; PyTorch's own choice without it.

    Returns
    -------
    dict
        Metrics on dev and test, as written to metrics.json in the run's folder.

    Raises
    ------
    InputError
        If the recipe, its data, or a teacher's run is not usable, or the checkpoint is of another recipe.
    TrainingError
        If the loss is not finite; the last good checkpoint is kept.
    """
    recipe = load_recipe(recipe_path)
    folder = run_folder(recipe_path)
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    splits, report = load_examples(recipe.data)
    run = _Run(recipe, splits["train"], folder)
    run.resume()
    while run.epoch < recipe.optimiser.epochs:
        loss = run.train_epoch()
        line = {"epoch": run.epoch, "loss": loss, "minutes": run.minutes}
        line |= {"dev": _summary(evaluate(run.averaged(), splits["dev"], list(recipe.data.tasks), samples=2))}
        run.save(line)
        tqdm.write(json.dumps(line), file=sys.stderr)
    model = run.averaged()
    _write_weights(model, folder / "model.safetensors")
    metrics = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "input_length": splits["train"].codes.shape[1],
        "threads": torch.get_num_threads(),
        "minutes": run.minutes,
        "data": report,
        "rows": {split: len(part) for split, part in splits.items()},
    }
    for split in splits.keys() - {"train"}:
        metrics[split] = evaluate(model, splits[split], list(recipe.data.tasks))
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    return metrics


class _Run:
    """The state of one training run: network, optimiser, averaged weights, and the epoch it is in."""

    def __init__(self, recipe, examples, folder):
        self.recipe, self.examples, self.folder = recipe, examples, folder
        self.options = recipe.optimiser
        self.epoch, self.minutes, self.log = 0, 0.0, []
        torch.manual_seed(recipe.seed)
        self.network = make_network(recipe, examples.codes.shape[1])
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        rest = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=self.options.learning_rate)
        self.steps = math.ceil(len(examples) / self.options.batch_size)
        self.teachers = [load_run(path) for path in recipe.distillation.teachers] if recipe.distillation else []

    @property
    def checkpoint(self):
        return self.folder / "checkpoint.pt"

    def resume(self):
        """Take up the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        if json.loads(state["recipe"]) != json.loads(self.recipe.model_dump_json(exclude=_PROSE)):
            raise InputError(f"{self.checkpoint}: made by another version of this recipe; move it away to start anew")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.epoch = state["average"], state["epoch"]
        self.minutes, self.log = state["minutes"], json.loads(state["log"])

    def save(self, line):
        """Write the checkpoint and the log's new line; a kill leaves the one before."""
        self.log.append(line)
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
                 "average": self.average, "epoch": self.epoch, "minutes": self.minutes, "log": json.dumps(self.log),
                 "recipe": self.recipe.model_dump_json(exclude=_PROSE)}  # fmt: skip
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint)
        write_text(self.folder / "log.json", json.dumps(self.log, indent=1))

    def averaged(self):
        """A network with the averaged weights, in evaluation mode."""
        network = make_network(self.recipe, self.examples.codes.shape[1])
        network.load_state_dict(self.average)
        return network.eval()

    def train_epoch(self):
        """One pass over the examples, in an order and with changes that depend on the seed and the epoch alone."""
        options, start = self.options, time.monotonic()
        order = np.random.default_rng([self.recipe.seed, self.epoch]).permutation(len(self.examples))
        generator = torch.Generator().manual_seed(self.recipe.seed * 100_003 + self.epoch)
        torch.manual_seed(self.recipe.seed * 100_019 + self.epoch)  # dropout
        codes, labels = torch.from_numpy(self.examples.codes), torch.from_numpy(self.examples.labels)
        self.network.train()
        total = 0.0
        for step in tqdm(
            range(self.steps), desc=f"epoch {self.epoch + 1}/{options.epochs}", mininterval=5, leave=False
        ):
            rows = order[step * options.batch_size : (step + 1) * options.batch_size]
            batch = augment(codes[rows], self.recipe.augmentation, generator)
            rate = self._set_rate(self.epoch * self.steps + step)
            loss = self._loss(batch, labels[rows])
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"{self.folder}: the loss is {loss.item()} at epoch {self.epoch + 1}, step {step + 1} "
                    f"(learning rate {rate:.2g}); the checkpoint of epoch {self.epoch} is kept"
                )
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip)
            self.optimiser.step()
            self._average_weights(self.epoch * self.steps + step)
            total += loss.item() * len(rows)
        self.epoch += 1
        self.minutes += (time.monotonic() - start) / 60
        return total / len(self.examples)

    def _set_rate(self, step):
        warmup = max(1, round(self.options.warmup * self.options.epochs * self.steps))
        progress = (step - warmup) / max(1, self.options.epochs * self.steps - warmup)
        factor = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.learning_rate * factor
        return self.options.learning_rate * factor

    def _loss(self, codes, labels):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.options.precision == "bf16"):
            logits = self.network(one_hot(codes)).float()
        known = ~torch.isnan(labels)
        smooth = self.options.label_smoothing
        truth = torch.where(known, labels, 0.5) * (1 - 2 * smooth) + smooth
        losses = binary_cross_entropy_with_logits(logits, truth, reduction="none")
        hard = (losses * known).sum() / known.sum().clamp(min=1)
        if not self.teachers:
            return hard
        soft = torch.stack([predict_logits(teacher, codes).sigmoid() for teacher in self.teachers]).mean(0)
        weight = self.recipe.distillation.weight
        return (1 - weight) * hard + weight * binary_cross_entropy_with_logits(logits, soft)

    @torch.no_grad()
    def _average_weights(self, step):
        decay = min(self.options.ema, (1 + step) / (10 + step))  # short memory at the start
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)


def one_hot(codes):
    """One-hot float32 tensor (N, 4, L) of base codes (N, L)."""
    return (codes[:, None, :] == CHANNELS).float()


def make_network(recipe, length):
    """The recipe's architecture for windows of `length` bases, with fresh weights."""
    arguments = {"input_length": length, "n_targets": len(recipe.data.tasks)} | recipe.architecture.arguments
    return build(recipe.architecture.name, **arguments)


def load_run(recipe_path):
    """The trained network of a recipe's finished run, in evaluation mode.

    Raises
    ------
    InputError
        If the run has no weights yet.
    """
    weights = run_folder(recipe_path) / "model.safetensors"
    if not weights.exists():
        raise InputError(f"{recipe_path}: no finished run in {weights.parent}; fit it first")
    recipe = load_recipe(recipe_path)
    length = load_examples(recipe.data)[0]["dev"].codes.shape[1]
    network = make_network(recipe, length)
    network.load_state_dict(load_file(weights))
    return network.eval()


@torch.no_grad()
def predict_logits(network, codes, batch_size=512):
    """Logits of base codes, averaged over both strands.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    codes : torch.Tensor, uint8, shape (N, L)

    Returns
    -------
    torch.Tensor, float32, shape (N, targets)
    """
    parts = []
    for chunk in codes.split(batch_size):
        both = one_hot(torch.cat([chunk, reverse_complement(chunk)]))
        parts.append(sum(network(both).float().chunk(2)) / 2)
    return torch.cat(parts)


def evaluate(network, examples, targets, samples=1000):
    """Metrics of each target, with bootstrap intervals, on the rows that are labelled for it.

    Parameters
    ----------
    network : torch.nn.Module
    examples : training.data.Examples
    targets : list of str
    samples : int
        Bootstrap resamples.

    Returns
    -------
    dict
        target -> metric -> {'value', 'low', 'high'}; a target without labelled rows is left out.
    """
    result = {}
    for index, target in enumerate(targets):
        codes, labels = examples.of_target(index)
        if len(codes):
            scores = predict_logits(network, torch.from_numpy(codes))[:, index].sigmoid().numpy()
            result[target] = bootstrap(labels, scores, samples=samples)
    return result


def _summary(metrics):
    names = next(iter(metrics.values())).keys()
    return {name: [round(target[name]["value"], 4) for target in metrics.values()] for name in names}


def _write_weights(network, path):
    temporary = path.with_suffix(".tmp")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, temporary)
    os.replace(temporary, path)


def write_text(path, text):
    """Write a small file so that a kill leaves the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
