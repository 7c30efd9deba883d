"""Picture of saturation mutagenesis: a sequence logo over a heat map of effects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from regzoo.sequence.codes import decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from regzoo.effects.mutate import Saturation
    from regzoo.explanation import Explanation

COLOURS = {"A": "#109648", "C": "#255C99", "G": "#F7B32B", "T": "#D62839", "N": "#999999"}
BASES_A_ROW = 120  # at most; rows of one picture are alike
#: Largest number of rows in one picture, over all targets.
MOST_ROWS = 40
_LETTER = 0.092  # width of a base, inches


def rows_of(positions: int) -> int:
    """Number of rows for a locus of `positions` bases."""
    return -(-positions // BASES_A_ROW)


def draw(result: Saturation, targets: Sequence[str]) -> Figure:
    """Draw one locus: for each target, a logo over a heat map, in rows of about 100 bases.

    Parameters
    ----------
    result : regzoo.effects.mutate.Saturation
    targets : sequence of str
        Targets to draw.

    Returns
    -------
    matplotlib.figure.Figure
        The height of a letter in the logo is minus the mean effect of the three substitutions of that base. The heat
        map shows the effect of each change at each position: red increases the prediction, blue decreases it.
    """
    from matplotlib.figure import Figure

    positions = len(result.reference)
    rows = rows_of(positions)
    width = -(-positions // rows)
    heights = [0.8, 0.13 * len(result.alleles)]
    figure = Figure(
        figsize=(max(3.6, 1.3 + _LETTER * width), len(targets) * (0.4 + rows * (sum(heights) + 0.55)) + 0.2),
        layout="constrained",
    )
    parts = figure.subfigures(len(targets), 1, squeeze=False)[:, 0]
    for part, target in zip(parts, targets):
        axes = part.subplots(2 * rows, 1, squeeze=False, height_ratios=heights * rows)[:, 0]
        image = _rows(axes, result, result.effects[:, :, result.targets.index(target)], width)
        bar = part.colorbar(image, ax=axes, pad=0.01, fraction=0.025, shrink=0.8 if rows == 1 else 0.5, aspect=15)
        bar.set_label(f"Effect ({result.score})", fontsize=7)
        bar.ax.tick_params(labelsize=6)
        axes[-1].set_xlabel(f"Position on {result.contig}", fontsize=7)
        name = f", {result.name}" if result.name else ""
        part.suptitle(f"{target}{name} ({result.model})", fontsize=9)
    return figure


def draw_contributions(result: Explanation, targets: Sequence[str]) -> Figure:
    """Draw the sequence of a window as a logo, a block for each target, in rows of about 100 bases.

    Parameters
    ----------
    result : regzoo.explanation.Explanation
    targets : sequence of str
        Targets to draw.

    Returns
    -------
    matplotlib.figure.Figure
        The height of a letter is the contribution of that base; letters below the line lower the prediction.
    """
    from matplotlib.figure import Figure

    sequence = decode(result.reference)
    rows = rows_of(len(sequence))
    width = -(-len(sequence) // rows)
    figure = Figure(
        figsize=(max(3.6, 1.0 + _LETTER * width), len(targets) * (0.4 + 1.15 * rows) + 0.2), layout="constrained"
    )
    parts = figure.subfigures(len(targets), 1, squeeze=False)[:, 0]
    for part, target in zip(parts, targets):
        heights = result.contributions[:, result.targets.index(target)]
        low, high = min(0.0, float(heights.min())), max(float(heights.max()), 1e-9)
        for axis, start in zip(part.subplots(rows, 1, squeeze=False)[:, 0], range(0, len(sequence), width)):
            shown = sequence[start : start + width]
            _letters(axis, shown, heights[start : start + width])
            axis.set(
                ylim=(1.05 * low, 1.05 * high),
                xlim=(-0.5, width - 0.5),
                ylabel="Attention" if result.targets == ["attention"] else "Contribution",
            )
            first = result.start + start + 1
            ticks = [i for i in range(len(shown)) if (first + i) % 10 == 0]
            axis.set_xticks(ticks, [f"{first + i:,}" for i in ticks], fontsize=5.5)
        axis.set_xlabel(f"Position on {result.contig}", fontsize=7)
        part.suptitle(f"{target}, {result.name} ({result.model}, {result.method.replace('_', ' ')})", fontsize=9)
    return figure


def _rows(axes, result, effects, width):
    """Draw the effects on one target, shape (positions, alleles); returns the last heat map."""
    sequence = decode(result.reference)
    letters = -np.nan_to_num(effects[:, :4].sum(axis=1) / 3)
    limits = min(0, letters.min()) * 1.05, max(letters.max() * 1.05, 1e-9)
    strongest = np.nanmax(np.abs(effects)) if np.isfinite(effects).any() else 1.0
    colours = {"cmap": "RdBu_r", "vmin": -strongest, "vmax": strongest}
    for logo, heat, start in zip(axes[::2], axes[1::2], range(0, len(sequence), width)):
        end = min(start + width, len(sequence))
        _letters(logo, sequence[start:end], letters[start:end])
        logo.set(ylim=limits, ylabel=f"−mean {result.score}")
        image = heat.imshow(effects[start:end].T, aspect="auto", interpolation="nearest", **colours)
        _label(heat, result, sequence[start:end], start)
        for axis in (logo, heat):
            axis.set_xlim(-0.5, width - 0.5)
    return image


def _letters(axis, sequence, heights):
    import logomaker
    import pandas as pd

    table = pd.DataFrame(0.0, index=range(len(sequence)), columns=list("ACGT"))
    for position, (letter, height) in enumerate(zip(sequence, heights)):
        if letter in table:
            table.loc[position, letter] = height
    logomaker.Logo(table, ax=axis, color_scheme=COLOURS, show_spines=False, baseline_width=0.5)
    axis.tick_params(labelsize=6, length=2)
    axis.yaxis.label.set_size(7)
    axis.set_xticks([])
    axis.spines["left"].set_visible(True)


def _label(axis, result, sequence, start):
    """Label a heat map: bases of the reference above, positions below, alleles to the left."""
    names = {"-": "del"}
    axis.set_yticks(range(len(result.alleles)), [names.get(allele, allele) for allele in result.alleles], fontsize=5.5)
    first = result.start + start + 1
    step = 10 if len(sequence) > 20 else 5 if len(sequence) > 8 else 1
    ticks = [i for i in range(len(sequence)) if (first + i) % step == 0]
    axis.set_xticks(ticks, [f"{first + i:,}" for i in ticks], fontsize=5.5)
    if len(ticks) > 5:
        for label in axis.get_xticklabels()[1::2]:
            label.set_visible(False)
    axis.tick_params(length=2, pad=1.5)
    letters = axis.secondary_xaxis("top")
    letters.set_xticks(range(len(sequence)), list(sequence), fontsize=5.5, family="monospace")
    letters.tick_params(length=0, pad=0.5)
    letters.spines["top"].set_visible(False)
    for label, base in zip(letters.get_xticklabels(), sequence):
        label.set_color(COLOURS[base])
    axis.spines[:].set_linewidth(0.5)
