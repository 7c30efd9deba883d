"""Basset (Kelley, Snoek & Rinn 2016): three convolutions with batch norm, three poolings, three dense layers."""

from typing import Literal

import torch
from torch import nn

from regzoo.nets.arguments import Fraction, Size, Three


class Basset(nn.Module):
    """Basset; the defaults are the official Kipoi checkpoint, 4,135,064 parameters.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases and number of outputs.
    channels, kernels, pools : tuple of three int
        Filters, kernel widths and pooling widths of the three convolutional blocks.
    hidden : int
        Units of the two hidden dense layers.
    padding : str
        'valid', as in the official checkpoint, or 'same', for windows too short for 'valid'.
    dropout : float
        Dropout after each hidden dense layer.
    """

    def __init__(
        self,
        input_length: Size = 600,
        n_targets: Size = 164,
        channels: Three = (300, 200, 200),
        kernels: Three = (19, 11, 7),
        pools: Three = (3, 4, 4),
        hidden: Size = 1000,
        padding: Literal["valid", "same"] = "valid",
        dropout: Fraction = 0.3,
    ):
        super().__init__()
        layers, width, length = [], 4, input_length
        for channel, kernel, pool in zip(channels, kernels, pools):
            layers += [
                nn.Conv1d(width, channel, kernel, padding=padding),
                nn.BatchNorm1d(channel),
                nn.ReLU(),
                nn.MaxPool1d(pool),
            ]
            length = (length if padding == "same" else length - kernel + 1) // pool
            width = channel
        layers.append(nn.Flatten())
        width *= length
        for _ in range(2):
            layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout)]
            width = hidden
        layers.append(nn.Linear(width, n_targets))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, input_length)."""
        return self.layers(x)
