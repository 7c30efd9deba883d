"""Hybrid of a CNN and a transformer: convolutions and pooling, then self-attention over the pooled positions."""

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.nets.arguments import Count, Fraction, Size
from regzoo.nets.blocks import Exponential
from regzoo.nets.transformer import rotary, rotate


class _Attention(nn.Module):
    """Pre-norm transformer layer with rotary positions (Su et al. 2021)."""

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
        """Output, shape (N, positions, width), of an input of the same shape."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rotation = rotary(torch.arange(x.shape[1], device=x.device), q.shape[-1], torch.float32)
        q, k = (rotate(side, *rotation).to(v.dtype) for side in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x)


class Hybrid(nn.Module):
    """Two convolutions with pooling of 2, attention layers, and one learned attention pooling per target.

    Parameters
    ----------
    input_length, n_targets : int
        Window length in bases, which no weight depends on, and number of outputs.
    motifs, motif_width : int
        Filters and kernel width of the first convolution.
    width, kernel : int
        Channels of the second convolution and of the attention layers, and kernel width of the second convolution.
    layers, heads : int
        Number of attention layers and heads per layer. `width` must be a multiple of twice `heads`.
    dropout : float
    """

    def __init__(
        self,
        input_length: Size = 101,
        n_targets: Size = 1,
        motifs: Size = 192,
        motif_width: Size = 15,
        width: Size = 128,
        kernel: Size = 5,
        layers: Count = 3,
        heads: Count = 4,
        dropout: Fraction = 0.2,
    ):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv1d(4, motifs, motif_width, padding="same"),
            nn.BatchNorm1d(motifs),
            Exponential(),
            nn.MaxPool1d(2),
            nn.Conv1d(motifs, width, kernel, padding="same"),
            nn.BatchNorm1d(width),
            nn.GELU(),
            nn.MaxPool1d(2),
        )
        self.layers = nn.Sequential(*(_Attention(width, heads, dropout) for _ in range(layers)), nn.LayerNorm(width))
        self.attention, self.value = nn.Linear(width, n_targets), nn.Linear(width, n_targets)
        self.dropout = nn.Dropout(dropout)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of the trunk's output, shape (N, width, positions)."""
        x = self.dropout(self.layers(x.transpose(1, 2)))
        # Each target has its own attention weights. float32, because a softmax in bfloat16 is imprecise.
        weights = torch.softmax(self.attention(x).float(), dim=1)
        return (weights * self.value(x).float()).sum(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, n_targets), of one-hot windows, shape (N, 4, L)."""
        return self.head(self.trunk(x))
