"""Data sets as arrays: readers of benchmark formats, and removal of overlaps between splits."""

from training.data.examples import Examples, load_examples

__all__ = ["Examples", "load_examples"]
