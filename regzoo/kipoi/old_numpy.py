"""numpy with the names that Kipoi, kipoi_veff, deepdish and descartes use and numpy has dropped."""

# mypy: ignore-errors
import builtins

import numpy
from numpy import *  # noqa: F403 - a stand-in for the whole module
from numpy import asarray as _asarray
from numpy import stack as _stack
from numpy import vstack as _vstack

# Removed in numpy 1.24.
bool, int, float = builtins.bool, builtins.int, builtins.float  # noqa: A001
object, str = builtins.object, builtins.str  # noqa: A001
string_, unicode_ = numpy.bytes_, numpy.str_  # removed in 2.0
ComplexWarning = numpy.exceptions.ComplexWarning


def in1d(values, test, **options):
    """`numpy.in1d`, removed in 2.4. The result is one-dimensional; None is compared as an object."""
    return numpy.isin(numpy.ravel(numpy.asarray(values, dtype=None)), [test] if test is None else test, **options)


def stack(arrays, *args, **kwargs):
    """`numpy.stack`, which also takes a generator, as before numpy 1.16."""
    return _stack(list(arrays), *args, **kwargs)


def vstack(arrays, *args, **kwargs):
    """`numpy.vstack`, which also takes a generator, as before numpy 1.16."""
    return _vstack(list(arrays), *args, **kwargs)


def asarray(value, *args, **kwargs):
    """`numpy.asarray`, which also reads the coordinates of a shapely geometry, as with shapely 1."""
    return _asarray(getattr(value, "coords", value), *args, **kwargs)


def __getattr__(name):
    return getattr(numpy, name)
