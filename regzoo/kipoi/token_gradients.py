"""Gradients with respect to one-hot windows of networks that read tokens.

The embedding of a k-mer is taken as a function of its one-hot bases that is linear in each of them: the sum over all
k-mers of their embeddings, weighted by the product of the entries of their bases. At a one-hot window it equals the
embedding that is looked up, and its derivative by base b at position i is the embedding of the k-mer with b at i.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from regzoo.errors import InputError
from regzoo.nets.sequence_model import LanguageModelNet
from regzoo.sequence.codes import UNKNOWN
from regzoo.tokenizers import OverlappingKmers, SingleBases, SixMers


def language_model_in(module: nn.Module) -> LanguageModelNet | None:
    """The network in `module` that turns one-hot windows into tokens, or None."""
    return next((part for part in module.modules() if isinstance(part, LanguageModelNet)), None)


@contextmanager
def differentiable_tokens(net: LanguageModelNet) -> Iterator[None]:
    """Within this block, `net` has gradients with respect to its input, a single one-hot window of shape (1, 4, L).

    Gradients at unknown bases are zero, as is the share of k-mers with an unknown base.

    Raises
    ------
    InputError
        If the tokens are not k-mers. With byte-pair tokens, the ends of the tokens depend on the bases.
    """
    if not isinstance(net.tokenizer, (OverlappingKmers, SingleBases, SixMers)):
        raise InputError(
            "this model reads byte-pair tokens, whose ends depend on the bases, so that there is no gradient with "
            "respect to a base; use mutation scores instead (`kipoi interpret ism`, `regzoo mutate`)"
        )
    words = next(m for name, m in net.lm.named_modules() if isinstance(m, nn.Embedding) and name.endswith("words"))
    windows: list[torch.Tensor] = []

    def keep(_, arguments):
        windows[:] = arguments

    def add_gradient(layer, arguments, embedded):
        [ids] = arguments
        value = _interpolated(windows[0], net.tokenizer, layer.weight.detach(), getattr(net.lm, "complement", None))
        return embedded + (value - value.detach())[: len(ids)]

    hooks = [net.register_forward_pre_hook(keep), words.register_forward_hook(add_gradient)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _interpolated(window, tokenizer, weight, complement):
    """A function of the window whose derivative is that of the embedding, shape (1, T, hidden).

    With `complement`, the tokens' complements, the reverse complement is the second row: Caduceus embeds both strands.
    """
    x = window[0]
    codes = torch.where(x.sum(0) > 0, x.argmax(0), UNKNOWN).to(torch.uint8).cpu().numpy()
    tokens = tokenizer.encode(codes[None])
    starts, ends = tokens.starts[0], tokens.ends[0]
    place, known = np.arange(len(codes)), codes < UNKNOWN
    unknown = np.concatenate([[0], np.cumsum(~known)])
    whole = unknown[starts] == unknown[ends]
    size = int((ends - starts).max())
    rows = [weight.new_zeros(len(starts), weight.shape[1]) for _ in range(2)]
    # Of `size` neighbouring bases, each token covers at most one whose position has a given remainder.
    for remainder in range(size):
        position = starts + (remainder - starts) % size
        inside = (position < ends) & whole
        position = np.where(inside, position, 0)
        for base in range(4):
            changed = np.where(known & (place % size == remainder), base, codes).astype(np.uint8)
            ids = torch.from_numpy(tokenizer.encode(changed[None]).ids[0]).to(x.device)
            share = (x[base, torch.from_numpy(position).to(x.device)] * torch.from_numpy(inside).to(x))[:, None]
            rows[0] = rows[0] + share * weight[ids]
            if complement is not None:
                rows[1] = rows[1] + share.flip(0) * weight[complement[ids.flip(0)]]
    return torch.stack(rows if complement is not None else rows[:1])
