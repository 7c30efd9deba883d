"""Exact evaluation of changed sequences by what changes alone.

Given the activations of a reference window, a changed window is evaluated in delta form. A linear layer is applied to the
difference of its inputs, which is non-zero in a short span only: its cost is (changed inputs x kernel), not (changed
outputs x kernel), and not (window x kernel). Everything between linear layers (activations, batch norm, max pooling) is
evaluated anew over the span, from reference + delta. Spans grow from layer to layer by kernel, dilation and pooling phase.
The first dense layer multiplies the delta with the matching slice of its weights only.

The plan is derived from the module tree, one rule for each layer type; a layer without a rule makes the rest of the
network be evaluated in full. Results equal full evaluation up to float32 rounding.

Arrays are channels-last, (rows, positions, channels), so that a position's channels are one row for gathers and products.
"""

import logging
import math
from dataclasses import dataclass
from functools import cache, cached_property, partial

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.nets.blocks import Exponential, Residual
from regzoo.nets.fourier import FourierConvolution
from regzoo.nets.products import linear

logger = logging.getLogger(__name__)

#: Layers that treat every position and channel alone.
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
#: Those of them that never fall, before which a max pooling may be done.
RISING = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, Exponential)
_DROPOUT = (nn.Dropout, nn.Dropout1d)

#: Changed windows evaluated together: enough rows for a product at full speed, few enough that a layer's rows (up to
#: 130 kB each in DeepSEA) stay in the last-level cache. 64 to 512 were within 10% of each other.
CHUNK = 192
#: Rows of one pooling phase from which on they are evaluated alone: fewer cost more in calls than in wasted positions.
FEW = 24
#: A product of changed positions costs as much as this many in a full pass: gathers and additions, which the count of
#: products leaves out, take about as long.
OVERHEAD = 2.0


@dataclass
class Span:
    """Differences from the reference in one stretch of positions of each row.

    Attributes
    ----------
    delta : torch.Tensor, float32, shape (B, width, channels)
    start : torch.Tensor, int64, shape (B,)
        First position of each row's stretch; the stretch may hang over the ends, where its delta is zero.
    """

    delta: torch.Tensor
    start: torch.Tensor

    def masked(self, length):
        """The span with zeros outside [0, length)."""
        width = self.delta.shape[1]
        if int(self.start.min()) < 0 or int(self.start.max()) + width > length:
            place = self.start[:, None] + torch.arange(width)
            self.delta *= ((place >= 0) & (place < length))[:, :, None]
        return self


@dataclass
class Tape:
    """A reference pass: what changed windows are evaluated from.

    Attributes
    ----------
    tapes : list of torch.Tensor, shape (rows, positions, channels)
        Activations before the first step and after each.
    hidden : torch.Tensor or None, shape (W, units)
        Output of the first dense layer.
    rows : torch.Tensor, int64, shape (W,)
        Where in `tapes` each window is.
    starts : torch.Tensor, int64, shape (W,)
        Its first position before the first step.
    length : int
        Of a window, in bases.
    """

    tapes: list
    hidden: torch.Tensor | None
    rows: torch.Tensor
    starts: torch.Tensor
    length: int


def product(rows, weights, bias=None):
    """Rows @ weights + bias in float32, for weights of shape (in, out), contiguous; the product in bfloat16 where the weights are."""
    result = linear(rows, weights.t()).to(rows.dtype)
    return result if bias is None else result.add_(bias)


def affine(norm):
    """Scale and shift of a batch norm in evaluation mode, each float32 of shape (channels,)."""
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = norm.weight.detach() * scale
    return scale, (norm.bias.detach() if norm.affine else 0) - norm.running_mean * scale


def gather(reference, windows, start, width):
    """Rows [start, start + width) of each row's reference window, shape (B, width, channels); ends are repeated."""
    length, channels = reference.shape[1:]
    place = (start[:, None] + torch.arange(width)).clamp_(0, length - 1)
    index = (windows[:, None] * length + place).flatten()
    return reference.reshape(-1, channels).index_select(0, index).view(len(start), width, channels)


class Convolution:
    """Rule for Conv1d of stride 1, with the batch norm that follows it.

    A change is evaluated in delta form, the delta times every tap's weights and each product added where it belongs; whole
    windows and long stretches by products of spectra where those are fewer (`regzoo.nets.fourier`).
    """

    pool = 1

    def __init__(self, layer, dtype, norm=None):
        kernel, dilation = layer.kernel_size[0], layer.dilation[0]
        self.kernel, self.dilation, self.reach = kernel, dilation, (kernel - 1) * dilation
        padding = layer.padding if isinstance(layer.padding, str) else layer.padding[0]
        self.left = {"valid": 0, "same": self.reach // 2}.get(padding, padding)
        self.right = {"valid": 0, "same": self.reach - self.left}.get(padding, padding)
        weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
        if norm is not None:
            scale, shift = affine(norm)
            weight, bias = weight * scale[:, None, None], shift if bias is None else bias * scale + shift
        self.weight, self.bias, self.dtype = weight, bias, dtype
        self.fourier = FourierConvolution(weight, bias, self.left, dilation) if dtype == torch.float32 else None
        self.direct = weight[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)
        # (in, taps x out), taps from the last: a changed input adds to outputs in this order.
        self.taps = weight.flip(2).permute(1, 2, 0).reshape(layer.in_channels, -1).to(dtype).contiguous()

    @staticmethod
    def fits(layer):
        return (
            isinstance(layer, nn.Conv1d)
            and layer.stride == (1,)
            and layer.groups == 1
            and layer.padding_mode == "zeros"
        )

    def reference(self, tapes):
        length = tapes[-1].shape[1]
        return self.outputs(tapes[-1], 0, self.length(length), length)

    def outputs(self, x, low, high, length):
        """Outputs [low, high), of the inputs in [0, length) that they read, shape (rows, positions, in)."""
        if self.fourier and self.fourier.worthwhile(len(x), low, high, length):
            return self.fourier(x, low, high, length)
        first = low - self.left
        left, right = max(0, -first), max(0, high + self.reach - self.left - length)
        if self.kernel == 1 and not left and not right:
            return product(x.flatten(0, 1), self._patch_weights, self.bias).unflatten(0, x.shape[:2])
        bias = None if self.bias is None else self.bias.to(self.dtype)
        image = x.transpose(1, 2)[:, :, None].to(self.dtype)  # (rows, channels, 1, positions), channels last in memory
        if left == right:
            y = F.conv2d(image, self.direct, bias, padding=(0, left), dilation=(1, self.dilation))
        else:
            y = F.conv2d(F.pad(image, (left, right)), self.direct, bias, dilation=(1, self.dilation))
        return y[:, :, 0].transpose(1, 2).to(x.dtype)

    def update(self, spans, tapes, windows):
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

    def stretch(self, changes, tapes):
        """Activations of changed windows after this step, where the change reaches: (first position, activations)."""
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

    def products(self, x):
        """Outputs without padding, (rows, width - reach, out), of a stretch of inputs, (rows, width, in)."""
        patches = x.unfold(1, self.reach + 1, 1)[..., :: self.dilation]
        return product(patches.flatten(2).flatten(0, 1), self._patch_weights, self.bias).view(*patches.shape[:2], -1)

    def length(self, length):
        return length + self.left + self.right - self.reach

    def cost(self, width):
        return width * self.taps.numel(), width + self.reach


class _Pointwise:
    """Rule for what lies between linear layers: activations and batch norm, then at most one max pooling."""

    left = right = 0

    def __init__(self, layers, pool=1):
        self.layers, self.pool = [affine(la) if isinstance(la, nn.BatchNorm1d) else la for la in layers], pool
        # Pooling commutes with functions that never fall, and leaves them less to do.
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
        """Activations of changed windows after this step, where the change reaches: (first position, activations)."""
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


class Merge:
    """Rule for the end of x + body(x): adds the activations that the block began with, and their delta."""

    left = right = 0
    pool = 1

    def __init__(self, source):
        self.source = source  # the block's input, as an index into the tapes

    def reference(self, tapes):
        return tapes[-1] + tapes[self.source]

    def update(self, spans, tapes, windows):
        begun, inner = spans[self.source], spans[-1]
        offset = begun.start - inner.start
        width = begun.delta.shape[1]
        total = inner.delta.clone()
        for place in offset.unique().tolist():
            chosen = offset == place
            total[chosen, place : place + width] += begun.delta[chosen]
        return Span(total, inner.start).masked(tapes[len(spans)].shape[1])

    def stretch(self, changes, tapes):
        """Activations of changed windows after this step, where the change reaches: (first position, activations)."""
        first, x = changes.last
        return first, x + changes.around(tapes, self.source, first, first + x.shape[1])

    def length(self, length):
        return length

    def cost(self, width):
        return 0, width


class Stretch:
    """Windows that all change at the same positions: their activations where the change reaches, layer after layer.

    Parameters
    ----------
    windows : torch.Tensor, int64, shape (B,), or None
        The reference window of each changed one; None when they are all the reference windows in order.
    first : int
        First changed position.
    x : torch.Tensor, float32, shape (B, width, 4)
        One-hot of the changed bases, channels last.
    """

    def __init__(self, windows, first, x):
        self.windows, self.activations = windows, [(first, x)]

    @property
    def last(self):
        return self.activations[-1]

    def around(self, tapes, index, low, high):
        """Activations of the changed windows after `index` steps at [low, high), with the reference's around the stretch."""
        first, x = self.activations[index]
        end = first + x.shape[1]
        parts = [x[:, max(low - first, 0) : max(high - first, 0)]]
        if low < first:
            parts.insert(0, self._reference(tapes[index], low, min(first, high)))
        if high > end:
            parts.append(self._reference(tapes[index], max(end, low), high))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _reference(self, tape, low, high):
        return tape[:, low:high] if self.windows is None else tape[self.windows, low:high]


def _flat(layers):
    """Layers in order, nested Sequentials opened, dropout left out."""
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
    return isinstance(layer, (nn.BatchNorm1d, *POINTWISE)) or Convolution.fits(layer)


def _add_steps(layers, steps, dtype):
    """Append the steps of layers that have rules."""
    pending, convolution = [], None

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


def has_plan(network):
    """Whether `plan` knows how a network's `forward` uses its layers.

    True of a plain Sequential, and of this library's architectures with `layers`, or `trunk` and `head`. Other classes
    may have attributes of these names and use them differently, so they are evaluated in full.
    """
    if type(network).forward is nn.Sequential.forward:
        return True
    ours = type(network).__module__.startswith("regzoo.nets.")
    return ours and any(isinstance(getattr(network, name, None), nn.Sequential) for name in ("trunk", "layers"))


def plan(network, dtype=torch.float32):
    """Steps with a rule, and the layers from the first one without.

    Parameters
    ----------
    network : torch.nn.Module
        A Sequential; or a network with a Sequential `layers`; or with `trunk` and a function `head`.
    dtype : torch.dtype
        Of products.

    Returns
    -------
    steps : list
    rest : list of callable
        To be evaluated in full on channels-first activations; its first may be Flatten and Linear.
    """
    tail = []
    if hasattr(network, "trunk"):
        network, tail = network.trunk, [network.head]
    layers = list(_flat(getattr(network, "layers", network) if not isinstance(network, nn.Sequential) else network))
    ruled = next((i for i, layer in enumerate(layers) if not _has_rule(layer)), len(layers))
    steps = []
    _add_steps(layers[:ruled], steps, dtype)
    return steps, layers[ruled:] + tail


class Incremental:
    """Incremental evaluation of one network.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on a CPU; one-hot (N, 4, L) in, logits out.
    dtype : torch.dtype
        Of products; float32, or bfloat16, whose rounding is then relative to the change and not to the activations.
        Activations are float32 in both.
    """

    def __init__(self, network, dtype=torch.float32):
        self.network, self.dtype = network, dtype
        self.steps, self.rest = plan(network, dtype)
        self.pools = 1
        for step in self.steps:
            self.pools *= step.pool
        self.dense = None
        if len(self.rest) > 1 and isinstance(self.rest[0], nn.Flatten) and isinstance(self.rest[1], nn.Linear):
            self.dense, self.rest = self.rest[1], self.rest[2:]
        self._sliced = None

    @property
    def shares(self):
        """Whether overlapping windows can share their convolutions: no padding anywhere, then a dense layer."""
        return self.dense is not None and not any(step.left or step.right for step in self.steps)

    @torch.inference_mode()
    def trunk(self, x):
        """Activations before the first step and after each, of one-hot sequences, float32, shape (rows, length, 4)."""
        return self._continue([x])

    def _continue(self, tapes):
        """Evaluate the steps after those whose activations are given."""
        for step in self.steps[len(tapes) - 1 :]:
            tapes.append(step.reference(tapes))
        return tapes

    @torch.inference_mode()
    def reference(self, x):
        """Reference pass of windows.

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
            _say_once(", ".join(getattr(layer, "__name__", type(layer).__name__) for layer in self.rest))
        tapes = self.trunk(x)
        hidden = None if self.dense is None else self.hidden_layer(tapes[-1])
        logits = self._finish(tapes[-1].transpose(1, 2) if hidden is None else hidden)
        rows = torch.arange(len(x))
        return logits, Tape(tapes, hidden, rows, torch.zeros_like(rows), x.shape[1])

    @torch.inference_mode()
    def together(self, x, stretches):
        """Logits of reference windows and of changed ones, layer by layer, so that no layer's activations are kept for long.

        Parameters
        ----------
        x : torch.Tensor, float32, shape (W, L, 4)
            One-hot reference windows, channels last.
        stretches : list of Stretch

        Returns
        -------
        dict of Stretch to torch.Tensor, float32, shape (rows, targets) or (rows, targets, bins)
            The reference's are under None.
        """
        last_use = {step.source: number for number, step in enumerate(self.steps) if isinstance(step, Merge)}
        # The rows of `tapes`: those of the reference windows, then those of stretches that have grown to whole windows.
        tapes, parts = [x], [(None, len(x))]
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
    def shared_reference(self, x, starts, length):
        """Reference pass of overlapping windows of one sequence, whose convolutions are evaluated once.

        Parameters
        ----------
        x : torch.Tensor, float32, shape (1, R, 4)
            One-hot sequence that holds every window.
        starts : torch.Tensor, int64, shape (W,)
            First positions of the windows in it, multiples of `pools`.
        length : int
            Of a window.

        Returns
        -------
        logits, tape
            As of `reference`.
        """
        tapes = self.trunk(x)
        positions = self.lengths(length)[-1]
        last = tapes[-1][0].unfold(0, positions, 1)[starts // self.pools].transpose(1, 2)
        hidden = self.hidden_layer(last)
        return self._finish(hidden), Tape(tapes, hidden, torch.zeros_like(starts), starts, length)

    def lengths(self, length):
        """Positions of a window of `length` bases before the first step and after each."""
        result = [length]
        for step in self.steps:
            result.append(step.length(result[-1]))
        return result

    def hidden_layer(self, last):
        weights = self.slices(last.shape[1])
        return product(last.reshape(len(last), -1), weights.flatten(0, 1)) + self.dense.bias

    def slices(self, length):
        """The dense layer's weights by position, (length, channels, out): a stretch of positions is one block."""
        if self._sliced is None:
            weight = self.dense.weight.detach()
            self._sliced = weight.view(weight.shape[0], -1, length).permute(2, 1, 0).to(self.dtype).contiguous()
        return self._sliced

    def _finish(self, x):
        for layer in self.rest:
            x = layer(x)
        return x

    def steps_worthwhile(self, width, length, spliced=False):
        """How many steps to evaluate by the change alone before the rest is cheaper in full.

        Parameters
        ----------
        width : int
            Changed bases.
        length : int
            Of the window.
        spliced : bool
            Count every output that a change reaches instead of the changed inputs.

        Returns
        -------
        int
            0 when a full pass is the cheapest.
        """
        full = [step.cost(positions)[0] for step, positions in zip(self.steps, self.lengths(length))]
        spent, left = 0, sum(full)
        costs = [left]
        for step, in_full in zip(self.steps, full):
            products, wider = step.cost(width)
            products, width = step.cost(wider)[0] if spliced else products, wider
            spent, left = spent + OVERHEAD * products, left - in_full
            costs.append(spent + left)
        best = min(range(len(costs)), key=lambda i: (costs[i], -i))
        return best if costs[best] < costs[0] else 0

    @torch.inference_mode()
    def changed(self, tape, windows, start, delta):
        """Logits of changed windows.

        Parameters
        ----------
        tape : Tape
            Of `reference` or `shared_reference`.
        windows : torch.Tensor, int64, shape (B,)
            The reference window of each changed one.
        start : torch.Tensor, int64, shape (B,)
            First changed position in the window.
        delta : torch.Tensor, float32, shape (B, width, 4)
            One-hot of the changed bases minus that of the reference's.

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
        if count == len(self.steps) and self.dense is not None:
            first = (tape.starts // self.pools)[windows]
            ends = [(chosen, Span(spans[-1].delta, spans[-1].start - first[chosen])) for chosen, spans in parts]
            return self.dense_rest(tape.hidden[windows], ends, self.lengths(tape.length)[-1])
        logits = [
            self.rest_in_full(count, partial(self._applied, spans, tape, windows[chosen])) for chosen, spans in parts
        ]
        return in_order([chosen for chosen, _ in parts], logits)

    def chunks(self, start):
        """Row numbers of changes that are evaluated together.

        Rows of one pooling phase have spans of one width, without a wasted position; a phase of few rows is not worth
        a round of its own.
        """
        order = torch.argsort(start % self.pools, stable=True)
        phases = (start % self.pools)[order]
        cuts = torch.nonzero(phases.diff()).flatten().add(1).tolist()
        if len(start) < FEW * (len(cuts) + 1):
            cuts = []
        for members in torch.tensor_split(order, cuts):
            yield from members.split(CHUNK)

    def rest_in_full(self, count, activations):
        """Logits from the activations after `count` steps, and those before that a later step adds to.

        Parameters
        ----------
        count : int
        activations : callable
            Takes a number of steps and gives the activations after them, shape (B, positions, channels).
        """
        needed = {count, *(step.source for step in self.steps[count:] if isinstance(step, Merge))}
        tapes = [activations(i) if i in needed else None for i in range(count + 1)]
        return self._tail(self._continue(tapes)[-1])

    def _applied(self, spans, tape, windows, index):
        """Activations of changed windows after a number of steps, shape (B, length, channels)."""
        length = self.lengths(tape.length)[index]
        first = tape.starts[windows] // math.prod(step.pool for step in self.steps[:index])
        x = gather(tape.tapes[index], tape.rows[windows], first, length)
        place = (spans[index].start - first)[:, None] + torch.arange(spans[index].delta.shape[1])
        inside = (place >= 0) & (place < length)
        rows = torch.arange(len(windows))[:, None].expand_as(place)
        return x.index_put_((rows[inside], place[inside]), spans[index].delta[inside], accumulate=True)

    def dense_rest(self, hidden, spans, positions):
        """Logits from the first dense layer's outputs, after the products of spans with their weights are added to them.

        Parameters
        ----------
        hidden : torch.Tensor, float32, shape (B, units)
            Changed in place.
        spans : list of (torch.Tensor, Span)
            Row numbers, and what lies in a stretch of the layer's input positions.
        positions : int
            Of the layer's input.
        """
        weights = self.slices(positions)
        chosen = torch.cat([rows for rows, _ in spans])
        starts = torch.cat([span.start for _, span in spans])
        widths = torch.cat([torch.full((len(rows),), span.delta.shape[1]) for rows, span in spans])
        delta = [row for _, span in spans for row in span.delta]
        # Changes with one place at the dense layer are one product with one block of its weights.
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
def _say_once(layers):
    logger.info(
        "variant effects: the network's last layers (%s) are evaluated in full, since there is no rule for them", layers
    )


def in_order(chosen, values):
    """Rows of chunks put back in their order; `chosen` are the row numbers of each chunk."""
    return torch.cat(values)[torch.argsort(torch.cat(chosen))]
