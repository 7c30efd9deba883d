"""The shared dataloader's options, and its samples beside those of kipoiseq."""

import shutil

import numpy as np
import pytest
from kipoi.metadata import GenomicRanges
from kipoi_utils.data_utils import numpy_collate

import regzoo.kipoi
from regzoo.errors import InputError
from regzoo.kipoi import SequenceDataset
from tests.conftest import FASTA


@pytest.fixture
def dataset(tmp_path):
    """Makes a dataset of the lines of a BED file."""

    def make(lines, **options):
        bed = tmp_path / "x.bed"
        bed.write_text("".join(f"{line}\n" for line in lines))
        return SequenceDataset(str(bed), str(FASTA), **options)

    return make


BED = ["chr1\t100\t110\ta", "chr2\t100\t110\tb", "chr1\t200\t210\tc"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"incl_chromosomes": ["chr1"]}, ["a", "c"]),
        ({"incl_chromosomes": ["1"]}, ["a", "c"]),
        ({"excl_chromosomes": ["chr1", "chrX"]}, ["b"]),
        ({"incl_chromosomes": ["chr1", "chr2"], "excl_chromosomes": ["2"]}, ["a", "c"]),
        ({"excl_chromosomes": []}, ["a", "b", "c"]),
    ],
)
def test_chosen_contigs(dataset, options, names):
    chosen, everything = dataset(BED, **options, label_columns=[4], label_dtype="str"), dataset(BED)
    assert [str(chosen[i]["metadata"]["ranges"]["id"]) for i in range(len(chosen))] == names
    assert chosen.load_all()["targets"][:, 0].tolist() == names
    rows = ["abc".index(name) for name in names]
    assert np.array_equal(chosen.load_all()["inputs"], everything.load_all()["inputs"][rows])


def test_contigs_that_leave_nothing_are_refused(dataset):
    with pytest.raises(InputError, match="x.bed: no interval is on the contigs chosen"):
        dataset(BED, incl_chromosomes=["chr3"])
    with pytest.raises(InputError, match="incl_chromosomes is 'chr1'; expected a list"):
        dataset(BED, incl_chromosomes="chr1")


def test_samples_have_the_metadata_of_kipoiseq(dataset, tmp_path):
    from kipoiseq.dataloaders import SeqIntervalDl

    fasta = shutil.copy(FASTA, tmp_path / "genome.fa")  # kipoiseq writes an index beside it
    bed = ["chr1\t100\t110\t0\t0\t-", "chr2\t100\t110\t1\t0\t+"]
    for use_strand in (False, True):
        ours = dataset(bed, use_strand=use_strand)
        path = tmp_path / "k.bed"
        path.write_text("".join(f"{line}\n" for line in (bed if use_strand else [b[:13] for b in bed])))
        theirs = SeqIntervalDl(str(path), str(fasta), use_strand=use_strand)
        for own, other in zip(ours, theirs):
            a, b = own["metadata"]["ranges"], other["metadata"]["ranges"]
            assert type(a) is type(b) is GenomicRanges and a.to_dict() == b.to_dict()
            assert {k: type(v) for k, v in a.items()} == {k: type(v) for k, v in b.items()}
            assert np.array_equal(own["inputs"].T, other["inputs"])
        batch, collated = (next(one.batch_iter(batch_size=2))["metadata"]["ranges"] for one in (ours, theirs))
        assert list(batch) == list(collated)
        assert all(np.array_equal(batch[key], collated[key]) for key in batch)
        collated = numpy_collate([ours[0], ours[1]])["metadata"]["ranges"]
        assert all(np.array_equal(batch[key], collated[key]) for key in batch)


def test_labels_are_read_as_their_type(dataset):
    lines = ["chr1\t0\t10\t9007199254740993\thigh\t0.1\t255", "chr1\t0\t10\t-1\tlow, or none\tnan\t0"]

    def labels(*columns, **options):
        return dataset(lines, label_columns=list(columns), **options).load_all()["targets"]

    large = labels(4, label_dtype="int64")
    assert large.dtype == np.int64 and large[:, 0].tolist() == [9007199254740993, -1]  # 2^53 + 1 is no float
    assert labels(5, 4, label_dtype="str").tolist() == [["high", "9007199254740993"], ["low, or none", "-1"]]
    assert labels(7, label_dtype=np.uint8).tolist() == [[255], [0]]
    double = labels(6, label_dtype="float64")
    assert double[0, 0] == 0.1 and np.isnan(double[1, 0])
    assert labels(7).dtype == np.float32
    for options, message in (
        ({"label_columns": [5]}, "line 1: column 5 holds 'high', which is no number"),
        ({"label_columns": [6], "label_dtype": "int32"}, "line 1: column 6 holds '0.1', which is no integer"),
        ({"label_columns": [4], "label_dtype": "int32"}, "line 1: label 9007199254740993 in column 4 does not fit"),
        ({"label_columns": [8]}, "line 1: there is no column 8"),
        ({"label_columns": [3]}, "label_columns has 3; columns 1 to 3 are contig, start and end"),
    ):
        with pytest.raises(InputError, match=message):
            dataset(lines, **options)


def test_the_description_names_every_argument():
    import inspect

    assert set(SequenceDataset.args) == set(inspect.signature(SequenceDataset.__init__).parameters) - {"self"}
    with pytest.raises(AttributeError, match="no attribute 'NoSuchClass'"):
        regzoo.kipoi.NoSuchClass  # noqa: B018
