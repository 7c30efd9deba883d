"""The training loop: AdamW under accelerate, averaged weights, and a checkpoint from which a run goes on to the same end.

What a step does depends on the seed and the step's number alone, so that a run may be stopped anywhere. `accelerate launch
-m training fit RECIPE` spreads a step's rows over several GPUs.
"""

import errno
import json
import math
import os
import resource
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from pydantic import Field
from safetensors.torch import save
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from regzoo.errors import InputError, RegzooError
from training.section import Section

CHECKPOINT_SECONDS = 600


class TrainingError(RegzooError):
    """Training cannot go on; the message says at which step."""


class Optimiser(Section):
    """AdamW with linear warm-up and cosine decay."""

    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and norms have none")
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    floor: float = Field(0.0, ge=0, lt=1, description="share of the learning rate that is left at the end")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of averaged weights, which are the ones kept; 0 for none")
    accumulate: int = Field(1, gt=0, description="parts that a step's rows are run in, where memory is short")
    precision: Literal["float32", "bf16"] = "bf16"
    compile: bool = Field(False, description="torch.compile")


@dataclass
class Plan:
    """How long a run is, when it is looked at, and where it is kept.

    Attributes
    ----------
    folder : pathlib.Path
        Of checkpoint.pt and log.json.
    recipe : dict
        What the checkpoint must be of: a run is not continued with other values.
    seed, steps, every : int
        The whole run's steps, and after how many the run is looked at.
    patience : int, optional
        Looks without a better score before it stops; the best weights are kept then.
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
        What is trained; parameters that need no gradient stay as they are and in no checkpoint.
    objective : torch.nn.Module
        Gives a scalar loss of what `batch` gives; `network` is part of it.
    batch : callable
        Of (step, part, parts): the objective's arguments for one of the equal parts of a step's rows.
    options : Optimiser
    plan : Plan
    look : callable, optional
        Of the network, every `plan.every` steps: a dict for the log, whose 'score', if any, chooses the best weights.
    """

    def __init__(self, network, objective, batch, options, plan, look=None):
        self.network, self.batch, self.options, self.plan, self.look = network, batch, options, plan, look
        AcceleratorState._reset_state()  # or a process's second loop could not have another precision than its first
        self.accelerator = Accelerator(
            mixed_precision="bf16" if options.precision == "bf16" else "no", log_with=plan.track,
            project_dir=str(plan.folder), dynamo_backend="inductor" if options.compile else "no",
        )  # fmt: skip
        trained = [p for p in network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, eps=1e-6)
        self.objective, self.optimiser = self.accelerator.prepare(objective, optimiser)
        # What two layers share is kept once.
        own = {name for name, p in network.named_parameters() if p.requires_grad}
        own |= network.state_dict().keys() - dict(network.named_parameters(remove_duplicate=False)).keys()
        self.kept = [name for name in network.state_dict() if name in own]
        self.step, self.saved, self.minutes, self.log, self.best = 0, 0, 0.0, [], None
        self.average = {k: v.clone() for k, v in self.state().items()} if options.ema else None

    @property
    def checkpoint(self):
        return self.plan.folder / "checkpoint.pt"

    def state(self):
        """The trained tensors and buffers, as they are."""
        state = self.network.state_dict()
        return {name: state[name].detach() for name in self.kept}

    def kept_state(self):
        """Those that the run keeps: the best look's, the averaged ones, or the last."""
        if self.best:
            return self.best["state"]
        return self.average or self.state()

    def run(self):
        """Train to the end, from where a stopped run was.

        Returns
        -------
        dict of str to torch.Tensor
            The kept state, on the CPU; of several processes the main one's counts.

        Raises
        ------
        InputError
            If the checkpoint is of another recipe.
        TrainingError
            If the loss is not finite, or the disk is full; the last checkpoint is kept.
        """
        self.resume()
        self._start_tracking()
        self.objective.train()
        clock, saved, total, count = time.monotonic(), time.monotonic(), 0.0, 0
        bar = tqdm(range(self.step, self.plan.steps), initial=self.step, total=self.plan.steps, desc="training",
                   mininterval=5, disable=not self.accelerator.is_main_process)  # fmt: skip
        for step in bar:
            if step % self.plan.every == 0 and self._out_of_patience():
                break
            total, count = total + self._train_step(step), count + 1
            self.step = step + 1
            looking = self.step % self.plan.every == 0 or self.step == self.plan.steps
            if looking or time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.minutes, clock = self.minutes + (time.monotonic() - clock) / 60, time.monotonic()
                if looking:
                    self._look({"step": self.step, "loss": round(total / count, 4), "minutes": round(self.minutes, 2)})
                    total, count, clock = 0.0, 0, time.monotonic()
                self.save()
                saved = time.monotonic()
        return {name: value.cpu() for name, value in self.kept_state().items()}

    def finish(self, metrics, files):
        """End the tracking, if there is any, with the final metrics and, to Weights & Biases, files of the run's folder."""
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
                # Of sequences of some dozens of tokens, fused attention's backward pass took 2.4 times the plain one's on a CPU.
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
            self._average_weights(step)
        return total

    @torch.no_grad()
    def _average_weights(self, step):
        decay = min(self.options.ema, (1 + step) / (10 + step))  # short memory at the start
        for name, value in self.state().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _look(self, line):
        own = None
        if self.look and self.accelerator.is_main_process:
            if self.average:
                own = {name: value.clone() for name, value in self.state().items()}
                self.network.load_state_dict(self.average, strict=False)
            self.network.eval()
            line |= self.look(self.network)
            self.objective.train()
            if line.get("score", -math.inf) > (self.best["score"] if self.best else -math.inf) and self.plan.patience:
                self.best = {"score": line["score"], "step": self.step,
                             "state": {name: value.clone() for name, value in self.state().items()}}  # fmt: skip
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
        return broadcast_object_list(over)[0]  # the main process alone knows the scores

    def resume(self):
        """Take up the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.accelerator.device)
        if json.loads(state["recipe"]) != json.loads(json.dumps(self.plan.recipe)):
            raise InputError(f"{self.checkpoint}: made by another version of this recipe; move it away to start anew")
        self.network.load_state_dict(state["network"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.best, self.step = state["average"], state["best"], state["step"]
        self.saved, self.minutes, self.log = self.step, state["minutes"], json.loads(state["log"])

    def save(self):
        """Write checkpoint and log; a kill or a full disk leaves the ones before."""
        if not self.accelerator.is_main_process:
            return
        state = {"network": self.state(), "optimiser": self.optimiser.state_dict(), "average": self.average,
                 "best": self.best, "step": self.step, "minutes": self.minutes, "log": json.dumps(self.log),
                 "recipe": json.dumps(self.plan.recipe)}  # fmt: skip
        write(self.checkpoint, lambda path: torch.save(state, path))
        self.saved = self.step
        write(self.plan.folder / "log.json", lambda path: path.write_text(json.dumps(self.log, indent=1)))

    def _start_tracking(self):
        if self.plan.track:
            mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
            self.accelerator.init_trackers("regzoo", flat(self.plan.recipe), {
                "wandb": {"mode": mode, "dir": str(self.plan.folder), "name": str(self.plan.recipe.get("model"))}
            })  # fmt: skip


def schedule(step, steps, options):
    """Factor of the learning rate: linear warm-up, then a cosine down to the floor."""
    warmup = max(1, round(options.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return options.floor + (1 - options.floor) * 0.5 * (1 + math.cos(math.pi * progress))


def peak_memory():
    """Largest resident size of this process so far, or of GPU memory where one is used, in MB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1000 if sys.platform != "darwin" else 1e6)


def write(path, writer):
    """Write a file under another name and move it into place.

    Raises
    ------
    TrainingError
        If the disk is full; what was there before is still there.
    """
    temporary = path.with_suffix(".tmp")
    try:
        writer(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # PyTorch's writer raises the second
        temporary.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "PytorchStreamWriter" in str(error)
        if not full:
            raise
        raise TrainingError(f"{path}: cannot be written, the disk is full; what it held before is kept") from error


def write_text(path, text):
    """As `write`, of text."""
    write(path, lambda temporary: temporary.write_text(text))


def write_weights(path, state):
    """As `write`, of tensors in safetensors."""
    write(path, lambda temporary: temporary.write_bytes(save({k: v.contiguous() for k, v in state.items()})))


def flat(values, prefix=""):
    """Nested dicts and lists as one dict of plain values, keys joined by '/'."""
    result = {}
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        name = f"{prefix}{key}"
        if isinstance(value, (dict, list, tuple)):
            result |= flat(value, f"{name}/")
        elif value is not None:
            result[name] = value
    return result
