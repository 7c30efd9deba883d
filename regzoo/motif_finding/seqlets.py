"""Motifs from contributions: seqlets, their alignment and clusters.

A seqlet is a span whose summed contribution is larger than that of spans of shuffled contributions, and so are the sums
of all spans within it. Seqlets are compared by the cosine of their contributions, over shifts and both strands, and
joined by average linkage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from regzoo.sequence.codes import UNKNOWN, one_hot

SHORTEST, LONGEST = 4, 25  # bases of a seqlet
FLANK = 2  # bases on each side of a seqlet that are compared too
WIDTH = 41  # bases around the middle of a seqlet that are kept
SHIFTS = range(-10, 11)
DISTANCE = 0.5  # largest mean distance (1 - cosine) within a cluster
JOINED = 0.25  # largest distance of clusters that are joined afterwards
MOST = 3000  # seqlets that are clustered: those of the largest contribution
TRIM = 0.2  # of the largest contribution, below which the ends of seqlets and motifs are cut


@dataclass(frozen=True)
class Seqlet:
    """A span of one window.

    Attributes
    ----------
    row : int
        Index of the window.
    start, end : int
        0-based, half-open, in the window.
    score : float
        Summed contribution.
    """

    row: int
    start: int
    end: int
    score: float


def find_seqlets(contributions: np.ndarray, p: float = 0.01, seed: int = 0) -> list[Seqlet]:
    """Spans of large contribution, which do not overlap.

    Parameters
    ----------
    contributions : numpy.ndarray, float, shape (N, L)
        Of the bases that are there.
    p : float
        A span is taken if at most this fraction of the spans of its length have as large a sum when the contributions
        of each window are shuffled, and the same holds for every span within it of at least `SHORTEST` bases. Ends of
        weak contribution (below `TRIM` of the largest) are then cut.
    seed : int
        Of the shuffles.

    Returns
    -------
    list of Seqlet
        By score, the largest first.
    """
    rows, length = contributions.shape
    shuffled = np.random.default_rng(seed).permuted(contributions, axis=1)
    worst, levels = None, []
    for size in range(SHORTEST, min(LONGEST, length) + 1):
        totals, null = _totals(contributions, size), np.sort(_totals(shuffled, size), axis=None)
        larger = 1 - np.searchsorted(null, totals, side="left") / null.size
        worst = larger if worst is None else np.maximum(larger, np.maximum(worst[:, :-1], worst[:, 1:]))
        levels.append((size, worst, totals))
    taken, found = np.zeros((rows, length), dtype=bool), []
    for size, worst, totals in reversed(levels):  # the longest first
        hits = np.argwhere((worst <= p) & (totals > 0))
        for row, start in hits[np.argsort(-totals[tuple(hits.T)], kind="stable")].tolist():
            if not taken[row, start : start + size].any():
                taken[row, max(0, start - FLANK) : start + size + FLANK] = True
                found.append(_trimmed(contributions[row], row, start, start + size))
    return sorted(found, key=lambda seqlet: -seqlet.score)


def _totals(values, size):
    """Sums of all spans of a length, shape (N, L - size + 1)."""
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1, dtype=np.float64)], axis=1)
    return sums[:, size:] - sums[:, :-size]


def _trimmed(values, row, start, end):
    """The seqlet of a span, without weak ends."""
    strong = start + np.flatnonzero(values[start:end] >= TRIM * values[start:end].max())
    start, end = int(strong[0]), int(strong[-1]) + 1
    return Seqlet(row, start, end, float(values[start:end].sum()))


@dataclass
class Aligned:
    """Seqlets of one motif.

    Attributes
    ----------
    counts, contributions : numpy.ndarray, float64, shape (W, 4)
        Counts of bases, and their mean contribution.
    members : list of (Seqlet, start, reverse)
        Each site's first base in its window, and whether it is on the reverse strand.
    """

    counts: np.ndarray
    contributions: np.ndarray
    members: list[tuple[Seqlet, int, bool]]


def cluster(
    seqlets: list[Seqlet], codes: np.ndarray, contributions: np.ndarray, min_sites: int = 20, stranded: bool = False
) -> list[Aligned]:
    """Join seqlets into motifs.

    Parameters
    ----------
    seqlets : list of Seqlet
    codes : numpy.ndarray, uint8, shape (N, L)
        Base codes of the windows.
    contributions : numpy.ndarray, float, shape (N, L)
    min_sites : int
        Fewest seqlets of a motif.
    stranded : bool
        Compare one strand only.

    Returns
    -------
    list of Aligned
        By number of seqlets, the most first.
    """
    seqlets = seqlets[:MOST]
    if len(seqlets) < max(2, min_sites):
        return []
    bases, weights = _windows(seqlets, codes, contributions)
    labels = _linked(_similarities(weights, weights, stranded)[0], DISTANCE)
    labels = _rejoined(labels, weights, stranded)
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    found = [_aligned(rows, seqlets, bases, weights, stranded) for rows in groups if len(rows) >= min_sites]
    return sorted(found, key=lambda one: -len(one.members))


def _windows(seqlets, codes, contributions):
    """One-hot bases, and contributions within the seqlet and its flanks, both (n, WIDTH, 4), around its middle."""
    half = WIDTH // 2
    padded = np.pad(codes, ((0, 0), (half, half)), constant_values=UNKNOWN)
    values = np.pad(contributions, ((0, 0), (half, half)))
    rows = np.array([s.row for s in seqlets])
    columns = np.array([(s.start + s.end) // 2 for s in seqlets])[:, None] + np.arange(WIDTH)
    bases = one_hot(padded[rows[:, None], columns]).transpose(0, 2, 1).astype(np.float32)
    low = np.array([half + s.start - FLANK for s in seqlets])[:, None]
    high = np.array([half + s.end + FLANK for s in seqlets])[:, None]
    inside = (columns >= low) & (columns < high)
    return bases, bases * (values[rows[:, None], columns] * inside)[:, :, None].astype(np.float32)


def _similarities(ones, others, stranded):
    """Largest cosine over shifts and strands, (n, m); the shift of `others`, and whether they are reversed."""
    scale = np.maximum(np.linalg.norm(ones.reshape(len(ones), -1), axis=1), 1e-12)[:, None]
    scale = scale * np.maximum(np.linalg.norm(others.reshape(len(others), -1), axis=1), 1e-12)
    best = np.full((len(ones), len(others)), -np.inf, dtype=np.float32)
    shifts, reverses = np.zeros(best.shape, dtype=np.int8), np.zeros(best.shape, dtype=bool)
    flat = ones.reshape(len(ones), -1)
    for reverse in (False,) if stranded else (False, True):
        turned = others[:, ::-1, ::-1] if reverse else others
        for shift in SHIFTS:
            values = flat @ _shifted(turned, shift).reshape(len(others), -1).T / scale
            better = values > best
            best[better], shifts[better], reverses[better] = values[better], shift, reverse
    return best, shifts, reverses


def _shifted(x, shift):
    """Move positions to the right, with zeros."""
    result = np.zeros_like(x)
    if shift >= 0:
        result[:, shift:] = x[:, : x.shape[1] - shift]
    else:
        result[:, :shift] = x[:, -shift:]
    return result


def _linked(similarity, distance):
    """Cluster of each row, by average linkage."""
    if len(similarity) < 2:
        return np.zeros(len(similarity), dtype=int)
    distances = np.clip(1 - (similarity + similarity.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    linkage = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=distance
    )
    return linkage.fit_predict(distances)


def _rejoined(labels, weights, stranded):
    """Labels after clusters with similar mean contributions have been joined."""
    means = np.stack(
        [_summed(weights[labels == label], weights[labels == label], stranded)[0] for label in range(labels.max() + 1)]
    )
    return _linked(_similarities(means, means, stranded)[0], JOINED)[labels]


def _medoid(weights, stranded):
    """The member that is most similar to the others (of at most 300)."""
    some = weights[:300]
    return some[_similarities(some, some, stranded)[0].mean(axis=1).argmax()]


def _summed(weights, values, stranded):
    """Sum of `values`, aligned as `weights` are to their medoid, with the shifts and strands of the alignment."""
    _, shifts, reverses = _similarities(_medoid(weights, stranded)[None], weights, stranded)
    total = np.zeros(values.shape[1:])
    for one, shift, reverse in zip(values, shifts[0], reverses[0]):
        total += _shifted((one[::-1, ::-1] if reverse else one)[None], int(shift))[0]
    return total, shifts[0], reverses[0]


def _aligned(rows, seqlets, bases, weights, stranded):
    summed, shifts, reverses = _summed(weights[rows], weights[rows], stranded)
    counts = _summed(weights[rows], bases[rows], stranded)[0]
    strength = np.abs(summed).sum(axis=1)
    kept = np.flatnonzero(strength >= TRIM * strength.max())
    low, high = int(kept[0]), int(kept[-1]) + 1
    members = []
    for row, shift, reverse in zip(rows, shifts.tolist(), reverses.tolist()):
        seqlet, half = seqlets[row], WIDTH // 2
        first = (seqlet.start + seqlet.end) // 2 - half  # of the kept window, in the sequence
        start = first + (WIDTH - high + shift if reverse else low - shift)
        members.append((seqlet, start, bool(reverse)))
    return Aligned(counts[low:high], summed[low:high] / len(rows), members)
