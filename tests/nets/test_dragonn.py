"""MPRA-DragoNN/ConvModel: against numpy, layer by layer, from files in Keras's layout that the tests write."""

import hashlib
import os
import shutil

import h5py
import kipoi
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.errors import ModelError
from regzoo.nets import build
from regzoo.nets.keras import read_keras
from regzoo.sequence import one_hot
from regzoo.zoo import load_model
from tests.conftest import FASTA, ROOT, shared_data

NAME = "MPRA-DragoNN/ConvModel"
MD5 = "19fb17f943c3d6bcada8c5dc638092b4"
#: Unequal sizes, so that no two axes can be exchanged.
SIZES = {"input_length": 20, "n_targets": 3, "channels": [6, 5, 7], "kernel": 4}


def write_keras(path, input_length, n_targets, channels, kernel):
    """Random weights as Keras 2 saves them: kernels (width, in, out), a dense layer of (positions * channels, out)."""
    rng, width = np.random.default_rng(0), 4
    with h5py.File(path, "w") as file:

        def write(layer, **tensors):
            for name, value in tensors.items():
                file[f"{layer}/{layer}/{name}:0"] = value.astype(np.float32)

        for i, channel in enumerate(channels, 1):
            write(f"conv1d_{i}", kernel=rng.normal(size=(kernel, width, channel)), bias=rng.normal(size=channel))
            write(
                f"batch_normalization_{i}",
                gamma=rng.normal(size=channel),
                beta=rng.normal(size=channel),
                moving_mean=rng.normal(size=channel),
                moving_variance=rng.uniform(1e-3, 2, channel),  # small ones show the epsilon
            )
            file.create_group(f"dropout_{i}")
            width = channel
        file.create_group("flatten_1")
        positions = input_length - len(channels) * (kernel - 1)
        write("dense_1", kernel=rng.normal(size=(positions * width, n_targets)), bias=rng.normal(size=n_targets))
    return path


def keras_outputs(path, codes):
    """Outputs (N, targets), float64, of base codes (N, length), computed from the file as Keras defines the layers."""
    file = h5py.File(path)

    def tensor(layer, name):
        return file[f"{layer}/{layer}/{name}:0"][()].astype(float)

    x = np.eye(5)[codes][:, :, :4]  # (N, positions, channels)
    for i in (1, 2, 3):
        kernel = tensor(f"conv1d_{i}", "kernel")
        places = range(x.shape[1] - len(kernel) + 1)
        x = np.stack([np.einsum("nwc,wco->no", x[:, p : p + len(kernel)], kernel) for p in places], axis=1)
        x = np.maximum(x + tensor(f"conv1d_{i}", "bias"), 0)
        gamma, beta, mean, variance = (
            tensor(f"batch_normalization_{i}", name) for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        x = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    return x.reshape(len(x), -1) @ tensor("dense_1", "kernel") + tensor("dense_1", "bias")


@pytest.fixture
def keras_file(tmp_path):
    return write_keras(tmp_path / "made_up.hdf5", **SIZES)


@pytest.fixture
def directory(keras_file, tmp_path, monkeypatch):
    """A copy of the zoo's model directory for the made-up file, and a cache of the test's own."""
    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(ROOT / "models" / NAME, tmp_path / "models" / NAME)
    content = yaml.safe_load((folder / "model.yaml").read_text())
    content["args"]["arguments"] = SIZES
    content["args"]["official"]["md5"] = hashlib.md5(keras_file.read_bytes()).hexdigest()
    content["default_dataloader"]["default_args"]["length"] = SIZES["input_length"]
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    (folder / "targets.txt").write_text("a\nb\nc\n")
    return folder


def test_outputs_equal_keras_layer_by_layer(keras_file, directory):
    codes = np.random.default_rng(1).integers(0, 5, (30, 20), dtype=np.uint8)
    regzoo.fetch(directory, keras_file)
    expected = keras_outputs(keras_file, codes)
    np.testing.assert_allclose(load_model(directory, device="cpu").predict(codes), expected, rtol=1e-5, atol=2e-5)
    through = kipoi.get_model(str(directory), source="dir")
    np.testing.assert_allclose(through.predict_on_batch(one_hot(codes)), expected, rtol=1e-5, atol=2e-5)


def test_outputs_of_the_real_file_equal_keras_layer_by_layer(tmp_path, monkeypatch):
    path = shared_data("weights", "mpra_dragonn_convmodel.hdf5")
    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path))
    regzoo.fetch(NAME, path)
    model = load_model(NAME, device="cpu")
    codes = np.random.default_rng(1).integers(0, 5, (40, 145), dtype=np.uint8)
    expected = keras_outputs(path, codes)
    np.testing.assert_allclose(model.predict(codes), expected, atol=1e-5)
    assert expected.std() > 0.1 and (model.input_length, len(model.targets)) == (145, 12)


def test_scores_are_the_differences_of_whole_passes(keras_file, directory):
    """Variants are scored incrementally; both strands are averaged, as `use_rc` says."""
    regzoo.fetch(directory, keras_file)
    codes = np.array(regzoo.Genome(FASTA).codes("chr1"), int)
    positions = np.arange(2000, 2010)
    variants = [f"chr1:{p}:{'ACGT'[codes[p - 1]]}:{'TACG'[codes[p - 1]]}" for p in positions]
    found = regzoo.score_variants(directory, variants, FASTA, scores=["diff"]).filter(like="diff").to_numpy()
    reference = np.stack([codes[p - 10 : p + 10] for p in positions])  # the base itself at index 20 // 2 - 1
    changed = reference.copy()
    changed[:, 9] = (changed[:, 9] - 1) % 4

    def both(windows):
        return (keras_outputs(keras_file, windows) + keras_outputs(keras_file, 3 - windows[:, ::-1])) / 2

    np.testing.assert_allclose(found, both(changed) - both(reference), rtol=1e-4, atol=5e-5)


def test_fetch_takes_a_file_once_its_digest_is_verified(keras_file, directory, tmp_path):
    wrong = write_keras(tmp_path / "other.hdf5", **SIZES | {"n_targets": 2})
    for path, message in (
        (wrong, f"other.hdf5: md5 is {hashlib.md5(wrong.read_bytes()).hexdigest()}, but .* get them from https://"),
        (tmp_path / "nowhere", r"nowhere: cannot read this file \(No such file"),
        (tmp_path, r"cannot read this file \(Is a directory"),
    ):
        with pytest.raises(ModelError, match=message):
            regzoo.fetch(directory, path)
    assert not list((tmp_path / "cache" / "official").iterdir())
    done = CliRunner().invoke(app, ["fetch", str(directory), "--from", str(keras_file)])
    assert done.exit_code == 0 and done.stdout == f"{directory} is ready\n"
    assert {path.suffix for path in (tmp_path / "cache" / "official").iterdir()} == {".hdf5", ".safetensors", ".sha256"}
    os.unlink(keras_file)
    regzoo.fetch(directory)  # from the cache


def test_fetch_refuses_a_model_that_is_not_official():
    with pytest.raises(ModelError, match="MotifResNet/tf-human: its weights are not downloaded"):
        regzoo.fetch("MotifResNet/tf-human")


def relink(file, key, link):
    del file[key]
    file[key] = link


KERNEL, DENSE = "conv1d_1/conv1d_1/kernel:0", "dense_1/dense_1/kernel:0"


def replace(key, **options):
    def change(file):
        value = file[key][()]
        del file[key]
        file.create_dataset(key, **{"data": value} | options)

    return change


def huge(file):
    """A dataset of 4 TB that takes no room in the file."""
    del file[DENSE]
    file.create_dataset(DENSE, (2**40,), "f4", chunks=(2**20,))


def external(file):
    del file[KERNEL]
    file.create_dataset(KERNEL, (4, 4, 6), "f4", external=[("/etc/passwd", 0, 384)])


def virtual(file):
    layout = h5py.VirtualLayout((4, 4, 6), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 4, 6))
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


DAMAGE = {
    "another shape": (replace(KERNEL, data=np.zeros((4, 6, 4), "f4")), r"of shape \(4, 6, 4\), expected .*\(4, 4, 6\)"),
    "huge": (huge, r"dense_1/kernel:0 is float32 of shape \(1099511627776,\), expected"),
    "integers": (replace(KERNEL, dtype="i4"), "kernel:0 is int32 of shape"),
    "text": (replace(KERNEL, data=np.full((4, 4, 6), "x", object)), "kernel:0 is object of shape"),
    "compressed": (replace(KERNEL, compression="gzip"), "expected it stored plainly"),
    "chunked": (replace(KERNEL, chunks=(1, 1, 1)), "expected it stored plainly"),
    "external": (external, "in another file; expected it stored plainly"),
    "virtual": (virtual, "expected it stored plainly"),
    "missing": (lambda file: file.pop(KERNEL), f"there is no tensor {KERNEL}"),
    "a group": (lambda file: (file.pop(KERNEL), file.create_group(KERNEL)), "is not a tensor"),
    "a soft link": (lambda file: relink(file, KERNEL, h5py.SoftLink("/" + DENSE)), "there is no tensor"),
    "another file": (lambda file: relink(file, "conv1d_1", h5py.ExternalLink("x.h5", "/")), "there is no tensor"),
    "a layer more": (lambda file: file.create_group("conv1d_4"), "the layer 'conv1d_4' has no place"),
    "NaN": (replace(KERNEL, data=np.full((4, 4, 6), np.nan, "f4")), "holds NaN or infinite"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_does_not_fit_is_refused(kind, keras_file, directory, tmp_path):
    """Even where its digest is right: model.yaml and file may both be somebody else's."""
    change, message = DAMAGE[kind]
    with h5py.File(keras_file, "r+") as file:
        change(file)
    content = yaml.safe_load((directory / "model.yaml").read_text())
    content["args"]["official"]["md5"] = hashlib.md5(keras_file.read_bytes()).hexdigest()
    (directory / "model.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ModelError, match=message) as error:
        regzoo.fetch(directory, keras_file)
    assert str(directory) in str(error.value)
    assert not list((tmp_path / "cache" / "official").glob("*.safetensors"))


def test_damaged_bytes_raise_no_other_error(keras_file):
    whole, rng, net = keras_file.read_bytes(), np.random.default_rng(0), build("dragonn", **SIZES)
    expected = read_keras(keras_file, net)
    assert expected["layers.0.weight"].shape == (6, 4, 4)
    for i in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 1 + i % 8):
            damaged[at] = rng.integers(0, 256)
        keras_file.write_bytes(damaged[: rng.integers(len(whole))] if i % 6 == 5 else damaged)
        try:
            assert read_keras(keras_file, net).keys() == expected.keys()
        except ModelError as error:
            assert str(keras_file) in str(error)


def test_published_size():
    net = build("dragonn")
    assert sum(p.numel() for p in net.parameters()) == 339_012
    with torch.inference_mode():
        assert net(torch.from_numpy(one_hot(np.zeros((2, 145), np.uint8)))).shape == (2, 12)
