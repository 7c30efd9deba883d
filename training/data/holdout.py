"""Dev and test parts of a data set that comes without them, in whole groups of rows."""

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.shared_kmers import clusters
from training.data.sources import Holdout


def held_out(options: Holdout, codes: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The split of each training row.

    Parameters
    ----------
    options : training.data.sources.Holdout
    codes : numpy.ndarray, uint8, shape (N, L)
    labels : numpy.ndarray, float32, shape (N, targets)
    groups : numpy.ndarray of str, shape (N,), or None

    Returns
    -------
    numpy.ndarray of str, shape (N,)
        'train', 'dev' or 'test'.

    Raises
    ------
    InputError
        If rows are to be held out by group and have no groups.
    """
    if options.by == "group" and groups is None:
        raise InputError("holdout.by: group needs records with groups, which this data has not; use cluster or random")
    rng = np.random.default_rng(options.seed)
    if options.by == "random":
        pattern = np.where(np.isnan(labels), -1, np.where(labels == 0, 0, 1))
        _, strata = np.unique(pattern, axis=0, return_inverse=True)
        member = np.arange(len(codes))
    else:
        strata = np.zeros(len(codes), dtype=np.int64)
        member = cluster_ids(options, codes) if options.by == "cluster" else np.asarray(groups)
    result = np.full(len(codes), "train", dtype="<U5")
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        own, sizes = np.unique(member[rows], return_counts=True)
        order = rng.permutation(len(own))
        middle = np.cumsum(sizes[order]) - sizes[order] / 2  # the middle row of a group decides its split
        fraction = middle / len(rows)
        split = np.where(
            fraction < options.test, "test", np.where(fraction < options.test + options.dev, "dev", "train")
        )
        result[rows] = split[np.argsort(order)][np.searchsorted(own, member[rows])]
    return result


def cluster_ids(options: Holdout | None, codes: np.ndarray) -> np.ndarray:
    """The cluster of each row, for cross-validation. Without a holdout by cluster, every row is a cluster of its own.

    Parameters
    ----------
    options : training.data.sources.Holdout or None
    codes : numpy.ndarray, uint8, shape (N, L)

    Returns
    -------
    numpy.ndarray, int, shape (N,)
    """
    if options is None or options.by != "cluster":
        return np.arange(len(codes))
    return clusters(codes, options.kmer)
