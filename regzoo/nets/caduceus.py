"""A bidirectional, reverse-complement equivariant state-space model over single bases, in plain PyTorch.

The design follows Caduceus (Schiff et al. 2024, arXiv 2403.03234). Blocks are bidirectional and share their weights
between directions. Both strands pass through one stack and are joined at the output. The block is that of Mamba-2 (Dao
& Gu 2024, arXiv 2405.21060): it has one decay rate per head, so that the scan becomes matrix products over chunks.
"""

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.errors import ModelError
from regzoo.nets.arguments import Count, Size

#: Positions per chunk of the scan. The cost is quadratic within a chunk and linear in the number of chunks.
CHUNK = 64
#: Positions per batch on a CPU, so that activations fit in the cache: 2.4 to 2.8 times faster than larger batches
#: (benchmarks/state_space.py).
CACHED = 512


def scan(x: torch.Tensor, decay: torch.Tensor, b: torch.Tensor, c: torch.Tensor, chunk: int = CHUNK) -> torch.Tensor:
    """Chunked scan of a state-space model: h_t = exp(decay_t) h_(t-1) + b_t x_t' and y_t = c_t h_t, for each head.

    Parameters
    ----------
    x : torch.Tensor, shape (N, L, heads, size)
    decay : torch.Tensor, shape (N, L, heads)
        Logarithm of the decay, at most 0.
    b, c : torch.Tensor, shape (N, L, state)
        Input and output projections, shared by the heads.
    chunk : int
        Largest chunk size.

    Returns
    -------
    torch.Tensor, shape (N, L, heads, size)
    """
    length = x.shape[1]
    chunk = -(-length // -(-length // chunk))  # chunks of equal size
    padding = -length % chunk
    if padding:
        x, decay = F.pad(x, (0, 0, 0, 0, 0, padding)), F.pad(decay, (0, 0, 0, padding))
        b, c = (F.pad(side, (0, 0, 0, padding)) for side in (b, c))
    x, decay, b, c = (side.unflatten(1, (-1, chunk)) for side in (x, decay, b, c))
    total = decay.cumsum(2)  # (N, chunks, chunk, heads)
    # Within a chunk, position i reads positions j <= i, with the decay accumulated between them.
    fade = (total[:, :, :, None] - total[:, :, None]).permute(0, 1, 4, 2, 3)
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    weights = fade.masked_fill(~lower, -torch.inf).exp() * (c @ b.mT)[:, :, None]  # (N, chunks, heads, i, j)
    inner = weights @ x.transpose(2, 3)  # (N, chunks, heads, chunk, size)
    # State that each chunk adds, then the state at the start of each chunk.
    left = (total[:, :, -1:] - total).exp()[..., None] * x
    left = torch.einsum("nkjs,nkjhd->nkhsd", b, left)
    whole = total[:, :, -1].exp()[..., None, None]
    state, found = torch.zeros_like(left[:, 0]), []
    for k in range(left.shape[1]):
        found.append(state)
        state = state * whole[:, k] + left[:, k]
    outer = torch.einsum("nkis,nkhsd->nkhid", c, torch.stack(found, 1)) * total.transpose(2, 3).exp()[..., None]
    return (inner + outer).transpose(2, 3).flatten(1, 2)[:, :length]


class _Mixer(nn.Module):
    """Mamba-2 mixer applied in both directions with the same weights."""

    def __init__(self, hidden, heads, state, expand=2, kernel=4):
        super().__init__()
        self.inner, self.heads, self.state = expand * hidden, heads, state
        self.project = nn.Linear(hidden, 2 * self.inner + 2 * state + heads, bias=False)
        mixed = self.inner + 2 * state
        self.convolution = nn.Conv1d(mixed, mixed, kernel, groups=mixed, padding=kernel - 1)
        # On the CPU: on the meta device, the first call of these functions imports for a second.
        steps, decay = torch.logspace(-3, -1, heads, device="cpu"), torch.linspace(1, 16, heads, device="cpu")
        self.step_bias = nn.Parameter(torch.log(torch.expm1(steps)))
        self.log_decay = nn.Parameter(torch.log(decay))
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(self.inner, eps=1e-5)
        self.out = nn.Linear(self.inner, hidden, bias=False)

    def forward(self, x):
        gate, mixed, step = self.project(x).split([self.inner, self.inner + 2 * self.state, self.heads], -1)
        step = F.softplus(step + self.step_bias)
        mixed, step = (torch.cat([side, side.flip(1)]) for side in (mixed, step))
        mixed = F.silu(self.convolution(mixed.mT)[..., : x.shape[1]].mT)
        value, b, c = mixed.split([self.inner, self.state, self.state], -1)
        value = value.unflatten(2, (self.heads, -1))
        y = scan(value * step[..., None], -step * self.log_decay.exp(), b, c) + value * self.skip[:, None]
        forward, backward = y.flatten(2).chunk(2)
        gate = F.silu(gate)
        return self.out(self.norm(forward * gate) + self.norm(backward.flip(1) * gate))


class _Block(nn.Module):
    def __init__(self, hidden, heads, state):
        super().__init__()
        self.norm = nn.RMSNorm(hidden, eps=1e-5)
        self.mixer = _Mixer(hidden, heads, state)

    def forward(self, x):
        return x + self.mixer(self.norm(x))


class Caduceus(nn.Module):
    """Masked language model over single bases, the tokens of `regzoo.tokenizers.SingleBases`.

    Parameters
    ----------
    hidden, layers, heads, state : int
        Width, number of blocks, heads per block, and size of the state.
    vocabulary : int
        Number of tokens.
    bases : int
        Token id of A. C, G, T and N follow.

    Raises
    ------
    ModelError
        If twice `hidden` is not a multiple of `heads`, or the vocabulary is too small for the bases.

    Attributes
    ----------
    hidden : int
        Width of the vectors of `encode`, which concatenates both strands: twice the argument.
    vocabulary : int
    limit : None
        Largest number of tokens in a sequence; there is none.
    accepts_padding : bool
        False: the model has no mask, so all sequences of a batch must have the same length.
    """

    limit: int | None = None
    accepts_padding = False
    complement: torch.Tensor

    def __init__(
        self,
        hidden: Size = 128,
        layers: Count = 4,
        heads: Count = 4,
        state: Size = 32,
        vocabulary: Size = 12,
        bases: Size = 7,
    ):
        super().__init__()
        if 2 * hidden % heads:
            raise ModelError(f"hidden: twice its value, {2 * hidden}, is not a multiple of heads, {heads}")
        if bases + 4 > vocabulary:
            raise ModelError(f"vocabulary: {vocabulary} tokens are too few for four bases that start at token {bases}")
        self.hidden, self.vocabulary = 2 * hidden, vocabulary
        self.words = nn.Embedding(vocabulary, hidden)
        nn.init.normal_(self.words.weight, std=0.02)
        self.layers = nn.ModuleList(_Block(hidden, heads, state) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden, eps=1e-5)
        self.head = nn.Linear(hidden, vocabulary, bias=False)
        complement = torch.arange(vocabulary)
        complement[bases : bases + 4] = torch.arange(bases + 3, bases - 1, -1)
        self.register_buffer("complement", complement, persistent=False)

    def encode(self, ids: torch.Tensor, mask: torch.Tensor | None = None, layer: int | None = None) -> torch.Tensor:
        """Token vectors, forward and reverse-complement strand concatenated.

        Parameters
        ----------
        ids : torch.Tensor, int64, shape (N, L)
            Token ids without padding.
        mask : torch.Tensor, optional
            Must be all True; accepted for compatibility with `MaskedLM.encode`.
        layer : int, optional
            Number of blocks to apply. By default all blocks and the final norm.

        Returns
        -------
        torch.Tensor, shape (N, L, 2 x hidden)
            The reverse complement of a sequence gives the same vectors with positions reversed and the halves swapped.

        Raises
        ------
        ValueError
            If `mask` is False anywhere.
        """
        if mask is not None and not bool(mask.all()):
            raise ValueError("a state-space model takes no padding: group sequences by length")
        rows = len(ids)
        if ids.device.type == "cpu" and not torch.is_grad_enabled():
            rows = max(1, CACHED // ids.shape[1])
        return torch.cat([self._encode(part, layer) for part in ids.split(max(1, rows))])

    def _encode(self, ids, layer):
        x = self.words(torch.cat([ids, self.complement[ids.flip(1)]]))
        for block in self.layers[:layer]:
            x = block(x)
        if layer in (None, len(self.layers)):
            x = self.norm(x)
        forward, backward = x.chunk(2)
        return torch.cat([forward, backward.flip(1)], -1)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary, shape (N, L, vocabulary), from vectors of `encode`: the mean of both strands."""
        forward, backward = hidden.chunk(2, -1)
        return (self.head(forward) + self.head(backward)[..., self.complement]) / 2

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits over the vocabulary for each token, shape (N, L, vocabulary)."""
        return self.logits(self.encode(ids, mask))
