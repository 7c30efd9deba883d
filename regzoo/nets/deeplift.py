"""DeepLIFT multipliers by the rescale rule (Shrikumar, Greenside & Kundaje 2017).

Elementwise activations propagate the ratio of differences, output to input, in place of the gradient. A maximum
propagates what it gains to the position of its maximum, and what it loses to that of the reference's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.nets.blocks import Exponential

ELEMENTWISE = (
    nn.ReLU,
    nn.ELU,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    Exponential,
)
LINEAR = (nn.Conv1d, nn.Linear, nn.BatchNorm1d, nn.Dropout, nn.Dropout1d, nn.Flatten, nn.AvgPool1d, nn.Identity)
_SMALL = 1e-6  # differences below it are replaced by the gradient


def layers_without_rule(net: nn.Module) -> list[str]:
    """Names of the kinds of layers of a network that have no rule, sorted; empty where all have.

    A function `head`, such as attention pooling, counts as a layer without a rule.
    """
    leaves = [layer for layer in net.modules() if not list(layer.children())]
    names = {type(layer).__name__ for layer in leaves if not isinstance(layer, (*LINEAR, *ELEMENTWISE, nn.MaxPool1d))}
    head = getattr(net, "head", None)
    if callable(head) and not isinstance(head, nn.Module):
        names.add("attention pooling")
    return sorted(names)


def multipliers(net: nn.Module, x: torch.Tensor, reference: torch.Tensor, column: int) -> torch.Tensor:
    """Multipliers of inputs for one output.

    Parameters
    ----------
    net : torch.nn.Module
        In evaluation mode, of layers with rules (`layers_without_rule`).
    x, reference : torch.Tensor, float, shape (N, 4, L)
    column : int
        Of the network's output, shape (N, targets).

    Returns
    -------
    torch.Tensor, shape (N, 4, L)
        Times `x - reference` and summed, they give the difference of the outputs.
    """
    both = torch.cat([x, reference]).detach().requires_grad_()
    with _rules(net), torch.enable_grad():
        output = net(both)[: len(x), column].sum()
        return torch.autograd.grad(output, both)[0][: len(x)]


@contextmanager
def _rules(net: nn.Module) -> Iterator[None]:
    hooks = []
    for layer in net.modules():
        rule = _maximum if isinstance(layer, nn.MaxPool1d) else _rescale if isinstance(layer, ELEMENTWISE) else None
        if rule is not None:
            hooks.append(layer.register_forward_hook(rule))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _rescale(layer, inputs, output):
    x, y = inputs[0].detach(), output.detach()
    half = len(x) // 2
    change = x[:half] - x[half:]
    z = x[:half].clone().requires_grad_()
    slope = torch.autograd.grad(type(layer).forward(layer, z).sum(), z)[0]
    small = change.abs() < _SMALL
    ratio = torch.where(small, slope, (y[:half] - y[half:]) / torch.where(small, 1, change))
    return _Propagated.apply(inputs[0], y, lambda gradient: gradient * ratio)


def _maximum(layer, inputs, output):
    x = inputs[0].detach()
    half = len(x) // 2
    found, positions = F.max_pool1d(
        x, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, return_indices=True
    )
    own, other = found[:half], found[half:]
    gained, lost = (own - other).clamp(min=0), (own - other).clamp(max=0)
    change = x[:half] - x[half:]

    def backward(gradient):
        moved = torch.zeros_like(change)
        moved.scatter_add_(2, positions[:half], gradient * gained)
        moved.scatter_add_(2, positions[half:], gradient * lost)
        small = change.abs() < _SMALL
        return torch.where(small, 0, moved / torch.where(small, 1, change))

    return _Propagated.apply(inputs[0], output.detach(), backward)


class _Propagated(torch.autograd.Function):
    """A layer's output, with a rule in place of its gradient. Only the first half of a batch has one."""

    @staticmethod
    def forward(context, x: torch.Tensor, y: torch.Tensor, backward: Callable[[torch.Tensor], torch.Tensor]):
        """The output."""
        context.rule = backward
        return y.clone()

    @staticmethod
    def backward(context, gradient):
        """The rule, for the first half of the batch; zeros for the references."""
        found = context.rule(gradient[: len(gradient) // 2])
        return torch.cat([found, torch.zeros_like(found)]), None, None
