"""A recipe's data as one masked multi-target set of arrays, with overlaps between splits removed."""

import logging
from dataclasses import dataclass

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import fitted
from training.data.holdout import held_out
from training.data.overlap import shares_kmer, window_hashes
from training.data.sources import SPLITS

logger = logging.getLogger(__name__)


@dataclass
class Examples:
    """One split.

    Attributes
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    labels : numpy.ndarray, float32, shape (N, targets)
        0 or 1, or a value of a regression; NaN where a row has no label for a target.
    """

    codes: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.codes)

    def of_target(self, index):
        """Codes and labels of the rows that are labelled for one target."""
        rows = ~np.isnan(self.labels[:, index])
        return self.codes[rows], self.labels[rows, index]


def load_examples(data):
    """Read a recipe's data section.

    Training rows that share a k-mer (`data.overlap_kmer`, either strand) with any dev or test row of any target are dropped.
    Training rows with the same window, on either strand unless `data.stranded`, become one row: labels of theirs that
    contradict each other become missing, values are averaged.

    Parameters
    ----------
    data : training.data.sources.Source

    Returns
    -------
    splits : dict of str to Examples
        'train', 'dev' and, where there is one, 'test'.
    report : dict
        Counts of what was read, dropped and merged, per target.

    Raises
    ------
    InputError
        If a file is not usable, train or dev is empty, a split holds one class only, a label is not 0 or 1, or windows
        differ in length.
    """
    parts, groups = _read(data)
    if data.holdout and "train" in parts:
        _hold_out(data, parts, groups)
    report = {"targets": {target: {} for target in data.targets}}
    for split, part in parts.items():
        for index, target in enumerate(data.targets):
            if counts := _counts(data, part.of_target(index)[1], f"{data.root}: {target} in {split}"):
                report["targets"][target][split] = counts
    for split in ("train", "dev"):
        missing = [target for target, counts in report["targets"].items() if split not in counts]
        if missing:
            raise InputError(
                f"{data.root}: no row in {split} for {missing[0]}; give files, other contigs, or a holdout"
            )
    train = parts["train"]
    others = np.concatenate([part.codes for split, part in parts.items() if split != "train"])
    overlap = shares_kmer(train.codes, others, data.overlap_kmer)
    rest = Examples(train.codes[~overlap], train.labels[~overlap])
    parts["train"], merged, contradictory = _merge_duplicates(rest, data.task == "regression", data.stranded)
    if not len(parts["train"]):
        raise InputError(f"{data.root}: every training row shares {data.overlap_kmer} bases with dev or test")
    for index, counts in enumerate(report["targets"].values()):
        labelled = ~np.isnan(train.labels[:, index])
        counts["train"]["overlapping"] = int((overlap & labelled).sum())
        counts["train"]["kept"] = int((~np.isnan(parts["train"].labels[:, index])).sum())
    report |= {"merged_rows": merged, "contradictory_labels": contradictory}
    return parts, report


def _read(data):
    """Examples of each split, and the groups of the training rows or None."""
    if not data.root.exists():
        raise InputError(
            f"{data.root}: no such file or folder; set REGZOO_DATA to the folder that holds {data.folder!r}"
        )
    targets, parts, groups = data.targets, {}, []
    for piece in data.read():
        if not len(piece.sequences):
            continue
        codes = _windows(piece, data.length)
        labels = np.full((len(codes), len(targets)), np.nan, dtype=np.float32)
        for target, values in piece.labels.items():
            _check(values, data.task, piece, target)
            labels[:, targets.index(target)] = values
        kept = ~np.isnan(labels).all(axis=1)  # a row without any label teaches nothing
        if not kept.all():
            logger.warning("%s: %d of %d records have no label and are left out", piece.path, (~kept).sum(), len(kept))
        parts.setdefault(piece.split, []).append(Examples(codes[kept], labels[kept]))
        if piece.split == "train":
            groups.append(None if piece.groups is None else np.asarray(piece.groups)[kept])
    if len({part.codes.shape[1] for rows in parts.values() for part in rows}) > 1:
        raise InputError(f"{data.root}: windows differ in length; set `length` in the recipe's data")
    parts = {
        split: Examples(np.concatenate([p.codes for p in rows]), np.concatenate([p.labels for p in rows]))
        for split, rows in sorted(parts.items(), key=lambda item: SPLITS.index(item[0]))
    }
    return parts, None if any(g is None for g in groups) else np.concatenate(groups) if groups else None


def _windows(piece, length):
    lengths = {len(row) for row in piece.sequences}
    if length is None and len(lengths) > 1:
        raise InputError(
            f"{piece.path}: sequences of {min(lengths)} to {max(lengths)} bases; set `length` in the recipe's data"
        )
    if length is None or lengths == {length}:
        return np.asarray(piece.sequences, dtype=np.uint8)
    return np.concatenate([fitted(row[None], length) for row in piece.sequences])


def _check(values, task, piece, target):
    wrong = ~np.isin(values, (0, 1)) & ~np.isnan(values) if task != "regression" else np.isinf(values)
    if wrong.any():
        row = int(wrong.argmax())
        kind = "a finite number" if task == "regression" else "0 or 1"
        raise InputError(f"{piece.path}, record {row + 1}: {target} is {values[row]:g}, but must be {kind}")


def _hold_out(data, parts, groups):
    """Move the rows that are held out from train to dev and test."""
    train = parts["train"]
    split = held_out(data.holdout, train.codes, train.labels, groups)
    for name in ("dev", "test", "train"):
        own = split == name
        more = [Examples(train.codes[own], train.labels[own])] if own.any() else []
        rows = ([parts[name]] if name in parts and name != "train" else []) + more
        if rows:
            parts[name] = Examples(np.concatenate([p.codes for p in rows]), np.concatenate([p.labels for p in rows]))


def _counts(data, labels, where):
    """What the report says of a target in a split."""
    if not len(labels):
        return None
    if data.task == "regression":
        return {"rows": len(labels), "mean": float(labels.mean()), "sd": float(labels.std())}
    if len(np.unique(labels)) < 2:
        raise InputError(f"{where}: only one class in it; a classifier needs both")
    return {"rows": len(labels), "positive": int(labels.sum())}


def _merge_duplicates(examples, average, stranded):
    """One row per window; its mean label of each target, or NaN where labels of a class contradict each other."""
    codes, labels = examples.codes, examples.labels
    _, first, group = np.unique(window_hashes(codes, stranded), return_index=True, return_inverse=True)
    known = ~np.isnan(labels)
    count = np.zeros((len(first), labels.shape[1]))
    total = np.zeros_like(count)
    np.add.at(count, group, known)
    np.add.at(total, group, np.where(known, labels, 0))
    with np.errstate(invalid="ignore"):
        mean = total / count
    agreed = (count > 0) & (average | (mean == 0) | (mean == 1))
    merged = np.where(agreed, mean, np.nan).astype(np.float32)
    order = np.argsort(first)
    rows = Examples(codes[first[order]], merged[order])
    usable = ~np.isnan(rows.labels).all(axis=1)
    return (
        Examples(rows.codes[usable], rows.labels[usable]),
        len(codes) - len(first),
        int(((count > 0) & ~agreed).sum()),
    )
