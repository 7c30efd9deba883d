"""Linear probes: logistic regression on the frozen embeddings of one of the zoo's language models."""

import json

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from regzoo.evaluate import bootstrap
from regzoo.evaluate.metrics import auroc
from regzoo.sequence import one_hot
from regzoo.sequence.codes import reverse_complement
from regzoo.sequence.files import finished_file
from regzoo.zoo import load_model
from training.data import load_examples
from training.export import finished_metrics, write_classifier
from training.fit import run_folder, write_text
from training.recipe import Architecture, Data, Section, read_recipe


class ProbeRecipe(Section):
    """Everything that makes a probe again."""

    model: str
    title: str
    data: Data
    backbone: str = Field(description="a language model of the zoo, LM/NAME")
    pooling: str = "mean"
    strengths: list[float] = Field([0.0003, 0.003, 0.03, 0.3], description="inverse penalties; dev chooses by AUROC")
    rows: int = Field(20_000, gt=0, description="most training rows of a target, drawn by the seed")
    seed: int = 1
    published: dict[str, list[float]] = {}
    limits: str = ""
    notes: str = ""


def load_probe_recipe(path):
    """Read and check a recipe; an InputError names every problem."""
    return read_recipe(path, ProbeRecipe, (Data,))


@torch.inference_mode()
def embeddings(net, codes, batch=512, progress=True):
    """Embeddings of windows and of their reverse complements, float32, shape (2, N, hidden)."""
    parts = []
    for strand in (codes, reverse_complement(codes)):
        starts = tqdm(range(0, len(codes), batch), desc="embedding", mininterval=5, leave=False, disable=not progress)
        parts.append(np.concatenate([net(torch.from_numpy(one_hot(strand[s : s + batch]))).numpy() for s in starts]))
    return np.stack(parts)


def fit_probe(recipe_path, threads=None):
    """Fit a probe; weights and metrics go to runs/GROUP/NAME.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional

    Returns
    -------
    dict
        As of `training.fit.fit`.

    Raises
    ------
    InputError
        If the recipe or its data is not usable.
    """
    recipe, folder = load_probe_recipe(recipe_path), run_folder(recipe_path)
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    splits, report = load_examples(recipe.data)
    net = load_model(recipe.backbone, device="cpu").module.net
    net.pooling = recipe.pooling
    rng, weights, biases, chosen = np.random.default_rng(recipe.seed), [], [], {}
    for index, target in enumerate(recipe.data.tasks):
        codes, labels = splits["train"].of_target(index)
        rows = rng.permutation(len(codes))[: recipe.rows]
        both = embeddings(net, codes[rows])
        mean, spread = both.mean(axis=(0, 1)), both.std(axis=(0, 1)) + 1e-6
        features = (both.reshape(-1, both.shape[2]) - mean) / spread
        dev_codes, dev_labels = splits["dev"].of_target(index)
        dev = (embeddings(net, dev_codes) - mean) / spread
        best = None
        for strength in recipe.strengths:
            model = LogisticRegression(C=strength, max_iter=1000).fit(features, np.tile(labels[rows], 2))
            score = auroc(
                dev_labels, _probability(dev, model.coef_[0], model.intercept_[0]), np.ones((1, len(dev_labels)))
            )[0]
            if best is None or score > best[0]:
                best = score, strength, model.coef_[0], model.intercept_[0]
        chosen[target] = best[1]
        weights.append(best[2] / spread)
        biases.append(best[3] - (best[2] / spread) @ mean)
    head = {"head.weight": torch.tensor(np.stack(weights)).float(), "head.bias": torch.tensor(biases).float()}
    with finished_file(folder / "model.safetensors") as temporary:
        save_file(head, temporary)
    metrics = {
        "parameters": sum(p.numel() for p in net.parameters()) + sum(t.numel() for t in head.values()),
        "input_length": splits["train"].codes.shape[1], "threads": torch.get_num_threads(), "data": report,
        "strengths": chosen,
    }  # fmt: skip
    for split in splits.keys() - {"train"}:
        metrics[split] = {}
        for index, target in enumerate(recipe.data.tasks):
            codes, labels = splits[split].of_target(index)
            if len(codes):
                scores = _probability(embeddings(net, codes), weights[index], biases[index])
                metrics[split][target] = bootstrap(labels, scores)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    return metrics


def _probability(both, weights, bias):
    """Mean over strands of the probability, shape (N,)."""
    return (1 / (1 + np.exp(-(both @ weights + bias)))).mean(axis=0)


def export_probe(recipe_path):
    """Write the model directory of a finished probe, which holds its linear layer alone, and its entry in the index.

    Raises
    ------
    InputError
        If the run has not finished.
    """
    recipe, run = load_probe_recipe(recipe_path), run_folder(recipe_path)
    metrics = finished_metrics(recipe_path, run)
    architecture = Architecture(
        name="language_model", arguments={"backbone": recipe.backbone, "pooling": recipe.pooling}
    )
    strengths = ", ".join(f"{c:g}" for c in metrics["strengths"].values())
    doc = f"{recipe.title}; probabilities, mean of both strands; a linear layer on {recipe.backbone}."
    how = (
        f"logistic regression on the embeddings of `{recipe.backbone}` (pooling: {recipe.pooling}), both strands of at most "
        f"{recipe.rows:,} training rows of a target; the penalty was chosen on dev by AUROC, C = {strengths}; seed {recipe.seed}"
    )
    return write_classifier(recipe, recipe_path, metrics, load_file(run / "model.safetensors"), architecture, doc, how)
