"""From a finished run to a Kipoi model directory: YAML, weights, target names, expected predictions, card, index."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from regzoo.errors import InputError
from regzoo.nets.checkpoint import file_digest
from regzoo.sequence import Genome, one_hot, read_bed
from regzoo.sequence.files import finished_file
from regzoo.sequence.hdf5 import NewHdf5
from regzoo.zoo import load_model, zoo_folder
from training.baseline import read_baseline
from training.card import mean_metrics, model_card
from training.index import update_index, write_yaml
from training.loop import write_weights
from training.networks import HOME, make_network, predict, recipe_name, run_folder
from training.recipe import load_recipe

SCORES = ("diff", "ref", "alt", "logit", "logit_ref", "logit_alt", "deepsea_effect")
VALUE_SCORES = ("diff", "ref", "alt")  # of outputs that are not each a probability
ACTIVATIONS = {"binary": "sigmoid", "multiclass": "softmax", "regression": "identity"}
OUTPUTS = {"binary": "probabilities", "multiclass": "probabilities of classes", "regression": "values"}
HALF_TOLERANCE = 1e-3  # float16 weights are kept when no prediction on the example moves more


def model_yaml(
    args,
    length,
    targets,
    doc,
    merge_strands=False,
    expect=None,
    default_scores=("diff", "logit"),
    scores=SCORES,
    stranded=False,
):
    """Content of a model.yaml.

    Parameters
    ----------
    args : dict
        Arguments of ZooModel.
    length, targets : int
        Window length and number of outputs.
    doc : str
        One line for `kipoi info`.
    merge_strands : bool
        Whether kipoi-veff scores both strands and merges.
    expect : str, optional
        File of expected predictions.
    default_scores : tuple of str
        Scores that are given when none is asked for.
    scores : tuple of str
        All that kipoi-veff may be asked for.
    stranded : bool
        Intervals on '-' are turned round without being asked for.
    """
    functions = [{"type": score, **({"default": True} if score in default_scores else {})} for score in scores]
    loader_args = {"length": length} | ({"use_strand": True} if stranded else {})
    content = {
        "defined_as": "regzoo.kipoi.ZooModel",
        "args": args,
        "default_dataloader": {"defined_as": "regzoo.kipoi.SequenceDataset", "default_args": loader_args},
        "info": {"authors": [{"name": "regzoo"}], "doc": doc, "license": "MIT"},
        "dependencies": {
            "conda": ["python>=3.10", "pytorch::pytorch"],
            "pip": ["kipoi>=0.8.6", "setuptools<81", "six", "regzoo"],
        },
        "schema": {
            "inputs": {
                "name": "seq", "shape": f"(4, {length})", "special_type": "DNASeq", "associated_metadata": "ranges",
                "doc": "one-hot DNA, channels A, C, G, T; anything else is all zeros",
            },
            "targets": {
                "name": "preds", "shape": f"({targets},)", "doc": "predictions", "column_labels": "targets.txt",
            },
        },
        "postprocessing": {
            "variant_effects": {"seq_input": ["seq"], "use_rc": merge_strands, "scoring_functions": functions}
        },
    }  # fmt: skip
    if expect:
        content["test"] = {"expect": expect, "precision_decimal": 5}
    return content


def export(recipe_path):
    """Write the model directory of a finished and evaluated run, and its entry in zoo_index.yaml.

    model.yaml, model.safetensors, targets.txt, expected.h5 and README.md of the directory are written anew, and with the
    index what is made from it (see `training.index.update_index`).

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
        If the run has not finished, or has not been evaluated.
    """
    recipe, run = load_recipe(recipe_path), run_folder(recipe_path)
    metrics, architecture = evaluated_metrics(recipe_path, run), recipe.architecture
    length = metrics["input_length"]
    codes, network = example_codes(length), make_network(recipe, length).eval()

    def outputs(state):
        network.load_state_dict(state, strict=False)
        return predict(network, codes, recipe.data)

    state = smaller_weights(load_file(run / "model.safetensors"), outputs)
    of = f"{metrics['parameters']:,} parameters"
    if recipe.adapters:
        state = {name.replace(".default.weight", ""): value for name, value in state.items()}
        scale = recipe.adapters.alpha / recipe.adapters.rank
        architecture = architecture.model_copy(update={"arguments": architecture.arguments | {"adapter_scale": scale}})
        of += f", of which {metrics['trained_parameters']:,} are its own, over {architecture.arguments['backbone']}"
    how = (
        f"{metrics['epochs']:.3g} epochs, {metrics['minutes']:.0f} minutes on {metrics['threads']} CPU thread(s), at most "
        f"{metrics['peak_memory_mb']:,.0f} MB, seed {recipe.seed}"
    )
    if not metrics["device"].startswith("cpu"):
        how = how.replace(f"{metrics['threads']} CPU thread(s)", "one GPU")
    return write_model(recipe, recipe_path, metrics, state, architecture, of, how)


def announce(recipe_path):
    """Enter a recipe that is not trained here in zoo_index.yaml, with the status 'recipe'.

    Parameters
    ----------
    recipe_path : str or pathlib.Path
        Of a supervised model with `length` in its data, inside the zoo's training/recipes.

    Returns
    -------
    str
        The model's name.

    Raises
    ------
    InputError
        If the recipe is not one of the checkout's, the data section does not say how long windows are, or the size of the
        network cannot be told.
    """
    recipe, path = load_recipe(recipe_path), Path(recipe_path)
    if not path.resolve().is_relative_to(HOME):
        raise InputError(f"{path}: the index lists recipes of {HOME} only; put it under training/recipes there")
    if recipe.data.length is None:
        raise InputError(f"{path}: the data's `length` is needed for the index")
    count = recipe.parameters
    if count is None:
        with torch.device("meta"):
            count = sum(p.numel() for p in make_network(recipe, recipe.data.length).parameters())
    update_index(recipe.model, {
        "status": "recipe", "title": recipe.title, "input_length": recipe.data.length, "targets": len(recipe.data.targets),
        "parameters": count, "recipe": recipe_name(path),
    })  # fmt: skip
    return recipe.model


def finished_metrics(recipe_path, run):
    """A run's metrics, or an InputError if it has not finished."""
    if not (run / "metrics.json").exists():
        raise InputError(f"{recipe_path}: no finished run in {run}; fit it first")
    try:
        return json.loads((run / "metrics.json").read_text())
    except ValueError as error:
        raise InputError(f"{run / 'metrics.json'}: not JSON ({error}); fit {recipe_path} again") from error


def evaluated_metrics(recipe_path, run):
    """A run's metrics on dev and test, or an InputError if it has not finished or has not been evaluated on test."""
    metrics = finished_metrics(recipe_path, run)
    splits = {split for counts in metrics["data"]["targets"].values() for split in counts} - {"train"}
    if missing := sorted(splits - metrics.keys()):
        raise InputError(
            f"{recipe_path}: the run in {run} has no metrics on {' and '.join(missing)}; run "
            f"`python -m training evaluate {recipe_path}` first"
        )
    return metrics


def smaller_weights(state, outputs):
    """Tensors in float16 where that moves no output on the example by more than HALF_TOLERANCE, else as they are.

    Parameters
    ----------
    state : dict of str to torch.Tensor
    outputs : callable
        A network's outputs, given float32 tensors.
    """
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    again = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    return half if abs(outputs(state) - outputs(again)).max() < HALF_TOLERANCE else state


def write_model(recipe, recipe_path, metrics, state, architecture, of, how):
    """Write a supervised model's directory and its entry in the index.

    Parameters
    ----------
    recipe : training.recipe.Recipe or training.probe.ProbeRecipe
    recipe_path : str or pathlib.Path
    metrics : dict
        Of its run.
    state : dict of str to torch.Tensor
    architecture : training.recipe.Architecture
    of, how : str
        What it consists of, for `kipoi info`; how it was trained, for the card.

    Returns
    -------
    pathlib.Path
    """
    path, folder, targets = Path(recipe_path), zoo_folder() / "models" / recipe.model, recipe.data.targets
    length, data = metrics["input_length"], recipe.data
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "model.safetensors", state)
    (folder / "targets.txt").write_text("".join(f"{t}\n" for t in targets))
    args = {
        "architecture": architecture.name,
        "arguments": {"input_length": length, "n_targets": len(targets)} | architecture.arguments,
        "weights": "model.safetensors", "sha256": file_digest(folder / "model.safetensors"), "targets": "targets.txt",
        "activation": ACTIVATIONS[data.task], "reverse_complement": not data.stranded,
    }  # fmt: skip
    strands = "of the strand given" if data.stranded else "mean of both strands"
    doc = f"{recipe.title}; {OUTPUTS[data.task]}, {strands}; {of}."
    scores = SCORES if data.task == "binary" else VALUE_SCORES
    write_yaml(
        folder / "model.yaml",
        model_yaml(args, length, len(targets), doc, expect="expected.h5", scores=scores, stranded=data.stranded),
    )
    write_expected(folder)
    how = f"Recipe: `{recipe_name(path)}`, {how}."
    (folder / "README.md").write_text(model_card(recipe, metrics, read_baseline(recipe_path, data), how))
    update_index(recipe.model, {
        "status": "trained", "title": recipe.title, "input_length": length, "targets": len(targets),
        "parameters": metrics["parameters"], "data": data.title or path.parent.name, "mean_metrics": mean_metrics(metrics),
    })  # fmt: skip
    return folder


def example_codes(length):
    """Windows of the example's BED file, base codes, shape (92, length)."""
    folder = zoo_folder() / "dataloaders" / "sequence" / "example"
    bed, genome = read_bed(folder / "example.bed"), Genome(folder / "example.fa")
    return genome.windows([genome.number(str(c)) for c in bed.contigs], bed.resized(length), length)


def write_expected(folder):
    """expected.h5: inputs and predictions on the example, as `kipoi test` reads them."""
    model = load_model(str(folder), device="cpu")
    codes = example_codes(model.input_length)
    with finished_file(folder / "expected.h5") as temporary, NewHdf5(temporary) as out:
        out.create_dataset("inputs", data=one_hot(codes), compression="gzip")
        out.create_dataset("preds", data=model.predict(codes), compression="gzip")
