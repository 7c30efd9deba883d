"""A locus as people look at it: the reference as a logo of how much each base matters, over a heat map of every change."""

import logomaker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from regzoo.sequence.codes import decode

COLOURS = {"A": "#109648", "C": "#255C99", "G": "#F7B32B", "T": "#D62839"}


def draw(result, targets, kind, model_name):
    """Picture of one locus, a panel a target.

    Parameters
    ----------
    result : regzoo.effects.mutate.Saturation
    targets : list of str
    kind, model_name : str
        For the labels.

    Returns
    -------
    matplotlib.figure.Figure
        A letter's height is the mean effect of losing its base (minus the mean over substitutions): letters above the
        line hold the prediction up. Below it, the effect of every base at every position, red up and blue down.
    """
    positions = len(result.reference)
    width = min(40, max(6, positions * 0.13))
    figure = Figure(figsize=(width, 2.6 * len(targets)), layout="constrained")
    axes = figure.subplots(2 * len(targets), 1, sharex=True, squeeze=False, height_ratios=[1.2, 1] * len(targets))[:, 0]
    sequence = decode(result.reference)
    for number, target in enumerate(targets):
        effects = result.effects[:, :, number]
        _letters(axes[2 * number], sequence, -np.nan_to_num(effects[:, :4].sum(axis=1) / 3))
        axes[2 * number].set_title(f"{target} ({model_name})", loc="left", fontsize=9)
        _heat_map(figure, axes[2 * number + 1], effects, kind, result.alleles)
    labels = np.arange(0, positions, max(1, positions // 10))
    axes[-1].set_xticks(labels, [f"{result.start + i + 1:,}" for i in labels], fontsize=7)
    axes[-1].set_xlabel(f"{result.contig} position" + (f", {result.name}" if result.name else ""), fontsize=8)
    return figure


def _letters(axis, sequence, heights):
    table = pd.DataFrame(0.0, index=range(len(sequence)), columns=list("ACGT"))
    for place, (letter, height) in enumerate(zip(sequence, heights)):
        if letter in table:
            table.loc[place, letter] = height
    logomaker.Logo(table, ax=axis, color_scheme=COLOURS, show_spines=False, baseline_width=0.5)
    axis.set(xlim=(-0.5, len(sequence) - 0.5), ylim=(min(0, heights.min()) * 1.05, max(heights.max() * 1.05, 1e-9)))
    axis.tick_params(labelsize=6, bottom=False)
    axis.spines["left"].set_visible(True)


def _heat_map(figure, axis, effects, kind, alleles):
    strongest = np.nanmax(np.abs(effects)) if np.isfinite(effects).any() else 1.0
    image = axis.imshow(
        effects.T, aspect="auto", cmap="RdBu_r", vmin=-strongest, vmax=strongest, interpolation="nearest"
    )
    axis.set_yticks(range(len(alleles)), ["del" if allele == "-" else allele for allele in alleles], fontsize=6)
    bar = figure.colorbar(image, ax=axis, pad=0.005, fraction=0.02)
    bar.set_label(kind, fontsize=7)
    bar.ax.tick_params(labelsize=6)
