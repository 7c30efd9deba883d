"""Exact evaluation of insertions and deletions from two reference windows.

Before its junction, an alternate window equals the reference window. After it, the alternate window equals a reference
window that is shifted by the number of deleted or inserted bases. Both are evaluated once for all changes of a locus.
For each change, only the stretch of each layer that reads inputs from both sides remains to be evaluated. In the first
dense layer, the products with positions before and after this stretch are cumulative sums that are computed once.
"""

from functools import partial

import torch

from regzoo.effects.incremental import Convolution, Incremental, Merge, Span, gather, in_order


class Splice:
    """Two reference windows of one network, which can be joined at any position.

    Parameters
    ----------
    incremental : regzoo.effects.incremental.Incremental
    left, right : torch.Tensor, float32, shape (1, L, 4)
        One-hot, channels last.
    """

    @torch.inference_mode()
    def __init__(self, incremental: Incremental, left: torch.Tensor, right: torch.Tensor):
        self.incremental, self.length = incremental, left.shape[1]
        self.tapes = list(zip(incremental.trunk(left), incremental.trunk(right)))
        self.sums: tuple[torch.Tensor, torch.Tensor] | None = None
        if incremental.dense is not None:
            last = [side[0] for side in self.tapes[-1]]
            weights = incremental.slices(len(last[0]))
            products = [_products_by_position(side, weights).cumsum(0) for side in last]
            zero = torch.zeros_like(products[0][:1])
            before, up_to = (torch.cat([zero, sums]) for sums in products)
            self.sums = before, up_to[-1] - up_to  # before a position; from a position to the end

    @torch.inference_mode()
    def join(self, start: torch.Tensor, inserted: torch.Tensor) -> torch.Tensor:
        """Logits of windows that consist of `left`, inserted bases, and `right`.

        Parameters
        ----------
        start : torch.Tensor, int64, shape (B,)
            First position after `left`.
        inserted : torch.Tensor, float32, shape (B, width, 4)
            One-hot of the bases between `left` and `right`.

        Returns
        -------
        torch.Tensor, float32, shape (B, targets) or (B, targets, bins)
        """
        incremental = self.incremental
        if not inserted.shape[1]:  # layers need a stretch of at least one base: take the first of `right`
            inserted = self.tapes[0][1][0][start.clamp(max=self.length - 1)][:, None]
        count = incremental.steps_worthwhile(inserted.shape[1], self.length, spliced=True)
        parts = []
        for chosen in incremental.chunks(start):
            spans = [Span(inserted[chosen], start[chosen])]
            for step in incremental.steps[:count]:
                spans.append(self._updated(step, spans))
            parts.append((chosen, spans))
        if count < len(incremental.steps) or self.sums is None or incremental.dense is None:
            logits = [incremental.rest_in_full(count, partial(self._whole, spans)) for _, spans in parts]
            return in_order([chosen for chosen, _ in parts], logits)
        hidden = torch.empty(len(start), self.sums[0].shape[1])
        positions = len(self.sums[0]) - 1
        for chosen, spans in parts:
            first = spans[-1].start
            end = first + spans[-1].delta.shape[1]
            before, after = (sums[at.clamp(0, positions)] for sums, at in zip(self.sums, (first, end)))
            hidden[chosen] = before + after + incremental.dense.bias
        return incremental.dense_rest(hidden, [(chosen, spans[-1]) for chosen, spans in parts], positions)

    def _updated(self, step, spans):
        """Stretch after a step. These spans hold activations, not differences."""
        span = spans[-1]
        width = span.delta.shape[1]
        if isinstance(step, Convolution):
            x = self._assembled(spans, len(spans) - 1, span.start - step.reach, width + 2 * step.reach)
            return Span(step.products(x), span.start - step.reach + step.left)
        if isinstance(step, Merge):
            return Span(span.delta + self._assembled(spans, step.source, span.start, width), span.start)
        first = span.start.div(step.pool, rounding_mode="floor")
        groups = -(-(int((span.start - first * step.pool).max()) + width) // step.pool)
        x = self._assembled(spans, len(spans) - 1, first * step.pool, groups * step.pool)
        return Span(step.apply(x), first)

    def _whole(self, spans, index):
        length = self.tapes[index][0].shape[1]
        return self._assembled(spans, index, torch.zeros_like(spans[index].start), length)

    def _assembled(self, spans, index, first, width):
        """Activations after `index` steps at [first, first + width) of each row, zero outside the window."""
        span, length = spans[index], self.tapes[index][0].shape[1]
        row = torch.zeros_like(first)
        left, right = (gather(side, row, first, width) for side in self.tapes[index])
        position = first[:, None] + torch.arange(width)
        inner = position - span.start[:, None]
        x = torch.where((inner < 0)[:, :, None], left, right)
        known = (inner >= 0) & (inner < span.delta.shape[1])
        x[known] = span.delta[torch.nonzero(known)[:, 0], inner[known]]
        if int(first.min()) < 0 or int(first.max()) + width > length:
            x *= ((position >= 0) & (position < length))[:, :, None]
        return x


def _products_by_position(activations, weights):
    """Product of activations, (positions, channels), and weights, (positions, channels, units), at each position.

    Float32, shape (positions, units).
    """
    return torch.bmm(activations[:, None].to(weights.dtype), weights)[:, 0].float()
