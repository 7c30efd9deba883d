"""DeepSEA (Zhou & Troyanskaya 2015) and Beluga (Zhou et al. 2018), as in their official Kipoi checkpoints."""

import torch
from torch import nn

from regzoo.nets.arguments import Size, Three


def _flat_length(length, layers):
    """Output length of valid convolutions with pooling, given as (kernel, pool) pairs."""
    for kernel, pool in layers:
        length = (length - kernel + 1) // pool
    return length


class DeepSEA(nn.Module):
    """Three valid convolutions with thresholds, two poolings, two dense layers.

    The published activation is a threshold that replaces x <= 0 by 1e-6, not a ReLU. Default sizes are those of the
    official checkpoint (kipoi/models, DeepSEA): 52,843,119 parameters.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases and number of outputs.
    channels : tuple of three int
        Filters of the three convolutions.
    hidden : int
        Units of the first dense layer.
    """

    def __init__(
        self, input_length: Size = 1000, n_targets: Size = 919, channels: Three = (320, 480, 960), hidden: Size = 925
    ):
        super().__init__()
        a, b, c = channels
        flat = c * _flat_length(input_length, [(8, 4), (8, 4), (8, 1)])
        self.layers = nn.Sequential(
            nn.Conv1d(4, a, 8),
            nn.Threshold(0, 1e-6),
            nn.MaxPool1d(4),
            nn.Dropout(0.2),
            nn.Conv1d(a, b, 8),
            nn.Threshold(0, 1e-6),
            nn.MaxPool1d(4),
            nn.Dropout(0.2),
            nn.Conv1d(b, c, 8),
            nn.Threshold(0, 1e-6),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(flat, hidden),
            nn.Threshold(0, 1e-6),
            nn.Linear(hidden, n_targets),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, input_length)."""
        return self.layers(x)


class Beluga(nn.Module):
    """Six valid convolutions in three pairs, two poolings, two dense layers.

    Default sizes are those of the official checkpoint (kipoi/models, DeepSEA/beluga): 149,536,251 parameters.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases and number of outputs.
    channels : tuple of three int
        Filters of the three pairs of convolutions.
    hidden : int
        Units of the first dense layer.
    """

    def __init__(
        self, input_length: Size = 2000, n_targets: Size = 2002, channels: Three = (320, 480, 640), hidden: Size = 2003
    ):
        super().__init__()
        a, b, c = channels
        flat = c * _flat_length(input_length, [(8, 1), (8, 4), (8, 1), (8, 4), (8, 1), (8, 1)])
        self.layers = nn.Sequential(
            nn.Conv1d(4, a, 8),
            nn.ReLU(),
            nn.Conv1d(a, a, 8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.MaxPool1d(4),
            nn.Conv1d(a, b, 8),
            nn.ReLU(),
            nn.Conv1d(b, b, 8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.MaxPool1d(4),
            nn.Conv1d(b, c, 8),
            nn.ReLU(),
            nn.Conv1d(c, c, 8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(flat, hidden),
            nn.ReLU(),
            nn.Linear(hidden, n_targets),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, input_length)."""
        return self.layers(x)
