"""From a finished pretraining run to a Kipoi model directory under models/LM: its prediction is the mean embedding."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from regzoo.errors import InputError
from regzoo.nets import build
from regzoo.nets.checkpoint import file_digest
from regzoo.sequence import one_hot
from regzoo.zoo import zoo_folder
from training.export import example_codes, model_yaml, smaller_weights, write_expected
from training.index import update_index, write_yaml
from training.loop import write_weights
from training.networks import recipe_name
from training.pretrain import run_of

WINDOW = 510  # of the Kipoi model; `regzoo embed` takes any


def export_language_model(recipe_path):
    """Write the model directory of a finished pretraining run, and its entry in zoo_index.yaml.

    Parameters
    ----------
    recipe_path : str or pathlib.Path

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        If the run has not finished, or started from a published model, which is not shipped.
    """
    recipe, run = run_of(recipe_path)
    if recipe.start:
        raise InputError(
            f"{recipe_path}: started from {recipe.start}; take {run / 'pretrained'} as the backbone of other recipes"
        )
    metrics = json.loads((run / "metrics.json").read_text())
    folder = zoo_folder() / "models" / recipe.model
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = {k: v for k, v in recipe.tokenizer.items() if k in ("kind", "k")}
    if recipe.tokenizer["kind"] == "bpe":
        tokenizer["path"] = "tokenizer.json"
        shutil.copyfile(run / "tokenizer.json", folder / "tokenizer.json")
    arguments = {"input_length": WINDOW, "tokenizer": tokenizer, "network": recipe.network}
    network, x = _network(arguments, folder), torch.from_numpy(one_hot(example_codes(WINDOW)))

    @torch.inference_mode()
    def outputs(state):
        network.load_state_dict(state)
        return network(x)

    state = {f"lm.{name}": value for name, value in load_file(run / "model.safetensors").items()}
    write_weights(folder / "model.safetensors", smaller_weights(state, outputs))
    width = network.lm.hidden
    (folder / "targets.txt").write_text("".join(f"e{i}\n" for i in range(width)))
    args = {
        "architecture": "language_model", "arguments": arguments, "weights": "model.safetensors",
        "sha256": file_digest(folder / "model.safetensors"), "targets": "targets.txt", "activation": "identity",
    }  # fmt: skip
    doc = f"{recipe.title}; embeddings, mean over tokens; {metrics['parameters']:,} parameters."
    write_yaml(
        folder / "model.yaml", model_yaml(args, WINDOW, width, doc, expect="expected.h5", default_scores=("diff",))
    )
    write_expected(folder)
    (folder / "README.md").write_text(_card(recipe, Path(recipe_path), metrics))
    update_index(recipe.model, {
        "status": "trained", "title": recipe.title, "input_length": WINDOW, "targets": width,
        "parameters": metrics["parameters"],
        "perplexity_per_base": metrics["held out"]["all"]["perplexity per base"]["model"],
    })  # fmt: skip
    return folder


def _network(arguments, folder):
    tokenizer = arguments["tokenizer"]
    if "path" in tokenizer:
        tokenizer = tokenizer | {"path": str(folder / tokenizer["path"])}
    return build("language_model", **arguments | {"tokenizer": tokenizer}).eval()


def _card(recipe, recipe_path, metrics):
    corpus, held_out = metrics["corpus"], metrics["held out"]
    train, left_out = corpus["train"], corpus["left out"]
    lines = [f"# {recipe.model}", "", f"{recipe.title}. {metrics['parameters']:,} parameters. A small model of this project, "
             "pretrained from scratch; not the authors'.", "",
             "As a Kipoi model it predicts the embedding of a window, the mean over tokens. `regzoo embed` takes sequences of "
             "any length, `regzoo zero-shot` scores variants with it.", ""]  # fmt: skip
    lines += ["## Data", "", recipe.corpus.description, "",
              f"Trained on {train['windows']:,} windows ({train['bases'] / 1e6:.1f} million bases), both strands. Of "
              f"{corpus['read']['windows']:,} windows read, {left_out['evaluation']:,} share {recipe.corpus.overlap_kmer} bases "
              f"with an evaluation or held-out sequence, {left_out['repeated']:,} repeat another window, {left_out['unknown']:,} "
              "have too many unknown bases; those are left out.", ""]  # fmt: skip
    lines += ["## Held-out sequences", "", "Every chosen token masked; baselines predict the same bases: an order-5 Markov chain "
              "from the left, and base frequencies by position, both of the training windows.", "",
              "| windows of | tokens | accuracy | always the commonest | perplexity per base | order-5 Markov | frequencies |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for length, entry in held_out.items():
        per_base = entry["perplexity per base"]
        lines.append(f"| {length} | {entry['tokens']:,} | {entry['accuracy']:.4f} | "
                     f"{entry['accuracy of always the commonest']:.4f} | {per_base['model']:.3f} | "
                     f"{per_base['order-5 Markov']:.3f} | {per_base['base frequencies by position']:.3f} |")  # fmt: skip
    best = held_out["all"]["perplexity per base"]
    beaten = best["model"] < best["order-5 Markov"]
    lines += ["", f"It {'beats' if beaten else 'does not beat'} the Markov chain over all windows: {best['model']:.3f} against "
              f"{best['order-5 Markov']:.3f} (no information is 4)."]  # fmt: skip
    if recipe.tokenizer["kind"] == "bpe":
        lines[-1] += " Unlike the baselines it has to tell how the bases are cut into tokens, too."
    lines.append("")
    lines += ["## Limits", "", recipe.limits, "", "## Training", "",
              f"Recipe: `{recipe_name(recipe_path)}`, {recipe.optimiser.steps:,} steps of about "
              f"{recipe.optimiser.tokens:,} tokens, {metrics['minutes']:.0f} minutes on {metrics['threads']} CPU thread(s), seed "
              f"{recipe.seed}. Train it again with `python -m training pretrain` and `python -m training export`.", ""]  # fmt: skip
    return "\n".join(lines)
