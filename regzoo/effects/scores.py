"""Variant scores from the predictions of both alleles, as kipoi-veff 0.3.1 defines them."""

import numpy as np

#: Probabilities are kept this far from 0 and 1 before a logit: float32's spacing below 1, so that no logit is infinite.
CLIP = 2.0**-24


def logit(probability):
    """log(p / (1 - p)) in float64, with p cut to [CLIP, 1 - CLIP]; same shape."""
    p = np.clip(np.asarray(probability, dtype=np.float64), CLIP, 1 - CLIP)
    return np.log(p) - np.log1p(-p)


def _ref(ref, alt):
    return ref


def _alt(ref, alt):
    return alt


def _diff(ref, alt):
    return np.asarray(alt, dtype=np.float64) - ref


def _logit_ref(ref, alt):
    return logit(ref)


def _logit_alt(ref, alt):
    return logit(alt)


def _logit(ref, alt):
    return logit(alt) - logit(ref)


_PLAIN = {"diff": _diff, "logit": _logit, "ref": _ref, "alt": _alt, "logit_ref": _logit_ref, "logit_alt": _logit_alt}

SCORES = (*_PLAIN, "deepsea_effect")


def score(name, ref, alt, ref_rc=None, alt_rc=None):
    """One score of each variant and target.

    Parameters
    ----------
    name : str
        One of `SCORES`. 'deepsea_effect' is |logit difference| x |difference| (Zhou & Troyanskaya 2015).
    ref, alt : numpy.ndarray, shape (N, targets)
        Predictions of both alleles.
    ref_rc, alt_rc : numpy.ndarray, shape (N, targets), optional
        Predictions of their reverse complements; scores of both strands are then averaged. As in kipoi-veff, of
        'deepsea_effect' its two factors are averaged before they are multiplied.

    Returns
    -------
    numpy.ndarray, float32, shape (N, targets)
    """
    if name == "deepsea_effect":
        value = np.abs(score("logit", ref, alt, ref_rc, alt_rc)) * np.abs(score("diff", ref, alt, ref_rc, alt_rc))
    else:
        value = _PLAIN[name](ref, alt)
        if ref_rc is not None:
            value = (value + _PLAIN[name](ref_rc, alt_rc)) / 2
    return np.asarray(value, dtype=np.float32)
