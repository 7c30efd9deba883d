"""The training loop: AdamW under accelerate, averaged weights, and checkpoints that resume exactly.

A step depends only on the seed and its number, so a run that is stopped anywhere and resumed ends with the same
weights. `accelerate launch -m training fit RECIPE` distributes the rows of a step over several GPUs.
"""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from regzoo.errors import InputError, RegzooError
from training.recipe import Optimiser
from training.run import write, write_text

CHECKPOINT_SECONDS = 600


class TrainingError(RegzooError):
    """Training cannot continue; the message says at which step."""


@dataclass
class Plan:
    """Length of a run, when it is validated, and where it is kept.

    Attributes
    ----------
    folder : pathlib.Path
        Holds checkpoint.pt and log.json.
    recipe : dict
        Values that the checkpoint must agree with; a run is not resumed with others.
    seed : int
    steps : int
        Of the whole run.
    every : int
        Steps between validations.
    patience : int, optional
        Stop after this many validations without a better score, and keep the best weights.
    track : str, optional
        'tensorboard' or 'wandb'.
    """

    folder: Path
    recipe: dict
    seed: int
    steps: int
    every: int
    patience: int | None = None
    track: str | None = None


class Loop:
    """One training run.

    Parameters
    ----------
    network : torch.nn.Module
        The trained network. Parameters without gradient are neither changed nor kept in checkpoints.
    objective : torch.nn.Module
        Computes the scalar loss from a batch; contains `network`.
    batch : callable
        batch(step, part, parts) returns the objective's arguments for one of `parts` equal parts of a step's rows.
    options : training.recipe.Optimiser
    plan : Plan
    validate : callable, optional
        validate(network), called every `plan.every` steps, returns a dict for the log; its 'score', if any, chooses
        the best weights.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        objective: torch.nn.Module,
        batch: Callable[[int, int, int], Any],
        options: Optimiser,
        plan: Plan,
        validate: Callable[[torch.nn.Module], dict] | None = None,
    ):
        self.network, self.batch, self.options, self.plan, self.validate = network, batch, options, plan, validate
        AcceleratorState._reset_state()  # otherwise a second loop in this process would keep the precision of the first
        self.accelerator = Accelerator(
            mixed_precision="bf16" if options.precision == "bf16" else "no",
            log_with=plan.track,
            project_dir=str(plan.folder),
            dynamo_backend="inductor" if options.compile else "no",
        )
        trained = [p for p in network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, eps=1e-6)
        self.objective, self.optimiser = self.accelerator.prepare(objective, optimiser)
        # A tensor shared by two layers is kept once.
        own = {name for name, p in network.named_parameters() if p.requires_grad}
        own |= network.state_dict().keys() - dict(network.named_parameters(remove_duplicate=False)).keys()
        self.kept = [name for name in network.state_dict() if name in own]
        self.step, self.saved, self.minutes = 0, 0, 0.0
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.average = {k: v.clone() for k, v in self.state().items()} if options.ema else None

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint."""
        return self.plan.folder / "checkpoint.pt"

    def state(self) -> dict[str, torch.Tensor]:
        """Current values of the trained tensors and buffers."""
        state = self.network.state_dict()
        return {name: state[name].detach() for name in self.kept}

    def kept_state(self) -> dict[str, torch.Tensor]:
        """The tensors that the run keeps: of the best validation, else the averaged ones, else the last."""
        if self.best:
            return self.best["state"]
        return self.average or self.state()

    def run(self) -> dict[str, torch.Tensor]:
        """Train to the end, starting from the checkpoint if there is one.

        Returns
        -------
        dict of str to torch.Tensor
            `kept_state`, on the CPU. With several processes, only that of the main one is valid.

        Raises
        ------
        InputError
            If the checkpoint belongs to another recipe.
        TrainingError
            If the loss is not finite. The last checkpoint is kept.
        OutputError
            If the disk is full. The last checkpoint is kept.
        """
        self.resume()
        self._start_tracking()
        self.objective.train()
        clock, saved, total, count = time.monotonic(), time.monotonic(), 0.0, 0
        bar = tqdm(
            range(self.step, self.plan.steps),
            initial=self.step,
            total=self.plan.steps,
            desc="training",
            mininterval=5,
            disable=not self.accelerator.is_main_process,
        )
        for step in bar:
            if step % self.plan.every == 0 and self._out_of_patience():
                break
            total, count = total + self._train_step(step), count + 1
            self.step = step + 1
            validating = self.step % self.plan.every == 0 or self.step == self.plan.steps
            if validating or time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.minutes, clock = self.minutes + (time.monotonic() - clock) / 60, time.monotonic()
                if validating:
                    self._validate(
                        {"step": self.step, "loss": round(total / count, 4), "minutes": round(self.minutes, 2)}
                    )
                    total, count, clock = 0.0, 0, time.monotonic()
                self.save()
                saved = time.monotonic()
        return {name: value.cpu() for name, value in self.kept_state().items()}

    def finish(self, metrics: dict[str, Any], files: list[str]) -> None:
        """End tracking: log the final metrics; Weights & Biases also stores `files` of the run's folder."""
        if self.plan.track:
            self.accelerator.log(flat(metrics), step=self.step)
        for tracker in self.accelerator.trackers:
            if tracker.name == "wandb":
                import wandb

                artefact = wandb.Artifact(str(self.plan.recipe["model"]).replace("/", "-"), type="model")
                for file in files:
                    artefact.add_file(str(self.plan.folder / file))
                tracker.tracker.log_artifact(artefact)
        self.accelerator.end_training()

    def _train_step(self, step):
        world, own = self.accelerator.num_processes, self.accelerator.process_index
        torch.manual_seed((self.plan.seed * 1_000_003 + step) * world + own)  # dropout
        rate = self.options.learning_rate * schedule(step, self.plan.steps, self.options)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        parts, total = world * self.options.accumulate, 0.0
        for number in range(self.options.accumulate):
            batch = (value.to(self.accelerator.device) for value in self.batch(step, own + number * world, parts))
            last = number + 1 == self.options.accumulate
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                # On a CPU, the backward pass of fused attention takes 2.4 times as long for some dozens of tokens.
                with sdpa_kernel(SDPBackend.MATH) if self.accelerator.device.type == "cpu" else nullcontext():
                    loss = self.objective(*batch)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"{self.plan.folder}: the loss is {loss.item()} at step {step + 1} (learning rate {rate:.2g}); the "
                    f"checkpoint of step {self.saved} is kept"
                )
            self.accelerator.backward(loss / self.options.accumulate)
            total += loss.item() / self.options.accumulate
        self.accelerator.clip_grad_norm_(self.network.parameters(), self.options.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average:
            self._average_weights(self.average, step)
        return total

    @torch.no_grad()
    def _average_weights(self, average, step):
        decay = min(self.options.ema, (1 + step) / (10 + step))  # the first averages forget quickly
        for name, value in self.state().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)

    def _validate(self, line):
        own = None
        if self.validate and self.accelerator.is_main_process:
            if self.average:
                own = {name: value.clone() for name, value in self.state().items()}
                self.network.load_state_dict(self.average, strict=False)
            self.network.eval()
            line |= self.validate(self.network)
            self.objective.train()
            if line.get("score", -math.inf) > (self.best["score"] if self.best else -math.inf) and self.plan.patience:
                self.best = {
                    "score": line["score"],
                    "step": self.step,
                    "state": {name: value.clone() for name, value in self.state().items()},
                }
            if own:
                self.network.load_state_dict(own, strict=False)
        line["peak_memory_mb"] = round(peak_memory())
        self.log.append(line)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            tqdm.write(json.dumps(line), file=sys.stderr)
        if self.plan.track:
            self.accelerator.log(flat({k: v for k, v in line.items() if k != "step"}), step=self.step)

    def _out_of_patience(self):
        best = self.best["step"] if self.best else self.step
        over = [bool(self.plan.patience) and self.step - best >= (self.plan.patience or 0) * self.plan.every]
        return broadcast_object_list(over)[0]  # only the main process knows the scores

    def resume(self) -> None:
        """Load the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        try:
            state = torch.load(self.checkpoint, weights_only=True, map_location=self.accelerator.device)
        except (RuntimeError, EOFError, UnpicklingError) as error:
            raise InputError(f"{self.checkpoint}: not a checkpoint ({error}); move it away to start again") from error
        if json.loads(state["recipe"]) != json.loads(json.dumps(self.plan.recipe)):
            raise InputError(f"{self.checkpoint}: made by another version of this recipe; move it away to start again")
        self.network.load_state_dict(state["network"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.best, self.step = state["average"], state["best"], state["step"]
        self.saved, self.minutes, self.log = self.step, state["minutes"], json.loads(state["log"])

    def save(self) -> None:
        """Write checkpoint and log. If that fails, the previous ones are kept."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "network": self.state(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "best": self.best,
            "step": self.step,
            "minutes": self.minutes,
            "log": json.dumps(self.log),
            "recipe": json.dumps(self.plan.recipe),
        }
        write(self.checkpoint, lambda path: torch.save(state, path))
        self.saved = self.step
        write_text(self.plan.folder / "log.json", json.dumps(self.log, indent=1))

    def _start_tracking(self):
        if self.plan.track:
            mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
            self.accelerator.init_trackers(
                "regzoo",
                flat(self.plan.recipe),
                {"wandb": {"mode": mode, "dir": str(self.plan.folder), "name": str(self.plan.recipe.get("model"))}},
            )


def schedule(step: int, steps: int, options: Optimiser) -> float:
    """Factor of the learning rate: linear warm-up, then cosine decay to `options.floor`."""
    warmup = max(1, round(options.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return options.floor + (1 - options.floor) * 0.5 * (1 + math.cos(math.pi * progress))


def peak_memory() -> float:
    """Peak resident memory of this process, or peak GPU memory if a GPU is used, in MB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1000 if sys.platform != "darwin" else 1e6)


def flat(values: dict | list | tuple, prefix: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict; keys are joined by '/'."""
    result: dict[str, Any] = {}
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        name = f"{prefix}{key}"
        if isinstance(value, (dict, list, tuple)):
            result |= flat(value, f"{name}/")
        elif value is not None:
            result[name] = value
    return result
