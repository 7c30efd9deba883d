"""Linear probes: logistic or ridge regression on the frozen embeddings of one of the zoo's language models."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from regzoo.sequence import one_hot
from regzoo.sequence.codes import reverse_complement
from regzoo.zoo import load_model, zoo_folder
from training.data import Examples, load_examples
from training.data.holdout import alike_rows
from training.data.overlap import window_hashes
from training.estimators import fit_linear, fit_svr, predict_rows
from training.export import evaluated_metrics, write_model
from training.loop import write, write_text, write_weights
from training.networks import run_folder
from training.recipe import load_recipe
from training.scores import evaluate_splits


@torch.inference_mode()
def embeddings(net, codes, stranded=False, batch=512):
    """Embeddings of windows, and of their reverse complements unless `stranded`, float32, shape (strands, N, hidden)."""
    strands = (codes,) if stranded else (codes, reverse_complement(codes))
    parts = []
    for strand in strands:
        starts = tqdm(range(0, len(codes), batch), desc="embedding", mininterval=5, leave=False)
        parts.append(np.concatenate([net(torch.from_numpy(one_hot(strand[s : s + batch]))).numpy() for s in starts]))
    return np.stack(parts)


def cached_embeddings(recipe, splits, folder):
    """Embeddings of every split, kept in the run's folder under a digest of model, pooling and windows."""
    net = load_model(recipe.backbone, device="cpu").module.net
    net.pooling = recipe.pooling
    weights = (zoo_folder() / "models" / recipe.backbone / "model.safetensors").stat()
    result = {}
    for split, part in splits.items():
        key = np.bitwise_xor.reduce(window_hashes(part.codes, stranded=True))
        name = f"{recipe.backbone}-{recipe.pooling}-{weights.st_mtime_ns}-{key:016x}-{len(part)}".replace("/", "-")
        path = folder / f"embeddings-{split}.npy"
        stamp = path.with_suffix(".txt")
        if not (path.exists() and stamp.exists() and stamp.read_text() == name):
            values = embeddings(net, part.codes, recipe.data.stranded)
            write(path, lambda temporary, values=values: _save(temporary, values))
            write_text(stamp, name)
        result[split] = np.load(path)
    return result


def _save(path, values):
    with open(path, "wb") as out:
        np.save(out, values)


def _save_all(path, arrays):
    with open(path, "wb") as out:
        np.savez(out, **arrays)


def fit_probe(recipe_path, threads=None):
    """Fit a probe; weights and metrics go to runs/GROUP/NAME.

    The penalty's strength is chosen by cross-validation on the training rows; neither dev nor test takes part.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional

    Returns
    -------
    dict
        As of `training.fit.fit`; 'svr' has a support vector machine's metrics where the recipe asks for one, and its
        predictions are kept in svr.npz.

    Raises
    ------
    InputError
        If the recipe or its data is not usable.
    """
    recipe, folder = load_recipe(recipe_path), run_folder(recipe_path)
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    splits, report = load_examples(recipe.data)
    splits["train"] = _drawn(splits["train"], recipe)
    features, regression = cached_embeddings(recipe, splits, folder), recipe.data.task == "regression"
    both = features["train"]
    mean, spread = both.mean(axis=(0, 1)), both.std(axis=(0, 1)) + 1e-6
    scaled = {split: (values - mean) / spread for split, values in features.items()}
    groups = alike_rows(recipe.data.holdout, splits["train"].codes)
    weights, biases, chosen, machines = [], [], {}, []
    for index, target in enumerate(recipe.data.targets):
        labels = splits["train"].labels[:, index]
        rows = np.flatnonzero(~np.isnan(labels))
        x = np.concatenate([strand[rows] for strand in scaled["train"]])
        y, together = (np.tile(values[rows], len(scaled["train"])) for values in (labels, groups))
        coefficients, intercept, chosen[target] = fit_linear(x, y, regression, together)
        weights.append(coefficients / spread)
        biases.append(intercept - (coefficients / spread) @ mean)
        if recipe.svr:
            machines.append(fit_svr(x, y, together))
    head = {"head.weight": torch.tensor(np.stack(weights)).float(), "head.bias": torch.tensor(np.array(biases)).float()}
    write_weights(folder / "model.safetensors", head)
    net = load_model(recipe.backbone, device="cpu").module.net
    metrics = {
        "parameters": sum(p.numel() for p in net.parameters()) + sum(t.numel() for t in head.values()),
        "trained_parameters": sum(t.numel() for t in head.values()),
        "input_length": splits["train"].codes.shape[1], "threads": torch.get_num_threads(), "data": report,
        "strengths": chosen,
    }  # fmt: skip
    metrics |= evaluate_splits(recipe.data, splits, {"dev": _predictions(features["dev"], head, regression)})
    if machines:
        predictions = predict_rows(splits, scaled, machines)
        write(folder / "svr.npz", lambda temporary: _save_all(temporary, predictions))
        metrics["svr"] = evaluate_splits(recipe.data, splits, {"dev": predictions["dev"]})
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    return metrics


def _drawn(examples, recipe):
    """For each target at most `recipe.rows` labelled rows, drawn by the seed."""
    rng, kept = np.random.default_rng(recipe.seed), []
    for column in examples.labels.T:
        kept.append(rng.permutation(np.flatnonzero(~np.isnan(column)))[: recipe.rows])
    rows = np.unique(np.concatenate(kept))
    return Examples(examples.codes[rows], examples.labels[rows])


def _predictions(features, head, regression):
    """Mean over strands of the probability or value, shape (N, targets)."""
    values = features @ head["head.weight"].numpy().T + head["head.bias"].numpy()
    return (values if regression else 1 / (1 + np.exp(-values))).mean(axis=0)


def export_probe(recipe_path):
    """Write the model directory of a finished probe, which holds its linear layer alone, and its entry in the index.

    Raises
    ------
    InputError
        If the run has not finished, or has not been evaluated.
    """
    recipe, run = load_recipe(recipe_path), run_folder(recipe_path)
    metrics = evaluated_metrics(recipe_path, run)
    kind = "ridge" if recipe.data.task == "regression" else "logistic"
    how = (
        f"{kind} regression on the embeddings of `{recipe.backbone}` (pooling: {recipe.pooling}) of "
        f"{recipe.rows:,} training rows of a target, or all if there are fewer; the penalty was chosen by cross-validation on them; seed {recipe.seed}"
    )
    state = load_file(Path(run) / "model.safetensors")
    return write_model(
        recipe, recipe_path, metrics, state, recipe.architecture, f"a linear layer on {recipe.backbone}", how
    )
