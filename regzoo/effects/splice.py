"""Exact evaluation of insertions and deletions from two reference windows.

Left of its junction an alternate window is the reference window; right of it, it is the window that starts as many bases
later as are deleted, or earlier as are inserted. Both are evaluated once for all the changes of a locus. What is left to
compute for one change is the stretch of each layer whose inputs lie on both sides, and the first dense layer, whose
products with everything left and right of that stretch are sums made once.
"""

from functools import partial

import torch

from regzoo.effects.incremental import Convolution, Merge, Span, gather, in_order


class Splice:
    """Two reference windows of one network, to be joined anywhere.

    Parameters
    ----------
    incremental : regzoo.effects.incremental.Incremental
    left, right : torch.Tensor, float32, shape (1, L, 4)
        One-hot, channels last.
    """

    @torch.inference_mode()
    def __init__(self, incremental, left, right):
        self.incremental, self.length = incremental, left.shape[1]
        self.tapes = list(zip(incremental.trunk(left), incremental.trunk(right)))
        self.sums = None
        if incremental.dense is not None:
            last = [side[0] for side in self.tapes[-1]]
            weights = incremental.slices(len(last[0]))
            products = [_products_by_position(side, weights).cumsum(0) for side in last]
            nothing = torch.zeros_like(products[0][:1])
            before, up_to = (torch.cat([nothing, sums]) for sums in products)
            self.sums = before, up_to[-1] - up_to  # left of a position; from it to the right end

    @torch.inference_mode()
    def join(self, start, inserted):
        """Logits of windows that are `left` before a position, then some bases, then `right`.

        Parameters
        ----------
        start : torch.Tensor, int64, shape (B,)
            Position of the first base that is not `left`'s.
        inserted : torch.Tensor, float32, shape (B, width, 4)
            One-hot of what lies between the two.

        Returns
        -------
        torch.Tensor, float32, shape (B, targets) or (B, targets, bins)
        """
        incremental = self.incremental
        if not inserted.shape[1]:  # a stretch of one base, so that every layer has something to compute
            inserted = self.tapes[0][1][0][start.clamp(max=self.length - 1)][:, None]
        count = incremental.steps_worthwhile(inserted.shape[1], self.length, spliced=True)
        parts = []
        for chosen in incremental.chunks(start):
            spans = [Span(inserted[chosen], start[chosen])]
            for step in incremental.steps[:count]:
                spans.append(self._updated(step, spans))
            parts.append((chosen, spans))
        if count < len(incremental.steps) or self.sums is None:
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
        """The stretch after a step; a Span here holds activations, not differences."""
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
        """Activations after `index` steps at [first, first + width) of each row; zero outside the window."""
        span, length = spans[index], self.tapes[index][0].shape[1]
        row = torch.zeros_like(first)
        left, right = (gather(side, row, first, width) for side in self.tapes[index])
        place = first[:, None] + torch.arange(width)
        inner = place - span.start[:, None]
        x = torch.where((inner < 0)[:, :, None], left, right)
        known = (inner >= 0) & (inner < span.delta.shape[1])
        x[known] = span.delta[torch.nonzero(known)[:, 0], inner[known]]
        if int(first.min()) < 0 or int(first.max()) + width > length:
            x *= ((place >= 0) & (place < length))[:, :, None]
        return x


def _products_by_position(activations, weights):
    """(positions, channels) with (positions, channels, units), position by position: (positions, units), float32."""
    return torch.bmm(activations[:, None].to(weights.dtype), weights)[:, 0].float()
