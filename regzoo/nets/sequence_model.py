"""Language models as models of sequence: one-hot windows in; tokens, packed batches and pooling inside."""

from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from regzoo.errors import InputError, ModelError
from regzoo.nets.arguments import Size, check_arguments
from regzoo.nets.caduceus import Caduceus
from regzoo.nets.transformer import MaskedLM, TransformerConfig
from regzoo.sections import problems
from regzoo.tokenizers import BPE, HybridBPE, OverlappingKmers, SingleBases, SixMers, Tokenizer

TOKENIZERS = {"kmers": OverlappingKmers, "six_mers": SixMers, "single": SingleBases, "bpe": BPE, "hybrid": HybridBPE}
POOLINGS = ("mean", "cls", "max")
#: Tokens in one batch.
TOKENS = 4096


def make_tokenizer(kind, **options):
    """A tokenizer by its name, a key of `TOKENIZERS`, and the arguments of its class; a ModelError if it has no such."""
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise ModelError(f"unknown tokenizer {kind!r}; there are {', '.join(TOKENIZERS)}")
    check_arguments(TOKENIZERS[kind], options, f"tokenizer {kind!r}")
    return TOKENIZERS[kind](**options)


def make_language_model(tokenizer, kind, dropout=0.1, **sizes):
    """A language model over a tokenizer's vocabulary, with fresh weights.

    Parameters
    ----------
    tokenizer : regzoo.tokenizers.Tokenizer
    kind : str
        'transformer' or 'caduceus'.
    dropout : float
        Of a transformer.
    **sizes
        Fields of `TransformerConfig`, or arguments of `Caduceus`.

    Returns
    -------
    MaskedLM or Caduceus

    Raises
    ------
    ModelError
        If the kind or an argument is unknown or impossible.
    """
    try:
        if kind == "caduceus":
            check_arguments(Caduceus, {"vocabulary": len(tokenizer), **sizes}, "language model 'caduceus'")
            return Caduceus(vocabulary=len(tokenizer), **sizes)
        if kind == "transformer":
            config = TransformerConfig(len(tokenizer), **sizes, pad=tokenizer.pad, mask=tokenizer.mask)
            return MaskedLM(config, dropout)
    except ValidationError as error:
        raise ModelError(f"language model {kind!r}: {problems(error)}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"language model {kind!r}: {error}") from error
    raise ModelError(f"unknown language model {kind!r}; there are transformer, caduceus")


def in_batches(lengths, tokens=TOKENS):
    """Rows by falling token count, in batches of at most `tokens` tokens, so that hardly anything is padded.

    Parameters
    ----------
    lengths : numpy.ndarray, int, shape (N,)

    Yields
    ------
    numpy.ndarray, int64
        Row numbers.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + count]
        start += count


def encode_codes(network, tokenizer, codes, lengths=None, layer=None, tokens_per_batch=TOKENS):
    """Vectors of the tokens of sequences, batch by batch.

    Parameters
    ----------
    network : MaskedLM or Caduceus
    tokenizer : regzoo.tokenizers.Tokenizer
    codes, lengths
        As `Tokenizer.encode` takes them.
    layer : int, optional
        As the network's `encode` takes it.
    tokens_per_batch : int

    Yields
    ------
    rows : numpy.ndarray, int64
    tokens : regzoo.tokenizers.Tokens
        Of these rows.
    hidden : torch.Tensor, shape (rows, T, hidden)

    Raises
    ------
    InputError
        If a sequence has more tokens than the network can take.
    """
    tokens = tokenizer.encode(codes, lengths)
    counts = tokens.lengths
    if network.limit and len(counts) and counts.max() > network.limit:
        row = int(counts.argmax())
        raise InputError(f"sequence {row + 1} has {counts[row]} tokens, but this model takes {network.limit}")
    device = next(network.parameters()).device
    for rows in in_batches(counts, tokens_per_batch):
        groups = [rows] if network.accepts_padding else [rows[counts[rows] == n] for n in np.unique(counts[rows])]
        for group in groups:
            part = tokens.rows(group)
            ids, mask = (torch.from_numpy(a).to(device) for a in (part.ids, part.mask))
            yield group, part, network.encode(ids, mask, layer)


def pool(hidden, mask, pooling):
    """(N, T, hidden) to (N, hidden): mean or largest over tokens, special ones included, or the first token's."""
    if pooling == "cls":
        return hidden[:, 0]
    mask = mask[:, :, None]
    if pooling == "max":
        return hidden.masked_fill(~mask, -torch.inf).amax(1)
    return (hidden * mask).sum(1) / mask.sum(1)


class LanguageModelNet(nn.Module):
    """A language model with a head on its pooled vectors, or the pooled vectors themselves.

    Parameters
    ----------
    input_length : int
        Of a window.
    tokenizer : dict or regzoo.tokenizers.Tokenizer
        Arguments of `make_tokenizer`, or what it makes.
    network : dict or torch.nn.Module
        Arguments of `make_language_model`, or what it makes.
    pooling : str
        One of `POOLINGS`.
    n_targets : int, optional
        Outputs of a linear head; without it the outputs are the embedding.
    """

    def __init__(self, input_length: Size, tokenizer: dict[str, Any] | Tokenizer, network: dict[str, Any] | nn.Module,
                 pooling: Literal[POOLINGS] = "mean", n_targets: Size | None = None):  # fmt: skip
        super().__init__()
        self.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else make_tokenizer(**{"kind": None} | tokenizer)
        self.lm = network if isinstance(network, nn.Module) else make_language_model(
            self.tokenizer, **{"kind": None} | network
        )  # fmt: skip
        self.pooling = pooling
        self.head = nn.Linear(self.lm.hidden, n_targets) if n_targets else nn.Identity()

    def forward(self, x):
        """Outputs, (N, targets), of one-hot windows, (N, 4, L)."""
        codes = torch.where(x.sum(1) > 0, x.argmax(1), 4).to(torch.uint8).cpu().numpy()
        order, parts = [], []
        for rows, tokens, hidden in encode_codes(self.lm, self.tokenizer, codes):
            order.append(torch.from_numpy(rows))
            parts.append(pool(hidden.float(), torch.from_numpy(tokens.mask).to(x.device), self.pooling))
        return self.head(torch.cat(parts)[torch.argsort(torch.cat(order))])
