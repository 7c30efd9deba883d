"""`kipoi.get_model` in Python, and the dataloader as a class, against torch and plain strings."""

import h5py
import kipoi
import numpy as np
import pandas as pd
import pytest
import torch

from regzoo.errors import InputError, ModelError
from regzoo.kipoi import SequenceDataset
from regzoo.sequence import Genome, one_hot, read_bed, reverse_complement
from regzoo.zoo import load_model
from tests.conftest import BED, FASTA, LOADER, MODEL, ROOT


@pytest.fixture(scope="module")
def model():
    return kipoi.get_model(MODEL, source="regzoo")


def test_pipeline_and_batches_agree(model, tmp_path):
    predictions = model.pipeline.predict(LOADER, batch_size=7)
    inputs = np.concatenate([b["inputs"] for b in model.default_dataloader(**LOADER).batch_iter(batch_size=32)])
    np.testing.assert_allclose(model.predict_on_batch(inputs), predictions, atol=1e-6)
    model.pipeline.predict_to_file(str(tmp_path / "o.h5"), LOADER)
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_allclose(file["preds"], predictions, atol=1e-6)


def test_predict_to_file_writes_bed_with_workers(model, tmp_path):
    out = tmp_path / "o.bed"
    model.pipeline.predict_to_file(str(out), LOADER, batch_size=32, num_workers=1)
    table = pd.read_csv(out, sep="\t")
    bed = read_bed(BED)
    assert list(table.start) == list(bed.resized(101)) and list(table.name) == list(bed.names)
    predictions = model.pipeline.predict(LOADER)
    np.testing.assert_allclose(table[[f"preds/{i}" for i in range(5)]], predictions, atol=1e-6)
    model.pipeline.predict_to_file(str(tmp_path / "o.tsv"), LOADER, num_workers=1)
    assert len((tmp_path / "o.tsv").read_text().splitlines()) == len(bed) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.bed", "o.tsv"]


def test_gradients_are_those_of_autograd(model):
    inputs = next(model.default_dataloader(**LOADER).batch_iter(batch_size=3))["inputs"]
    x = torch.from_numpy(inputs).requires_grad_()
    model.model(x)[:, 3].sum().backward()
    np.testing.assert_allclose(model.input_grad(inputs, filter_idx=3), x.grad.numpy(), atol=1e-7)


def test_activations_of_a_layer_of_both_strands(model):
    inputs = next(model.default_dataloader(**LOADER).batch_iter(batch_size=3))["inputs"]
    [[forward, backward]] = model.predict_activation_on_batch(inputs, "net.trunk.0")
    layer = dict(model.model.named_modules())["net.trunk.0"]
    for got, x in ((forward, inputs), (backward, inputs[:, ::-1, ::-1].copy())):
        np.testing.assert_allclose(got, layer(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


def test_predictions_do_not_depend_on_the_strand(model):
    zoo = load_model(MODEL, device="cpu")
    bed, genome = read_bed(BED), Genome(FASTA)
    codes = genome.windows([genome.number(str(c)) for c in bed.contigs], bed.resized(101), 101)
    np.testing.assert_allclose(zoo.predict(codes), zoo.predict(reverse_complement(codes)), atol=1e-6)


def test_weights_with_a_wrong_checksum_are_refused(tmp_path):
    folder = tmp_path / "GROUP" / "MODEL"
    folder.mkdir(parents=True)
    for path in (ROOT / "models" / MODEL).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="model.safetensors: wrong checksum"):
        load_model(str(folder))


def test_dataloader_batches_equal_single_windows():
    dataset = SequenceDataset(**LOADER, length=50, use_strand=True)
    batches = list(dataset.batch_iter(batch_size=10))
    assert sum(len(b["inputs"]) for b in batches) == len(dataset)
    for i in (0, 11, len(dataset) - 1):
        sample, batch = dataset[i], batches[i // 10]
        assert np.array_equal(sample["inputs"], batch["inputs"][i % 10])
        assert sample["metadata"]["ranges"]["chr"] == batch["metadata"]["ranges"]["chr"][i % 10]


def test_dataloader_strand_labels_padding_and_refusals(tmp_path):
    bed = tmp_path / "x.bed"
    bed.write_text("1\t100\t110\ta\t0.5\t-\nchr2\t0\t10\tb\t2\t+\n")
    arguments = {"intervals_file": str(bed), "fasta_file": str(FASTA)}
    plain, stranded = SequenceDataset(**arguments), SequenceDataset(**arguments, use_strand=True, label_columns=[5])
    codes = Genome(FASTA).codes("chr1")[100:110]
    assert np.array_equal(plain[0]["inputs"], one_hot(codes))
    assert np.array_equal(stranded[0]["inputs"], one_hot(reverse_complement(codes)))
    assert [float(stranded[i]["targets"][0]) for i in range(2)] == [0.5, 2.0]
    padded = SequenceDataset(**arguments, length=20)[1]["inputs"]
    assert padded[:, :5].sum() == 0 and padded[:, 5:].sum() == 15
    for options, message in [
        ({"length": 20, "strict": True}, "line 2: the window chr2:-5-15 extends beyond"),
        ({"label_columns": [4]}, "line 1: column 4 holds 'a', which is no number"),
    ]:
        with pytest.raises(InputError, match=message):
            SequenceDataset(**arguments, **options)
    bed.write_text("chr1\t1\t5\nchr1\t1\t6\n")
    with pytest.raises(InputError, match="line 2: 5 bases, but 4"):
        SequenceDataset(**arguments)
    bed.write_text("chr1\t1\t5\nchr7\t1\t5\n")
    with pytest.raises(InputError, match="line 2: .*no contig 'chr7'"):
        SequenceDataset(**arguments)
