"""The network of a recipe: with new weights, with a language model's weights, or of a finished run; and its
predictions.
"""

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from torch import nn

from regzoo.activations import ACTIVATIONS, OF_TASK
from regzoo.errors import InputError
from regzoo.nets import build
from regzoo.strands import strand_mean
from regzoo.zoo import with_backbone
from training.augment import reverse_complement
from training.data.sources import Source
from training.recipe import FitRecipe, ProbeRecipe
from training.run import Run

CHANNELS = torch.arange(4, dtype=torch.uint8)[:, None]


def make_network(recipe: FitRecipe | ProbeRecipe, length: int) -> nn.Module:
    """The recipe's architecture for windows of `length` bases, with new weights or those of its backbone.

    With adapters, only the adapters and the weights that are not the backbone's require gradients.

    Raises
    ------
    InputError
        If the recipe has adapters but no backbone.
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
        options, lm = recipe.adapters, network.get_submodule("lm")
        lm.requires_grad_(False)
        for module in lm.modules():
            if isinstance(module, nn.Dropout):  # adapters have their own
                module.p = 0.0
        config = LoraConfig(
            r=options.rank,
            lora_alpha=options.alpha,  # type: ignore[arg-type] # fractions are valid, too
            lora_dropout=options.dropout,
            target_modules=options.layers,
        )
        inject_adapter_in_model(config, lm)
    return network


def load_run(run: Run) -> nn.Module:
    """The network of a finished run, also of a probe, in evaluation mode.

    Raises
    ------
    InputError
        If the run has not finished.
    """
    network = make_network(run.recipe, run.metrics()["input_length"])
    network.load_state_dict(load_file(run.folder / "model.safetensors"), strict=False)
    return network.eval()


def one_hot(codes: torch.Tensor) -> torch.Tensor:
    """One-hot float32 tensor (N, 4, L) of base codes (N, L)."""
    return (codes[:, None, :] == CHANNELS.to(codes.device)).float()


@torch.no_grad()
def predict(network: nn.Module, codes: torch.Tensor | np.ndarray, data: Source, batch_size: int = 512) -> torch.Tensor:
    """Predictions of windows, the same as those of the exported model.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    codes : torch.Tensor or numpy.ndarray, uint8, shape (N, L)
    data : training.data.sources.Source
        Its task gives the output activation. If it is stranded, only the given strand is read; otherwise predictions
        are the mean over both strands.
    batch_size : int

    Returns
    -------
    torch.Tensor, float32, shape (N, targets)
        On the network's device.
    """
    activation, device, parts = ACTIVATIONS[OF_TASK[data.task]].make(), next(network.parameters()).device, []

    def outputs(windows):
        return activation(network(one_hot(windows)).float())

    for chunk in torch.as_tensor(codes).split(batch_size):
        chunk = chunk.to(device)
        forward = outputs(chunk)
        parts.append(forward if data.stranded else strand_mean(forward, outputs(reverse_complement(chunk))))
    return torch.cat(parts)
