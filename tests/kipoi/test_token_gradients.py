"""Gradients through k-mer embeddings, against torch on the sum over all k-mers that defines them."""

from itertools import product

import numpy as np
import pytest
import torch

from regzoo.errors import InputError
from regzoo.kipoi.token_gradients import differentiable_tokens, language_model_in
from regzoo.tokenizers import BPE
from regzoo.zoo import load_model


def all_kmers(x, tokens, tokenizer, weight):
    """Embeddings of tokens, shape (T, hidden), as a sum over every k-mer of a token's length."""
    result = []
    for token, start, end in zip(tokens.ids[0], tokens.starts[0], tokens.ends[0]):
        if x[:, start:end].sum() < end - start or start == end:  # unknown bases, and special tokens
            result.append(weight[token])
            continue
        total = 0
        for bases in product(range(4), repeat=int(end - start)):
            share = x[list(bases), range(start, end)].prod()
            total = total + share * weight[tokenizer.vocabulary.index("".join("ACGT"[b] for b in bases))]
        result.append(total)
    return torch.stack(result)


@pytest.mark.parametrize("unknown", [False, True])
def test_gradients_equal_those_of_the_sum_over_all_kmers(language_model, unknown):
    net = language_model_in(load_model(language_model, device="cpu").module)
    length = 14
    codes = np.random.default_rng(0).integers(0, 4, length)
    x = torch.eye(4)[codes].T[None]
    if unknown:
        x[:, :, 4] = 0
    weights = torch.randn(net.lm.hidden, generator=torch.Generator().manual_seed(1))
    if isinstance(net.tokenizer, BPE):
        with pytest.raises(InputError, match="byte-pair tokens"), differentiable_tokens(net):
            pass
        return
    x.requires_grad_()
    with differentiable_tokens(net):
        output = net(x)
        (output @ weights).sum().backward()
    got, x.grad = x.grad, None
    words = net.lm.words if hasattr(net.lm, "words") else net.lm.encoder.words
    tokens = net.tokenizer.encode(np.where(x.sum(1)[0].numpy(force=True) > 0, codes, 4)[None].astype(np.uint8))

    def replace(layer, arguments, embedded):
        both = [all_kmers(x[0], tokens, net.tokenizer, layer.weight)]
        if len(embedded) == 2:  # Caduceus also embeds the reverse complement
            turned = net.tokenizer.encode(
                np.where(x.sum(1)[0].numpy(force=True) > 0, 3 - codes, 4)[::-1][None].astype(np.uint8)
            )
            both.append(all_kmers(x[0].flip(0, 1), turned, net.tokenizer, layer.weight))
        return torch.stack(both)

    hook = words.register_forward_hook(replace)
    reference = net(x)
    (reference @ weights).sum().backward()
    hook.remove()
    np.testing.assert_allclose(output.numpy(force=True), reference.numpy(force=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got, x.grad, rtol=1e-3, atol=1e-4 * float(x.grad.abs().max()))
    assert got.abs().max() > 0 and (not unknown or not got[:, :, 4].any())
