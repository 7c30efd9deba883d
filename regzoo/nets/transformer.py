"""One bidirectional transformer encoder for DNABERT, DNABERT-2 and the Nucleotide Transformer, told apart by a configuration.

Sequences of a batch are evaluated packed: padding takes part in no layer, and in attention only as far as the rows of a batch
differ in length. Every token keeps its own position, so that left padding and holes in the mask give what the authors' code
gives.
"""

import math
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
    """What tells the published encoders apart.

    Attributes
    ----------
    vocabulary, hidden, layers, heads, feed_forward : int
    norm : str
        'post': layer norm after each residual sum, and after the embedding (BERT); 'pre': before each sublayer, and once at
        the end (ESM).
    positions : str
        'alibi' (symmetric), 'rotary', or 'learned'.
    max_positions : int
        Rows of the table of learned positions.
    first_position : int
        Of learned positions.
    gate : str
        Feed-forward: 'none' (GELU), or gated by 'gelu' or 'silu', the first half through it, times the second.
    output_bias : bool
        Of the feed-forward's second layer; its first has one if it is not gated.
    token_types : int
        Rows of the table of token types, of which the first is added to every token; 0 without.
    epsilon : float
        Of layer norms.
    pad, mask : int
        Token ids.
    token_dropout : bool
        ESM's rescaling of embeddings by the share of masked tokens.
    tied : bool
        The head for masked tokens shares the embedding's weights.
    limit : int or None
        Most tokens of a sequence.

    Raises
    ------
    pydantic.ValidationError
        If a value is of another type or impossible, or two do not go together; a ValueError.
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
                + (" of an even width, which rotary positions need" if self.positions == "rotary" else "")
            )
        if self.positions == "learned" and self.max_positions <= self.first_position:
            raise ValueError(f"learned positions need a table of more than {self.first_position} rows")
        return self


def alibi_slopes(heads):
    """Slope of each head (Press, Smith & Lewis 2022): powers of 2^(-8/n) for n heads, n a power of two.

    Of other numbers of heads, those of the next smaller power of two, then every other one of twice that power.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return torch.tensor(slopes + [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)])


class _Packing:
    """Where the tokens of a padded batch are, and what attention needs to know of them.

    Attributes
    ----------
    index : torch.Tensor or None
        Places of the tokens in the flattened batch; None when nothing is padded.
    place : torch.Tensor or None
        Places of the tokens in rows that hold them from the left, `width` long.
    """

    def __init__(self, config, mask, dtype):
        rows, length = mask.shape
        position = torch.arange(length, device=mask.device)
        self.rows, self.length, self.width = rows, length, length
        self.index = self.place = keys = None
        if not bool(mask.all()):
            counts = mask.sum(1)
            self.width = int(counts.max())
            self.index = mask.flatten().nonzero()[:, 0]
            rank = mask.cumsum(1) - 1
            self.place = (torch.arange(rows, device=mask.device)[:, None] * self.width + rank)[mask]
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
        """(rows, length, d) to (tokens, d)."""
        flat = x.flatten(0, 1)
        return flat if self.index is None else flat[self.index]

    def unpack(self, x):
        """(tokens, d) to (rows, length, d), zero where padded."""
        if self.index is None:
            return x.unflatten(0, (self.rows, self.length))
        flat = x.new_zeros(self.rows * self.length, x.shape[-1])
        return flat.index_copy(0, self.index, x).unflatten(0, (self.rows, self.length))

    def _rows(self, x):
        """(tokens, d) to (rows, width, d), tokens from the left."""
        if self.place is None:
            return x.unflatten(0, (self.rows, self.width))
        return (
            x.new_zeros(self.rows * self.width, x.shape[-1]).index_copy(0, self.place, x).unflatten(0, (self.rows, -1))
        )

    def attend(self, qkv, heads):
        """Attention output, (tokens, d), of queries, keys and values, (tokens, 3 d)."""
        q, k, v = self._rows(qkv).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rotation is not None:
            q, k = (rotate(side, *self.rotation).to(v.dtype) for side in (q, k))
        # The bias stays float32: in bfloat16, distances of more than 256 tokens are no longer whole.
        with torch.autocast(q.device.type, enabled=False):
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        y = y.transpose(1, 2).flatten(2).flatten(0, 1)
        return y if self.place is None else y[self.place]


def rotary(position, size, dtype):
    """Cosine and sine of rotary positions, base 10000, both halves alike; shape (…, 1, positions, size)."""
    frequency = 1.0 / 10000 ** (torch.arange(0, size, 2, device=position.device).to(dtype) / size)
    angle = position.to(dtype)[..., None] * frequency
    angle = torch.cat([angle, angle], -1)
    angle = angle[:, None] if angle.ndim == 3 else angle
    return angle.cos(), angle.sin()


def rotate(x, cosine, sine):
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

    def _attention(self, x, packing):
        return self.attention_out(packing.attend(self.qkv(x), self.heads))

    def _feed_forward(self, x):
        up = self.up(x)
        if self.gate == "none":
            return self.down(F.gelu(up))
        first, second = up.chunk(2, -1)
        return self.down((F.gelu(first) if self.gate == "gelu" else F.silu(first)) * second)


class Encoder(nn.Module):
    """Token ids to a vector for each token.

    Parameters
    ----------
    config : TransformerConfig
    dropout : float
        While training; none of it on attention weights.

    Attributes
    ----------
    legacy_mask : bool
        Do what DNABERT's code since June 2021 does by a misspelt name: padding is not masked, and every real token's score
        is raised by one. For models that were fine-tuned with that code; off.
    """

    def __init__(self, config, dropout=0.1):
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

    def forward(self, ids, mask=None, layer=None):
        """Vectors of tokens.

        Parameters
        ----------
        ids : torch.Tensor, int64, shape (N, T)
        mask : torch.Tensor, bool, shape (N, T), optional
            False for padding; all True without it.
        layer : int, optional
            Number of layers to go through; all, and the final norm where there is one, without it. 0 gives the embedding.
        Returns
        -------
        torch.Tensor, float32, shape (N, T, hidden)
            Zero where padded.
        """
        mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        whole = torch.ones_like(mask) if self.legacy_mask else mask
        packing = _Packing(self.config, whole, self.words.weight.dtype)
        if self.legacy_mask:
            packing.bias = mask[:, None, None].to(self.words.weight.dtype)
        x = packing.pack(self._embedded(ids, mask))
        x = self.dropout(self.norm(x) if self.config.norm == "post" else x)
        for step in self.layers[:layer]:
            x = step(x, packing)
        if self.config.norm == "pre" and layer in (None, len(self.layers)):
            x = self.norm(x)
        return packing.unpack(x)

    def _embedded(self, ids, mask):
        config, x = self.config, self.words(ids)
        if config.token_dropout:
            masked = ids == config.mask
            share = masked.sum(1) / mask.sum(1)
            x = x.masked_fill(masked[:, :, None], 0) * (0.88 / (1 - share))[:, None, None].to(x.dtype)
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
    """Files hold tied weights once."""
    if f"{prefix}encoder.words.weight" in state:
        state.setdefault(f"{prefix}decoder.weight", state[f"{prefix}encoder.words.weight"])


class MaskedLM(nn.Module):
    """An encoder with the head that predicts masked tokens.

    Parameters
    ----------
    config : TransformerConfig
    dropout : float

    Attributes
    ----------
    limit : int or None
        Most tokens of a sequence.
    vocabulary : int
    """

    accepts_padding = True  # `encode` takes a mask

    def __init__(self, config, dropout=0.1):
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

    def start_head(self):
        """Give the head fresh weights; what it shares with the embedding stays."""
        Encoder._start(self.dense)
        nn.init.zeros_(self.decoder.bias)
        if not self.config.tied:
            nn.init.normal_(self.decoder.weight, std=0.02)

    @property
    def hidden(self):
        """Width of `encode`'s vectors."""
        return self.config.hidden

    def encode(self, ids, mask=None, layer=None):
        """Vectors of tokens, as `Encoder.forward`."""
        return self.encoder(ids, mask, layer)

    def logits(self, hidden):
        """Logits over the vocabulary, (…, vocabulary), of encoder vectors, (…, hidden)."""
        return self.decoder(self.norm(F.gelu(self.dense(hidden))))

    def forward(self, ids, mask=None):
        """Logits over the vocabulary of every token, shape (N, T, vocabulary); arguments as `Encoder.forward`."""
        return self.logits(self.encoder(ids, mask))
