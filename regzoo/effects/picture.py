"""A locus as people look at it: the reference as a logo of how much each base matters, over a heat map of every change."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from regzoo.sequence.codes import decode

COLOURS = {"A": "#109648", "C": "#255C99", "G": "#F7B32B", "T": "#D62839", "N": "#888888"}
_FONT = FontProperties(family="DejaVu Sans", weight="bold")


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
        _heat_map(figure, axes[2 * number + 1], effects, kind)
    labels = np.arange(0, positions, max(1, positions // 10))
    axes[-1].set_xticks(labels, [f"{result.start + i + 1:,}" for i in labels], fontsize=7)
    axes[-1].set_xlabel(f"{result.contig} position" + (f", {result.name}" if result.name else ""), fontsize=8)
    return figure


def _letters(axis, sequence, heights):
    for place, (letter, height) in enumerate(zip(sequence, heights)):
        if height:
            shape = TextPath((0, 0), letter, size=1, prop=_FONT)
            box = shape.get_extents()
            fit = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, height / box.height)
            axis.add_patch(PathPatch(fit.translate(place - 0.45, 0).transform_path(shape), color=COLOURS[letter], lw=0))
    axis.axhline(0, color="black", lw=0.5)
    axis.set(xlim=(-0.5, len(sequence) - 0.5), ylim=(min(0, heights.min()) * 1.05, max(heights.max() * 1.05, 1e-9)))
    axis.tick_params(labelsize=6, bottom=False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def _heat_map(figure, axis, effects, kind):
    strongest = np.nanmax(np.abs(effects)) if np.isfinite(effects).any() else 1.0
    image = axis.imshow(
        effects.T, aspect="auto", cmap="RdBu_r", vmin=-strongest, vmax=strongest, interpolation="nearest"
    )
    axis.set_yticks(range(5), ["A", "C", "G", "T", "del"], fontsize=6)
    bar = figure.colorbar(image, ax=axis, pad=0.005, fraction=0.02)
    bar.set_label(kind, fontsize=7)
    bar.ax.tick_params(labelsize=6)
