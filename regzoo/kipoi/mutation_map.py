"""kipoi_veff's mutation maps, so that `kipoi veff plot_mutation_map` draws what `regzoo mutate` has computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from kipoi_veff import MutationMapPlotter

from regzoo.sequence import decode

if TYPE_CHECKING:
    from regzoo.effects.mutate import Saturation


def mutation_map_entry(result: Saturation, targets: list[str], kind: str) -> dict[str, Any]:
    """One locus in the form that kipoi_veff 0.3.1 saves.

    Parameters
    ----------
    result : regzoo.effects.mutate.Saturation
    targets : list of str
    kind : str
        Name of the score.

    Returns
    -------
    dict
        Input -> score -> target -> map. A map has the effects of the four bases, shape (4, positions).
    """
    size = len(result.reference)
    region = {"chr": result.contig, "start": result.start, "end": result.start + size, "strand": "*"}

    def one(target):
        return {
            "mutation_map": np.ascontiguousarray(result.effects[:, :4, target].T, dtype=np.float64),
            "ovlp_var": {key: [] for key in ("chr", "pos", "id", "ref", "alt", "varpos_rel")},
            "metadata_region": region,
            "ref_seq": decode(result.reference),
        }

    return {"seq": {kind: {name: one(i) for i, name in enumerate(targets)}}}


def save_mutation_map(path: str | Path, entries: list[dict[str, Any]]) -> None:
    """Write the results of `mutation_map_entry` to an HDF5 file."""
    MutationMapPlotter(mutation_map=entries).save_to_file(str(path))
