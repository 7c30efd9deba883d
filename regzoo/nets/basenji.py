"""Basenji (Kelley et al. 2018): a convolutional tower with pooling, dilated residual blocks, one output per bin."""

from math import prod
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from regzoo.errors import ModelError
from regzoo.nets.arguments import Fraction, Size, Sizes
from regzoo.nets.blocks import Residual


def _block(inside, outside, kernel, pool=1, dilation=1, dropout=0.0, zero=False):
    """GELU, convolution without bias, batch norm, dropout, pooling, in the published order."""
    norm = nn.BatchNorm1d(outside, eps=1e-3, momentum=0.1)  # Keras: epsilon 1e-3, momentum 0.9
    if zero:
        nn.init.zeros_(norm.weight)
    layers = [
        nn.GELU(approximate="tanh"),
        nn.Conv1d(inside, outside, kernel, padding="same", dilation=dilation, bias=False),
        norm,
    ]
    layers += [nn.Dropout(dropout)] if dropout else []
    return layers + ([nn.MaxPool1d(pool)] if pool > 1 else [])


class Basenji(nn.Module):
    """Basenji; the defaults are tutorials/params_small.json of calico/basenji at 74b8671.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases, which must be a multiple of the product of `pools`, and number of tracks.
    width, kernel : int
        Filters and kernel width of the first convolution.
    tower_width : int
        Filters of the first tower block.
    tower_factor : float
        Ratio of filters between consecutive tower blocks.
    tower_kernel : int
        Kernel width of the tower.
    pools : tuple of int
        Pooling widths of the first block and of each tower block.
    residual_width, residual_blocks : int
        Filters inside the dilated residual blocks, and number of blocks. Dilations are 1, 2, 4, …
    residual_dropout : float
    final_width : int
        Filters of the last hidden layer.
    final_dropout : float
    profile : bool
        Return one output per bin (a bin is the product of `pools` bases). Otherwise return the mean over bins.

    Raises
    ------
    ModelError
        If `input_length` is not a multiple of the bin width.
    """

    def __init__(
        self,
        input_length: Size = 131072,
        n_targets: Size = 1,
        width: Size = 64,
        kernel: Size = 15,
        tower_width: Size = 64,
        tower_factor: Annotated[float, Field(gt=0, le=4)] = 1.125,
        tower_kernel: Size = 5,
        pools: Sizes = (8, 4, 4),
        residual_width: Size = 32,
        residual_blocks: Annotated[int, Field(ge=0, le=20)] = 6,
        residual_dropout: Fraction = 0.25,
        final_width: Size = 64,
        final_dropout: Fraction = 0.05,
        profile: bool = True,
    ):
        super().__init__()
        if input_length % prod(pools):
            raise ModelError(
                f"Basenji: input_length {input_length} is not a multiple of the bin width, {prod(pools)} (the product "
                "of pools)"
            )
        layers, before = _block(4, width, kernel, pools[0]), width
        for i, pool in enumerate(pools[1:]):
            after = round(tower_width * tower_factor**i)
            layers += _block(before, after, tower_kernel, pool)
            before = after
        for i in range(residual_blocks):
            inner = _block(before, residual_width, 3, dilation=2**i)
            layers.append(Residual(*inner, *_block(residual_width, before, 1, dropout=residual_dropout, zero=True)))
        layers += _block(before, final_width, 1, dropout=final_dropout)
        layers += [nn.GELU(approximate="tanh"), nn.Conv1d(final_width, n_targets, 1)]
        self.trunk = nn.Sequential(*layers)
        self.bins = input_length // prod(pools) if profile else None

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs per bin, shape (N, n_targets, bins), or their mean, shape (N, n_targets), if `profile` is False."""
        return x.mean(dim=-1) if self.bins is None else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets, bins) or (N, n_targets), of one-hot windows, shape (N, 4, input_length)."""
        return self.head(self.trunk(x))
