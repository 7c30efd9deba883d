"""Motifs by TF-MoDISco (Shrikumar et al. 2018), as the package modisco-lite computes it."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from regzoo.effects.motif_changes import same_threads
from regzoo.errors import InputError, ModelError
from regzoo.model import Model
from regzoo.motif_finding.seqlets import TRIM, Aligned, Seqlet
from regzoo.sequence.codes import one_hot

SHORTEST = 50  # bases of a window
LONG = 400  # bases of a window, from which on TF-MoDISco's defaults are used
#: For shorter windows. TF-MoDISco discards a seqlet whose pattern reaches beyond its window. With the defaults patterns
#: have 50 bases, so that most seqlets of a window of 100 bases would be lost; with these they have 30.
SIZES = {"sliding_window_size": 15, "flank_size": 5, "trim_to_window_size": 20, "initial_flank_to_add": 5}


def check_modisco(model: Model) -> None:
    """Raise an error if modisco-lite is missing, or does not fit a model."""
    if model.stranded:
        raise ModelError(f"{model.name} reads one strand, but TF-MoDISco compares both; use the method 'contributions'")
    if model.input_length < SHORTEST:
        raise ModelError(
            f"{model.name} reads windows of {model.input_length} bases, but TF-MoDISco needs {SHORTEST} or more; "
            "use the method 'contributions'"
        )
    if find_spec("modiscolite") is None:
        raise InputError("the method 'modisco' needs the package modisco-lite; run: pip install 'modisco-lite>=3'")


def modisco(codes: np.ndarray, hypothetical: np.ndarray, min_sites: int = 20) -> list[Aligned]:
    """Motifs of one target.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
        Base codes of the windows.
    hypothetical : numpy.ndarray, float, shape (N, L, 4)
        What each base would contribute.
    min_sites : int
        Fewest seqlets of a motif.

    Returns
    -------
    list of Aligned
        First the motifs that raise the prediction, then those that lower it, each by number of seqlets. TF-MoDISco
        looks for motifs only where it has more than 100 seqlets that raise (or lower) the prediction. It drops seqlets
        whose neighbours differ between its coarse and its fine comparison, so that not every site is returned.

    Raises
    ------
    InputError
        If the windows have no seqlets that TF-MoDISco can work with.
    """
    from modiscolite.tfmodisco import TFMoDISco

    hot = one_hot(codes).transpose(0, 2, 1).astype(np.float32)
    sizes = SIZES if codes.shape[1] < LONG else {}
    try:
        with same_threads():
            found = TFMoDISco(hot, hypothetical.astype(np.float32), final_min_cluster_size=min_sites, **sizes)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"TF-MoDISco found no motif in {len(codes)} windows ({error}); give more windows") from error
    values = (hot * hypothetical).sum(axis=2)
    patterns = [pattern for side in found for pattern in side or [] if len(pattern.seqlets) >= min_sites]
    return [_aligned(pattern, values) for pattern in patterns]


def _aligned(pattern, values):
    """A pattern without its ends of weak contribution."""
    strength = np.abs(pattern.contrib_scores).sum(axis=1)
    kept = np.flatnonzero(strength >= TRIM * strength.max())
    low, high = int(kept[0]), int(kept[-1]) + 1
    members = []
    for one in pattern.seqlets:
        reverse, row = bool(one.is_revcomp), int(one.example_idx)
        start = int(one.end) - high if reverse else int(one.start) + low
        end = start + high - low
        members.append((Seqlet(row, start, end, float(values[row, start:end].sum())), start, reverse))
    counts = np.asarray(pattern.sequence)[low:high] * len(members)
    return Aligned(counts, np.asarray(pattern.contrib_scores)[low:high], members)
