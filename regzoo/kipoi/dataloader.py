"""The zoo's shared dataloader: intervals and a FASTA file in, batches of one-hot windows out."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from kipoi.data import Dataset
from kipoi.metadata import GenomicRanges
from kipoi.specs import DataLoaderDescription
from kipoi_utils.external.torch.data import DataLoader
from kipoi_utils.utils import cd
from numpy.typing import DTypeLike

from regzoo.errors import InputError
from regzoo.home import zoo_folder
from regzoo.sequence import Genome, Intervals, one_hot, place_windows, read_bed


class SequenceDataset(Dataset):
    """One-hot windows of a genome. The Kipoi description is dataloaders/sequence/dataloader.yaml.

    Parameters
    ----------
    intervals_file : str
        BED file of three or more columns, plain or gzipped.
    fasta_file : str
        FASTA file, plain or bgzipped.
    length : int, optional
        Window length; windows are centred on the intervals. Without it all intervals must have the same length.
    label_columns : list of int, optional
        BED columns, counted from 1 and at least 4, that hold labels. They are returned as `targets`.
    use_strand : bool
        Reverse-complement intervals on the '-' strand.
    strict : bool
        Refuse windows that reach over a contig's end. By default they are padded with N.
    neutral_value : float
        Value of all four channels at N.
    dtype : str or numpy.dtype
        Type of the windows.
    alphabet_axis : {0, 1}
        Axis of the four bases in a window: 0 gives shape (4, length), which this zoo's models read, 1 gives
        (length, 4).
    label_dtype : str or numpy.dtype
        Type of the labels; 'str' keeps their text.
    incl_chromosomes : list of str, optional
        Use only the intervals on these contigs. 'chr1' and '1' are the same contig.
    excl_chromosomes : list of str, optional
        Do not use the intervals on these contigs.

    Raises
    ------
    regzoo.errors.InputError
        If a file, a record or an option cannot be used; the message names it.
    """

    def __init__(
        self,
        intervals_file: str,
        fasta_file: str,
        length: int | None = None,
        label_columns: list[int] | None = None,
        use_strand: bool = False,
        strict: bool = False,
        neutral_value: float = 0,
        dtype: DTypeLike = "float32",
        alphabet_axis: Literal[0, 1] = 0,
        label_dtype: DTypeLike = "float32",
        incl_chromosomes: list[str] | None = None,
        excl_chromosomes: list[str] | None = None,
    ):
        if alphabet_axis not in (0, 1):
            raise InputError(f"alphabet_axis is {alphabet_axis!r}; expected 0 for (4, length) or 1 for (length, 4)")
        self.neutral_value, self.alphabet_axis = neutral_value, alphabet_axis
        self.dtype, label_type = _dtype("dtype", dtype), _dtype("label_dtype", label_dtype)
        bed = _on_contigs(read_bed(intervals_file), incl_chromosomes, excl_chromosomes, intervals_file)
        self.genome = Genome(fasta_file)
        self.length = int(length) if length else _common_length(bed, intervals_file)
        self._numbers, self._starts = place_windows(bed, self.genome, self.length, intervals_file, strict)
        self._reverse = bed.strands == "-" if use_strand else None
        self._ranges = {
            "chr": bed.contigs,
            "start": self._starts,
            "end": self._starts + self.length,
            "id": bed.names,
            "strand": bed.strands if use_strand else np.full(len(bed), "*"),
        }
        self._labels = _labels(bed, label_columns, label_type, intervals_file) if label_columns else None

    def __len__(self):
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One window.

        Returns
        -------
        dict
            'inputs', shape (4, length) or (length, 4); 'metadata', in which 'ranges' is a
            `kipoi.metadata.GenomicRanges` of int and str; with labels 'targets', shape (labels,).
        """
        batch = self.batch(np.arange(index, index + 1))
        ranges = GenomicRanges(**{key: values[0].item() for key, values in batch["metadata"]["ranges"].items()})
        sample = {"inputs": batch["inputs"][0], "metadata": {"ranges": ranges}}
        if self._labels is not None:
            sample["targets"] = batch["targets"][0]
        return sample

    def batch(self, rows: slice | np.ndarray) -> dict[str, Any]:
        """The windows of several intervals.

        Parameters
        ----------
        rows : slice or numpy.ndarray of int
            Of the intervals, from 0.

        Returns
        -------
        dict
            'inputs', shape (N, 4, length) or (N, length, 4); 'metadata', in which 'ranges' has arrays of shape (N,);
            with labels 'targets', shape (N, labels).
        """
        reverse = None if self._reverse is None else self._reverse[rows]
        codes = self.genome.windows(self._numbers[rows], self._starts[rows], self.length, reverse)
        inputs = one_hot(codes).astype(self.dtype, copy=False)
        if self.neutral_value:
            inputs.swapaxes(1, 2)[codes == 4] = self.neutral_value
        if self.alphabet_axis == 1:
            inputs = np.ascontiguousarray(inputs.swapaxes(1, 2))
        batch = {"inputs": inputs, "metadata": {"ranges": {k: v[rows] for k, v in self._ranges.items()}}}
        if self._labels is not None:
            batch["targets"] = self._labels[rows]
        return batch

    def _batch_iterable(self, batch_size=32, shuffle=False, num_workers=0, drop_last=False, **kwargs):
        order = np.random.permutation(len(self)) if shuffle else None
        batches = _Batches(self, batch_size, order, drop_last)
        if not num_workers:
            return batches
        return DataLoader(batches, batch_size=1, collate_fn=_only, num_workers=num_workers, **kwargs)

    @classmethod
    def download_example(cls, output_dir: str, absolute_path: bool = False, dry_run: bool = False) -> dict[str, str]:
        """Copy the example files into a folder and return the arguments that use them."""
        target = Path(output_dir).absolute() if absolute_path else Path(output_dir)
        result = {}
        for name, argument in cls.args.items():
            if name in ("intervals_file", "fasta_file"):
                result[name] = str(target / Path(argument.example).name)
                if not dry_run:
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(argument.example, result[name])
        return result


class _Batches:
    """The batches of a dataset, by number."""

    def __init__(self, dataset, batch_size, order, drop_last):
        self.dataset, self.batch_size, self.order = dataset, batch_size, order
        whole, rest = divmod(len(dataset), batch_size)
        self.count = whole + (rest > 0 and not drop_last)

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        if not 0 <= number < self.count:
            raise IndexError(number)
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        return self.dataset.batch(rows if self.order is None else self.order[rows])


def _only(batches):
    return batches[0]


def _dtype(name, value):
    try:
        return np.dtype(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; expected a numpy type, e.g. float32") from None


def _bare(contig):
    return str(contig).removeprefix("chr")


def _on_contigs(bed: Intervals, included: Iterable[str] | None, excluded: Iterable[str] | None, path: str) -> Intervals:
    """The intervals on the included contigs, less those on the excluded ones."""
    for name, value in (("incl_chromosomes", included), ("excl_chromosomes", excluded)):
        if isinstance(value, str):
            raise InputError(f"{name} is {value!r}; expected a list of contigs, such as ['chr8', 'chr9']")
    if included is None and excluded is None:
        return bed
    contigs = np.array([_bare(contig) for contig in bed.contigs])
    keep = np.ones(len(bed), dtype=bool) if included is None else np.isin(contigs, [_bare(c) for c in included])
    keep &= ~np.isin(contigs, [_bare(c) for c in excluded or ()])
    if not keep.any():
        raise InputError(f"{path}: no interval is on the contigs chosen by incl_chromosomes and excl_chromosomes")
    rows = np.flatnonzero(keep)
    arrays = {name: getattr(bed, name)[rows] for name in ("contigs", "starts", "ends", "names", "strands", "lines")}
    return replace(bed, **arrays, columns=[bed.columns[row] for row in rows])


def _common_length(bed, path):
    lengths = bed.ends - bed.starts
    different = np.flatnonzero(lengths != lengths[0])
    if len(different):
        i = different[0]
        raise InputError(
            f"{path}, line {bed.lines[i]}: {lengths[i]} bases, but {lengths[0]} in the first line; give `length`"
        )
    return int(lengths[0])


def _labels(bed, columns, dtype, path):
    """Labels of the intervals, shape (N, columns)."""
    return np.array([[_label(bed, row, column, dtype, path) for column in columns] for row in range(len(bed))], dtype)


def _label(bed, row, column, dtype, path):
    """One label as `dtype` holds it. Integers are not read as floats, which have no room for the large ones."""
    place = f"{path}, line {bed.lines[row]}"
    if column < 4:
        raise InputError(f"label_columns has {column}; columns 1 to 3 are contig, start and end")
    try:
        text = bed.columns[row][column - 4]
    except IndexError:
        raise InputError(f"{place}: there is no column {column} for a label") from None
    if dtype.kind in "UO":
        return text
    try:
        if dtype.kind in "iu":
            value = int(text)
            if not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
                raise InputError(f"{place}: label {text} in column {column} does not fit label_dtype {dtype}")
            return value
        return float(text)
    except ValueError:
        kind = "integer" if dtype.kind in "iu" else "number"
        raise InputError(
            f"{place}: column {column} holds {text!r}, which is no {kind}; choose another column or label_dtype"
        ) from None


def _describe(dataset):
    """Attach dataloader.yaml to the class; its example files get absolute paths."""
    folder = zoo_folder() / "dataloaders" / "sequence"
    with cd(str(folder)):
        description = DataLoaderDescription.load("dataloader.yaml")
    for name in ("intervals_file", "fasta_file"):
        description.args[name].example = str(folder / description.args[name].example)
    dataset._add_description_factory(description)
    dataset.description_file = str(folder / "dataloader.yaml")


_describe(SequenceDataset)
