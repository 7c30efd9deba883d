"""Linear probes: logistic or ridge regression on the frozen embeddings of one of the zoo's language models."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from regzoo.sequence import one_hot
from regzoo.sequence.codes import reverse_complement
from regzoo.sequence.shared_kmers import window_hashes
from regzoo.zoo import load_model, zoo_folder
from training.data import Examples, load_examples
from training.data.holdout import cluster_ids
from training.estimators import fit_linear, fit_svr, predict_rows
from training.export import write_model
from training.recipe import ProbeRecipe
from training.run import Run, write, write_text, write_weights
from training.scores import evaluate_splits


@torch.inference_mode()
def embeddings(net: torch.nn.Module, codes: np.ndarray, stranded: bool = False, batch: int = 512) -> np.ndarray:
    """Embeddings of windows and, unless `stranded`, their reverse complements, float32, shape (strands, N, hidden)."""
    strands = (codes,) if stranded else (codes, reverse_complement(codes))
    parts = []
    for strand in strands:
        starts = tqdm(range(0, len(codes), batch), desc="embedding", mininterval=5, leave=False)
        parts.append(np.concatenate([net(torch.from_numpy(one_hot(strand[s : s + batch]))).numpy() for s in starts]))
    return np.stack(parts)


def cached_embeddings(recipe: ProbeRecipe, splits: dict[str, Examples], folder: Path) -> dict[str, np.ndarray]:
    """Embeddings of every split, kept in the run's folder for the same model, pooling and windows."""
    net: Any = load_model(recipe.backbone, device="cpu").module.net
    net.pooling = recipe.pooling
    weights = (zoo_folder() / "models" / recipe.backbone / "model.safetensors").stat()
    result = {}
    for split, part in splits.items():
        key = np.bitwise_xor.reduce(window_hashes(part.codes, stranded=True))
        name = f"{recipe.backbone}-{recipe.pooling}-{weights.st_mtime_ns}-{key:016x}-{len(part)}".replace("/", "-")
        path = folder / f"embeddings-{split}.npy"
        stamp = path.with_suffix(".txt")
        if not (path.exists() and stamp.exists() and stamp.read_text() == name):
            write(path, partial(_save, embeddings(net, part.codes, recipe.data.stranded)))
            write_text(stamp, name)
        result[split] = np.load(path)
    return result


def _save(values, path):
    with open(path, "wb") as out:
        np.save(out, values)


def _save_all(path, arrays):
    with open(path, "wb") as out:
        np.savez(out, **arrays)


def fit_probe(recipe_path: str | Path, threads: int | None = None) -> dict[str, Any]:
    """Fit a probe; weights and metrics are written to the run's folder.

    The penalty is chosen by cross-validation on the training rows; dev and test are not used.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
    threads : int, optional

    Returns
    -------
    dict
        As of `training.fit.fit`. If the recipe has `svr`, 'svr' has the metrics of a support vector machine, and its
        predictions are kept in svr.npz.

    Raises
    ------
    InputError
        If the recipe or its data is not valid.
    """
    run = Run(recipe_path, "probe")
    recipe, folder, data = run.recipe, run.folder, run.recipe.data
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    splits, report = load_examples(data)
    splits["train"] = _drawn(splits["train"], recipe)
    features, regression = cached_embeddings(recipe, splits, folder), data.task == "regression"
    mean, std = features["train"].mean(axis=(0, 1)), features["train"].std(axis=(0, 1)) + 1e-6
    scaled = {split: (values - mean) / std for split, values in features.items()}
    clusters = cluster_ids(data.holdout, splits["train"].codes)
    head, chosen, machines = _fit_targets(recipe, splits["train"], scaled["train"], clusters, mean, std)
    write_weights(folder / "model.safetensors", head)
    net = load_model(recipe.backbone, device="cpu").module.net
    metrics = {
        "parameters": sum(p.numel() for p in net.parameters()) + sum(t.numel() for t in head.values()),
        "trained_parameters": sum(t.numel() for t in head.values()),
        "input_length": splits["train"].codes.shape[1],
        "threads": torch.get_num_threads(),
        "data": report,
        "strengths": chosen,
    }
    metrics |= evaluate_splits(data, splits, {"dev": _predictions(features["dev"], head, regression)})
    if machines:
        predictions = predict_rows(splits, scaled, machines)
        write(folder / "svr.npz", lambda temporary: _save_all(temporary, predictions))
        metrics["svr"] = evaluate_splits(data, splits, {"dev": predictions["dev"]})
    run.write_metrics(metrics)
    return metrics


def _fit_targets(recipe, train, scaled, clusters, mean, std):
    """The head on unscaled embeddings, the chosen penalty of each target, and its support vector machine if wanted."""
    regression = recipe.data.task == "regression"
    weights, biases, chosen, machines = [], [], {}, []
    for index, target in enumerate(recipe.data.targets):
        rows = np.flatnonzero(~np.isnan(train.labels[:, index]))
        x = np.concatenate([strand[rows] for strand in scaled])
        y, groups = (np.tile(values[rows], len(scaled)) for values in (train.labels[:, index], clusters))
        coefficients, intercept, chosen[target] = fit_linear(x, y, regression, groups)
        weights.append(coefficients / std)
        biases.append(intercept - (coefficients / std) @ mean)
        if recipe.svr:
            machines.append(fit_svr(x, y, groups))
    head = {"head.weight": torch.tensor(np.stack(weights)).float(), "head.bias": torch.tensor(np.array(biases)).float()}
    return head, chosen, machines


def _drawn(examples, recipe):
    """At most `recipe.rows` labelled rows for each target, drawn by the seed."""
    rng, kept = np.random.default_rng(recipe.seed), []
    for column in examples.labels.T:
        kept.append(rng.permutation(np.flatnonzero(~np.isnan(column)))[: recipe.rows])
    rows = np.unique(np.concatenate(kept))
    return examples.take(rows)


def _predictions(features, head, regression):
    """Mean over strands of the probability or value, shape (N, targets)."""
    values = features @ head["head.weight"].numpy().T + head["head.bias"].numpy()
    return (values if regression else 1 / (1 + np.exp(-values))).mean(axis=0)


def export_probe(recipe_path: str | Path) -> Path:
    """Write the model directory of an evaluated probe, which holds its linear layer only, and its entry in the index.

    Raises
    ------
    InputError
        If the run has not finished or was not evaluated.
    """
    run = Run(recipe_path, "probe")
    recipe, metrics = run.recipe, run.evaluated_metrics()
    kind = "ridge" if recipe.data.task == "regression" else "logistic"
    training = (
        f"{kind} regression on the embeddings of `{recipe.backbone}` (pooling: {recipe.pooling}) of at most "
        f"{recipe.rows:,} training rows for each target; the penalty was chosen by cross-validation on these rows; "
        f"seed {recipe.seed}"
    )
    state = load_file(run.folder / "model.safetensors")
    return write_model(run, metrics, state, recipe.architecture, f"a linear layer on {recipe.backbone}", training)
