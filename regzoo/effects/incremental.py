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
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from regzoo.nets.motif_resnet import Exponential, Residual

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
_DROPOUT = (nn.Dropout, nn.Dropout1d)

#: Changed windows evaluated together: enough rows for a product at full speed, few enough that a layer's rows (up to
#: 130 kB each in DeepSEA) stay in the last-level cache. 64 to 512 were within 10% of each other.
CHUNK = 192


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

    def rows(self, chosen):
        """The span of some rows."""
        return Span(self.delta[chosen], self.start[chosen])

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
    offsets : torch.Tensor, int64, shape (W,)
        Its first position after the last step.
    positions : int
        Positions of one window after the last step.
    starts : torch.Tensor, int64, shape (W,), or None
        Its first position before the first step, where windows share a row.
    """

    tapes: list
    hidden: torch.Tensor | None
    rows: torch.Tensor
    offsets: torch.Tensor
    positions: int
    starts: torch.Tensor | None = None


def _product(rows, weights):
    """rows @ weights, for weights of shape (in, out), contiguous.

    Through oneDNN where torch has it: 1.5 to 2.3 times MKL's float32 product on the AMD processor this was measured on.
    """
    if rows.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(rows, weights.t(), None, "none", [], "")
    return rows @ weights


def _gather(reference, windows, start, width):
    """Rows [start, start + width) of each row's reference window, shape (B, width, channels); ends are repeated."""
    length, channels = reference.shape[1:]
    place = (start[:, None] + torch.arange(width)).clamp_(0, length - 1)
    index = (windows[:, None] * length + place).flatten()
    return reference.reshape(-1, channels).index_select(0, index).view(len(start), width, channels)


class _Convolution:
    """Rule for Conv1d of stride 1: the delta times every tap's weights, each product added where it belongs."""

    def __init__(self, layer):
        self.layer = layer
        kernel, dilation = layer.kernel_size[0], layer.dilation[0]
        self.kernel, self.dilation, self.reach = kernel, dilation, (kernel - 1) * dilation
        padding = layer.padding if isinstance(layer.padding, str) else layer.padding[0]
        self.left = {"valid": 0, "same": self.reach // 2}.get(padding, padding)
        self.padding = padding if isinstance(padding, str) else (0, padding)
        self.weight = layer.weight.detach()[:, :, None]  # for the reference pass, two-dimensional and channels-last
        self.weight = self.weight.contiguous(memory_format=torch.channels_last)
        # (in, taps x out), taps from the last: a changed input adds to outputs in this order.
        self.taps = layer.weight.detach().flip(2).permute(1, 2, 0).reshape(layer.in_channels, -1).contiguous()

    @staticmethod
    def fits(layer):
        return (
            isinstance(layer, nn.Conv1d)
            and layer.stride == (1,)
            and layer.groups == 1
            and layer.padding_mode == "zeros"
        )

    def reference(self, x):
        x = x.permute(0, 2, 1)[:, :, None]  # (N, C, 1, L), channels-last in memory
        y = F.conv2d(x, self.weight, self.layer.bias, padding=self.padding, dilation=(1, self.dilation))
        return y.permute(0, 2, 3, 1).reshape(y.shape[0], y.shape[3], y.shape[1])

    def update(self, span, tape, windows):
        rows, width, channels = span.delta.shape
        out = self.layer.out_channels
        product = _product(span.delta.reshape(-1, channels), self.taps).view(rows, width, self.kernel, out)
        total = product.new_zeros(rows, width + self.reach, out)
        if self.dilation == 1 and width <= self.kernel:
            for i in range(width):
                total[:, i : i + self.kernel] += product[:, i]
        else:
            for tap in range(self.kernel):
                first = tap * self.dilation
                total[:, first : first + width] += product[:, :, tap]
        return Span(total, span.start + self.left - self.reach).masked(tape.shape[1])

    def cost(self, width):
        return width * self.taps.numel(), width + self.reach


class _Pointwise:
    """Rule for what lies between linear layers: activations and batch norm, then at most one max pooling."""

    def __init__(self, layers, pool=1):
        self.layers, self.pool = layers, pool

    def apply(self, x):
        for layer in self.layers:
            if isinstance(layer, nn.BatchNorm1d):
                scale = layer.weight.detach() * torch.rsqrt(layer.running_var + layer.eps)
                x = torch.addcmul(layer.bias.detach() - layer.running_mean * scale, x, scale)
            else:
                x = layer(x)
        if self.pool > 1:
            whole = x.shape[1] // self.pool
            x = x[:, : whole * self.pool].unflatten(1, (whole, self.pool)).amax(2)
        return x

    def reference(self, x):
        return self.apply(x)

    def update(self, span, tape, windows, before):
        """`before` and `tape`: the reference's activations before and after this step."""
        first = span.start.div(self.pool, rounding_mode="floor")
        shift = span.start - first * self.pool
        width = span.delta.shape[1]
        groups = -(-(int(shift.max()) + width) // self.pool)
        aligned = _gather(before, windows, first * self.pool, groups * self.pool)
        for phase in shift.unique().tolist():
            chosen = shift == phase
            if chosen.all():
                aligned[:, phase : phase + width] += span.delta
            else:
                aligned[chosen, phase : phase + width] += span.delta[chosen]
        delta = self.apply(aligned) - _gather(tape, windows, first, groups)
        return Span(delta, first).masked(tape.shape[1])

    def cost(self, width):
        return 0, -(-(width + self.pool - 1) // self.pool)


class _ResidualBlock:
    """Rule for x + body(x): the body's span holds the input's, whose delta is added in its place."""

    def __init__(self, block):
        self.body, self.rest = plan(block.body)
        assert not self.rest  # its layers all have rules

    def reference(self, x):
        self.tapes = [x]
        for step in self.body:
            self.tapes.append(step.reference(self.tapes[-1]))
        return x + self.tapes[-1]

    def update(self, span, tape, windows):
        inner = _run(self.body, self.tapes, span, windows)
        offset = span.start - inner.start
        width = span.delta.shape[1]
        for place in offset.unique().tolist():
            chosen = offset == place
            inner.delta[chosen, place : place + width] += span.delta[chosen]
        return inner.masked(tape.shape[1])

    def cost(self, width):
        return _cost(self.body, width)


def _flat(layers):
    """Layers in order, nested Sequentials opened, dropout left out."""
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        elif not isinstance(layer, _DROPOUT):
            yield layer


def plan(network):
    """Steps with a rule, and the layers from the first one without.

    Parameters
    ----------
    network : torch.nn.Module
        A Sequential; or a network with a Sequential `layers`; or with `trunk` and a function `head`.

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
    steps, pending = [], []
    for i, layer in enumerate(layers):
        if isinstance(layer, (nn.BatchNorm1d, *POINTWISE)):
            pending.append(layer)
        elif isinstance(layer, nn.MaxPool1d) and layer.stride == layer.kernel_size and not layer.padding:
            steps.append(_Pointwise(pending, layer.kernel_size))
            pending = []
        elif _Convolution.fits(layer) or isinstance(layer, Residual):
            if pending:
                steps.append(_Pointwise(pending))
                pending = []
            steps.append(_Convolution(layer) if isinstance(layer, nn.Conv1d) else _ResidualBlock(layer))
        else:
            if pending:
                steps.append(_Pointwise(pending))
            return steps, layers[i:] + tail
    if pending:
        steps.append(_Pointwise(pending))
    return steps, tail


def _run(steps, tapes, span, windows):
    for step, before, after in zip(steps, tapes, tapes[1:]):
        arguments = (before,) if isinstance(step, _Pointwise) else ()
        span = step.update(span, after, windows, *arguments)
    return span


def _cost(steps, width):
    total = 0
    for step in steps:
        products, width = step.cost(width)
        total += products
    return total, width


class Incremental:
    """Incremental evaluation of one network.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on a CPU; one-hot (N, 4, L) in, logits out.
    """

    def __init__(self, network):
        self.network = network
        self.steps, self.rest = plan(network)
        self.pools = 1
        for step in self.steps:
            self.pools *= getattr(step, "pool", 1)
        self.dense = None
        if len(self.rest) > 1 and isinstance(self.rest[0], nn.Flatten) and isinstance(self.rest[1], nn.Linear):
            self.dense, self.rest = self.rest[1], self.rest[2:]
        elif self.rest:
            names = ", ".join(getattr(layer, "__name__", type(layer).__name__) for layer in self.rest)
            logger.info("evaluated in full, since there is no rule: %s", names)
        self._sliced = None

    @property
    def shares(self):
        """Whether overlapping windows can share their convolutions: no padding anywhere, then a dense layer."""
        plain = (_Pointwise, _Convolution)
        valid = all(
            isinstance(s, plain) and not (getattr(s, "left", 0) or getattr(s, "padding", "valid") == "same")
            for s in self.steps
        )
        return valid and self.dense is not None

    @torch.inference_mode()
    def trunk(self, x):
        """Activations before the first step and after each, of one-hot sequences, float32, shape (rows, length, 4)."""
        tapes = [x]
        for step in self.steps:
            tapes.append(step.reference(tapes[-1]))
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
        logits : torch.Tensor, float32, shape (W, targets)
        tape : Tape
        """
        tapes = self.trunk(x)
        hidden = None if self.dense is None else self._hidden(tapes[-1])
        logits = self._finish(tapes[-1].transpose(1, 2) if hidden is None else hidden)
        rows = torch.arange(len(x))
        return logits, Tape(tapes, hidden, rows, torch.zeros_like(rows), tapes[-1].shape[1])

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
        positions = self.positions(length)
        offsets = starts // self.pools
        last = tapes[-1][0].unfold(0, positions, 1)[offsets].transpose(1, 2)
        hidden = self._hidden(last)
        return self._finish(hidden), Tape(tapes, hidden, torch.zeros_like(starts), offsets, positions, starts)

    def positions(self, length):
        """Positions that are left of a window after the last step of a network that `shares`."""
        for step in self.steps:
            length = length - step.reach if isinstance(step, _Convolution) else length // step.pool
        return length

    def _hidden(self, last):
        weights = self._slices(last.shape[1])
        return _product(last.reshape(len(last), -1), weights.flatten(0, 1)) + self.dense.bias

    def _slices(self, length):
        """The dense layer's weights by position, (length, channels, out): a stretch of positions is one block."""
        if self._sliced is None:
            weight = self.dense.weight.detach()
            self._sliced = weight.view(weight.shape[0], -1, length).permute(2, 1, 0).contiguous()
        return self._sliced

    def _finish(self, x):
        for layer in self.rest:
            x = layer(x)
        return x

    def saved(self, width, length):
        """Multiply-adds of a change of `width` bases as a share of a full pass, without the dense layers."""
        return _cost(self.steps, width)[0] / max(1, _cost(self.steps, length)[0])

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
        torch.Tensor, float32, shape (B, targets)
        """
        rows, start = tape.rows[windows], start + (0 if tape.starts is None else tape.starts[windows])
        # Rows of one pooling phase have spans of one width, without a wasted position.
        order = torch.argsort(start % self.pools, stable=True)
        phases = (start % self.pools)[order]
        cuts = torch.nonzero(phases.diff()).flatten().add(1).tolist()
        spans = []
        for members in torch.tensor_split(order, cuts):
            for chosen in members.split(CHUNK):
                spans.append((chosen, _run(self.steps, tape.tapes, Span(delta[chosen], start[chosen]), rows[chosen])))
        if self.dense is None:
            return self._full_rest(spans, tape.tapes[-1], rows)
        return self._dense_rest(spans, tape, windows)

    def _full_rest(self, spans, last, windows):
        parts, order = [], []
        length = last.shape[1]
        for chosen, span in spans:
            x = last[windows[chosen]]
            place = span.start[:, None] + torch.arange(span.delta.shape[1])
            inside = (place >= 0) & (place < length)
            rows = torch.arange(len(chosen))[:, None].expand_as(place)
            x.index_put_((rows[inside], place[inside]), span.delta[inside], accumulate=True)
            parts.append(self._finish(x.transpose(1, 2)))
            order.append(chosen)
        result = torch.cat(parts)
        return result[torch.argsort(torch.cat(order))]

    def _dense_rest(self, spans, tape, windows):
        weights = self._slices(tape.positions)
        hidden = tape.hidden[windows]
        chosen = torch.cat([rows for rows, _ in spans])
        starts = torch.cat([span.start for _, span in spans]) - tape.offsets[windows[chosen]]
        widths = torch.cat([torch.full((len(rows),), span.delta.shape[1]) for rows, span in spans])
        delta = [row for _, span in spans for row in span.delta]
        # Changes with one place at the dense layer are one product with one block of its weights.
        keys = starts * (int(widths.max()) + 1) + widths
        for key in keys.unique().tolist():
            members = torch.nonzero(keys == key).flatten().tolist()
            first, width = int(starts[members[0]]), int(widths[members[0]])
            low, high = max(first, 0), min(first + width, tape.positions)
            if low >= high:
                continue
            block = torch.stack([delta[i] for i in members])[:, low - first : high - first]
            hidden[chosen[members]] += _product(block.flatten(1), weights[low:high].flatten(0, 1))
        return self._finish(hidden)
