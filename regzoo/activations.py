"""Output activations: their modules, what the outputs then are, and the training task that each belongs to."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Activation:
    """One output activation.

    Attributes
    ----------
    module : type
        A `torch.nn.Module` that takes logits.
    options : dict
        Arguments of `module`.
    outputs : str
        'probabilities' (of each target by itself), 'rates' (positive numbers) or 'values' (anything else).
    """

    module: type[nn.Module]
    outputs: str
    options: dict | None = None

    def make(self) -> nn.Module:
        """A new module."""
        return self.module(**(self.options or {}))


#: Activations by the name that model.yaml uses.
ACTIVATIONS = {
    "sigmoid": Activation(nn.Sigmoid, "probabilities"),
    "softplus": Activation(nn.Softplus, "rates"),
    "identity": Activation(nn.Identity, "values"),
    "softmax": Activation(nn.Softmax, "values", {"dim": 1}),
}

#: Training task -> activation of the network it makes.
OF_TASK = {"binary": "sigmoid", "multiclass": "softmax", "regression": "identity"}
