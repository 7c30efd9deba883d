"""numpy with the names that kipoi, kipoi-veff, deepdish and descartes still use; numpy itself stays as it is."""

import builtins

import numpy
from numpy import *  # noqa: F403 - a stand-in for the whole module
from numpy import asarray as _asarray
from numpy import stack as _stack
from numpy import vstack as _vstack

# Gone since numpy 1.24.
bool, int, float = builtins.bool, builtins.int, builtins.float  # noqa: A001
object, str = builtins.object, builtins.str  # noqa: A001
string_, unicode_ = numpy.bytes_, numpy.str_  # gone in 2.0
ComplexWarning = numpy.exceptions.ComplexWarning


def in1d(values, test, **options):
    """`numpy.in1d`, gone in 2.4: always one-dimensional; None is compared as an object."""
    return numpy.isin(numpy.ravel(numpy.asarray(values, dtype=None)), [test] if test is None else test, **options)


def stack(arrays, *args, **kwargs):
    """`numpy.stack` that takes a generator, as before 1.16."""
    return _stack(list(arrays), *args, **kwargs)


def vstack(arrays, *args, **kwargs):
    """`numpy.vstack` that takes a generator, as before 1.16."""
    return _vstack(list(arrays), *args, **kwargs)


def asarray(value, *args, **kwargs):
    """`numpy.asarray` that reads a geometry of shapely 2 by its coordinates, as shapely 1 offered them."""
    return _asarray(getattr(value, "coords", value), *args, **kwargs)


def __getattr__(name):
    return getattr(numpy, name)
