"""DeepLIFT multipliers by the rescale rule (Shrikumar, Greenside & Kundaje 2017).

Elementwise activations propagate the ratio of differences, output to input, in place of the gradient. A maximum
propagates what it gains to the position of its maximum, and what it loses to that of the reference's. Attention pooling
is taken apart into exponential, sum, reciprocal and products; a product gives each factor its difference times the mean
of the other factor.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.errors import ModelError
from regzoo.nets.blocks import AttentionPooling, Exponential

ELEMENTWISE = (
    nn.ReLU,
    nn.ELU,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Threshold,
    Exponential,
)
LINEAR = (nn.Conv1d, nn.Linear, nn.BatchNorm1d, nn.Dropout, nn.Dropout1d, nn.Flatten, nn.AvgPool1d, nn.Identity)
#: Largest difference between the sum of contributions and the change of the output, relative to the larger of this
#: change and 1.
TOLERANCE = 1e-3
_SMALL = 1e-6  # differences below it are replaced by the gradient


def layers_without_rule(net: nn.Module) -> list[str]:
    """Names of the kinds of layers of a network that have no rule, sorted; empty where all have."""
    leaves = [layer for layer in net.modules() if not list(layer.children())]
    known = (*LINEAR, *ELEMENTWISE, nn.MaxPool1d, AttentionPooling)
    return sorted({type(layer).__name__ for layer in leaves if not isinstance(layer, known)})


def multipliers(net: nn.Module, x: torch.Tensor, reference: torch.Tensor, columns: Sequence[int]) -> torch.Tensor:
    """Multipliers of inputs for some outputs.

    Parameters
    ----------
    net : torch.nn.Module
        In evaluation mode, of layers with rules (`layers_without_rule`).
    x, reference : torch.Tensor, float, shape (N, 4, L)
    columns : sequence of int
        Of the network's output, shape (N, targets); of an output of shape (N, targets, bins) the mean over bins.

    Returns
    -------
    torch.Tensor, shape (N, 4, L, columns)
        Times `x - reference` and summed, they give the difference of the outputs.

    Raises
    ------
    ModelError
        If they do not, since the network computes something that is not linear outside of its layers.
    """
    x = x.detach().requires_grad_()
    with _recorded(net) as propagate:
        with torch.no_grad():
            before = _flat(net(reference))
        propagate()
        with torch.enable_grad():
            after = _flat(net(x))
            parts = [
                torch.autograd.grad(after[:, column].sum(), x, retain_graph=column != columns[-1])[0]
                for column in columns
            ]
    found = torch.stack(parts, dim=-1)
    change = (after.detach() - before)[:, list(columns)]
    error = (found * (x.detach() - reference)[..., None]).sum(dim=(1, 2)) - change
    if not (error.abs() <= TOLERANCE * change.abs().clamp(min=1)).all():
        raise ModelError(
            f"DeepLIFT's contributions miss the change of the output by up to {float(error.abs().max()):.2g}: the "
            "network computes something outside of its layers that DeepLIFT has no rule for"
        )
    return found


def _flat(output):
    return output.mean(dim=2) if output.ndim == 3 else output


@contextmanager
def _recorded(net: nn.Module) -> Iterator[Callable[[], None]]:
    """Record the inputs and outputs of layers in one pass, and apply rules in the next, after the yielded call."""
    recorded: list[Any] = []
    passes = {"recorded": True}

    def hook(layer, inputs, output):
        if passes["recorded"]:
            recorded.append((inputs, output))
            return None
        reference, before = recorded.pop(0)
        rule = _RULES.get(type(layer)) or _rescale
        backward = rule(layer, [one.detach() for one in inputs], output.detach(), reference, before)
        return _Propagated.apply(backward, output.detach(), *inputs)

    layers = [layer for layer in net.modules() if isinstance(layer, (*ELEMENTWISE, *_RULES))]
    changed = [layer for layer in layers if getattr(layer, "inplace", False)]
    hooks = [layer.register_forward_hook(hook) for layer in layers]
    for layer in changed:  # it would overwrite the recorded input
        setattr(layer, "inplace", False)  # noqa: B010
    try:
        yield lambda: passes.update(recorded=False)
    finally:
        for layer in changed:
            setattr(layer, "inplace", True)  # noqa: B010
        for one in hooks:
            one.remove()


def _ratio(layer, x, y, x0, y0):
    """Ratio of the differences of an elementwise layer's output and input; its slope where the input hardly differs."""
    change = x - x0
    small = change.abs() < _SMALL
    ratio = (y - y0) / change.masked_fill_(small, 1)
    if small.any():
        with torch.enable_grad():
            z = x[small].requires_grad_()
            ratio[small] = torch.autograd.grad(layer(z).sum(), z)[0]
    return ratio


def _rescale(layer, inputs, output, reference, before):
    ratio = _ratio(lambda z: type(layer).forward(layer, z), inputs[0], output, reference[0], before)
    return lambda gradient: (gradient * ratio,)


def _maximum(layer, inputs, output, reference, before):
    (x,), (x0,) = inputs, reference
    options = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
    places, places0 = (F.max_pool1d(one, *options, return_indices=True)[1] for one in (x, x0))
    gained, lost = (output - before).clamp(min=0), (output - before).clamp(max=0)
    change = x - x0
    small = change.abs() < _SMALL
    change.masked_fill_(small, 1)

    def backward(gradient):
        moved = torch.zeros_like(change)
        moved.scatter_add_(2, places, gradient * gained)
        moved.scatter_add_(2, places0, gradient * lost)
        return ((moved / change).masked_fill_(small, 0),)

    return backward


def _attention_pooling(layer, inputs, output, reference, before):
    """Of scores a and values v: e = exp(a), r = 1 / sum(e), weights w = e r, and the sum of w v."""
    (a, v), (a0, v0) = ([one.float() for one in side] for side in (inputs, reference))
    top = torch.maximum(a, a0).amax(dim=-1, keepdim=True)  # cancels in w, and keeps e finite
    e, e0 = (a - top).exp(), (a0 - top).exp()
    r, r0 = 1 / e.sum(dim=-1, keepdim=True), 1 / e0.sum(dim=-1, keepdim=True)
    ratio = _ratio(torch.exp, a - top, e, a0 - top, e0)

    def backward(gradient):
        of_weights = gradient[..., None] * (v + v0) / 2
        of_sum = -r * r0 * (of_weights * (e + e0) / 2).sum(dim=-1, keepdim=True)
        of_scores = (of_weights * (r + r0) / 2 + of_sum) * ratio
        of_values = gradient[..., None] * (e * r + e0 * r0) / 2
        return of_scores, of_values

    return backward


_RULES: dict[type[nn.Module], Callable] = {nn.MaxPool1d: _maximum, AttentionPooling: _attention_pooling}


class _Propagated(torch.autograd.Function):
    """A layer's output, with a rule in place of its gradient."""

    @staticmethod
    def forward(context, rule: Callable[[torch.Tensor], tuple[torch.Tensor, ...]], output: torch.Tensor, *inputs):
        """The output."""
        context.rule = rule
        return output.view_as(output)

    @staticmethod
    def backward(context, gradient):
        """The rule's multipliers of the inputs."""
        return None, None, *context.rule(gradient)
