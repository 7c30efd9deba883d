"""Several single-target data sets as one masked multi-target set, with overlaps between splits removed."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regzoo.errors import InputError
from regzoo.evaluate.labelled import read_labelled
from training.data.build import read_built
from training.data.overlap import kmer_hashes, shares_kmer


@dataclass
class Examples:
    """One split.

    Attributes
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    labels : numpy.ndarray, float32, shape (N, targets)
        0, 1, or NaN where a row has no label for a target.
    """

    codes: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.codes)

    def of_target(self, index):
        """Codes and labels of the rows that are labelled for one target."""
        rows = ~np.isnan(self.labels[:, index])
        return self.codes[rows], self.labels[rows, index]


def find_split(folder, split):
    """Path of `split`.csv.gz or `split`.csv in `folder`, or None."""
    for name in (f"{split}.csv.gz", f"{split}.csv"):
        if (folder / name).is_file():
            return folder / name
    return None


def data_root(folder):
    """`folder` under REGZOO_DATA, else as it is (relative to the working directory)."""
    root = os.environ.get("REGZOO_DATA")
    return Path(root) / folder if root else Path(folder)


def load_examples(data):
    """Read a recipe's data section.

    Training rows that share a k-mer (`data.overlap_kmer`, either strand) with any dev or test row of any task are
    dropped; training rows with the same window on either strand become one row, and labels of theirs that contradict
    each other become missing.

    Parameters
    ----------
    data : training.recipe.Data

    Returns
    -------
    splits : dict of str to Examples
        'train', 'dev' and, where a task has one, 'test'. Rows of a split without a file are simply absent.
    report : dict
        Counts of what was read, dropped and merged, per target.

    Raises
    ------
    InputError
        If train or dev is missing for a task, a split holds one class only, or lengths differ.
    """
    root = data_root(data.folder)
    parts, report = _read_built(root, data.tasks) if data.format == "built" else _read_tasks(root, data)
    if len({part.codes.shape[1] for rows in parts.values() for part in rows}) > 1:
        raise InputError(f"{root}: the tasks' windows differ in length")
    splits = {
        split: Examples(np.concatenate([p.codes for p in rows]), np.concatenate([p.labels for p in rows]))
        for split, rows in parts.items()
        if rows
    }
    held_out = np.concatenate([part.codes for split, part in splits.items() if split != "train"])
    train = splits["train"]
    overlap = shares_kmer(train.codes, held_out, data.overlap_kmer)
    splits["train"], merged, contradictory = _merge_duplicates(train.codes[~overlap], train.labels[~overlap])
    for index, counts in enumerate(report["targets"].values()):
        labelled = ~np.isnan(train.labels[:, index])
        counts["train"]["overlapping"] = int((overlap & labelled).sum())
        counts["train"]["kept"] = int((~np.isnan(splits["train"].labels[:, index])).sum())
    report |= {"merged_rows": merged, "contradictory_labels": contradictory}
    return splits, report


def _read_tasks(root, data):
    """Examples of each split and counts, of a folder of GUE tasks."""
    if not root.is_dir():
        raise InputError(f"{root}: no such data folder; set REGZOO_DATA to the folder that holds {data.folder!r}")
    parts = {"train": [], "dev": [], "test": []}
    report = {"targets": {}}
    for index, (target, folder) in enumerate(data.tasks.items()):
        counts = {}
        for split, rows in parts.items():
            path = find_split(root / folder, split)
            if path is None:
                if split == "test":
                    continue
                raise InputError(f"{root / folder}: no {split}.csv or {split}.csv.gz")
            codes, values = read_labelled(path)
            if len(np.unique(values)) < 2:
                raise InputError(f"{path}: only one class in it; a classifier needs both")
            labels = np.full((len(values), len(data.tasks)), np.nan, dtype=np.float32)
            labels[:, index] = values
            rows.append(Examples(codes, labels))
            counts[split] = {"rows": len(values), "positive": int(values.sum())}
        report["targets"][target] = counts
    return parts, report


def _read_built(path, tasks):
    """Examples of each split and counts, of a built set, in which every window has every label."""
    parts, report = {}, {"targets": {target: {} for target in tasks}}
    for split, (codes, labels) in read_built(path, list(tasks.values())).items():
        parts[split] = [Examples(codes, labels.astype(np.float32))]
        for target, column in zip(tasks, labels.T):
            if column.all() or not column.any():
                raise InputError(f"{path}: only one class of {target} in {split}; a classifier needs both")
            report["targets"][target][split] = {"rows": len(column), "positive": int(column.sum())}
    return parts, report


def _merge_duplicates(codes, labels):
    """One row per window (either strand); NaN where its rows' labels of a target contradict each other."""
    keys = kmer_hashes(codes, codes.shape[1])[:, 0]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    known = ~np.isnan(labels)
    count = np.zeros((len(first), labels.shape[1]))
    positive = np.zeros_like(count)
    np.add.at(count, group, known)
    np.add.at(positive, group, np.where(known, labels, 0))
    agreed = (count > 0) & ((positive == 0) | (positive == count))
    merged = np.where(agreed, positive > 0, np.nan).astype(np.float32)
    order = np.argsort(first)
    examples = Examples(codes[first[order]], merged[order])
    usable = ~np.isnan(examples.labels).all(axis=1)
    examples = Examples(examples.codes[usable], examples.labels[usable])
    return examples, len(codes) - len(first), int(((count > 0) & ~agreed).sum())
