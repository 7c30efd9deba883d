"""Pictures of sequence: logos, and heat maps of saturation mutagenesis of both alleles of a variant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from regzoo.reports.svg import Figure, Scale, join, left_axis, letter, line, rect, text

CELL = 13.0
_LEFT, _RIGHT = 58.0, 12.0
_LOGO, _MOTIF = 62.0, 46.0
_ROWS = ("A", "C", "G", "T", "deletion")


@dataclass
class Locus:
    """Saturation mutagenesis of one allele in its surroundings.

    Attributes
    ----------
    label : str
        Such as 'reference, A'.
    positions : list of str
        Name of each base, such as '1,550', or '+2' within an insertion.
    sequence : str
    effects : numpy.ndarray, float, shape (P, 5)
        Of A, C, G, T and the deletion.
    marked : tuple of int
        First base of the allele and the one after its last; equal where nothing is marked.
    """

    label: str
    positions: list[str]
    sequence: str
    effects: np.ndarray
    marked: tuple[int, int]

    @property
    def importance(self) -> np.ndarray:
        """Minus the mean effect of the three substitutions of each base, shape (P,)."""
        return -np.nan_to_num(np.nan_to_num(self.effects[:, :4]).sum(axis=1) / 3)

    def to_frame(self) -> pd.DataFrame:
        """One row for each base, with the effects of its changes."""
        table = pd.DataFrame(self.effects, columns=[f"to {name}" for name in _ROWS])
        table.insert(0, "base", list(self.sequence))
        table.insert(0, "position", self.positions)
        table.insert(0, "allele", self.label)
        return table


@dataclass
class PlacedMotif:
    """A motif where it matches an allele.

    Attributes
    ----------
    name, strand : str
    side : int
        0 for the reference, 1 for the alternate.
    start : int
        First base, counted within the `Locus`.
    heights : numpy.ndarray, shape (4, width)
        Height of each letter, bits.
    """

    name: str
    strand: str
    side: int
    start: int
    heights: np.ndarray


def logo(sequence: str, heights: np.ndarray, x: float, scale: Scale) -> Markup:
    """Letters as high as their values, one of `CELL` pixels for each base, from `x` on."""
    parts = []
    for i, (base, value) in enumerate(zip(sequence, heights)):
        height = float(scale(0) - scale(value))
        if abs(height) > 0.4:
            parts.append(letter(base, x + i * CELL, scale(0), CELL - 0.5, height))
    return join([line(x, scale(0), x + CELL * len(sequence), scale(0), "axis"), *parts])


def motif_logo(heights: np.ndarray, x: float, base: float, full: float) -> Markup:
    """Stacked letters of a motif, the largest on top.

    Parameters
    ----------
    heights : numpy.ndarray, shape (4, width)
        Bits; 2 is `full` pixels.
    x, base, full : float
    """
    parts = []
    for i, column in enumerate(heights.T):
        y = base
        for row in np.argsort(column, kind="stable"):
            height = float(column[row] / 2 * full)
            if height > 0.6:
                parts.append(letter("ACGT"[row], x + i * CELL, y, CELL - 0.5, height))
                y -= height
    return join(parts)


def saturation(
    name: str, title: str, loci: list[Locus], target: str, motif: PlacedMotif | None = None, caption: str = ""
) -> Figure:
    """For each allele a logo of importance over a heat map of the effects of all changes, and a motif below.

    Parameters
    ----------
    name, title : str
    loci : list of Locus
        Of the reference and the alternate; both have one scale.
    target : str
    motif : PlacedMotif, optional
    caption : str
    """
    strongest = max([float(np.nanmax(np.abs(one.effects))) for one in loci if np.isfinite(one.effects).any()] or [0])
    heights = np.concatenate([one.importance for one in loci])
    limits = min(0.0, float(heights.min())), max(float(heights.max()), 1e-9)
    parts, y = [], 4.0
    for side, one in enumerate(loci):
        own = motif if motif is not None and motif.side == side else None
        drawn, y = _allele(one, y, limits, strongest or 1.0, own)
        parts.append(drawn)
    width = _LEFT + CELL * max(len(one.sequence) for one in loci) + _RIGHT
    parts.append(_legend(width - _RIGHT, strongest))
    peaks = "; ".join(
        f"{one.label}: the most important base is {one.sequence[int(np.abs(one.importance).argmax())]} at "
        f"{one.positions[int(np.abs(one.importance).argmax())]}"
        for one in loci
    )
    described = f"Effect of every substitution and deletion on {target}, at most {strongest:.3g}. {peaks}."
    if motif is not None:
        described += f" {motif.name} matches the {('reference', 'alternate')[motif.side]} on strand {motif.strand}."
    data = pd.concat([one.to_frame() for one in loci])
    return Figure(name, title, described, join(parts), width, y, data, caption, least=min(720, int(width)))


def _allele(one, y, limits, strongest, motif):
    """One allele from `y` on, and the y below it."""
    count = len(one.sequence)
    low, high = one.marked
    scale = Scale(limits[0], limits[1], y + 16 + _LOGO, y + 16)
    parts = [text(_LEFT, y + 9, one.label, class_="strong")]
    bottom = y + 22 + _LOGO + CELL * len(_ROWS)
    if high > low:
        parts.append(rect(_LEFT + low * CELL - 1, y + 14, (high - low) * CELL + 1, bottom - y - 12, "marked"))
    parts += [left_axis(scale, _LEFT - 4, "", 3), logo(one.sequence, one.importance, _LEFT, scale)]
    top = y + 22 + _LOGO
    for row, label in enumerate(_ROWS):
        parts.append(text(_LEFT - 7, top + (row + 0.8) * CELL, label[:3] if row == 4 else label, text_anchor="end"))
    parts.append(_cells(one, top, strongest))
    parts += [
        text(_LEFT + (i + 0.5) * CELL, bottom + 14, label, text_anchor="middle", class_="small")
        for i, (label, base) in enumerate(zip(one.positions, one.sequence))
        if _is_tick(label) and base != "N"
    ]
    y = bottom + 22
    if motif is not None:
        x = _LEFT + motif.start * CELL
        parts.append(motif_logo(motif.heights, x, y + _MOTIF, _MOTIF))
        parts.append(line(x, y + _MOTIF + 1, x + CELL * motif.heights.shape[1], y + _MOTIF + 1))
        end = x + CELL * motif.heights.shape[1] + 8
        right = end + 7 * len(motif.name) + 30 > _LEFT + CELL * count
        anchor = {"x": x - 8, "text_anchor": "end"} if right else {"x": end, "text_anchor": "start"}
        label = f"{motif.name} ({motif.strand})"
        parts.append(text(anchor["x"], y + _MOTIF - 4, label, text_anchor=anchor["text_anchor"], class_="note"))
        y += _MOTIF + 12
    return join(parts), y + 8


def _legend(right, strongest):
    """Colours of the heat map, right-aligned in the first line."""
    parts, size = [], 9.0
    left = right - 11 * size - 44
    for i in range(11):
        share = (i - 5) / 5
        kind = "up" if share > 0 else "down"
        parts.append(rect(left + i * size, 4, size - 1, size, kind, fill_opacity=max(0.03, abs(share))))
    ends = (left - 6, f"−{strongest:.2g}", "end"), (right - 38, f"+{strongest:.2g}", "start")
    return join([*parts, *(text(x, 13, words, text_anchor=anchor, class_="small") for x, words, anchor in ends)])


def _is_tick(label):
    return label.replace(",", "").isdigit() and label.endswith("0")


def _cells(one, top, strongest):
    """Cells of a heat map; those of the bases that are there are marked by a dot."""
    parts = []
    for i, base in enumerate(one.sequence):
        x = _LEFT + i * CELL
        for row, label in enumerate(_ROWS):
            value, y = float(one.effects[i, row]), top + row * CELL
            if label == base:
                parts.append(rect(x + CELL / 2 - 2, y + CELL / 2 - 2, 3.5, 3.5, "own"))
                continue
            if not np.isfinite(value):
                continue
            tip = f"{one.positions[i]} {base}→{'–' if row == 4 else label}: {value:+.3g}"
            strength = min(1.0, abs(value) / strongest)
            kind = "up" if value > 0 else "down"
            parts.append(rect(x, y, CELL - 1, CELL - 1, kind, fill_opacity=max(0.03, strength), data_t=tip))
    return join(parts)


def contributions(
    name: str, title: str, sequence: str, heights: np.ndarray, positions: list[str], target: str, caption: str = ""
) -> Figure:
    """A logo of contributions, in rows of 61 bases.

    Parameters
    ----------
    name, title : str
    sequence : str
    heights : numpy.ndarray, shape (P,)
    positions : list of str
    target : str
    caption : str
    """
    size, row = 61, _LOGO + 34
    limits = min(0.0, float(np.nanmin(heights))), max(float(np.nanmax(heights)), 1e-9)
    parts = []
    for number, start in enumerate(range(0, len(sequence), size)):
        y = 6 + number * row
        end, scale = min(start + size, len(sequence)), Scale(*limits, y + _LOGO, y)
        parts += [left_axis(scale, _LEFT - 4, "", 2), logo(sequence[start:end], heights[start:end], _LEFT, scale)]
        for i in range(start, end):
            x = _LEFT + (i - start) * CELL
            tip = f"{positions[i]} {sequence[i]}: {heights[i]:+.3g}"
            parts.append(rect(x, y, CELL, _LOGO, "hit", data_t=tip))
            if _is_tick(positions[i]):
                parts.append(text(x + CELL / 2, y + _LOGO + 16, positions[i], text_anchor="middle", class_="small"))
    top = int(np.nanargmax(np.abs(heights)))
    described = f"Contribution of each base to {target}; the largest is that of {sequence[top]} at {positions[top]}."
    data = pd.DataFrame({"position": positions, "base": list(sequence), "contribution": heights})
    height = 6 + row * -(-len(sequence) // size)
    width = _LEFT + CELL * min(size, len(sequence)) + _RIGHT
    return Figure(name, title, described, join(parts), width, height, data, caption, least=min(720, int(width)))
