"""Pretraining of language models: masked tokens of real sequences, on both strands, from a recipe; resumes where it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from regzoo.errors import InputError
from regzoo.nets import load_pretrained, save_pretrained
from regzoo.nets.sequence_model import make_language_model, make_tokenizer
from regzoo.sequence.codes import reverse_complement
from regzoo.tokenizers import train_bpe
from training.data.corpus import load_corpus
from training.loop import Loop, Optimiser, Plan, write_text, write_weights
from training.networks import run_folder
from training.recipe import Limits, ModelName
from training.section import Section, read_section


class Corpus(Section):
    """Files of sequences, as globs under REGZOO_DATA."""

    train: list[str]
    held_out: list[str]
    evaluation: list[str] = Field([], description="of other tasks: what overlaps with them is not trained on")
    description: str = Field(pattern=r"\S", description="for the model card: what it is, source, licence")
    window: int = Field(510, description="longer sequences are cut into pieces of this length")
    overlap_kmer: int = 32


class Masking(Section):
    """BERT's: of the chosen tokens 80% are masked, 10% replaced, 10% kept."""

    share: float = Field(0.15, gt=0, lt=1, description="of tokens; of overlapping k-mers, in spans of k")


class Schedule(Optimiser):
    """How a language model is trained: AdamW with linear warm-up and cosine decay to a tenth."""

    steps: int = Field(gt=0)
    tokens: int = Field(4096, gt=0, description="in one batch")
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(0.05, ge=0, lt=1)
    floor: float = Field(0.1, ge=0, lt=1)
    save_every: int = Field(200, gt=0)


class LanguageModelRecipe(Section):
    """Everything that makes a language model again."""

    model: ModelName
    title: str
    corpus: Corpus
    start: str | None = Field(
        None, description="go on from a published model: a folder in its authors' layout, or OWNER/NAME"
    )
    tokenizer: dict[str, Any] = Field(
        {}, description="kind, and what it needs: bpe takes `vocabulary`, kmers takes `k`"
    )
    network: dict[str, Any] = Field({}, description="kind, transformer or caduceus, and its sizes")
    masking: Masking = Masking()
    optimiser: Schedule
    seed: int = 1
    limits: Limits
    notes: str = ""


def load_language_model_recipe(path):
    """Read and check a recipe; an InputError names every problem."""
    recipe = read_section(path, LanguageModelRecipe)
    if bool(recipe.start) == bool(recipe.tokenizer and recipe.network):
        raise InputError(f"{path}: give either `start`, or `tokenizer` and `network`")
    if not recipe.start and not ("kind" in recipe.tokenizer and "kind" in recipe.network):
        raise InputError(f"{path}: `tokenizer` and `network` need a `kind`")
    if recipe.tokenizer.get("kind") == "bpe" and not isinstance(recipe.tokenizer.get("vocabulary"), int):
        raise InputError(f"{path}: tokenizer.vocabulary: a bpe needs its number of tokens")
    return recipe


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

    def __call__(self, step, part, parts):
        rng = np.random.default_rng([self.recipe.seed, step])
        group = rng.choice(len(self.windows), p=self.shares)
        codes = self.windows[group][rng.integers(0, len(self.windows[group]), self.rows[group])]
        codes = reverse_complement(codes) if rng.random() < 0.5 else codes
        tokens = self.tokenizer.encode(codes[part::parts])
        chosen = choose_masked(tokens, self.tokenizer, self.recipe.masking.share, rng)
        ids = corrupted(tokens.ids, chosen, self.tokenizer, rng)
        return [torch.from_numpy(a) for a in (ids, tokens.mask, chosen, tokens.ids[chosen])]


class _MaskedTokens(nn.Module):
    """Cross-entropy of the tokens that were chosen."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, ids, mask, chosen, truth):
        return F.cross_entropy(self.network.logits(self.network.encode(ids, mask)[chosen]).float(), truth)


def pretrain(recipe_path, threads=None, track=None):
    """Train a language model, or go on where a stopped run was; weights and metrics go to runs/GROUP/NAME.

    What started from a published model is also written in its authors' layout, to the run's folder `pretrained`, which other
    recipes can have as their backbone.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional
    track : str, optional
        'tensorboard' or 'wandb'.

    Returns
    -------
    dict
        Metrics on held-out sequences, as written to metrics.json.

    Raises
    ------
    InputError
        If the recipe or its data is not usable, or the checkpoint is of another recipe.
    TrainingError
        If the loss is not finite, or the disk is full; the last checkpoint is kept.
    """
    from training.evaluate_lm import evaluate_language_model

    recipe = load_language_model_recipe(recipe_path)
    folder = run_folder(recipe_path)
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    train, held_out, report = load_corpus(recipe.corpus)
    torch.manual_seed(recipe.seed)
    if recipe.start:
        found = load_pretrained(recipe.start)
        tokenizer, network = found.tokenizer, found.net
    else:
        tokenizer = prepare_tokenizer(recipe, train, folder)
        network = make_language_model(tokenizer, **recipe.network)
    fixed = recipe.model_dump(mode="json", exclude={"limits", "notes", "title"})
    plan = Plan(folder, fixed, recipe.seed, recipe.optimiser.steps, recipe.optimiser.save_every, track=track)
    loop = Loop(network, _MaskedTokens(network), _Batches(train, tokenizer, recipe), recipe.optimiser, plan)
    state = loop.run()
    if not loop.accelerator.is_main_process:
        return {}
    network.load_state_dict(state)
    write_weights(folder / "model.safetensors", state)
    if recipe.start:
        save_pretrained(replace(found, net=network), folder / "pretrained")
    metrics = {
        "parameters": sum(p.numel() for p in network.parameters()), "minutes": loop.minutes,
        "threads": torch.get_num_threads(), "corpus": report,
        "held out": evaluate_language_model(network.eval(), tokenizer, train, held_out),
    }  # fmt: skip
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    loop.finish(metrics["held out"], ["model.safetensors", "metrics.json"])
    return metrics


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
