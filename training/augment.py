"""Augmentation of batches of base codes: reverse complement, shift, mutation, erasure."""

import torch

from regzoo.sequence.codes import UNKNOWN
from training.recipe import Augmentation

_COMPLEMENT = torch.tensor([3, 2, 1, 0, 4], dtype=torch.uint8)


def reverse_complement(codes: torch.Tensor) -> torch.Tensor:
    """Reverse complement of base codes, uint8 tensor of shape (N, L)."""
    return _COMPLEMENT[codes.flip(-1).long()]


def augment(codes: torch.Tensor, options: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Change a batch at random; the result depends only on the arguments and the generator's state.

    Parameters
    ----------
    codes : torch.Tensor, uint8, shape (N, L)
    options : training.recipe.Augmentation
    generator : torch.Generator

    Returns
    -------
    torch.Tensor, uint8, shape (N, L)
    """
    n, length = codes.shape
    if options.shift:
        padded = torch.nn.functional.pad(codes, (options.shift, options.shift), value=UNKNOWN)
        start = torch.randint(0, 2 * options.shift + 1, (n, 1), generator=generator)
        codes = padded.gather(1, start + torch.arange(length))
    if options.mutate:
        random = torch.randint(0, 4, (n, length), generator=generator, dtype=torch.uint8)
        chosen = torch.rand(n, length, generator=generator) < options.mutate
        codes = torch.where(chosen & (codes < UNKNOWN), random, codes)
    if options.erase:
        position = torch.arange(length)
        start = torch.randint(0, length, (n, 1), generator=generator)
        size = torch.randint(0, options.erase + 1, (n, 1), generator=generator)
        codes = codes.masked_fill((position >= start) & (position < start + size), UNKNOWN)
    if options.reverse_complement:
        flip = torch.rand(n, 1, generator=generator) < 0.5
        codes = torch.where(flip, reverse_complement(codes), codes)
    return codes
