"""The shared dataloader: intervals and a FASTA to one-hot windows, a batch at a time."""

import shutil
from pathlib import Path

import numpy as np
from kipoi.data import Dataset
from kipoi.specs import DataLoaderDescription
from kipoi_utils.external.torch.data import DataLoader
from kipoi_utils.utils import cd

from regzoo.errors import InputError
from regzoo.sequence import Genome, one_hot, place_windows, read_bed
from regzoo.zoo import zoo_folder


class SequenceDataset(Dataset):
    """One-hot windows of a genome, described by dataloaders/sequence/dataloader.yaml.

    Parameters
    ----------
    intervals_file : str
        BED of three or more columns, plain or gzipped.
    fasta_file : str
        FASTA, plain or bgzipped.
    length : int, optional
        Windows are this long around the intervals' centres; without it the intervals must be of one length.
    label_columns : list of int, optional
        BED columns, from 1 and at least 4, that hold numeric labels, given as `targets`.
    use_strand : bool
        Reverse-complement intervals on the '-' strand.
    strict : bool
        Refuse windows that reach over a contig's end; otherwise what is outside is N.
    neutral_value : float
        Value of all four channels at N.
    dtype : str or numpy.dtype
        Type of the windows.
    alphabet_axis : {0, 1}
        Axis of the bases in one window: 0 gives (4, length), which this zoo's models read, 1 gives (length, 4).
    label_dtype : str or numpy.dtype
        Type of the labels.

    Raises
    ------
    regzoo.errors.InputError
        If a file, a record or an option is not usable; the message names it.
    """

    def __init__(
        self,
        intervals_file,
        fasta_file,
        length=None,
        label_columns=None,
        use_strand=False,
        strict=False,
        neutral_value=0,
        dtype="float32",
        alphabet_axis=0,
        label_dtype="float32",
    ):
        if alphabet_axis not in (0, 1):
            raise InputError(f"alphabet_axis is {alphabet_axis!r}; expected 0 for (4, length) or 1 for (length, 4)")
        self.neutral_value, self.alphabet_axis = neutral_value, alphabet_axis
        self.dtype = _dtype("dtype", dtype)
        bed = read_bed(intervals_file)
        self.genome = Genome(fasta_file)
        self.length = int(length) if length else _common_length(bed, intervals_file)
        self._numbers, self._starts = place_windows(bed, self.genome, self.length, intervals_file, strict)
        self._reverse = bed.strands == "-" if use_strand else None
        self._ranges = {
            "chr": bed.contigs, "start": self._starts, "end": self._starts + self.length, "id": bed.names,
            "strand": bed.strands if use_strand else np.full(len(bed), "*"),
        }  # fmt: skip
        self._labels = _labels(bed, label_columns, intervals_file)
        label_type = _dtype("label_dtype", label_dtype)
        if self._labels is not None:
            self._labels = self._labels.astype(label_type)

    def __len__(self):
        return len(self._starts)

    def __getitem__(self, index):
        """One window: 'inputs', (4, length) or (length, 4), 'metadata', and 'targets' with labels."""
        batch = self.batch(np.arange(index, index + 1))
        sample = {"inputs": batch["inputs"][0], "metadata": {"ranges": _row(batch["metadata"]["ranges"])}}
        if self._labels is not None:
            sample["targets"] = batch["targets"][0]
        return sample

    def batch(self, rows):
        """Windows of some rows.

        Parameters
        ----------
        rows : slice or numpy.ndarray of int

        Returns
        -------
        dict
            'inputs', (N, 4, length) or (N, length, 4), 'metadata' with 'ranges', and 'targets', (N, labels), if asked.
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
    def download_example(cls, output_dir, absolute_path=False, dry_run=False):
        """Copy the example files into a folder; returns the arguments that use them."""
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
    """The batches of a dataset by number; iterating gives each once."""

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


def _row(ranges):
    return {k: v[0] for k, v in ranges.items()}


def _common_length(bed, path):
    lengths = bed.ends - bed.starts
    different = np.flatnonzero(lengths != lengths[0])
    if len(different):
        i = different[0]
        raise InputError(
            f"{path}, line {bed.lines[i]}: {lengths[i]} bases, but {lengths[0]} in the first line; give `length`"
        )
    return int(lengths[0])


def _labels(bed, columns, path):
    if not columns:
        return None
    labels = np.empty((len(bed), len(columns)), dtype=np.float32)
    for i, fields in enumerate(bed.columns):
        for j, column in enumerate(columns):
            try:
                labels[i, j] = float(fields[column - 4])
            except (IndexError, ValueError):
                raise InputError(f"{path}, line {bed.lines[i]}: column {column} holds no number for a label") from None
    return labels


def _describe(dataset):
    """Give the class its description of dataloader.yaml, with example files that are found from anywhere."""
    folder = zoo_folder() / "dataloaders" / "sequence"
    with cd(str(folder)):
        description = DataLoaderDescription.load("dataloader.yaml")
    for name in ("intervals_file", "fasta_file"):
        description.args[name].example = str(folder / description.args[name].example)
    dataset._add_description_factory(description)
    dataset.description_file = str(folder / "dataloader.yaml")


_describe(SequenceDataset)
