"""From a finished run to a Kipoi model directory: YAML, weights, target names, expected predictions, card, index."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from regzoo.activations import ACTIVATIONS, OF_TASK
from regzoo.errors import InputError
from regzoo.nets.checkpoint import file_digest
from regzoo.output.files import finished_file
from regzoo.output.hdf5 import NewHdf5
from regzoo.sequence import Genome, one_hot, read_bed
from regzoo.zoo import load_model, zoo_folder
from training.baseline import read_baseline
from training.calibrate import calibration_entry, write_calibration
from training.card import kipoi_info, mean_metrics, model_card, with_texts
from training.index import update_index, write_yaml
from training.networks import make_network, predict
from training.recipe import Architecture, load_recipe
from training.run import HOME, Run, write_text, write_weights
from training.section import read_yaml

SCORES = ("diff", "ref", "alt", "logit", "logit_ref", "logit_alt", "deepsea_effect")
VALUE_SCORES = ("diff", "ref", "alt")  # for outputs that are not independent probabilities
HALF_TOLERANCE = 1e-3  # float16 weights are kept when no prediction of the example changes by more


def model_yaml(
    args: dict[str, Any],
    length: int,
    targets: int,
    info: dict[str, Any],
    scores: Sequence[str] = SCORES,
    default_scores: Sequence[str] = ("diff", "logit"),
    stranded: bool = False,
) -> dict[str, Any]:
    """Content of a model.yaml.

    Parameters
    ----------
    args : dict
        Arguments of `regzoo.kipoi.ZooModel`.
    length : int
        Of a window, in bases.
    targets : int
        Number of outputs.
    info : dict
        As of `training.card.kipoi_info`.
    scores : sequence of str
        Variant scores that kipoi-veff offers.
    default_scores : sequence of str
        Those computed by default.
    stranded : bool
        Reverse-complement intervals on '-' by default.
    """
    functions = [{"type": score, **({"default": True} if score in default_scores else {})} for score in scores]
    loader_args = {"length": length} | ({"use_strand": True} if stranded else {})
    return {
        "defined_as": "regzoo.kipoi.ZooModel",
        "args": args,
        "default_dataloader": {"defined_as": "regzoo.kipoi.SequenceDataset", "default_args": loader_args},
        "info": info,
        "dependencies": {
            "conda": ["python>=3.10,<3.14", "pytorch::pytorch"],
            "pip": ["kipoi>=0.8.6"],  # and this library, which `regzoo.kipoi` adds: no package index has it
        },
        "schema": {
            "inputs": {
                "name": "seq",
                "shape": f"(4, {length})",
                "special_type": "DNASeq",
                "associated_metadata": "ranges",
                "doc": "one-hot DNA, channels A, C, G, T; anything else is all zeros",
            },
            "targets": {
                "name": "preds",
                "shape": f"({targets},)",
                "doc": "predictions",
                "column_labels": "targets.txt",
            },
        },
        "postprocessing": {"variant_effects": {"seq_input": ["seq"], "use_rc": False, "scoring_functions": functions}},
        "test": {"expect": "expected.h5", "precision_decimal": 5},
    }


def export(recipe_path: str | Path) -> Path:
    """Write the model directory of an evaluated run, and its entry in zoo_index.yaml.

    model.yaml, model.safetensors, targets.txt, expected.h5, calibration.yaml and README.md are replaced, as is what is
    made from the index (see `training.index.update_index`).

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
        If the run has not finished or was not evaluated.
    """
    run = Run(recipe_path, "fit")
    recipe, metrics, architecture = run.recipe, run.evaluated_metrics(), run.recipe.architecture
    codes, network = example_codes(metrics["input_length"]), make_network(recipe, metrics["input_length"]).eval()

    def outputs(state):
        network.load_state_dict(state, strict=False)
        return predict(network, codes, recipe.data)

    state = smaller_weights(load_file(run.folder / "model.safetensors"), outputs)
    size = f"{metrics['parameters']:,} parameters"
    if recipe.adapters:
        state = {name.replace(".default.weight", ""): value for name, value in state.items()}
        scale = recipe.adapters.alpha / recipe.adapters.rank
        architecture = architecture.model_copy(update={"arguments": architecture.arguments | {"adapter_scale": scale}})
        size += f", of which {metrics['trained_parameters']:,} are its own, over {architecture.arguments['backbone']}"
    device = f"{metrics['threads']} CPU thread(s)" if metrics["device"].startswith("cpu") else "one GPU"
    training = (
        f"{metrics['epochs']:.3g} epochs, {metrics['minutes']:.0f} minutes on {device}, peak memory "
        f"{metrics['peak_memory_mb']:,.0f} MB, seed {recipe.seed}"
    )
    return write_model(run, metrics, state, architecture, size, training)


def announce(recipe_path: str | Path) -> str:
    """Enter a recipe whose model is not trained here in zoo_index.yaml, with the status 'recipe'.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
        Of a supervised model, in the zoo's training/recipes, with `length` in its data.

    Returns
    -------
    str
        The model's name.

    Raises
    ------
    InputError
        If the recipe is not in the checkout, its data has no `length`, or its backbone is missing and it has no
        `parameters`.
    """
    run = Run(recipe_path, "fit")
    recipe = run.recipe
    if not run.recipe_path.resolve().is_relative_to(HOME):
        raise InputError(f"{recipe_path}: the index lists recipes in {HOME} only; put it under training/recipes there")
    if recipe.data.length is None:
        raise InputError(f"{recipe_path}: data.length: missing; the index needs it")
    count = recipe.parameters
    if count is None:
        with torch.device("meta"):
            count = sum(p.numel() for p in make_network(recipe, recipe.data.length).parameters())
    update_index(
        recipe.model,
        {
            "status": "recipe",
            "title": recipe.title,
            "input_length": recipe.data.length,
            "targets": len(recipe.data.targets),
            "parameters": count,
            "recipe": run.name,
        },
    )
    return recipe.model


def rewrite_texts(recipe_path: str | Path) -> bool:
    """Write the recipe's texts into an exported model's model.yaml (`info`) and card, which needs no run.

    Weights and figures stay as they are; `export` writes those.

    Parameters
    ----------
    recipe_path : str or pathlib.Path

    Returns
    -------
    bool
        False if the recipe's model is not in the zoo.

    Raises
    ------
    InputError
        If the recipe is not valid, or the model directory was not written by `export`.
    """
    recipe = load_recipe(recipe_path)
    folder = zoo_folder() / "models" / recipe.model
    if not (folder / "model.yaml").is_file():
        return False
    content = read_yaml(folder / "model.yaml")
    try:
        card = with_texts((folder / "README.md").read_text(), recipe)
        content["info"] = kipoi_info(recipe, content["info"]["doc"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: not a model directory written by `export` ({error})") from error
    write_yaml(folder / "model.yaml", content)
    write_text(folder / "README.md", card)
    return True


def smaller_weights(
    state: dict[str, torch.Tensor], outputs: Callable[[dict[str, torch.Tensor]], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Tensors in float16 if that changes no output of the example by more than HALF_TOLERANCE, else unchanged.

    Parameters
    ----------
    state : dict of str to torch.Tensor
    outputs : callable
        Returns the network's outputs for float32 tensors.
    """
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    again = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    return half if abs(outputs(state) - outputs(again)).max() < HALF_TOLERANCE else state


def write_model(
    run: Run,
    metrics: dict[str, Any],
    state: dict[str, torch.Tensor],
    architecture: Architecture,
    size: str,
    training: str,
) -> Path:
    """Write a supervised model's directory and its entry in the index.

    Parameters
    ----------
    run : training.run.Run
    metrics : dict
        Of the run, on dev and test.
    state : dict of str to torch.Tensor
    architecture : training.recipe.Architecture
    size, training : str
        For `kipoi info`, what the model consists of; for the card, how it was trained.

    Returns
    -------
    pathlib.Path
    """
    recipe, data, length = run.recipe, run.recipe.data, metrics["input_length"]
    folder, targets, activation = zoo_folder() / "models" / recipe.model, data.targets, OF_TASK[data.task]
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "model.safetensors", state)
    write_text(folder / "targets.txt", "".join(f"{t}\n" for t in targets))
    args = {
        "architecture": architecture.name,
        "arguments": {"input_length": length, "n_targets": len(targets)} | architecture.arguments,
        "weights": "model.safetensors",
        "sha256": file_digest(folder / "model.safetensors"),
        "targets": "targets.txt",
        "activation": activation,
        "reverse_complement": not data.stranded,
    }
    outputs = "class probabilities" if data.task == "multiclass" else ACTIVATIONS[activation].outputs
    strands = "of the strand given" if data.stranded else "mean of both strands"
    info = kipoi_info(recipe, f"{recipe.title}; {outputs}, {strands}; {size}.")
    scores = SCORES if outputs == "probabilities" else VALUE_SCORES
    content = model_yaml(args, length, len(targets), info, scores=scores, stranded=data.stranded)
    write_yaml(folder / "model.yaml", content)
    write_expected(folder)
    training = f"Recipe: `{run.name}`, {training}."
    write_calibration(folder, metrics.get("calibration"))
    write_text(folder / "README.md", model_card(recipe, metrics, read_baseline(run.recipe_path, data), training))
    update_index(recipe.model, _index_entry(run, metrics))
    return folder


def _index_entry(run, metrics):
    recipe, data, found = run.recipe, run.recipe.data, metrics.get("calibration")
    entry = {
        "status": "trained",
        "title": recipe.title,
        "input_length": metrics["input_length"],
        "targets": len(data.targets),
        "parameters": metrics["parameters"],
        "data": data.title or run.recipe_path.parent.name,
        "mean_metrics": mean_metrics(metrics),
    }
    return entry | ({"calibration": calibration_entry(found)} if found else {})


def example_codes(length: int) -> np.ndarray:
    """Windows of the example's BED file, base codes, uint8, shape (92, length)."""
    folder = zoo_folder() / "dataloaders" / "sequence" / "example"
    bed, genome = read_bed(folder / "example.bed"), Genome(folder / "example.fa")
    return genome.windows([genome.number(str(c)) for c in bed.contigs], bed.resized(length), length)


def write_expected(folder: Path) -> None:
    """expected.h5: inputs and predictions on the example, as `kipoi test` reads them."""
    model = load_model(str(folder), device="cpu")
    codes = example_codes(model.input_length)
    with finished_file(folder / "expected.h5") as temporary, NewHdf5(temporary) as out:
        out.create_dataset("inputs", data=one_hot(codes), compression="gzip")
        out.create_dataset("preds", data=model.predict(codes), compression="gzip")
