"""Motifs of the filters of a CNN's first layer: the subsequences that activate a filter most (Kelley et al. 2016)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from regzoo.errors import ModelError
from regzoo.model import Model
from regzoo.nets.blocks import Exponential
from regzoo.sequence.codes import one_hot

ACTIVE = 0.5  # of the filter's largest activation
_ELEMENTWISE = (nn.BatchNorm1d, nn.ReLU, nn.GELU, nn.Sigmoid, nn.SiLU, nn.ELU, nn.Softplus, nn.Threshold, Exponential)
_BATCH = 256


def first_layer(model: Model) -> tuple[nn.Conv1d, list[nn.Module]]:
    """The first convolution of a network, and the element-wise layers that follow it.

    Raises
    ------
    ModelError
        If the network does not begin with a convolution of one-hot bases.
    """
    leaves = [module for module in model.module.net.modules() if not list(module.children())]
    start = next((i for i, one in enumerate(leaves) if isinstance(one, nn.Conv1d)), None)
    if start is None or leaves[start].in_channels != 4:
        raise ModelError(f"{model.name}: its first layer is not a convolution of bases; use another method")
    after = leaves[start + 1 :]
    count = next((i for i, one in enumerate(after) if not isinstance(one, _ELEMENTWISE)), len(after))
    conv = leaves[start]
    assert isinstance(conv, nn.Conv1d)
    return conv, after[:count]


@torch.inference_mode()
def filter_sites(model: Model, codes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sites of each filter.

    Parameters
    ----------
    model : Model
    codes : numpy.ndarray, uint8, shape (N, L)

    Returns
    -------
    list of (rows, starts, activations)
        For each filter, windows and first bases of the subsequences whose activation is more than `ACTIVE` of the
        largest one over all windows; empty for a filter that is never active.
    """
    conv, after = first_layer(model)
    parts = []
    for start in range(0, len(codes), _BATCH):
        x = torch.from_numpy(one_hot(codes[start : start + _BATCH])).to(model.device)
        y = F.conv1d(x, conv.weight, conv.bias, dilation=conv.dilation)  # no padding: whole subsequences only
        for layer in after:
            y = layer(y)
        parts.append(y.float().cpu().numpy())
    values = np.concatenate(parts)
    result = []
    for filtered in values.transpose(1, 0, 2):
        largest = filtered.max()
        hits = np.argwhere(filtered > ACTIVE * largest) if largest > 0 else np.empty((0, 2), dtype=int)
        result.append((hits[:, 0], hits[:, 1], filtered[tuple(hits.T)]))
    return result
