"""A recipe's data as arrays with masked labels of all targets, without overlaps between splits."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import fitted
from regzoo.sequence.shared_kmers import CHUNK, shares_kmer, window_hashes
from training.data.holdout import held_out
from training.data.records import cut_windows
from training.data.sources import SPLITS, Source, find_files

logger = logging.getLogger(__name__)


@dataclass
class Examples:
    """One split.

    Attributes
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    labels : numpy.ndarray, float32, shape (N, targets)
        0 or 1, or the value of a regression; NaN where a row has no label of a target.
    sources : numpy.ndarray of str, shape (N,), optional
        Source of each row, if every file of the split has sources.
    """

    codes: np.ndarray
    labels: np.ndarray
    sources: np.ndarray | None = None

    def __len__(self):
        return len(self.codes)

    def take(self, rows: np.ndarray) -> "Examples":
        """Select rows by index or by a mask of shape (N,)."""
        return Examples(self.codes[rows], self.labels[rows], None if self.sources is None else self.sources[rows])


def load_examples(data: Source) -> tuple[dict[str, Examples], dict[str, Any]]:
    """Read a recipe's data section.

    Training rows that share a k-mer (`data.overlap_kmer`, on either strand) with a dev or test row of any target, or
    with a sequence of `data.evaluation`, are dropped. Training rows with the same window, on either strand unless
    `data.stranded`, are merged: contradictory labels become missing, values of regressions are averaged.

    Parameters
    ----------
    data : training.data.sources.Source

    Returns
    -------
    splits : dict of str to Examples
        'train', 'dev' and, if there is one, 'test'.
    report : dict
        Counts of rows read, dropped and merged, per target.

    Raises
    ------
    InputError
        If a file is not valid, train or dev is empty, a split has one class only, a label is not 0 or 1, or windows
        differ in length.
    """
    parts, groups = _read(data)
    if data.holdout and "train" in parts:
        _hold_out(data, parts, groups)
    targets = _target_counts(data, parts)
    train = parts.pop("train")
    others = [np.concatenate([part.codes for part in parts.values()])]
    others += cut_windows(find_files(data.evaluation), 1 << 30).values()
    overlap = np.any([shares_kmer(train.codes, codes, data.overlap_kmer) for codes in others], axis=0)
    overlapping = known(train.labels[overlap]).sum(axis=0)
    if overlap.any():
        train = train.take(~overlap)
    train, merged, contradictory = _merge_duplicates(train, data.task == "regression", data.stranded)
    if not len(train):
        raise InputError(f"{data.root}: every training row shares {data.overlap_kmer} bases with dev or test")
    for counts, dropped, kept in zip(targets.values(), overlapping, known(train.labels).sum(axis=0)):
        counts["train"] |= {"overlapping": int(dropped), "kept": int(kept)}
    report = {"targets": targets, "merged_rows": merged, "contradictory_labels": contradictory}
    return {"train": train} | parts, report


def _target_counts(data, parts):
    """Target -> split -> counts; an InputError if a target has no row in train or dev."""
    result: dict[str, dict[str, dict[str, Any]]] = {target: {} for target in data.targets}
    for split, part in parts.items():
        for target, counts in _counts(data, part.labels, split).items():
            result[target][split] = counts
    for split in ("train", "dev"):
        missing = [target for target, counts in result.items() if split not in counts]
        if missing:
            raise InputError(
                f"{data.root}: no row in {split} for {missing[0]}; give files, other contigs, or a holdout"
            )
    return result


def known(labels: np.ndarray) -> np.ndarray:
    """Find the known labels, bool, shape (N, targets)."""
    return ~np.isnan(labels)


def _any_known(labels) -> np.ndarray:
    """Rows with at least one known label, bool, shape (N,)."""
    return np.asarray(known(labels).any(axis=1))


def _read(data):
    """Examples of each split, and the groups of the training rows, or None."""
    if not data.root.exists():
        raise InputError(
            f"{data.root}: no such file or folder; set REGZOO_DATA to the folder that holds {data.folder!r}"
        )
    targets = data.targets
    pieces: dict[str, list[Examples]] = {}
    groups: list[np.ndarray | None] = []
    for piece in data.read():
        if not len(piece.sequences):
            continue
        codes = _windows(piece, data.length)
        labels = np.full((len(codes), len(targets)), np.nan, dtype=np.float32)
        for target, values in piece.labels.items():
            _check(values, data.task, piece, target)
            labels[:, targets.index(target)] = values
        rows, own = Examples(codes, labels, piece.sources), None if piece.groups is None else np.asarray(piece.groups)
        kept = _any_known(labels)
        if not kept.all():
            logger.warning("%s: %d of %d records have no label and are left out", piece.path, (~kept).sum(), len(kept))
            rows, own = rows.take(kept), None if own is None else own[kept]
        pieces.setdefault(piece.split, []).append(rows)
        if piece.split == "train":
            groups.append(own)
    if len({part.codes.shape[1] for rows in pieces.values() for part in rows}) > 1:
        raise InputError(f"{data.root}: windows differ in length; set `length` in the recipe's data")
    parts = {split: _joined(rows) for split, rows in sorted(pieces.items(), key=lambda item: SPLITS.index(item[0]))}
    grouped = [own for own in groups if own is not None]
    return parts, np.concatenate(grouped) if grouped and len(grouped) == len(groups) else None


def _joined(parts):
    if len(parts) == 1:
        return parts[0]
    named = [p.sources for p in parts if p.sources is not None]
    sources = np.concatenate(named) if len(named) == len(parts) else None
    return Examples(np.concatenate([p.codes for p in parts]), np.concatenate([p.labels for p in parts]), sources)


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
        more = [train.take(own)] if own.any() else []
        rows = ([parts[name]] if name in parts and name != "train" else []) + more
        if rows:
            parts[name] = _joined(rows)


def _counts(data, labels, split):
    """Counts of each target that has labels in a split."""
    rows = known(labels).sum(axis=0)
    parts = np.array_split(labels, len(labels) // CHUNK + 1)  # nansum copies what it sums
    total = sum(np.nansum(part, axis=0, dtype=float) for part in parts)
    if data.task == "regression":
        return {
            target: {
                "rows": int(count),
                "mean": float(np.nanmean(column, dtype=float)),
                "sd": float(np.nanstd(column, dtype=float)),
            }
            for target, count, column in zip(data.targets, rows, labels.T)
            if count
        }
    for target, count, positive in zip(data.targets, rows, total):
        if count and positive in (0, count) and not (data.rare_targets and split != "train"):
            raise InputError(f"{data.root}: {target} in {split}: only one class in it; a classifier needs both")
    return {
        target: {"rows": int(count), "positive": int(positive)}
        for target, count, positive in zip(data.targets, rows, total)
        if count
    }


def _merge_duplicates(examples, average, stranded):
    """One row per window, with its mean label of each target, or NaN where classes contradict each other."""
    _, first, group, size = np.unique(
        window_hashes(examples.codes, stranded), return_index=True, return_inverse=True, return_counts=True
    )
    labels, contradictory = examples.labels, 0
    if len(first) < len(group):  # labels of repeated windows are averaged; the others are not changed
        rows = np.flatnonzero(size[group] > 1)
        windows, member = np.unique(group[rows], return_inverse=True)
        own = labels[rows]
        count = np.zeros((len(windows), own.shape[1]))
        total = np.zeros_like(count)
        np.add.at(count, member, known(own))
        np.add.at(total, member, np.nan_to_num(own))
        with np.errstate(invalid="ignore"):
            mean = total / count
        agreed = (count > 0) & (average | (mean == 0) | (mean == 1))
        contradictory = int(((count > 0) & ~agreed).sum())
        labels[first[windows]] = np.where(agreed, mean, np.nan)
    first = np.sort(first)
    kept = first[_any_known(labels)[first]]
    if len(kept) < len(labels):
        examples = Examples(examples.codes, labels, examples.sources).take(kept)
    return examples, len(group) - len(first), contradictory
