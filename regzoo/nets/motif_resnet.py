"""MotifResNet: wide first-layer filters, a pre-activation residual tower and attention pooling, for short windows."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from regzoo.nets.arguments import Fraction, Size, Sizes
from regzoo.nets.blocks import AttentionPooling, Exponential, Residual


def _block(width, kernel, dilation, dropout):
    """Pre-activation residual block of two convolutions, with dropout before the second."""
    return Residual(
        nn.BatchNorm1d(width),
        nn.GELU(),
        nn.Conv1d(width, width, kernel, padding="same", dilation=dilation),
        nn.BatchNorm1d(width),
        nn.GELU(),
        nn.Dropout1d(dropout),
        nn.Conv1d(width, width, kernel, padding="same"),
    )


class MotifResNet(nn.Module):
    """Residual CNN with one learned attention pooling per target.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases, which no weight depends on, and number of outputs.
    motifs, motif_width : int
        Filters and kernel width of the first convolution.
    width, kernel : int
        Channels and kernel width of the residual tower.
    dilations : sequence of sequence of int
        Dilations of the residual blocks of each stage. Max pooling of 2 precedes each stage.
    activation : str
        Activation of the first convolution, 'exponential' or 'gelu'.
    dropout : float
        Dropout of whole channels, before the second convolution of each block and before the output.
    """

    def __init__(
        self,
        input_length: Size = 101,
        n_targets: Size = 1,
        motifs: Size = 256,
        motif_width: Size = 15,
        width: Size = 128,
        kernel: Size = 5,
        dilations: Annotated[Sequence[Sizes], Field(max_length=16)] = ((1, 2, 4), (1, 2, 4)),
        activation: Literal["exponential", "gelu"] = "exponential",
        dropout: Fraction = 0.2,
    ):
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
        self.pooling = AttentionPooling()

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of the trunk's output, shape (N, width, positions)."""
        x = self.dropout(x)
        return self.pooling(self.attention(x), self.value(x))  # each target has its own attention weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, L)."""
        return self.head(self.trunk(x))
