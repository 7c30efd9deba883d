"""intervaltree 3 with the behaviour of intervaltree 2 that kipoi_veff relies on."""

from typing import Any

import intervaltree


class IntervalTree(intervaltree.IntervalTree):
    """An IntervalTree whose `merge_overlaps` also joins intervals that touch, as intervaltree 2 did."""

    def merge_overlaps(self, data_reducer: Any = None, data_initializer: Any = None, strict: bool = False) -> None:
        """Merge overlapping intervals, and with `strict` False those that touch."""
        return super().merge_overlaps(data_reducer, data_initializer, strict=strict)


def __getattr__(name):
    return getattr(intervaltree, name)
