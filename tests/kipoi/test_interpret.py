"""kipoi_interpret on the zoo's models: gradients against torch, mutation scores against direct predictions."""

import json
from pathlib import Path

import h5py
import kipoi
import numpy as np
import pytest
import torch

import regzoo.kipoi  # noqa: F401 - before kipoi_interpret
from regzoo.errors import InputError
from regzoo.kipoi import command
from regzoo.zoo import load_model
from tests.conftest import FASTA, MODEL, SHIPPED

pytest.importorskip("kipoi_interpret")
TARGET = 1


@pytest.fixture
def loader(tmp_path):
    bed = tmp_path / "two.bed"
    bed.write_text("chr1\t1500\t1600\nchr1\t2000\t2100\n")
    return {"intervals_file": str(bed), "fasta_file": str(FASTA)}


def autograd(model, inputs, target):
    """Gradient of the sum of one output, from torch alone."""
    x = torch.from_numpy(inputs).requires_grad_()
    model.model(x)[:, target].sum().backward()
    return x.grad.numpy()


def test_the_three_gradient_scores(loader):
    from kipoi_interpret.importance_scores import feature_importance

    model = kipoi.get_model(MODEL, source="regzoo")
    scores = {}
    for name in ("grad", "grad*input", "saliency"):
        dataset = model.default_dataloader(**loader)
        result = feature_importance(model, dataset, name, {"filter_idx": TARGET}, batch_size=1)
        scores[name] = result["importance_scores"]
    inputs = result["inputs"]
    expected = autograd(model, inputs, TARGET)
    np.testing.assert_allclose(scores["grad"], expected, atol=1e-7)
    np.testing.assert_allclose(scores["grad*input"], expected * inputs, atol=1e-7)
    np.testing.assert_allclose(scores["saliency"], np.abs(expected), atol=1e-7)


def test_mutation_scores_of_several_batches(loader):
    from kipoi_interpret.importance_scores import feature_importance

    model = kipoi.get_model(MODEL, source="regzoo")
    options = {"model_input": "seq", "category_axis": 0, "batch_size": 512, "output_sel_fn": lambda p: p[TARGET]}
    result = feature_importance(model, model.default_dataloader(**loader), "mutation", options, batch_size=1)
    inputs, scores = result["inputs"], result["importance_scores"]
    assert len(scores) == len(inputs) == 2
    for window, own in zip(inputs, scores):
        base = int(window[:, 50].argmax())
        changed = window.copy()
        changed[:, 50] = np.eye(4)[(base + 1) % 4]
        before, after = model.predict_on_batch(np.stack([window, changed]))[:, TARGET]
        assert own[base][50] is None
        np.testing.assert_allclose(own[(base + 1) % 4][50], [after - before], atol=1e-5)


def test_commands(loader, tmp_path, kipoi_command):
    common = [MODEL, "--source", "regzoo", f"--dataloader_args={json.dumps(loader)}"]
    grads, table, scores = (tmp_path / name for name in ("grad.h5", "grad.tsv", "ism.h5"))
    model = kipoi.get_model(MODEL, source="regzoo")
    kipoi_command("interpret", "grad", *common, "--final_layer", "-f", str(TARGET), "-o", str(grads), str(table))
    with h5py.File(grads) as file:
        inputs = file["inputs"][()]
        np.testing.assert_allclose(file["grads"], autograd(model, inputs, TARGET), atol=1e-7)
    assert len(table.read_text().splitlines()) == 3
    Path(loader["intervals_file"]).write_text("chr1\t1500\t1600\n")  # one window, to be quick
    kipoi_command(
        "interpret", "ism", *common, "--model_input", "seq", "-c", "0", "-o", str(scores), "--batch_size", "404"
    )
    with h5py.File(scores) as file:
        got = file["scores"][()]
    zoo, codes = load_model(MODEL, device="cpu"), inputs[0].argmax(0).astype(np.uint8)
    changed = np.repeat(codes[None], 8, axis=0)
    changed[np.arange(8), np.repeat([40, 70], 4)] = np.tile(np.arange(4), 2)
    difference = zoo.predict(changed) - zoo.predict(codes[None])
    np.testing.assert_allclose(got[0][:, [40, 70], 0].transpose(1, 0, 2).reshape(8, -1), difference, atol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grad.h5", "grad.tsv", "ism.h5", "two.bed"]


def test_errors_of_the_commands(loader, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["kipoi"])
    common = [MODEL, "--source", "regzoo", f"--dataloader_args={json.dumps(loader)}"]
    with pytest.raises(SystemExit, match=r"shape \(4, 101\).*--category_axis 0"):
        command.main(["interpret", "ism", *common, "--model_input", "seq", "-o", str(tmp_path / "o.h5")])
    with pytest.raises(SystemExit, match="error: A layer has to be selected"):
        command.main(["interpret", "grad", *common, "-o", str(tmp_path / "o.h5")])
    with pytest.raises(SystemExit):
        command.main(["interpret", "grad", *common, "--final_layer", "-o", str(tmp_path / "o.bed")])
    assert [p.name for p in tmp_path.iterdir()] == ["two.bed"]


# A convolutional network, single-base tokens and 6-mers; the rest with `pytest -m slow`.
DEFAULT = [MODEL, "Caduceus-mini/enhancer-200", "NT-mini/utr3-mpra"]


@pytest.mark.parametrize(
    "name", [*DEFAULT, *(pytest.param(n, marks=pytest.mark.slow) for n in SHIPPED if n not in DEFAULT)]
)
def test_saliency_and_ism_of_every_model(name, loader):
    from kipoi_interpret.importance_scores.gradient import Saliency
    from kipoi_interpret.importance_scores.ism import Mutation

    model = kipoi.get_model(name, source="regzoo")
    inputs = next(model.default_dataloader(**loader).batch_iter(batch_size=1))["inputs"]
    # Mutation scores of the middle twelve bases alone: the others are zero and so have nothing to be changed to.
    middle = inputs.shape[2] // 2
    score = Mutation(model, "seq", category_axis=0, batch_size=64, output_sel_fn=lambda prediction: prediction[:1])
    samples = ((x, at) for x, at in Mutation._mutate_sample(score, inputs[0]) if abs(at[1] - middle) < 3)
    score._mutate_sample = lambda _: samples
    scores = np.array(score.score(inputs)[0], dtype=object)
    base = int(inputs[0, :, middle].argmax())
    changed = inputs.copy()
    changed[0, :, middle] = np.eye(4)[(base + 1) % 4]
    expected = model.predict_on_batch(changed)[0, 0] - model.predict_on_batch(inputs)[0, 0]
    np.testing.assert_allclose(float(scores[(base + 1) % 4, middle][0][0]), expected, atol=1e-5)
    if "DNABERT2" in name or "dnabert2" in name:
        with pytest.raises(InputError, match="byte-pair tokens"):
            Saliency(model, filter_idx=0).score(inputs)
        return
    saliency = Saliency(model, filter_idx=0).score(inputs)
    assert saliency.shape == inputs.shape and np.isfinite(saliency).all() and saliency.max() > 0
