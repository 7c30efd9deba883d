"""Kipoi's mutation maps, so that `kipoi veff plot_mutation_map` draws what `regzoo mutate` computed."""

import numpy as np
from kipoi_veff import MutationMapPlotter

from regzoo.sequence import decode


def mutation_map_entry(result, targets, kind):
    """One locus as kipoi-veff 0.3.1 keeps it.

    Parameters
    ----------
    result : regzoo.effects.mutate.Saturation
    targets : list of str
    kind : str
        The score's name.

    Returns
    -------
    dict
        Input -> score -> target -> map; of the alleles, a map has the four bases.
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


def save_mutation_map(path, entries):
    """Write entries of `mutation_map_entry` to an HDF5 file."""
    MutationMapPlotter(mutation_map=entries).save_to_file(str(path))
