"""Pretraining of language models: masked tokens of real sequences, on both strands, from a recipe; resumes where it was."""

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from regzoo.errors import InputError
from regzoo.nets.sequence_model import make_language_model, make_tokenizer
from regzoo.sequence.codes import reverse_complement
from regzoo.tokenizers import train_bpe
from training.data.corpus import load_corpus
from training.fit import TrainingError, run_folder, write_text
from training.recipe import Section, read_recipe


class Corpus(Section):
    """Files of sequences, as globs under REGZOO_DATA."""

    train: list[str]
    held_out: list[str]
    evaluation: list[str] = Field([], description="of other tasks: what overlaps with them is not trained on")
    description: str = ""
    window: int = Field(510, description="longer sequences are cut into pieces of this length")
    overlap_kmer: int = 32


class Masking(Section):
    """BERT's: of the chosen tokens 80% are masked, 10% replaced, 10% kept."""

    share: float = Field(0.15, gt=0, lt=1, description="of tokens; of overlapping k-mers, in spans of k")


class Schedule(Section):
    """AdamW with linear warm-up and cosine decay to a tenth."""

    steps: int = Field(gt=0)
    tokens: int = Field(4096, gt=0, description="in one batch")
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    precision: Literal["float32", "bf16"] = "bf16"
    save_every: int = Field(200, gt=0)


class LanguageModelRecipe(Section):
    """Everything that makes a language model again."""

    model: str
    title: str
    corpus: Corpus
    tokenizer: dict[str, Any] = Field(description="kind, and what it needs: bpe takes `vocabulary`, kmers takes `k`")
    network: dict[str, Any] = Field(description="kind, transformer or caduceus, and its sizes")
    masking: Masking = Masking()
    optimiser: Schedule
    seed: int = 1
    limits: str = ""
    notes: str = ""


def load_language_model_recipe(path):
    """Read and check a recipe; an InputError names every problem."""
    return read_recipe(path, LanguageModelRecipe, (Corpus, Masking, Schedule))


def prepare_tokenizer(recipe, train, folder):
    """The recipe's tokenizer; a BPE is trained on the training windows once, into the run's folder."""
    options = dict(recipe.tokenizer)
    if options["kind"] == "bpe":
        path = folder / "tokenizer.json"
        if not path.exists():
            rng = np.random.default_rng(recipe.seed)
            rows = [row for windows in train.values() for row in windows]
            chosen = rng.permutation(len(rows))[: options.get("sequences", 60_000)]
            train_bpe([rows[i] for i in chosen], path, vocabulary=options["vocabulary"])
        options = {"kind": "bpe", "path": str(path)}
    return make_tokenizer(**options)


def choose_masked(tokens, tokenizer, share, rng):
    """Which tokens are to be predicted, bool, shape (N, T).

    Overlapping k-mers are chosen in spans of k, as DNABERT does, so that a base is hidden in all of its k-mers.
    """
    inner = tokens.ends > tokens.starts
    k = getattr(tokenizer, "k", 1) if np.any(tokens.starts[:, 2:3] - tokens.starts[:, 1:2] == 1) else 1
    centres = rng.random(inner.shape) < (share if k == 1 else share / k)
    chosen = centres & inner
    for shift in range(-((k - 1) // 2), k // 2 + 1):
        moved = np.roll(centres & inner, shift, axis=1)
        moved[:, : max(shift, 0)] = False
        if shift < 0:
            moved[:, shift:] = False
        chosen |= moved & inner
    return chosen


def corrupted(ids, chosen, tokenizer, rng):
    """Token ids of which the chosen are masked (80%), replaced by a random word (10%) or kept."""
    fate = rng.random(ids.shape)
    special = {tokenizer.pad, tokenizer.unknown, tokenizer.mask, tokenizer.cls, tokenizer.sep}
    words = np.array([i for i in range(len(tokenizer)) if i not in special])
    result = np.where(chosen & (fate < 0.8), tokenizer.mask, ids)
    return np.where(chosen & (fate >= 0.9), words[rng.integers(0, len(words), ids.shape)], result)


class _Batches:
    """Batches of one length, drawn by their share of the bases; a function of the seed and the step alone."""

    def __init__(self, windows, tokenizer, recipe):
        self.windows, self.tokenizer, self.recipe = list(windows.values()), tokenizer, recipe
        bases = np.array([rows.size for rows in self.windows], dtype=float)
        self.shares = bases / bases.sum()
        self.rows = []
        for windows in self.windows:
            tokens = tokenizer.encode(windows[:64]).lengths.mean()
            self.rows.append(max(1, round(recipe.optimiser.tokens / tokens)))

    def __call__(self, step):
        rng = np.random.default_rng([self.recipe.seed, step])
        group = rng.choice(len(self.windows), p=self.shares)
        codes = self.windows[group][rng.integers(0, len(self.windows[group]), self.rows[group])]
        codes = reverse_complement(codes) if rng.random() < 0.5 else codes
        tokens = self.tokenizer.encode(codes)
        chosen = choose_masked(tokens, self.tokenizer, self.recipe.masking.share, rng)
        ids = corrupted(tokens.ids, chosen, self.tokenizer, rng)
        return (torch.from_numpy(a) for a in (ids, tokens.mask, chosen, tokens.ids[chosen]))


def pretrain(recipe_path, threads=None):
    """Train a language model, or go on where a stopped run was; weights and metrics go to runs/GROUP/NAME.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional

    Returns
    -------
    dict
        Metrics on held-out sequences, as written to metrics.json.

    Raises
    ------
    InputError
        If the recipe or its data is not usable, or the checkpoint is of another recipe.
    TrainingError
        If the loss is not finite; the last checkpoint is kept.
    """
    from training.evaluate_lm import evaluate_language_model

    recipe = load_language_model_recipe(recipe_path)
    folder = run_folder(recipe_path)
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    train, held_out, report = load_corpus(recipe.corpus)
    tokenizer = prepare_tokenizer(recipe, train, folder)
    torch.manual_seed(recipe.seed)
    network = make_language_model(tokenizer, **recipe.network)
    minutes = _train(recipe, network, _Batches(train, tokenizer, recipe), folder)
    temporary, tied = folder / "model.tmp", getattr(getattr(network, "config", None), "tied", False)
    state = {k: v.contiguous() for k, v in network.state_dict().items() if not (tied and k == "decoder.weight")}
    save_file(state, temporary)
    os.replace(temporary, folder / "model.safetensors")
    metrics = {
        "parameters": sum(p.numel() for p in network.parameters()), "minutes": minutes,
        "threads": torch.get_num_threads(), "corpus": report,
        "held out": evaluate_language_model(network.eval(), tokenizer, train, held_out),
    }  # fmt: skip
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    return metrics


def _train(recipe, network, batches, folder):
    options, checkpoint = recipe.optimiser, folder / "checkpoint.pt"
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    start, minutes, log = 0, 0.0, []
    fixed = recipe.model_dump(exclude={"limits", "notes", "title"})
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if json.loads(state["recipe"]) != json.loads(json.dumps(fixed)):
            raise InputError(f"{checkpoint}: made by another version of this recipe; move it away to start anew")
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        start, minutes, log = state["step"], state["minutes"], json.loads(state["log"])
    network.train()
    total, count, clock = 0.0, 0, time.monotonic()
    bar = tqdm(range(start, options.steps), initial=start, total=options.steps, desc="pretraining", mininterval=10)
    for step in bar:
        ids, mask, chosen, truth = batches(step)
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * _rate(step, options)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            logits = network.logits(network.encode(ids, mask)[chosen])
        loss = F.cross_entropy(logits.float(), truth)
        if not torch.isfinite(loss):
            raise TrainingError(f"{folder}: the loss is {loss.item()} at step {step + 1}; the last checkpoint is kept")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip)
        optimiser.step()
        total, count = total + loss.item(), count + 1
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            minutes, clock = minutes + (time.monotonic() - clock) / 60, time.monotonic()
            log.append({"step": step + 1, "loss": round(total / count, 4), "minutes": round(minutes, 2)})
            total, count = 0.0, 0
            temporary = checkpoint.with_suffix(".tmp")
            torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1,
                        "minutes": minutes, "log": json.dumps(log), "recipe": json.dumps(fixed)}, temporary)  # fmt: skip
            os.replace(temporary, checkpoint)
            write_text(folder / "log.json", json.dumps(log, indent=1))
            tqdm.write(json.dumps(log[-1]), file=sys.stderr)
    return minutes


def _rate(step, options):
    warmup = max(1, round(options.warmup * options.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, options.steps - warmup)))


def run_of(recipe_path):
    """Recipe, folder and tokenizer path of a finished pretraining run.

    Raises
    ------
    InputError
        If the run has no weights yet.
    """
    folder = run_folder(recipe_path)
    if not (folder / "model.safetensors").exists():
        raise InputError(f"{recipe_path}: no finished run in {folder}; pretrain it first")
    return load_language_model_recipe(recipe_path), Path(folder)
