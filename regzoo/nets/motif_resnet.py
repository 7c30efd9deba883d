"""MotifResNet: wide motif detectors, a pre-activation residual tower, attention pooling. Made for short windows."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from regzoo.nets.arguments import Share, Size, Sizes
from regzoo.nets.blocks import Exponential, Residual


def _block(width, kernel, dilation, dropout):
    """x + conv(gelu(bn(conv(gelu(bn(x)))))), with dropout before the second convolution."""
    return Residual(
        nn.BatchNorm1d(width), nn.GELU(), nn.Conv1d(width, width, kernel, padding="same", dilation=dilation),
        nn.BatchNorm1d(width), nn.GELU(), nn.Dropout1d(dropout), nn.Conv1d(width, width, kernel, padding="same"),
    )  # fmt: skip


class MotifResNet(nn.Module):
    """Residual CNN over motif detectors, pooled by one learned attention per target.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases (any length; it fixes no weight) and number of outputs.
    motifs, motif_width : int
        Filters and width of the first convolution.
    width, kernel : int
        Channels and kernel of the residual tower.
    dilations : sequence of sequence of int
        One inner list per stage, one residual block per number; stages are preceded by max pooling of 2.
    activation : str
        'exponential' or 'gelu', after the first convolution.
    dropout : float
        Of whole channels, before the second convolution of each block and before the output.
    """

    def __init__(self, input_length: Size = 101, n_targets: Size = 1, motifs: Size = 256, motif_width: Size = 15,
                 width: Size = 128, kernel: Size = 5,
                 dilations: Annotated[Sequence[Sizes], Field(max_length=16)] = ((1, 2, 4), (1, 2, 4)),
                 activation: Literal["exponential", "gelu"] = "exponential", dropout: Share = 0.2):  # fmt: skip
        super().__init__()
        first = Exponential() if activation == "exponential" else nn.GELU()
        layers = [nn.Conv1d(4, motifs, motif_width, padding="same"), nn.BatchNorm1d(motifs), first]
        previous = motifs
        for stage in dilations:
            layers.append(nn.MaxPool1d(2))
            if previous != width:
                layers.append(nn.Conv1d(previous, width, 1))
                previous = width
            layers += [_block(width, kernel, dilation, dropout) for dilation in stage]
        layers += [nn.BatchNorm1d(width), nn.GELU()]
        self.trunk = nn.Sequential(*layers)
        self.attention = nn.Conv1d(width, n_targets, 1)
        self.dropout = nn.Dropout1d(dropout)
        self.value = nn.Conv1d(width, n_targets, 1)

    def head(self, x):
        """Logits, shape (N, n_targets), of the trunk's output, shape (N, width, positions)."""
        x = self.dropout(x)
        # Each target reads where its own attention points; float32, since bf16 softmax is coarse.
        weights = torch.softmax(self.attention(x).float(), dim=-1)
        return (weights * self.value(x).float()).sum(dim=-1)

    def forward(self, x):
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, L)."""
        return self.head(self.trunk(x))
