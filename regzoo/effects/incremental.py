"""Exact incremental evaluation of changed sequences.

A changed window is evaluated from the activations of its reference window, in delta form. Linear layers are applied to
the difference of their inputs, which is zero outside a short span. Their cost is proportional to (changed inputs x
kernel) instead of (window x kernel). Layers between them (activations, batch norm, max pooling) are evaluated over the
span, from reference + delta. Spans grow from layer to layer with kernel, dilation and pooling phase. The first dense
layer multiplies the delta with the corresponding slice of its weights.

The plan is derived from the module tree, with one rule per layer type. The network is evaluated in full from the first
layer without a rule. Results equal full evaluation up to float32 rounding.

Arrays are channels-last, (rows, positions, channels): the channels of a position are contiguous.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.nets.blocks import Exponential, Residual
from regzoo.nets.fourier import FourierConvolution
from regzoo.nets.products import linear

logger = logging.getLogger(__name__)

#: Layers that act on each position and channel separately.
POINTWISE = (
    nn.ReLU,
    nn.Threshold,
    nn.GELU,
    nn.ELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Identity,
    Exponential,
)
#: Non-decreasing layers, with which max pooling commutes.
RISING = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, Exponential)
_DROPOUT = (nn.Dropout, nn.Dropout1d)

#: Changed windows evaluated together: enough rows for fast products, few enough that the activations of a layer (up to
#: 130 kB per row in DeepSEA) stay in the last-level cache. Times for 64 to 512 were within 10% of each other.
CHUNK = 192
#: Smallest number of rows per pooling phase to evaluate phases separately. With fewer, calls cost more than wasted
#: positions.
FEW = 24
#: Cost of a product of changed positions relative to one in a full pass. Gathers and additions take about as long as
#: the product itself.
OVERHEAD = 2.0


@dataclass
class Span:
    """Differences from the reference over a span of positions, for each row.

    Attributes
    ----------
    delta : torch.Tensor, float32, shape (B, width, channels)
    start : torch.Tensor, int64, shape (B,)
        First position of each row's span. A span may extend beyond the window, where its delta is zero.
    """

    delta: torch.Tensor
    start: torch.Tensor

    def masked(self, length: int) -> "Span":
        """Set the delta outside [0, length) to zero, in place, and return the span."""
        width = self.delta.shape[1]
        if int(self.start.min()) < 0 or int(self.start.max()) + width > length:
            position = self.start[:, None] + torch.arange(width)
            self.delta *= ((position >= 0) & (position < length))[:, :, None]
        return self


@dataclass
class Tape:
    """Activations of a reference pass.

    Attributes
    ----------
    tapes : list of torch.Tensor, shape (rows, positions, channels)
        Activations before the first step and after each step.
    hidden : torch.Tensor or None, shape (W, units)
        Output of the first dense layer.
    rows : torch.Tensor, int64, shape (W,)
        Row of each window in `tapes`.
    starts : torch.Tensor, int64, shape (W,)
        First position of each window in `tapes[0]`.
    length : int
        Window length, in bases.
    """

    tapes: list[torch.Tensor]
    hidden: torch.Tensor | None
    rows: torch.Tensor
    starts: torch.Tensor
    length: int


def product(rows: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Matrix product, ``rows @ weights + bias``.

    Parameters
    ----------
    rows : torch.Tensor, float32, shape (N, in)
    weights : torch.Tensor, float32 or bfloat16, shape (in, out)
        Contiguous. The product is evaluated in this type.
    bias : torch.Tensor, float32, shape (out,), optional

    Returns
    -------
    torch.Tensor, float32, shape (N, out)
    """
    result = linear(rows, weights.t()).to(rows.dtype)
    return result if bias is None else result.add_(bias)


def affine(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift of a batch norm in evaluation mode, each float32 of shape (channels,)."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = norm.weight.detach() * scale
    return scale, (norm.bias.detach() if norm.affine else 0) - norm.running_mean * scale


def gather(reference: torch.Tensor, rows: torch.Tensor, start: torch.Tensor, width: int) -> torch.Tensor:
    """Gather a span of positions from selected rows.

    Parameters
    ----------
    reference : torch.Tensor, shape (rows, length, channels)
    rows, start : torch.Tensor, int64, shape (B,)
        Row and first position of each span.
    width : int

    Returns
    -------
    torch.Tensor, shape (B, width, channels)
        Positions outside [0, length) have the values of the first or last position.
    """
    count, length, channels = reference.shape
    position = (start[:, None] + torch.arange(width)).clamp_(0, length - 1)
    if reference.is_contiguous():
        index = rows[:, None] * length + position
    else:  # ordered by position first, as Fourier transforms leave it
        index, reference = position * count + rows[:, None], reference.transpose(0, 1)
    return reference.reshape(-1, channels).index_select(0, index.flatten()).view(len(start), width, channels)


class Step(ABC):
    """Rule for one or several layers.

    Attributes
    ----------
    pool : int
        Pooling width.
    left, right : int
        Padding before and after a window.
    """

    pool = 1
    left = right = 0

    @abstractmethod
    def reference(self, tapes: list[torch.Tensor]) -> torch.Tensor:
        """Activations after this step, shape (rows, positions, channels), from those before it."""

    @abstractmethod
    def update(self, spans: list[Span], tapes: list[torch.Tensor], windows: torch.Tensor) -> Span:
        """Deltas after this step.

        Parameters
        ----------
        spans : list of Span
            Deltas before the first step and after each earlier step.
        tapes : list of torch.Tensor
            Activations of the reference, also after this step.
        windows : torch.Tensor, int64, shape (B,)
            Row of the reference in `tapes`, for each row of the spans.
        """

    @abstractmethod
    def stretch(self, changes: "Stretch", tapes: list[torch.Tensor]) -> tuple[int, torch.Tensor]:
        """First position and activations after this step, over the positions that a change reaches."""

    @abstractmethod
    def length(self, length: int) -> int:
        """Number of positions after this step, of `length` before it."""

    @abstractmethod
    def cost(self, width: int) -> tuple[int, int]:
        """Number of multiplications for `width` changed positions, and number of positions they change."""


class Convolution(Step):
    """Rule for Conv1d of stride 1 and the batch norm that follows it.

    A change is evaluated in delta form: the delta is multiplied with the weights of each tap, and each product is added
    to its output. Whole windows and long stretches are evaluated by Fourier transforms where those are cheaper
    (`regzoo.nets.fourier`).

    Parameters
    ----------
    layer : torch.nn.Conv1d
        A layer that `fits`.
    dtype : torch.dtype
        Type of the products, float32 or bfloat16.
    norm : torch.nn.BatchNorm1d, optional
        Merged into the weights.
    """

    def __init__(self, layer: nn.Conv1d, dtype: torch.dtype, norm: nn.BatchNorm1d | None = None):
        kernel, dilation = layer.kernel_size[0], layer.dilation[0]
        self.kernel, self.dilation, self.reach = kernel, dilation, (kernel - 1) * dilation
        if isinstance(layer.padding, str):
            self.left = self.reach // 2 if layer.padding == "same" else 0
            self.right = self.reach - self.left if layer.padding == "same" else 0
        else:
            self.left = self.right = layer.padding[0]
        weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
        if norm is not None:
            scale, shift = affine(norm)
            weight, bias = weight * scale[:, None, None], shift if bias is None else bias * scale + shift
        self.weight, self.bias, self.dtype = weight, bias, dtype
        self.fourier = FourierConvolution(weight, bias, self.left, dilation) if dtype == torch.float32 else None
        self.direct = weight[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)
        # (in, taps x out), taps reversed: the order of the outputs that a changed input contributes to.
        self.taps = weight.flip(2).permute(1, 2, 0).reshape(layer.in_channels, -1).to(dtype).contiguous()

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether the rule applies to a layer."""
        return (
            isinstance(layer, nn.Conv1d)
            and layer.stride == (1,)
            and layer.groups == 1
            and layer.padding_mode == "zeros"
        )

    def reference(self, tapes: list[torch.Tensor]) -> torch.Tensor:
        """See `Step.reference`."""
        length = tapes[-1].shape[1]
        return self.outputs(tapes[-1], 0, self.length(length), length)

    def outputs(self, x: torch.Tensor, low: int, high: int, length: int) -> torch.Tensor:
        """Outputs [low, high), shape (rows, high - low, out).

        Parameters
        ----------
        x : torch.Tensor, float32, shape (rows, positions, in)
            The inputs in [0, length) that these outputs read.
        low, high : int
        length : int
            Length of the whole input.
        """
        if self.fourier and self.fourier.worthwhile(len(x), low, high, length):
            return self.fourier(x, low, high, length)
        first = low - self.left
        left, right = max(0, -first), max(0, high + self.reach - self.left - length)
        if self.kernel == 1 and not left and not right:
            return product(x.flatten(0, 1), self._patch_weights, self.bias).unflatten(0, x.shape[:2])
        bias = None if self.bias is None else self.bias.to(self.dtype)
        image = x.transpose(1, 2)[:, :, None].to(self.dtype)  # (rows, channels, 1, positions), channels_last
        if left == right:
            y = F.conv2d(image, self.direct, bias, padding=(0, left), dilation=(1, self.dilation))
        else:
            y = F.conv2d(F.pad(image, (left, right)), self.direct, bias, dilation=(1, self.dilation))
        return y[:, :, 0].transpose(1, 2).to(x.dtype)

    def update(self, spans: list[Span], tapes: list[torch.Tensor], windows: torch.Tensor) -> Span:
        """See `Step.update`."""
        span = spans[-1]
        rows, width, channels = span.delta.shape
        out = self.weight.shape[0]
        products = product(span.delta.reshape(-1, channels), self.taps).view(rows, width, self.kernel, out)
        total = products.new_zeros(rows, width + self.reach, out)
        if self.dilation == 1 and width <= self.kernel:
            for i in range(width):
                total[:, i : i + self.kernel] += products[:, i]
        else:
            for tap in range(self.kernel):
                first = tap * self.dilation
                total[:, first : first + width] += products[:, :, tap]
        return Span(total, span.start + self.left - self.reach).masked(tapes[len(spans)].shape[1])

    def stretch(self, changes: "Stretch", tapes: list[torch.Tensor]) -> tuple[int, torch.Tensor]:
        """See `Step.stretch`."""
        first, x = changes.last
        index = len(changes.activations) - 1
        length = tapes[index].shape[1]
        low = max(first + self.left - self.reach, 0)
        high = min(first + x.shape[1] + self.left, self.length(length))
        low = min(low, high - 1)
        begin, end = max(low - self.left, 0), min(high - self.left + self.reach, length)
        return low, self.outputs(changes.around(tapes, index, begin, end), low, high, length)

    @cached_property
    def _patch_weights(self):
        return self.weight.permute(1, 2, 0).flatten(0, 1).to(self.dtype).contiguous()

    def products(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs without padding, shape (rows, width - reach, out), of inputs, shape (rows, width, in)."""
        patches = x.unfold(1, self.reach + 1, 1)[..., :: self.dilation]
        return product(patches.flatten(2).flatten(0, 1), self._patch_weights, self.bias).view(*patches.shape[:2], -1)

    def length(self, length: int) -> int:
        """See `Step.length`."""
        return length + self.left + self.right - self.reach

    def cost(self, width: int) -> tuple[int, int]:
        """See `Step.cost`."""
        return width * self.taps.numel(), width + self.reach


class _Pointwise(Step):
    """Rule for activations and batch norm, followed by at most one max pooling."""

    def __init__(self, layers: list[nn.Module], pool: int = 1):
        self.layers, self.pool = [affine(la) if isinstance(la, nn.BatchNorm1d) else la for la in layers], pool
        # Pooling is done before non-decreasing layers, which then have fewer positions to evaluate.
        self.first = len(layers)
        while self.first and isinstance(layers[self.first - 1], RISING):
            self.first -= 1

    def apply(self, x):
        for layer in self.layers[: self.first]:
            x = self._one(layer, x)
        if self.pool > 1:
            whole = x.shape[1] // self.pool
            x = x[:, : whole * self.pool].unflatten(1, (whole, self.pool)).amax(2)
        for layer in self.layers[self.first :]:
            x = self._one(layer, x)
        return x

    @staticmethod
    def _one(layer, x):
        return torch.addcmul(layer[1], x, layer[0]) if isinstance(layer, tuple) else layer(x)

    def stretch(self, changes, tapes):
        first, x = changes.last
        index = len(changes.activations) - 1
        groups = self.length(tapes[index].shape[1])
        low = min(first // self.pool, groups - 1)
        high = max(low + 1, min(-(-(first + x.shape[1]) // self.pool), groups))
        return low, self.apply(changes.around(tapes, index, low * self.pool, high * self.pool))

    def reference(self, tapes):
        return self.apply(tapes[-1])

    def update(self, spans, tapes, windows):
        span, before, after = spans[-1], tapes[len(spans) - 1], tapes[len(spans)]
        first = span.start.div(self.pool, rounding_mode="floor")
        shift = span.start - first * self.pool
        width = span.delta.shape[1]
        groups = -(-(int(shift.max()) + width) // self.pool)
        aligned = gather(before, windows, first * self.pool, groups * self.pool)
        for phase in shift.unique().tolist():
            chosen = shift == phase
            if chosen.all():
                aligned[:, phase : phase + width] += span.delta
            else:
                aligned[chosen, phase : phase + width] += span.delta[chosen]
        delta = self.apply(aligned) - gather(after, windows, first, groups)
        return Span(delta, first).masked(after.shape[1])

    def length(self, length):
        return length // self.pool

    def cost(self, width):
        return 0, -(-(width + self.pool - 1) // self.pool)


class Merge(Step):
    """Rule for the sum at the end of a residual block, x + body(x).

    Parameters
    ----------
    source : int
        Index of the block's input among the activations.
    """

    def __init__(self, source: int):
        self.source = source

    def reference(self, tapes: list[torch.Tensor]) -> torch.Tensor:
        """See `Step.reference`."""
        return tapes[-1] + tapes[self.source]

    def update(self, spans: list[Span], tapes: list[torch.Tensor], windows: torch.Tensor) -> Span:
        """See `Step.update`."""
        outer, inner = spans[self.source], spans[-1]
        offsets = outer.start - inner.start
        width = outer.delta.shape[1]
        total = inner.delta.clone()
        for offset in offsets.unique().tolist():
            chosen = offsets == offset
            total[chosen, offset : offset + width] += outer.delta[chosen]
        return Span(total, inner.start).masked(tapes[len(spans)].shape[1])

    def stretch(self, changes: "Stretch", tapes: list[torch.Tensor]) -> tuple[int, torch.Tensor]:
        """See `Step.stretch`."""
        first, x = changes.last
        return first, x + changes.around(tapes, self.source, first, first + x.shape[1])

    def length(self, length: int) -> int:
        """See `Step.length`."""
        return length

    def cost(self, width: int) -> tuple[int, int]:
        """See `Step.cost`."""
        return 0, width


class Stretch:
    """Windows changed at the same positions, with their activations over the positions that the change reaches.

    Parameters
    ----------
    windows : torch.Tensor, int64, shape (B,), or None
        Reference window of each changed window. None if they are all reference windows, in order.
    first : int
        First changed position.
    x : torch.Tensor, float32, shape (B, width, 4)
        One-hot of the changed bases, channels last.
    """

    def __init__(self, windows: torch.Tensor | None, first: int, x: torch.Tensor):
        self.windows = windows
        self.activations: list[Any] = [(first, x)]  # None where they are not needed any more

    @property
    def last(self) -> tuple[int, torch.Tensor]:
        """First position and activations after the last step that was evaluated."""
        return self.activations[-1]

    def around(self, tapes: list[torch.Tensor], index: int, low: int, high: int) -> torch.Tensor:
        """Activations of the changed windows after `index` steps at [low, high), completed from the reference."""
        first, x = self.activations[index]
        end = first + x.shape[1]
        parts = [x[:, max(low - first, 0) : max(high - first, 0)]]
        if low < first:
            parts.insert(0, self._reference(tapes[index], low, min(first, high)))
        if high > end:
            parts.append(self._reference(tapes[index], max(end, low), high))
        # Concatenated with positions first, the order in memory that Fourier transforms read.
        return parts[0] if len(parts) == 1 else torch.cat([part.transpose(0, 1) for part in parts]).transpose(0, 1)

    def _reference(self, tape, low, high):
        return tape[:, low:high] if self.windows is None else tape[self.windows, low:high]


def _flat(layers):
    """Layers in order, with nested Sequentials expanded and without dropout."""
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        elif not isinstance(layer, _DROPOUT):
            yield layer


def _has_rule(layer):
    if isinstance(layer, Residual):
        return all(_has_rule(inner) for inner in _flat(layer.body))
    if isinstance(layer, nn.MaxPool1d):
        return layer.stride == layer.kernel_size and not layer.padding and not layer.ceil_mode and layer.dilation == 1
    if isinstance(layer, nn.BatchNorm1d):
        return layer.track_running_stats  # otherwise it uses the statistics of the batch
    return isinstance(layer, POINTWISE) or Convolution.fits(layer)


def _add_steps(layers, steps, dtype):
    """Append the steps of layers with rules to a list."""
    pending: list[nn.Module] = []
    convolution = None

    def flush(pool=1):
        if pending or pool > 1:
            steps.append(_Pointwise(list(pending), pool))
            pending.clear()

    for layer in layers:
        if isinstance(layer, nn.MaxPool1d):
            flush(layer.kernel_size)
        elif isinstance(layer, Residual):
            flush()
            source = len(steps)
            _add_steps(_flat(layer.body), steps, dtype)
            steps.append(Merge(source))
        elif isinstance(layer, nn.Conv1d):
            flush()
            convolution = layer
            steps.append(Convolution(layer, dtype))
            continue
        elif isinstance(layer, nn.BatchNorm1d) and convolution is not None:
            steps[-1] = Convolution(convolution, dtype, layer)
        else:
            pending.append(layer)
        convolution = None
    flush()


def has_plan(network: nn.Module) -> bool:
    """Whether `plan` supports a network.

    It supports Sequential, and architectures of this library with `layers`, or `trunk` and `head`. Other classes may
    use attributes of these names differently, so they are evaluated in full.
    """
    if type(network).forward is nn.Sequential.forward:
        return True
    ours = type(network).__module__.startswith("regzoo.nets.")
    return ours and any(isinstance(getattr(network, name, None), nn.Sequential) for name in ("trunk", "layers"))


def plan(network: Any, dtype: torch.dtype = torch.float32) -> tuple[list[Step], list[Callable[..., torch.Tensor]]]:
    """Split a network into steps with a rule and the remaining layers.

    Parameters
    ----------
    network : torch.nn.Module
        A Sequential, or a network with a Sequential `layers`, or with a Sequential `trunk` and a method `head`.
    dtype : torch.dtype
        Type of the products.

    Returns
    -------
    steps : list of Step
    rest : list of callable
        Layers to evaluate in full on channels-first activations.
    """
    tail = []
    if hasattr(network, "trunk"):
        network, tail = network.trunk, [network.head]
    layers = list(_flat(getattr(network, "layers", network) if not isinstance(network, nn.Sequential) else network))
    count = next((i for i, layer in enumerate(layers) if not _has_rule(layer)), len(layers))
    steps: list[Step] = []
    _add_steps(layers[:count], steps, dtype)
    return steps, layers[count:] + tail


class Incremental:
    """Incremental evaluation of one network.

    Parameters
    ----------
    network : torch.nn.Module
        Network in evaluation mode on a CPU that returns logits for one-hot windows, shape (N, 4, L).
    dtype : torch.dtype
        Type of the products, float32 or bfloat16. With bfloat16, the rounding error is relative to the change, because
        activations are float32.

    Attributes
    ----------
    steps : list of Step
    dense : torch.nn.Linear or None
        First dense layer, if it directly follows the steps.
    rest : list of callable
        Layers after the steps and `dense`, evaluated in full.
    pools : int
        Product of all pooling widths.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32):
        self.network, self.dtype = network, dtype
        self.steps, self.rest = plan(network, dtype)
        self.pools = math.prod(step.pool for step in self.steps)
        self.dense: nn.Linear | None = None
        if len(self.rest) > 1 and isinstance(self.rest[0], nn.Flatten) and isinstance(self.rest[1], nn.Linear):
            self.dense, self.rest = self.rest[1], self.rest[2:]
        self._sliced: torch.Tensor | None = None

    @property
    def shares(self) -> bool:
        """Whether overlapping windows can share convolutions: there is no padding, and a dense layer follows."""
        return self.dense is not None and not any(step.left or step.right for step in self.steps)

    @torch.inference_mode()
    def trunk(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Activations before the first step and after each step, of one-hot sequences, shape (rows, length, 4)."""
        return self._continue([x])

    def _continue(self, tapes):
        """Evaluate the steps that follow the given activations."""
        for step in self.steps[len(tapes) - 1 :]:
            tapes.append(step.reference(tapes))
        return tapes

    @torch.inference_mode()
    def reference(self, x: torch.Tensor) -> tuple[torch.Tensor, Tape]:
        """Evaluate reference windows and keep their activations.

        Parameters
        ----------
        x : torch.Tensor, float32, shape (W, L, 4)
            One-hot, channels last.

        Returns
        -------
        logits : torch.Tensor, float32, shape (W, targets) or (W, targets, bins)
        tape : Tape
        """
        if self.dense is None and self.rest:
            _log_once(", ".join(getattr(layer, "__name__", type(layer).__name__) for layer in self.rest))
        tapes = self.trunk(x)
        hidden = None if self.dense is None else self.hidden_layer(tapes[-1])
        logits = self._finish(tapes[-1].transpose(1, 2) if hidden is None else hidden)
        rows = torch.arange(len(x))
        return logits, Tape(tapes, hidden, rows, torch.zeros_like(rows), x.shape[1])

    @torch.inference_mode()
    def evaluate_stretches(self, x: torch.Tensor, stretches: list[Stretch]) -> dict[Stretch | None, torch.Tensor]:
        """Evaluate reference windows and changed windows together, layer by layer.

        Activations are discarded as soon as no later layer needs them.

        Parameters
        ----------
        x : torch.Tensor, float32, shape (W, L, 4)
            One-hot reference windows, channels last.
        stretches : list of Stretch

        Returns
        -------
        dict of Stretch to torch.Tensor, float32, shape (rows, targets) or (rows, targets, bins)
            Logits of each stretch. The key None holds those of the reference windows.
        """
        last_use = {step.source: number for number, step in enumerate(self.steps) if isinstance(step, Merge)}
        # Rows of `tapes` are the reference windows, followed by stretches that have grown to whole windows.
        tapes: list[Any] = [x]
        parts: list[tuple[Stretch | None, int]] = [(None, len(x))]
        for number, step in enumerate(self.steps):
            tapes.append(step.reference(tapes))
            for changes in stretches:
                changes.activations.append(step.stretch(changes, tapes))
            for index in [i for i in (number, getattr(step, "source", number)) if last_use.get(i, number) <= number]:
                tapes[index] = None
                for changes in stretches:
                    changes.activations[index] = None
            whole = [c for c in stretches if c.last[1].shape[1] == tapes[-1].shape[1]]
            if whole and all(tape is None for tape in tapes[:-1]):
                tapes[-1] = torch.cat([tapes[-1], *(c.last[1] for c in whole)])
                parts += [(c, len(c.last[1])) for c in whole]
                stretches = [c for c in stretches if c not in whole]
        count, length = len(self.steps), tapes[-1].shape[1]
        values = dict(zip((c for c, _ in parts), self._tail(tapes[-1]).split([size for _, size in parts])))
        for changes in stretches:
            values[changes] = self._tail(changes.around(tapes, count, 0, length))
        return values

    def _tail(self, last):
        return self._finish(last.transpose(1, 2) if self.dense is None else self.hidden_layer(last))

    @torch.inference_mode()
    def shared_reference(self, x: torch.Tensor, starts: torch.Tensor, length: int) -> tuple[torch.Tensor, Tape]:
        """Evaluate overlapping reference windows of one sequence, with convolutions evaluated once.

        Parameters
        ----------
        x : torch.Tensor, float32, shape (1, R, 4)
            One-hot sequence that contains all windows.
        starts : torch.Tensor, int64, shape (W,)
            First positions of the windows, multiples of `pools`.
        length : int
            Window length.

        Returns
        -------
        logits, tape
            See `reference`.
        """
        tapes = self.trunk(x)
        positions = self.lengths(length)[-1]
        last = tapes[-1][0].unfold(0, positions, 1)[starts // self.pools].transpose(1, 2)
        hidden = self.hidden_layer(last)
        return self._finish(hidden), Tape(tapes, hidden, torch.zeros_like(starts), starts, length)

    def lengths(self, length: int) -> list[int]:
        """Number of positions before the first step and after each step, for a window of `length` bases."""
        result = [length]
        for step in self.steps:
            result.append(step.length(result[-1]))
        return result

    def hidden_layer(self, last: torch.Tensor) -> torch.Tensor:
        """Output of the dense layer, shape (N, units), of the last activations, shape (N, positions, channels)."""
        assert self.dense is not None
        weights = self.slices(last.shape[1])
        return product(last.reshape(len(last), -1), weights.flatten(0, 1)) + self.dense.bias

    def slices(self, length: int) -> torch.Tensor:
        """Weights of the dense layer by position, shape (length, channels, units)."""
        if self._sliced is None:
            assert self.dense is not None
            weight = self.dense.weight.detach()
            self._sliced = weight.view(weight.shape[0], -1, length).permute(2, 1, 0).to(self.dtype).contiguous()
        return self._sliced

    def _finish(self, x):
        for layer in self.rest:
            x = layer(x)
        return x

    def steps_worthwhile(self, width: int, length: int, spliced: bool = False) -> int:
        """Number of steps to evaluate incrementally, before the remaining steps are cheaper in full.

        Parameters
        ----------
        width : int
            Number of changed bases.
        length : int
            Window length.
        spliced : bool
            Count the changed outputs of each step instead of the changed inputs.

        Returns
        -------
        int
            0 if a full pass is cheapest.
        """
        full = [step.cost(positions)[0] for step, positions in zip(self.steps, self.lengths(length))]
        spent, left = 0.0, sum(full)
        costs = [float(left)]
        for step, in_full in zip(self.steps, full):
            products, wider = step.cost(width)
            products, width = step.cost(wider)[0] if spliced else products, wider
            spent, left = spent + OVERHEAD * products, left - in_full
            costs.append(spent + left)
        best = min(range(len(costs)), key=lambda i: (costs[i], -i))
        return best if costs[best] < costs[0] else 0

    @torch.inference_mode()
    def changed(self, tape: Tape, windows: torch.Tensor, start: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Logits of changed windows.

        Parameters
        ----------
        tape : Tape
            Result of `reference` or `shared_reference`.
        windows : torch.Tensor, int64, shape (B,)
            Reference window of each changed window.
        start : torch.Tensor, int64, shape (B,)
            First changed position in each window.
        delta : torch.Tensor, float32, shape (B, width, 4)
            One-hot of the changed bases minus one-hot of the reference.

        Returns
        -------
        torch.Tensor, float32, shape (B, targets) or (B, targets, bins)
        """
        rows, start = tape.rows[windows], start + tape.starts[windows]
        count = self.steps_worthwhile(delta.shape[1], tape.length)
        parts = []
        for chosen in self.chunks(start):
            spans = [Span(delta[chosen], start[chosen])]
            for step in self.steps[:count]:
                spans.append(step.update(spans, tape.tapes, rows[chosen]))
            parts.append((chosen, spans))
        if count == len(self.steps) and tape.hidden is not None:
            first = (tape.starts // self.pools)[windows]
            ends = [(chosen, Span(spans[-1].delta, spans[-1].start - first[chosen])) for chosen, spans in parts]
            return self.dense_rest(tape.hidden[windows], ends, self.lengths(tape.length)[-1])
        logits = [
            self.rest_in_full(count, partial(self._applied, spans, tape, windows[chosen])) for chosen, spans in parts
        ]
        return in_order([chosen for chosen, _ in parts], logits)

    def chunks(self, start: torch.Tensor) -> Iterator[torch.Tensor]:
        """Row numbers of changes to evaluate together, from their first positions, shape (B,).

        Rows of one pooling phase have spans of one width, which wastes no position. Phases are separated if each has
        enough rows on average (`FEW`).
        """
        order = torch.argsort(start % self.pools, stable=True)
        phases = (start % self.pools)[order]
        cuts = torch.nonzero(phases.diff()).flatten().add(1).tolist()
        if len(start) < FEW * (len(cuts) + 1):
            cuts = []
        for members in torch.tensor_split(order, cuts):
            yield from members.split(CHUNK)

    def rest_in_full(self, count: int, activations: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Logits, with the steps after the first `count` evaluated in full.

        Parameters
        ----------
        count : int
        activations : callable
            Returns the activations after a number of steps, shape (B, positions, channels). It is called for `count`,
            and for earlier steps that a later residual sum needs.
        """
        needed = {count, *(step.source for step in self.steps[count:] if isinstance(step, Merge))}
        tapes: list[Any] = [activations(i) if i in needed else None for i in range(count + 1)]
        return self._tail(self._continue(tapes)[-1])

    def _applied(self, spans, tape, windows, index):
        """Activations of changed windows after `index` steps, shape (B, length, channels)."""
        length = self.lengths(tape.length)[index]
        first = tape.starts[windows] // math.prod(step.pool for step in self.steps[:index])
        x = gather(tape.tapes[index], tape.rows[windows], first, length)
        position = (spans[index].start - first)[:, None] + torch.arange(spans[index].delta.shape[1])
        inside = (position >= 0) & (position < length)
        rows = torch.arange(len(windows))[:, None].expand_as(position)
        return x.index_put_((rows[inside], position[inside]), spans[index].delta[inside], accumulate=True)

    def dense_rest(self, hidden: torch.Tensor, spans: list[tuple[torch.Tensor, Span]], positions: int) -> torch.Tensor:
        """Add the products of spans to the outputs of the dense layer, and evaluate the layers after it.

        Parameters
        ----------
        hidden : torch.Tensor, float32, shape (B, units)
            Outputs of the dense layer. Changed in place.
        spans : list of (torch.Tensor, Span)
            Row numbers in `hidden`, and deltas of the dense layer's input.
        positions : int
            Number of input positions of the dense layer.

        Returns
        -------
        torch.Tensor, float32, shape (B, targets)
            Logits.
        """
        weights = self.slices(positions)
        chosen = torch.cat([rows for rows, _ in spans])
        starts = torch.cat([span.start for _, span in spans])
        widths = torch.cat([torch.full((len(rows),), span.delta.shape[1]) for rows, span in spans])
        delta = [row for _, span in spans for row in span.delta]
        # Spans with equal start and width are one product with one block of the weights.
        keys = starts * (int(widths.max()) + 1) + widths
        for key in keys.unique().tolist():
            members = torch.nonzero(keys == key).flatten().tolist()
            first, width = int(starts[members[0]]), int(widths[members[0]])
            low, high = max(first, 0), min(first + width, positions)
            if low >= high:
                continue
            block = torch.stack([delta[i] for i in members])[:, low - first : high - first]
            hidden[chosen[members]] += product(block.flatten(1), weights[low:high].flatten(0, 1))
        return self._finish(hidden)


@cache
def _log_once(layers):
    logger.info(
        "variant effects: the last layers (%s) are evaluated in full, because they have no incremental rule", layers
    )


def in_order(chosen: list[torch.Tensor], values: list[torch.Tensor]) -> torch.Tensor:
    """Concatenate the rows of chunks in their original order. `chosen` are the row numbers of each chunk."""
    return torch.cat(values)[torch.argsort(torch.cat(chosen))]
