"""Copies of networks for gradients of their inputs: batch norms folded, and the first convolution taken off."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


def frozen(net: nn.Module) -> nn.Module:
    """Copy of a network in evaluation mode, whose parameters take no gradients.

    Batch norms are folded into the convolution or dense layer before them, and dropouts are left out, where both are
    layers of one `torch.nn.Sequential`. The copy shares all other tensors with the network.

    Parameters
    ----------
    net : torch.nn.Module
        In evaluation mode.

    Returns
    -------
    torch.nn.Module
    """
    copied = copy.copy(net)
    copied._forward_hooks = copied._forward_hooks.copy()
    copied._parameters = {
        name: value if value is None else nn.Parameter(value.detach(), requires_grad=False)
        for name, value in net._parameters.items()
    }
    children = {name: child if child is None else frozen(child) for name, child in net._modules.items()}
    if type(net) is nn.Sequential:
        children = {str(i): layer for i, layer in enumerate(_folded(children.values()))}
    copied._modules = children
    return copied


def _folded(layers):
    found: list[nn.Module] = []
    for layer in layers:
        before = type(found[-1]) if found else None
        if isinstance(layer, (nn.Dropout, nn.Dropout1d)):
            continue
        if type(layer) is nn.BatchNorm1d and layer.running_mean is not None and before in (nn.Conv1d, nn.Linear):
            fuse = fuse_conv_bn_eval if before is nn.Conv1d else fuse_linear_bn_eval
            found[-1] = fuse(found[-1], layer).requires_grad_(False)  # type: ignore[type-var]
        else:
            found.append(layer)
    return found


def without_first(net: nn.Module, length: int) -> tuple[nn.Module, nn.Module]:
    """The first convolution of a network, and a network of everything after it.

    Parameters
    ----------
    net : torch.nn.Module
        Of `frozen`; it is not changed.
    length : int
        Window length in bases.

    Returns
    -------
    first, rest : torch.nn.Module
        ``rest(first(x))`` is ``net(x)``. `first` does nothing where the network does not begin with a convolution.
    """
    rest = frozen(net)
    name, first = next(((n, m) for n, m in rest.named_modules() if type(m) is nn.Conv1d), ("", None))
    if first is None or not name:
        return nn.Identity(), net
    owner, _, own = name.rpartition(".")
    rest.get_submodule(owner)._modules[own] = nn.Identity()
    x = torch.eye(4, device=first.weight.device)[:, torch.arange(length) * 7 % 11 % 4][None]
    try:
        with torch.inference_mode():
            same = torch.allclose(rest(first(x)), net(x), rtol=1e-4, atol=1e-4)
    except RuntimeError:  # what comes first reads bases
        same = False
    return (first, rest) if same else (nn.Identity(), net)
