"""A locus as people look at it: the reference as a logo of how much each base matters, over a heat map of every change."""

import numpy as np

from regzoo.sequence.codes import decode

COLOURS = {"A": "#109648", "C": "#255C99", "G": "#F7B32B", "T": "#D62839", "N": "#999999"}
BASES_A_ROW = 100
#: Most rows, of all targets together, in one picture.
MOST_ROWS = 40
_LETTER = 0.092  # inches that a base takes


def rows_of(positions):
    """Rows that a locus of so many bases is wrapped into."""
    return -(-positions // BASES_A_ROW)


def draw(result, targets):
    """Picture of one locus: for each target a logo over a heat map, wrapped at 100 bases.

    Parameters
    ----------
    result : regzoo.effects.mutate.Saturation
    targets : list of str
        Those of the result to draw.

    Returns
    -------
    matplotlib.figure.Figure
        A letter's height is minus the mean effect of the three substitutions of its base: letters above the line hold the
        prediction up. Below it, under the letters of the reference, the effect of every change at every position, red up
        and blue down.
    """
    from matplotlib.figure import Figure

    positions = len(result.reference)
    rows, width = rows_of(positions), min(positions, BASES_A_ROW)
    heights = [0.8, 0.13 * len(result.alleles)]
    figure = Figure(
        figsize=(max(3.6, 1.3 + _LETTER * width), len(targets) * (0.4 + rows * (sum(heights) + 0.55)) + 0.2),
        layout="constrained",
    )
    parts = figure.subfigures(len(targets), 1, squeeze=False)[:, 0]
    sequence = decode(result.reference)
    kind, columns = result.score, [result.targets.index(target) for target in targets]
    for part, target, effects in zip(parts, targets, np.moveaxis(result.effects[:, :, columns], 2, 0)):
        axes = part.subplots(2 * rows, 1, squeeze=False, height_ratios=heights * rows)[:, 0]
        letters = -np.nan_to_num(effects[:, :4].sum(axis=1) / 3)
        limits = min(0, letters.min()) * 1.05, max(letters.max() * 1.05, 1e-9)
        strongest = np.nanmax(np.abs(effects)) if np.isfinite(effects).any() else 1.0
        for row in range(rows):
            start, end = row * BASES_A_ROW, min((row + 1) * BASES_A_ROW, positions)
            logo, heat = axes[2 * row : 2 * row + 2]
            _letters(logo, sequence[start:end], letters[start:end])
            logo.set(ylim=limits, ylabel=f"−mean {kind}")
            image = heat.imshow(
                effects[start:end].T,
                aspect="auto",
                cmap="RdBu_r",
                vmin=-strongest,
                vmax=strongest,
                interpolation="nearest",
            )
            _label(heat, result, sequence[start:end], start)
            for axis in (logo, heat):
                axis.set_xlim(-0.5, width - 0.5)
        bar = part.colorbar(image, ax=axes, pad=0.01, fraction=0.025, shrink=0.8 if rows == 1 else 0.5, aspect=15)
        bar.set_label(f"Effect ({kind})", fontsize=7)
        bar.ax.tick_params(labelsize=6)
        axes[-1].set_xlabel(f"Position on {result.contig}", fontsize=7)
        name = f", {result.name}" if result.name else ""
        part.suptitle(f"{target}{name} ({result.model})", fontsize=9)
    return figure


def _letters(axis, sequence, heights):
    import logomaker
    import pandas as pd

    table = pd.DataFrame(0.0, index=range(len(sequence)), columns=list("ACGT"))
    for place, (letter, height) in enumerate(zip(sequence, heights)):
        if letter in table:
            table.loc[place, letter] = height
    logomaker.Logo(table, ax=axis, color_scheme=COLOURS, show_spines=False, baseline_width=0.5)
    axis.tick_params(labelsize=6, length=2)
    axis.yaxis.label.set_size(7)
    axis.set_xticks([])
    axis.spines["left"].set_visible(True)


def _label(axis, result, sequence, start):
    """The reference's letters above a heat map, positions below it, and what was changed beside it."""
    names = {"-": "del"}
    axis.set_yticks(range(len(result.alleles)), [names.get(allele, allele) for allele in result.alleles], fontsize=5.5)
    first = result.start + start + 1
    step = 10 if len(sequence) > 20 else 5 if len(sequence) > 8 else 1
    places = [i for i in range(len(sequence)) if (first + i) % step == 0]
    axis.set_xticks(places, [f"{first + i:,}" for i in places], fontsize=5.5)
    if len(places) > 5:
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
