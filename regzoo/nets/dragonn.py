"""The convolutional model of MPRA-DragoNN (Movva et al. 2019): three valid convolutions and one dense layer."""

import torch
from torch import nn

from regzoo.nets.arguments import Fraction, Size, Three


class DragoNN(nn.Module):
    """Three valid convolutions, each with ReLU and then batch norm, and a dense layer. There is no pooling.

    The defaults are the official Kipoi model MPRA-DragoNN/ConvModel, 339,012 parameters.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases and number of outputs.
    channels : tuple of three int
        Filters of the three convolutions.
    kernel : int
        Width of the filters.
    dropout : float
        Dropout after each convolution.
    """

    def __init__(
        self,
        input_length: Size = 145,
        n_targets: Size = 12,
        channels: Three = (120, 120, 120),
        kernel: Size = 5,
        dropout: Fraction = 0.1,
    ):
        super().__init__()
        layers, width = [], 4
        for channel in channels:
            # Keras's epsilon is 1e-3.
            norm = nn.BatchNorm1d(channel, eps=1e-3, momentum=0.01)
            layers += [nn.Conv1d(width, channel, kernel), nn.ReLU(), norm, nn.Dropout(dropout)]
            width = channel
        length = input_length - len(channels) * (kernel - 1)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * length, n_targets))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs, shape (N, n_targets), of one-hot windows, shape (N, 4, input_length)."""
        return self.layers(x)
