"""Variant scores from the predictions of both alleles: those of kipoi-veff 0.3.1 as it defines them, and a few more."""

import importlib
from collections.abc import Callable
from functools import cache

import numpy as np

from regzoo.errors import InputError

#: Probabilities are kept this far from 0 and 1 before a logit: float32's spacing below 1, so that no logit is infinite.
CLIP = 2.0**-24


def logit(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) in float64, with p cut to [CLIP, 1 - CLIP]; same shape."""
    p = np.clip(np.asarray(probability, dtype=np.float64), CLIP, 1 - CLIP)
    return np.log(p) - np.log1p(-p)


def _diff(ref, alt):
    return np.asarray(alt, dtype=np.float64) - ref


def _logit(ref, alt):
    return logit(alt) - logit(ref)


def _log2fc(ref, alt):
    ref, alt = (np.maximum(np.asarray(side, dtype=np.float64), CLIP) for side in (ref, alt))
    return np.log2(alt) - np.log2(ref)


def _l2(ref, alt):
    return np.sqrt(np.square(_diff(ref, alt)).sum(axis=-1))


def _js(ref, alt):
    p, q = (np.maximum(np.asarray(side, dtype=np.float64), 0) + 1e-300 for side in (ref, alt))
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    middle = np.log2((p + q) / 2)
    return ((p * (np.log2(p) - middle)).sum(axis=-1) + (q * (np.log2(q) - middle)).sum(axis=-1)) / 2


_PLAIN = {
    "diff": _diff,
    "logit": _logit,
    "log2fc": _log2fc,
    "ref": lambda ref, alt: ref,
    "alt": lambda ref, alt: alt,
    "logit_ref": lambda ref, alt: logit(ref),
    "logit_alt": lambda ref, alt: logit(alt),
}
_PROFILE = {"l2": _l2, "js": _js}

PROFILE_SCORES = tuple(_PROFILE)
#: Score -> suffix of its empirical p-value, where it is not 'p'. DeepSEA calls that of its effect an E-value.
P_SUFFIXES = {"deepsea_effect": "evalue"}
PROBABILITY_SCORES = ("logit", "logit_ref", "logit_alt", "deepsea_effect")


def score(
    name: str,
    ref: np.ndarray,
    alt: np.ndarray,
    ref_rc: np.ndarray | None = None,
    alt_rc: np.ndarray | None = None,
    strands: str = "mean",
) -> np.ndarray:
    """One score of each variant and target.

    Parameters
    ----------
    name : str
        A key of `regzoo.options.SCORES`, or the import path of a function (see `imported_score`).
    ref, alt : numpy.ndarray, shape (N, targets) or (N, targets, bins)
        Predictions of both alleles. Of a profile, scores other than 'l2' and 'js' take the mean over bins.
    ref_rc, alt_rc : numpy.ndarray, same shape, optional
        Predictions of their reverse complements. As in kipoi-veff, of 'deepsea_effect' the two factors are merged over
        strands before they are multiplied.
    strands : str
        Scores of both strands are averaged ('mean'), or the one of larger magnitude is taken ('max').

    Returns
    -------
    numpy.ndarray, float32, shape (N, targets)
    """
    if name == "deepsea_effect":
        factors = [np.abs(score(factor, ref, alt, ref_rc, alt_rc, strands)) for factor in ("logit", "diff")]
        return factors[0] * factors[1]
    value = _one_strand(name, ref, alt)
    if ref_rc is not None:
        other = _one_strand(name, ref_rc, alt_rc)
        value = (value + other) / 2 if strands == "mean" else np.where(np.abs(other) > np.abs(value), other, value)
    return np.asarray(value, dtype=np.float32)


@cache
def imported_score(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A scoring function by its import path, 'package.module.function'.

    It takes the predictions of both alleles, `ref` and `alt`, shape (N, targets) or (N, targets, bins), and gives
    scores, shape (N, targets).

    Raises
    ------
    InputError
        If there is no such function.
    """
    module, _, attribute = name.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may fail in any way
        where = "give package.module.function, and put the module's folder in PYTHONPATH"
        raise InputError(f"score {name!r}: cannot import it ({error}); {where}") from error
    if not callable(function):
        raise InputError(f"score {name!r}: is not a function")
    return function


def _imported_values(name, ref, alt):
    try:
        values = np.asarray(imported_score(name)(ref, alt), dtype=np.float64)
    except InputError:
        raise
    except Exception as error:  # a user's function may fail in any way
        raise InputError(f"score {name!r}: the function failed ({type(error).__name__}: {error})") from error
    if values.shape != ref.shape[:2]:
        raise InputError(
            f"score {name!r}: gave an array of shape {values.shape}; (alleles, targets) is {ref.shape[:2]}"
        )
    return values


def _one_strand(name, ref, alt):
    if "." in name:
        return _imported_values(name, ref, alt)
    if name in _PROFILE:
        return _PROFILE[name](ref, alt)
    if np.ndim(ref) == 3:
        ref, alt = np.mean(ref, axis=2), np.mean(alt, axis=2)
    return np.asarray(_PLAIN[name](ref, alt))


def summarise(name: str, values: np.ndarray) -> np.ndarray:
    """One of `regzoo.options.SUMMARIES` over targets; (N, targets) -> (N,)."""
    if name == "absmax":
        return values[np.arange(len(values)), largest_target(values)]
    if name == "l2":
        return np.sqrt(np.square(values, dtype=np.float64).sum(axis=1))
    return values.mean(axis=1)


def largest_target(values: np.ndarray) -> np.ndarray:
    """Index of the target of largest magnitude, int64; (N, targets) -> (N,)."""
    return np.abs(values).argmax(axis=1)
