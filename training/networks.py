"""A recipe's network: with fresh weights, on a language model's weights, of a finished run; and what it predicts."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from torch import nn

from regzoo.errors import InputError
from regzoo.nets import build
from regzoo.zoo import with_backbone
from training.augment import reverse_complement
from training.recipe import load_recipe, model_name

CHANNELS = torch.arange(4, dtype=torch.uint8)[:, None]
HOME = Path(__file__).resolve().parents[1]


def run_folder(recipe_path):
    """Where a recipe's checkpoint, weights and metrics are: runs/GROUP/MODEL by the model's name, in the working directory.

    Runs were once named by the recipe's path, as runs/FOLDER/RECIPE; such a run of one of this checkout's recipes is found
    as long as there is none of the model's name.
    """
    folder = Path("runs") / model_name(recipe_path)
    path = Path(recipe_path).resolve()
    before = Path("runs") / path.parent.name / path.stem
    return before if path.is_relative_to(HOME) and _holds_run(before) and not _holds_run(folder) else folder


def _holds_run(folder):
    return any((folder / name).exists() for name in ("checkpoint.pt", "metrics.json"))


def recipe_name(recipe_path):
    """A recipe's path as cards and the index give it: from the checkout's folder if it lies in it, else as it is."""
    path = Path(recipe_path).resolve()
    return path.relative_to(HOME).as_posix() if path.is_relative_to(HOME) else Path(recipe_path).as_posix()


def make_network(recipe, length):
    """The recipe's architecture for windows of `length` bases, with fresh weights or those of its backbone.

    With adapters, only they, and what is not the backbone's, need gradients.

    Raises
    ------
    InputError
        If there are adapters and no backbone.
    """
    arguments = {"input_length": length, "n_targets": len(recipe.data.targets)} | recipe.architecture.arguments
    if "backbone" not in arguments:
        if recipe.adapters:
            raise InputError(f"{recipe.model}: adapters need a backbone in the architecture's arguments")
        return build(recipe.architecture.name, **arguments)
    arguments, shared = with_backbone(arguments)
    network = build(recipe.architecture.name, **arguments)
    network.load_state_dict(shared, strict=False)
    if recipe.adapters:
        options = recipe.adapters
        network.lm.requires_grad_(False)
        for module in network.lm.modules():
            if isinstance(module, nn.Dropout):  # adapters have their own
                module.p = 0.0
        config = LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout,
                            target_modules=options.layers)  # fmt: skip
        inject_adapter_in_model(config, network.lm)
    return network


def load_run(recipe_path):
    """The trained network of a recipe's finished run, of a probe too, in evaluation mode.

    Raises
    ------
    InputError
        If the run has no weights yet.
    """
    folder = run_folder(recipe_path)
    if not (folder / "metrics.json").exists():
        raise InputError(f"{recipe_path}: no finished run in {folder}; fit it first")
    metrics = json.loads((folder / "metrics.json").read_text())
    network = make_network(load_recipe(recipe_path), metrics["input_length"])
    network.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    return network.eval()


def one_hot(codes):
    """One-hot float32 tensor (N, 4, L) of base codes (N, L)."""
    return (codes[:, None, :] == CHANNELS.to(codes.device)).float()


@torch.no_grad()
def predict(network, codes, data, batch_size=512):
    """Predictions of windows as the exported model gives them: probabilities or values, the mean over strands.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    codes : torch.Tensor or numpy.ndarray, uint8, shape (N, L)
    data : training.data.sources.Source
        By whose task logits become predictions; if it is stranded, only the strand given is read.
    batch_size : int

    Returns
    -------
    torch.Tensor, float32, shape (N, targets)
        On the network's device.
    """
    activation = {"binary": torch.sigmoid, "multiclass": lambda z: z.softmax(1), "regression": lambda z: z}[data.task]
    device, parts = next(network.parameters()).device, []
    for chunk in torch.as_tensor(codes).split(batch_size):
        chunk = chunk.to(device)
        strands = (chunk,) if data.stranded else (chunk, reverse_complement(chunk))
        parts.append(sum(activation(network(one_hot(strand)).float()) for strand in strands) / len(strands))
    return torch.cat(parts)
