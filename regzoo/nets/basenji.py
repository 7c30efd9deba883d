"""Basenji (Kelley et al. 2018): a convolutional tower with pooling, dilated residual blocks, an output for every bin."""

from math import prod
from typing import Annotated

from pydantic import Field
from torch import nn

from regzoo.errors import ModelError
from regzoo.nets.arguments import Share, Size, Sizes
from regzoo.nets.blocks import Residual


def _block(inside, outside, kernel, pool=1, dilation=1, dropout=0.0, zero=False):
    """GELU, convolution without bias, batch norm, dropout, pooling: the published order."""
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
        Window length in bases, a multiple of the product of `pools`, and number of tracks.
    width, kernel : int
        Filters and kernel of the first convolution.
    tower_width, tower_factor, tower_kernel
        Filters of the tower's first block, their growth from block to block, and its kernel.
    pools : tuple of int
        Of the first block and of each of the tower's.
    residual_width, residual_blocks : int
        Filters inside the dilated residual blocks, whose dilations are 1, 2, 4, …, and their number.
    final_width : int
        Filters before the output.
    profile : bool
        Give an output for every bin of the product of `pools` bases; otherwise their mean.
    """

    def __init__(self, input_length: Size = 131072, n_targets: Size = 1, width: Size = 64, kernel: Size = 15,
                 tower_width: Size = 64, tower_factor: Annotated[float, Field(gt=0, le=4)] = 1.125,
                 tower_kernel: Size = 5, pools: Sizes = (8, 4, 4), residual_width: Size = 32,
                 residual_blocks: Annotated[int, Field(ge=0, le=20)] = 6, residual_dropout: Share = 0.25,
                 final_width: Size = 64, final_dropout: Share = 0.05, profile: bool = True):  # fmt: skip
        super().__init__()
        if input_length % prod(pools):
            raise ModelError(
                f"Basenji: a window of {input_length} bases is not a multiple of its bins of {prod(pools)}"
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

    def head(self, x):
        """The output of bins, shape (N, n_targets, bins), as it is or averaged."""
        return x.mean(dim=-1) if self.bins is None else x

    def forward(self, x):
        """Logits, shape (N, n_targets, bins) or (N, n_targets), of one-hot windows, shape (N, 4, input_length)."""
        return self.head(self.trunk(x))
