"""Layers shared by several architectures."""

import torch
from torch import nn


class Exponential(nn.Module):
    """Exponential activation, exp(min(x, 4)).

    It makes the first-layer filters closer to motifs (Koo & Ploenzke 2021). The clipping keeps bfloat16 finite.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations, same shape as `x`."""
        return torch.exp(x.clamp(max=4.0))


class Residual(nn.Module):
    """Residual block, x + body(x). The body is a sequence of layers that keeps the shape."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of the input and the body's output, same shape as `x`."""
        return x + self.body(x)


class AttentionPooling(nn.Module):
    """Mean of values over positions, weighted by the softmax of scores.

    The softmax is computed in float32, because in bfloat16 it is imprecise.
    """

    def forward(self, scores: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Weighted means, float32 of shape (N, targets), of scores and values of shape (N, targets, positions)."""
        return (torch.softmax(scores.float(), dim=-1) * values.float()).sum(dim=-1)
