"""EnhancerNet: four convolutions in two pairs and two dense layers, for windows of 200 to 300 bases.

The layers are those of a public Keras reimplementation of DeepEnhancer (Min et al. 2017, BMC Bioinformatics 18:478).
The name EnhancerNet is not that of a published network.
"""

import torch
from torch import nn

from regzoo.nets.arguments import Fraction, Size, Two


class EnhancerNet(nn.Module):
    """CNN for enhancer classification.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases and number of outputs.
    channels, kernels : tuple of two int
        Filters and kernel widths of the two pairs of valid convolutions. Max pooling of 2 follows each pair.
    hidden : tuple of two int
        Units of the dense layers.
    dropout : float
        Dropout after each dense layer.
    """

    def __init__(
        self,
        input_length: Size = 200,
        n_targets: Size = 1,
        channels: Two = (128, 64),
        kernels: Two = (8, 3),
        hidden: Two = (256, 128),
        dropout: Fraction = 0.1,
    ):
        super().__init__()
        layers, before, length = [], 4, input_length
        for channel, kernel in zip(channels, kernels):
            for _ in range(2):
                layers += [nn.Conv1d(before, channel, kernel), nn.ReLU(), nn.BatchNorm1d(channel)]
                before, length = channel, length - kernel + 1
            layers.append(nn.MaxPool1d(2))
            length //= 2
        layers.append(nn.Flatten())
        before *= length
        for units in hidden:
            layers += [nn.Linear(before, units), nn.ReLU(), nn.Dropout(dropout)]
            before = units
        self.layers = nn.Sequential(*layers, nn.Linear(before, n_targets))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, input_length)."""
        return self.layers(x)
