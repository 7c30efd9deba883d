"""Parts that several architectures share."""

import torch
from torch import nn


class Exponential(nn.Module):
    """exp(x), cut at e**4: first-layer filters become sharper motifs (Koo & Ploenzke 2021); the cut keeps bf16 finite."""

    def forward(self, x):
        return torch.exp(x.clamp(max=4.0))


class Residual(nn.Module):
    """x + body(x), for a body of the given layers that keeps the shape."""

    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.body(x)
