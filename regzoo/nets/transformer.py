"""A bidirectional transformer encoder, configurable as DNABERT, DNABERT-2 or the Nucleotide Transformer.

Batches are evaluated packed: padding is removed before the layers, and attention pads only to the longest sequence of
the batch. Each token keeps its own position, so left padding and gaps in the mask give the same results as the authors'
code.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn import functional as F

from regzoo.nets.arguments import Count, Size
from regzoo.nets.products import Linear

_Number = Annotated[int, Field(ge=0, le=2**20)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class TransformerConfig:
    """Configuration of an encoder.

    Attributes
    ----------
    vocabulary, hidden, layers, heads, feed_forward : int
        Number of tokens, width, number of layers, heads per layer, and width of the feed-forward layers.
    norm : str
        'post': layer norm after each residual sum and after the embedding (BERT). 'pre': layer norm before each
        sublayer and after the last layer (ESM).
    positions : str
        'alibi' (symmetric), 'rotary', or 'learned'.
    max_positions : int
        Number of learned positions.
    first_position : int
        Index of the first learned position that is used.
    gate : str
        Feed-forward: 'none' (GELU), or gated by 'gelu' or 'silu', which is applied to the first half and multiplied
        with the second.
    output_bias : bool
        Whether the second feed-forward layer has a bias. The first has one unless it is gated.
    token_types : int
        Number of token types; 0 for none. The first is added to each token.
    epsilon : float
        Epsilon of layer norms.
    pad, mask : int
        Token ids.
    token_dropout : bool
        Rescale embeddings by the fraction of masked tokens, as ESM does.
    tied : bool
        Whether the output layer shares the weights of the embedding.
    limit : int or None
        Largest number of tokens in a sequence.

    Raises
    ------
    pydantic.ValidationError
        If a value has an invalid type or value, or two values are incompatible. It is a ValueError.
    """

    vocabulary: Size
    hidden: Size
    layers: Count
    heads: Count
    feed_forward: Size
    norm: Literal["post", "pre"] = "post"
    positions: Literal["alibi", "rotary", "learned"] = "alibi"
    max_positions: _Number = 0
    first_position: _Number = 0
    gate: Literal["none", "gelu", "silu"] = "gelu"
    output_bias: bool = True
    token_types: _Number = 0
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 1e-12
    pad: _Number = 0
    mask: _Number = 4
    token_dropout: bool = False
    tied: bool = True
    limit: Size | None = None

    @model_validator(mode="after")
    def _go_together(self):
        if self.hidden % self.heads or (self.positions == "rotary" and self.hidden // self.heads % 2):
            raise ValueError(
                f"hidden size {self.hidden} is not a multiple of {self.heads} heads"
                + (" of even width, as rotary positions require" if self.positions == "rotary" else "")
            )
        if self.positions == "learned" and self.max_positions <= self.first_position:
            raise ValueError(f"learned positions: expected max_positions above first_position, {self.first_position}")
        return self


def alibi_slopes(heads: int) -> torch.Tensor:
    """ALiBi slope of each head, shape (heads,): powers of 2^(-8/n) for n heads (Press, Smith & Lewis 2022).

    If n is not a power of two, the slopes are those of the next smaller power of two, followed by every second slope of
    twice that power.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return torch.tensor(slopes + [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)])


class _Packing:
    """Indices of the tokens in a padded batch, with the attention bias and rotations of their positions.

    Attributes
    ----------
    index : torch.Tensor or None
        Indices of the tokens in the flattened batch; None without padding.
    compact : torch.Tensor or None
        Indices of the tokens in rows of length `width` that are padded on the right.
    """

    def __init__(self, config, mask, dtype):
        rows, length = mask.shape
        position = torch.arange(length, device=mask.device)
        self.rows, self.length, self.width = rows, length, length
        self.index = self.compact = keys = None
        if not bool(mask.all()):
            counts = mask.sum(1)
            self.width = int(counts.max())
            self.index = mask.flatten().nonzero()[:, 0]
            rank = mask.cumsum(1) - 1
            self.compact = (torch.arange(rows, device=mask.device)[:, None] * self.width + rank)[mask]
            position = self._rows(position.expand(rows, -1)[mask][:, None])[:, :, 0]  # (rows, width)
            keys = torch.arange(self.width, device=mask.device) < counts[:, None]
        self.position = position
        self.bias = None
        if config.positions == "alibi":
            own = position if position.ndim == 2 else position[None]
            distance = (own[:, None, :, None] - own[:, None, None, :]).abs().to(dtype)
            self.bias = -alibi_slopes(config.heads).to(dtype).to(mask.device)[:, None, None] * distance
        if keys is not None:
            hidden = torch.zeros(rows, 1, 1, self.width, dtype=dtype, device=mask.device)
            hidden.masked_fill_(~keys[:, None, None], torch.finfo(dtype).min / 2)
            self.bias = hidden if self.bias is None else self.bias + hidden
        self.rotation = rotary(position, config.hidden // config.heads, dtype) if config.positions == "rotary" else None

    def pack(self, x):
        """Remove padding: (rows, length, d) to (tokens, d)."""
        flat = x.flatten(0, 1)
        return flat if self.index is None else flat[self.index]

    def unpack(self, x):
        """Restore padding, with zeros: (tokens, d) to (rows, length, d)."""
        if self.index is None:
            return x.unflatten(0, (self.rows, self.length))
        flat = x.new_zeros(self.rows * self.length, x.shape[-1])
        return flat.index_copy(0, self.index, x).unflatten(0, (self.rows, self.length))

    def _rows(self, x):
        """(tokens, d) to (rows, width, d), padded on the right."""
        if self.compact is None:
            return x.unflatten(0, (self.rows, self.width))
        flat = x.new_zeros(self.rows * self.width, x.shape[-1])
        return flat.index_copy(0, self.compact, x).unflatten(0, (self.rows, -1))

    def attend(self, qkv, heads):
        """Attention output, shape (tokens, d), of concatenated queries, keys and values, shape (tokens, 3 d)."""
        q, k, v = self._heads(qkv, heads)
        # The bias stays in float32: bfloat16 cannot represent distances of more than 256 tokens exactly.
        with torch.autocast(q.device.type, enabled=False):
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        y = y.transpose(1, 2).flatten(2).flatten(0, 1)
        return y if self.compact is None else y[self.compact]

    def probabilities(self, qkv, heads):
        """Attention probabilities, shape (rows, heads, width, width), of the same queries and keys as `attend`."""
        q, k, _ = self._heads(qkv, heads)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        return (scores if self.bias is None else scores + self.bias).softmax(-1)

    def _heads(self, qkv, heads):
        """Queries, keys and values of each head, shape (rows, heads, width, d / heads), with rotary positions."""
        q, k, v = self._rows(qkv).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rotation is not None:
            q, k = (rotate(side, *self.rotation).to(v.dtype) for side in (q, k))
        return q, k, v


def rotary(position: torch.Tensor, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of rotary positions, base 10000, each of shape (…, 1, positions, size) with equal halves."""
    frequency = 1.0 / 10000 ** (torch.arange(0, size, 2, device=position.device).to(dtype) / size)
    angle = position.to(dtype)[..., None] * frequency
    angle = torch.cat([angle, angle], -1)
    angle = angle[:, None] if angle.ndim == 3 else angle
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Apply rotary positions to queries or keys, shape (…, positions, size)."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine


class _Layer(nn.Module):
    def __init__(self, config, dropout):
        super().__init__()
        hidden, gated = config.hidden, config.gate != "none"
        self.heads, self.pre, self.gate = config.heads, config.norm == "pre", config.gate
        self.qkv = Linear(hidden, 3 * hidden)
        self.attention_out = Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, config.epsilon)
        self.up = Linear(hidden, config.feed_forward * (1 + gated), bias=not gated)
        self.down = Linear(config.feed_forward, hidden, bias=config.output_bias)
        self.norm = nn.LayerNorm(hidden, config.epsilon)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, packing):
        if self.pre:
            x = x + self.dropout(self._attention(self.attention_norm(x), packing))
            return x + self.dropout(self._feed_forward(self.norm(x)))
        x = self.attention_norm(x + self.dropout(self._attention(x, packing)))
        return self.norm(x + self.dropout(self._feed_forward(x)))

    def probabilities(self, x: torch.Tensor, packing: "_Packing") -> torch.Tensor:
        """Attention probabilities on the layer's input; see `_Packing.probabilities`."""
        return packing.probabilities(self.qkv(self.attention_norm(x) if self.pre else x), self.heads)

    def _attention(self, x, packing):
        return self.attention_out(packing.attend(self.qkv(x), self.heads))

    def _feed_forward(self, x):
        up = self.up(x)
        if self.gate == "none":
            return self.down(F.gelu(up))
        first, second = up.chunk(2, -1)
        return self.down((F.gelu(first) if self.gate == "gelu" else F.silu(first)) * second)


class Encoder(nn.Module):
    """Transformer encoder.

    Parameters
    ----------
    config : TransformerConfig
    dropout : float
        Dropout during training. It is not applied to attention weights.

    Attributes
    ----------
    legacy_mask : bool
        Reproduce the effect of a misspelt name in DNABERT's code since June 2021: padding is not masked, and the
        attention scores of real tokens are raised by one. For models fine-tuned with that code. False by default.
    """

    def __init__(self, config: TransformerConfig, dropout: float = 0.1):
        super().__init__()
        self.config, self.legacy_mask = config, False
        self.words = nn.Embedding(config.vocabulary, config.hidden)
        if config.token_types:
            self.types = nn.Embedding(config.token_types, config.hidden)
        if config.positions == "learned":
            self.places = nn.Embedding(config.max_positions, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.layers = nn.ModuleList(_Layer(config, dropout) for _ in range(config.layers))
        self.dropout = nn.Dropout(dropout)
        self.apply(self._start)

    @staticmethod
    def _start(layer):
        if isinstance(layer, (nn.Linear, nn.Embedding)):
            nn.init.normal_(layer.weight, std=0.02)  # as BERT
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None, layer: int | None = None) -> torch.Tensor:
        """Token vectors.

        Parameters
        ----------
        ids : torch.Tensor, int64, shape (N, T)
        mask : torch.Tensor, bool, shape (N, T), optional
            False for padding. By default there is no padding.
        layer : int, optional
            Number of layers to apply; 0 gives the embedding. By default all layers and, if there is one, the final
            norm.

        Returns
        -------
        torch.Tensor, float32, shape (N, T, hidden)
            Zero for padding.
        """
        x, packing = self._start_of(ids, torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool())
        for step in self.layers[:layer]:
            x = step(x, packing)
        if self.config.norm == "pre" and layer in (None, len(self.layers)):
            x = self.norm(x)
        return packing.unpack(x)

    def attentions(self, ids: torch.Tensor) -> Iterator[torch.Tensor]:
        """Attention probabilities of each layer, computed with the softmax that `forward` fuses.

        Parameters
        ----------
        ids : torch.Tensor, int64, shape (N, T)
            Sequences without padding.

        Yields
        ------
        torch.Tensor, float32, shape (N, heads, T, T)
            From each token (third axis) to each token (last axis).
        """
        x, packing = self._start_of(ids, torch.ones_like(ids, dtype=torch.bool))
        for step in self.layers:
            assert isinstance(step, _Layer)
            yield step.probabilities(x, packing)
            x = step(x, packing)

    def _start_of(self, ids, mask):
        """Input of the first layer, packed, and the packing."""
        whole = torch.ones_like(mask) if self.legacy_mask else mask
        packing = _Packing(self.config, whole, self.words.weight.dtype)
        if self.legacy_mask:
            packing.bias = mask[:, None, None].to(self.words.weight.dtype)
        x = packing.pack(self._embedded(ids, mask))
        return self.dropout(self.norm(x) if self.config.norm == "post" else x), packing

    def _embedded(self, ids, mask):
        config, x = self.config, self.words(ids)
        if config.token_dropout:
            masked = ids == config.mask
            fraction = masked.sum(1) / mask.sum(1)
            x = x.masked_fill(masked[:, :, None], 0) * (0.88 / (1 - fraction))[:, None, None].to(x.dtype)
        if config.token_types:
            x = x + self.types.weight[0]
        if config.positions == "learned":
            # BERT counts places; ESM counts tokens, from the padding's id on.
            place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
            if config.norm == "pre":
                place = (mask.cumsum(1) - 1).clamp(min=0)
            x = x + self.places(place + config.first_position)
        return x


def _tie(module, state, prefix, *_):
    """Restore the output layer's weights, which files with tied weights store once."""
    if f"{prefix}encoder.words.weight" in state:
        state.setdefault(f"{prefix}decoder.weight", state[f"{prefix}encoder.words.weight"])


class MaskedLM(nn.Module):
    """Masked language model: an encoder with a head that predicts masked tokens.

    Parameters
    ----------
    config : TransformerConfig
    dropout : float

    Attributes
    ----------
    limit : int or None
        Largest number of tokens in a sequence.
    vocabulary : int
    accepts_padding : bool
        True: `encode` takes a mask.
    """

    accepts_padding = True

    def __init__(self, config: TransformerConfig, dropout: float = 0.1):
        super().__init__()
        self.config = config
        self.limit, self.vocabulary = config.limit, config.vocabulary
        self.encoder = Encoder(config, dropout)
        self.dense = Linear(config.hidden, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, config.epsilon)
        self.decoder = Linear(config.hidden, config.vocabulary)
        if config.tied:
            self.decoder.weight = self.encoder.words.weight
            self.register_load_state_dict_pre_hook(_tie)
        self.start_head()

    def start_head(self) -> None:
        """Initialise the head at random. Weights shared with the embedding are kept."""
        Encoder._start(self.dense)
        nn.init.zeros_(self.decoder.bias)
        if not self.config.tied:
            nn.init.normal_(self.decoder.weight, std=0.02)

    @property
    def hidden(self) -> int:
        """Width of the vectors of `encode`."""
        return self.config.hidden

    def encode(self, ids: torch.Tensor, mask: torch.Tensor | None = None, layer: int | None = None) -> torch.Tensor:
        """Token vectors, shape (N, T, hidden); see `Encoder.forward`."""
        return self.encoder(ids, mask, layer)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary, shape (…, vocabulary), of encoder vectors, shape (…, hidden)."""
        return self.decoder(self.norm(F.gelu(self.dense(hidden))))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits over the vocabulary for each token, shape (N, T, vocabulary); see `Encoder.forward`."""
        return self.logits(self.encoder(ids, mask))
