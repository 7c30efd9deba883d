"""Motifs from attention, as DNABERT finds them (Ji et al. 2021): regions of high attention, enriched in positives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import hypergeom

from regzoo.motif_finding.motif import benjamini_hochberg

SHORTEST = 4  # bases of a region
ABOVE_LOWEST = 10  # a region's attention is above this multiple of the sequence's smallest
SIGNIFICANT = 0.005  # q-value of enrichment
WINDOW = 24  # bases of a motif


def high_attention(scores: np.ndarray) -> list[tuple[int, int]]:
    """Regions of at least `SHORTEST` bases whose attention is above the mean and `ABOVE_LOWEST` times the minimum.

    Parameters
    ----------
    scores : numpy.ndarray, float, shape (L,)

    Returns
    -------
    list of (start, end)
        0-based, half-open.
    """
    high = (scores > scores.mean()) & (scores > ABOVE_LOWEST * scores.min())
    edges = np.flatnonzero(np.diff(np.concatenate([[0], high.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2]) if b - a >= SHORTEST]


def enriched(
    positives: Sequence[str], negatives: Sequence[str], regions: Sequence[Sequence[tuple[int, int]]]
) -> dict[str, tuple[float, list[tuple[int, int, int]]]]:
    """Texts of high attention that more positives than negatives contain.

    Parameters
    ----------
    positives, negatives : sequence of str
    regions : sequence of list of (start, end)
        Of each positive.

    Returns
    -------
    dict of str to (float, list of (row, start, end))
        q-value (hypergeometric test, Benjamini-Hochberg over all texts), below `SIGNIFICANT`, and the regions.
    """
    places: dict[str, list[tuple[int, int, int]]] = {}
    for row, (text, spans) in enumerate(zip(positives, regions)):
        for start, end in spans:
            places.setdefault(text[start:end], []).append((row, start, end))
    texts, total = list(places), len(positives) + len(negatives)
    p = np.empty(len(texts))
    for i, text in enumerate(texts):
        inside = sum(text in one for one in positives)
        outside = sum(text in one for one in negatives)
        p[i] = hypergeom.sf(inside - 1, total, len(positives), inside + outside)
    q = benjamini_hochberg(p)
    return {text: (float(q[i]), places[text]) for i, text in enumerate(texts) if q[i] < SIGNIFICANT}


def merged(found: dict[str, tuple[float, list[tuple[int, int, int]]]]) -> list[tuple[float, list[tuple[int, int]]]]:
    """Join similar texts: from the shortest on, each to the one that it aligns with best without gaps.

    Returns
    -------
    list of (q, list of (row, middle))
        Smallest q-value, and the windows and middles of the sites, aligned.
    """
    keys: list[str] = []
    groups: list[tuple[float, list[tuple[int, int]]]] = []
    for text in sorted(found, key=lambda one: (len(one), one)):
        q, spans = found[text]
        best, home, shift = 0, -1, 0
        for i, key in enumerate(keys):
            for offset in range(1 - len(text), len(key)):  # where the text begins in the key
                same = sum(a == b for a, b in zip(key[max(offset, 0) :], text[max(-offset, 0) :]))
                if same > best and same >= max(SHORTEST - 1, min(len(key), len(text)) / 2):
                    best, home, shift = same, i, offset
        if home < 0:
            keys.append(text)
            groups.append((q, []))
            home, shift = len(keys) - 1, 0
        middle = len(keys[home]) // 2 - shift
        groups[home] = min(q, groups[home][0]), groups[home][1] + [(row, start + middle) for row, start, _ in spans]
    return groups
