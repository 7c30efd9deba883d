"""`collections` with the abstract classes that moved to `collections.abc` in Python 3.10, for kipoi_interpret."""

import collections
import collections.abc


def __getattr__(name):
    return getattr(collections if hasattr(collections, name) else collections.abc, name)
