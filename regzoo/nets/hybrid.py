"""Hybrid of a CNN and a transformer: motif detectors, pooling, then attention between what they found."""

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.nets.arguments import Count, Share, Size
from regzoo.nets.blocks import Exponential
from regzoo.nets.transformer import rotary, rotate


class _Attention(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)); rotary positions (Su et al. 2021)."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, x):
        """(N, positions, width) to the same."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        turn = rotary(torch.arange(x.shape[1], device=x.device), q.shape[-1], torch.float32)
        q, k = (rotate(side, *turn).to(v.dtype) for side in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x)


class Hybrid(nn.Module):
    """Convolutions that halve the resolution twice, attention layers, one learned pooling per target.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases (any length; it fixes no weight) and number of outputs.
    motifs, motif_width : int
        Filters and width of the first convolution.
    width, kernel : int
        Channels, also of the attention layers, and kernel of the second convolution.
    layers, heads : int
        Attention layers, and heads of each; `width` is a multiple of twice `heads`.
    dropout : float
    """

    def __init__(self, input_length: Size = 101, n_targets: Size = 1, motifs: Size = 192, motif_width: Size = 15,
                 width: Size = 128, kernel: Size = 5, layers: Count = 3, heads: Count = 4, dropout: Share = 0.2):  # fmt: skip
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv1d(4, motifs, motif_width, padding="same"), nn.BatchNorm1d(motifs), Exponential(), nn.MaxPool1d(2),
            nn.Conv1d(motifs, width, kernel, padding="same"), nn.BatchNorm1d(width), nn.GELU(), nn.MaxPool1d(2),
        )  # fmt: skip
        self.layers = nn.Sequential(*(_Attention(width, heads, dropout) for _ in range(layers)), nn.LayerNorm(width))
        self.attention, self.value = nn.Linear(width, n_targets), nn.Linear(width, n_targets)
        self.dropout = nn.Dropout(dropout)

    def head(self, x):
        """Logits, shape (N, n_targets), of the trunk's output, shape (N, width, positions)."""
        x = self.dropout(self.layers(x.transpose(1, 2)))
        # Each target reads where its own attention points; float32, since bf16 softmax is coarse.
        weights = torch.softmax(self.attention(x).float(), dim=1)
        return (weights * self.value(x).float()).sum(dim=1)

    def forward(self, x):
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, L)."""
        return self.head(self.trunk(x))
