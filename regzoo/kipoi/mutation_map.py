"""Mutation maps of kipoi_veff, which `kipoi veff plot_mutation_map` draws from results of `regzoo mutate`."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from kipoi_veff import MutationMapPlotter

from regzoo.sequence import decode

if TYPE_CHECKING:
    from regzoo.effects.mutate import Saturation


def mutation_map_entry(result: Saturation, targets: list[str], kind: str) -> dict[str, Any]:
    """One locus in the format of kipoi_veff 0.3.1.

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
    """Write the results of `mutation_map_entry` to an HDF5 file.

    The file is created in memory, because kipoi_veff does not report errors of a full disk.

    Parameters
    ----------
    path : str or pathlib.Path
    entries : list of dict

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    import tables

    images, open_file = [], tables.open_file

    @contextmanager
    def open_in_memory(name, mode):
        with open_file(name, mode, driver="H5FD_CORE", driver_core_backing_store=0) as file:
            yield file
            file.flush()
            images.append(file.get_file_image())

    with patch("tables.open_file", open_in_memory):
        MutationMapPlotter(mutation_map=entries).save_to_file(str(path))
    Path(path).write_bytes(images[0])
