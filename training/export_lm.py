"""From a finished pretraining run to a Kipoi model directory under models/LM; its prediction is the mean embedding."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from regzoo.errors import InputError
from regzoo.nets import build
from regzoo.nets.checkpoint import file_digest
from regzoo.sequence import one_hot
from regzoo.zoo import zoo_folder
from training.card import kipoi_info
from training.export import VALUE_SCORES, example_codes, model_yaml, smaller_weights, write_expected
from training.index import update_index, write_yaml
from training.run import Run, write_text, write_weights

WINDOW = 510  # of the Kipoi model; `regzoo embed` takes any length


def export_language_model(recipe_path: str | Path) -> Path:
    """Write the model directory of a finished pretraining run, and its entry in zoo_index.yaml.

    Parameters
    ----------
    recipe_path : str or pathlib.Path

    Returns
    -------
    pathlib.Path
        The model directory.

    Raises
    ------
    InputError
        If the run has not finished, or started from a published model, which the zoo does not ship.
    """
    run = Run(recipe_path, "language_model")
    recipe = run.recipe
    if recipe.start:
        raise InputError(
            f"{recipe_path}: started from {recipe.start}, which is not exported; use {run.folder / 'pretrained'} as "
            "the backbone of other recipes"
        )
    metrics = run.metrics()
    folder = zoo_folder() / "models" / recipe.model
    folder.mkdir(parents=True, exist_ok=True)
    arguments = _arguments(recipe, run.folder, folder)
    width = _write_weights(run.folder, folder, arguments)
    write_text(folder / "targets.txt", "".join(f"e{i}\n" for i in range(width)))
    info = kipoi_info(recipe, f"{recipe.title}; embeddings, mean over tokens; {metrics['parameters']:,} parameters.")
    args = _args(arguments, folder / "model.safetensors")
    write_yaml(folder / "model.yaml", model_yaml(args, WINDOW, width, info, VALUE_SCORES, ("diff",)))
    write_expected(folder)
    write_text(folder / "README.md", _card(run, metrics))
    entry = {
        "status": "trained",
        "title": recipe.title,
        "input_length": WINDOW,
        "targets": width,
        "parameters": metrics["parameters"],
        "perplexity_per_base": metrics["held out"]["all"]["perplexity per base"]["model"],
    }
    update_index(recipe.model, entry)
    return folder


def _args(arguments, weights):
    """Section `args` of model.yaml."""
    return {
        "architecture": "language_model",
        "arguments": arguments,
        "weights": weights.name,
        "sha256": file_digest(weights),
        "targets": "targets.txt",
        "activation": "identity",
    }


def _arguments(recipe, run_folder, folder):
    """Arguments of the network in model.yaml; a BPE's vocabulary is copied to the model directory."""
    tokenizer = {k: v for k, v in recipe.tokenizer.items() if k in ("kind", "k")}
    if recipe.tokenizer["kind"] == "bpe":
        tokenizer["path"] = "tokenizer.json"
        shutil.copyfile(run_folder / "tokenizer.json", folder / "tokenizer.json")
    return {"input_length": WINDOW, "tokenizer": tokenizer, "network": recipe.network}


def _write_weights(run_folder, folder, arguments):
    """Write model.safetensors; returns the width of the embedding."""
    network, x = _network(arguments, folder), torch.from_numpy(one_hot(example_codes(WINDOW)))

    @torch.inference_mode()
    def outputs(state):
        network.load_state_dict(state)
        return network(x)

    state = {f"lm.{name}": value for name, value in load_file(run_folder / "model.safetensors").items()}
    write_weights(folder / "model.safetensors", smaller_weights(state, outputs))
    return network.lm.hidden


def _network(arguments, folder):
    tokenizer = arguments["tokenizer"]
    if "path" in tokenizer:
        tokenizer = tokenizer | {"path": str(folder / tokenizer["path"])}
    return build("language_model", **arguments | {"tokenizer": tokenizer}).eval()


def _card(run, metrics):
    recipe = run.recipe
    lines = [
        f"# {recipe.model}",
        "",
        f"{recipe.title}. {metrics['parameters']:,} parameters. A small model pretrained from scratch "
        "for this zoo, not the authors' model.",
        "",
        "As a Kipoi model it predicts the embedding of a window: the mean over tokens. `regzoo embed` reads "
        "sequences of any length, and `regzoo zero-shot` scores variants.",
        "",
    ]
    lines += _data_section(recipe, metrics["corpus"]) + _held_out_table(recipe, metrics["held out"])
    lines += [
        "## Limits",
        "",
        recipe.limits,
        "",
        "## Training",
        "",
        f"Recipe: `{run.name}`, {recipe.optimiser.steps:,} steps of about {recipe.optimiser.tokens:,} tokens, "
        f"{metrics['minutes']:.0f} minutes on {metrics['threads']} CPU thread(s), seed {recipe.seed}. Train it again "
        "with `python -m training pretrain` and `python -m training export`.",
        "",
    ]
    return "\n".join(lines)


def _data_section(recipe, corpus):
    train, dropped = corpus["train"], corpus["left out"]
    return [
        "## Data",
        "",
        recipe.corpus.description,
        "",
        f"Trained on both strands of {train['windows']:,} windows ({train['bases'] / 1e6:.1f} million bases). Of "
        f"{corpus['read']['windows']:,} windows read, {dropped['evaluation']:,} were dropped because they share "
        f"{recipe.corpus.overlap_kmer} bases with an evaluation or held-out sequence, {dropped['repeated']:,} because "
        f"they repeat another window, and {dropped['unknown']:,} because they have too many unknown bases.",
        "",
    ]


def _held_out_table(recipe, held_out):
    lines = [
        "## Held-out sequences",
        "",
        "Every chosen token is masked. The baselines predict the same bases: an order-5 Markov "
        "chain that reads from the left, and base frequencies by position, both estimated on the training windows.",
        "",
        "| windows of | tokens | accuracy | most frequent token | perplexity per base | order-5 Markov | frequencies |",
        "|---|---|---|---|---|---|---|",
    ]
    for length, entry in held_out.items():
        per_base = entry["perplexity per base"]
        lines.append(
            f"| {length} | {entry['tokens']:,} | {entry['accuracy']:.4f} | "
            f"{entry['accuracy of always the commonest']:.4f} | {per_base['model']:.3f} | "
            f"{per_base['order-5 Markov']:.3f} | {per_base['base frequencies by position']:.3f} |"
        )
    best = held_out["all"]["perplexity per base"]
    better = best["model"] < best["order-5 Markov"]
    text = (
        f"Over all windows the model is {'better' if better else 'not better'} than the Markov chain: "
        f"{best['model']:.3f} against {best['order-5 Markov']:.3f} (4 is no information)."
    )
    if recipe.tokenizer["kind"] == "bpe":
        text += " Unlike the baselines, it must also predict how the bases are cut into tokens."
    return [*lines, "", text, ""]
