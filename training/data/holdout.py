"""Dev and test parts of a data set that comes without, whole groups at a time."""

import numpy as np

from regzoo.errors import InputError
from training.data.overlap import clusters


def held_out(options, codes, labels, groups):
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
        If groups are wanted and there are none.
    """
    if options.by == "group" and groups is None:
        raise InputError("holdout by group: no file of the data says how records are grouped")
    rng = np.random.default_rng(options.seed)
    if options.by == "random":
        pattern = np.where(np.isnan(labels), -1, np.where(labels == 0, 0, 1))  # of values, whether they are known
        _, strata = np.unique(pattern, axis=0, return_inverse=True)
        member = np.arange(len(codes))
    else:
        strata = np.zeros(len(codes), dtype=np.int64)
        member = alike_rows(options, codes) if options.by == "cluster" else np.asarray(groups)
    result = np.full(len(codes), "train", dtype="<U5")
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        own, sizes = np.unique(member[rows], return_counts=True)
        order = rng.permutation(len(own))
        before = np.cumsum(sizes[order]) - sizes[order] / 2  # a group goes where its middle falls
        share = before / len(rows)
        split = np.where(share < options.test, "test", np.where(share < options.test + options.dev, "dev", "train"))
        result[rows] = split[np.argsort(order)][np.searchsorted(own, member[rows])]
    return result


def alike_rows(options, codes):
    """Which rows belong together in cross-validation: those that a holdout by cluster keeps together, else each its own.

    Parameters
    ----------
    options : training.data.sources.Holdout or None
    codes : numpy.ndarray, uint8, shape (N, L)

    Returns
    -------
    numpy.ndarray, int, shape (N,)
        The group of each row.
    """
    if options is None or options.by != "cluster":
        return np.arange(len(codes))
    return clusters(codes, options.kmer)
