"""Language models with one-hot windows as input: tokenization, batching by length, pooling and an output layer."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from regzoo.errors import InputError, ModelError
from regzoo.nets.arguments import Size, check_arguments
from regzoo.nets.caduceus import Caduceus
from regzoo.nets.transformer import MaskedLM, TransformerConfig
from regzoo.sections import problems
from regzoo.tokenizers import BPE, HybridBPE, OverlappingKmers, SingleBases, SixMers, Tokenizer, Tokens

TOKENIZERS: dict[str, type[Tokenizer]] = {
    "kmers": OverlappingKmers,
    "six_mers": SixMers,
    "single": SingleBases,
    "bpe": BPE,
    "hybrid": HybridBPE,
}
Pooling = Literal["mean", "cls", "max"]
POOLINGS = get_args(Pooling)
#: Tokens of a batch, for each sequence of the batch size.
SEQUENCE_TOKENS = 64
#: Tokens of a batch by default.
TOKENS = 64 * SEQUENCE_TOKENS


def make_tokenizer(kind: str, **options: Any) -> Tokenizer:
    """Build a tokenizer.

    Parameters
    ----------
    kind : str
        A key of `TOKENIZERS`.
    **options
        Arguments of the tokenizer's class.

    Raises
    ------
    ModelError
        If the kind or an argument is unknown or not valid.
    """
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise ModelError(f"unknown tokenizer {kind!r}; choose from {', '.join(TOKENIZERS)}")
    check_arguments(TOKENIZERS[kind], options, f"tokenizer {kind!r}")
    return TOKENIZERS[kind](**options)


def make_language_model(tokenizer: Tokenizer, kind: str, dropout: float = 0.1, **sizes: Any) -> MaskedLM | Caduceus:
    """Build a language model over a tokenizer's vocabulary, with random weights.

    Parameters
    ----------
    tokenizer : regzoo.tokenizers.Tokenizer
    kind : str
        'transformer' or 'caduceus'.
    dropout : float
        Dropout of a transformer.
    **sizes
        Fields of `TransformerConfig` or arguments of `Caduceus`.

    Returns
    -------
    MaskedLM or Caduceus

    Raises
    ------
    ModelError
        If the kind or an argument is unknown or not valid.
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
    raise ModelError(f"unknown language model {kind!r}; choose from transformer, caduceus")


def in_batches(lengths: np.ndarray, tokens: int = TOKENS) -> Iterator[np.ndarray]:
    """Group sequences of similar length into batches.

    Parameters
    ----------
    lengths : numpy.ndarray, int, shape (N,)
        Token counts.
    tokens : int
        Largest number of tokens in a batch, with padding. A longer sequence is a batch of its own.

    Yields
    ------
    numpy.ndarray, int64
        Row numbers, from the longest sequences to the shortest.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + count]
        start += count


def encode_codes(
    network: MaskedLM | Caduceus,
    tokenizer: Tokenizer,
    codes: np.ndarray | list[np.ndarray],
    lengths: np.ndarray | None = None,
    layer: int | None = None,
    tokens_per_batch: int = TOKENS,
) -> Iterator[tuple[np.ndarray, Tokens, torch.Tensor]]:
    """Token vectors of sequences, batch by batch.

    Parameters
    ----------
    network : MaskedLM or Caduceus
    tokenizer : regzoo.tokenizers.Tokenizer
    codes, lengths
        See `regzoo.tokenizers.Tokenizer.encode`.
    layer : int, optional
        See the network's `encode`.
    tokens_per_batch : int

    Yields
    ------
    rows : numpy.ndarray, int64, shape (n,)
        Row numbers of the sequences in the batch.
    tokens : regzoo.tokenizers.Tokens
        Tokens of these sequences.
    hidden : torch.Tensor, shape (n, T, hidden)

    Raises
    ------
    InputError
        If a sequence has more tokens than the network accepts.
    """
    tokens = tokenizer.encode(codes, lengths)
    counts = tokens.lengths
    if network.limit and len(counts) and counts.max() > network.limit:
        row = int(counts.argmax())
        raise InputError(f"sequence {row + 1} has {counts[row]} tokens, but this model accepts at most {network.limit}")
    device = next(network.parameters()).device
    for rows in in_batches(counts, tokens_per_batch):
        groups = [rows] if network.accepts_padding else [rows[counts[rows] == n] for n in np.unique(counts[rows])]
        for group in groups:
            part = tokens.rows(group)
            ids, mask = (torch.from_numpy(a).to(device) for a in (part.ids, part.mask))
            yield group, part, network.encode(ids, mask, layer)


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool token vectors, special tokens included.

    Parameters
    ----------
    hidden : torch.Tensor, shape (N, T, hidden)
    mask : torch.Tensor, bool, shape (N, T)
        False for padding.
    pooling : str
        'mean', 'max', or 'cls' for the vector of the first token.

    Returns
    -------
    torch.Tensor, shape (N, hidden)
    """
    if pooling == "cls":
        return hidden[:, 0]
    mask = mask[:, :, None]
    if pooling == "max":
        return hidden.masked_fill(~mask, -torch.inf).amax(1)
    return (hidden * mask).sum(1) / mask.sum(1)


class LanguageModelNet(nn.Module):
    """A language model, pooled over tokens, with an optional linear output layer.

    Parameters
    ----------
    input_length : int
        Window length in bases.
    tokenizer : dict or regzoo.tokenizers.Tokenizer
        A tokenizer, or the arguments of `make_tokenizer`.
    network : dict or torch.nn.Module
        A language model, or the arguments of `make_language_model`.
    pooling : str
        One of `POOLINGS`.
    n_targets : int, optional
        Outputs of the linear layer. By default the outputs are the pooled vectors.
    """

    def __init__(
        self,
        input_length: Size,
        tokenizer: dict[str, Any] | Tokenizer,
        network: dict[str, Any] | nn.Module,
        pooling: Pooling = "mean",
        n_targets: Size | None = None,
    ):
        super().__init__()
        self.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else make_tokenizer(**{"kind": None} | tokenizer)
        self.lm: Any = network
        if isinstance(network, dict):
            options: dict[str, Any] = {"kind": None} | network
            self.lm = make_language_model(self.tokenizer, **options)
        self.pooling = pooling
        self.head = nn.Linear(self.lm.hidden, n_targets) if n_targets else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs, shape (N, n_targets) or (N, hidden), of one-hot windows, shape (N, 4, L)."""
        codes = torch.where(x.sum(1) > 0, x.argmax(1), 4).to(torch.uint8).cpu().numpy()
        order, parts = [], []
        for rows, tokens, hidden in encode_codes(self.lm, self.tokenizer, codes):
            order.append(torch.from_numpy(rows))
            parts.append(pool(hidden.float(), torch.from_numpy(tokens.mask).to(x.device), self.pooling))
        return self.head(torch.cat(parts)[torch.argsort(torch.cat(order))])
