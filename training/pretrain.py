"""Pretraining of language models on masked tokens of both strands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from regzoo.nets import load_pretrained, save_pretrained
from regzoo.nets.language_models import LanguageModel
from regzoo.nets.sequence_model import make_language_model, make_tokenizer
from regzoo.sequence.codes import reverse_complement
from regzoo.tokenizers import Tokenizer, Tokens, train_bpe
from training.data.corpus import load_corpus
from training.evaluate_lm import evaluate_language_model
from training.loop import Loop, Plan
from training.recipe import PROSE, LanguageModelRecipe
from training.run import Run, write_weights


def prepare_tokenizer(recipe: LanguageModelRecipe, train: dict[int, np.ndarray], folder: Path) -> Tokenizer:
    """The recipe's tokenizer. A BPE is trained on the training windows once, and kept in the run's folder."""
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


def choose_masked(tokens: Tokens, tokenizer: Tokenizer, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Choose the tokens to predict, bool, shape (N, T).

    Overlapping k-mers are chosen in spans of k, as in DNABERT, so that a base is hidden in all k-mers that contain it.
    """
    inner = tokens.ends > tokens.starts
    k = getattr(tokenizer, "k", 1) if np.any(tokens.starts[:, 2:3] - tokens.starts[:, 1:2] == 1) else 1
    centres = rng.random(inner.shape) < (fraction if k == 1 else fraction / k)
    chosen = centres & inner
    for shift in range(-((k - 1) // 2), k // 2 + 1):
        moved = np.roll(centres & inner, shift, axis=1)
        moved[:, : max(shift, 0)] = False
        if shift < 0:
            moved[:, shift:] = False
        chosen |= moved & inner
    return chosen


def corrupted(ids: np.ndarray, chosen: np.ndarray, tokenizer: Tokenizer, rng: np.random.Generator) -> np.ndarray:
    """Token ids; those chosen are masked (80%), replaced by a random token (10%) or kept (10%)."""
    fate = rng.random(ids.shape)
    special = {tokenizer.pad, tokenizer.unknown, tokenizer.mask, tokenizer.cls, tokenizer.sep}
    words = np.array([i for i in range(len(tokenizer)) if i not in special])
    result = np.where(chosen & (fate < 0.8), tokenizer.mask, ids)
    return np.where(chosen & (fate >= 0.9), words[rng.integers(0, len(words), ids.shape)], result)


class _Batches:
    """Batches of windows of one length, drawn in proportion to its bases. A batch depends only on seed and step."""

    def __init__(self, windows, tokenizer, recipe):
        self.windows, self.tokenizer, self.recipe = list(windows.values()), tokenizer, recipe
        bases = np.array([rows.size for rows in self.windows], dtype=float)
        self.fractions = bases / bases.sum()
        self.rows = []
        for windows in self.windows:
            tokens = tokenizer.encode(windows[:64]).lengths.mean()
            self.rows.append(max(1, round(recipe.optimiser.tokens / tokens)))

    def __call__(self, step, part, parts):
        rng = np.random.default_rng([self.recipe.seed, step])
        group = rng.choice(len(self.windows), p=self.fractions)
        codes = self.windows[group][rng.integers(0, len(self.windows[group]), self.rows[group])]
        codes = reverse_complement(codes) if rng.random() < 0.5 else codes
        tokens = self.tokenizer.encode(codes[part::parts])
        chosen = choose_masked(tokens, self.tokenizer, self.recipe.masking.fraction, rng)
        ids = corrupted(tokens.ids, chosen, self.tokenizer, rng)
        return [torch.from_numpy(a) for a in (ids, tokens.mask, chosen, tokens.ids[chosen])]


class _MaskedTokens(nn.Module):
    """Cross-entropy of the chosen tokens."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, chosen: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy, given token ids, mask and choice, (N, T), and the ids of the chosen tokens."""
        return F.cross_entropy(self.network.logits(self.network.encode(ids, mask)[chosen]).float(), truth)


def _new(recipe, train, folder):
    """A language model with random weights."""
    tokenizer = prepare_tokenizer(recipe, train, folder)
    return LanguageModel("zoo", make_language_model(tokenizer, **recipe.network), tokenizer, {})


def pretrain(recipe_path: str | Path, threads: int | None = None, track: str | None = None) -> dict[str, Any]:
    """Train a language model, or resume its run; weights and metrics are written to the run's folder.

    A model that started from a published one is also written in its authors' layout, to the folder `pretrained` of the
    run; other recipes can use it as their backbone.

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
        If the recipe or its data is not valid, or the checkpoint belongs to another recipe.
    TrainingError
        If the loss is not finite. The last checkpoint is kept.
    OutputError
        If the disk is full. The last checkpoint is kept.
    """
    run = Run(recipe_path, "language_model")
    recipe, folder = run.recipe, run.folder
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    train, held_out, report = load_corpus(recipe.corpus)
    torch.manual_seed(recipe.seed)
    start = load_pretrained(recipe.start) if recipe.start else _new(recipe, train, folder)
    tokenizer, network = start.tokenizer, start.net
    fixed = recipe.model_dump(mode="json", exclude=PROSE)
    plan = Plan(folder, fixed, recipe.seed, recipe.optimiser.steps, recipe.optimiser.save_every, track=track)
    loop = Loop(network, _MaskedTokens(network), _Batches(train, tokenizer, recipe), recipe.optimiser, plan)
    state = loop.run()
    if not loop.accelerator.is_main_process:
        return {}
    network.load_state_dict(state)
    write_weights(folder / "model.safetensors", state)
    if recipe.start:
        save_pretrained(replace(start, net=network), folder / "pretrained")
    metrics: dict[str, Any] = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "minutes": loop.minutes,
        "threads": torch.get_num_threads(),
        "corpus": report,
        "held out": evaluate_language_model(network.eval(), tokenizer, train, held_out),
    }
    run.write_metrics(metrics)
    loop.finish(metrics["held out"], ["model.safetensors", "metrics.json"])
    return metrics
