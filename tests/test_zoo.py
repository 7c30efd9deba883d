"""Models are untrusted input: what a model.yaml may say, what is downloaded, and what loading and predicting refuse."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import kipoi
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from regzoo.errors import InputError, ModelError
from regzoo.nets import build, checkpoint
from regzoo.nets.checkpoint import Official, file_digest, official_weights
from regzoo.sequence import decode, from_one_hot, one_hot
from regzoo.zoo import load_model, read_targets
from tests.conftest import MODEL, ROOT

SIZES = {"input_length": 40, "n_targets": 2, "motifs": 8, "width": 8, "dilations": [[1]]}
BASE = {
    "defined_as": "regzoo.kipoi.ZooModel",
    "args": {
        "architecture": "motif_resnet",
        "arguments": SIZES,
        "weights": "model.safetensors",
        "targets": "targets.txt",
        "activation": "sigmoid",
        "reverse_complement": True,
    },
    "default_dataloader": {"defined_as": "regzoo.kipoi.SequenceDataset", "default_args": {"length": 40}},
    "info": {"authors": [{"name": "a"}], "doc": "d"},
    "schema": {
        "inputs": {"name": "seq", "shape": "(4, 40)", "doc": "d"},
        "targets": {"name": "preds", "shape": "(2,)", "doc": "d"},
    },
    "postprocessing": {"variant_effects": {"seq_input": ["seq"], "use_rc": False}},
}


@pytest.fixture
def folder(tmp_path):
    """A small model directory."""
    folder = tmp_path / "G" / "m"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(build("motif_resnet", **SIZES).state_dict(), folder / "model.safetensors")
    (folder / "targets.txt").write_text("a\nb\n")
    (folder / "model.yaml").write_text(yaml.safe_dump(BASE))
    return folder


def changed(content, key, *value):
    """A copy with another value at a key written with dots, or without the key."""
    content = json.loads(json.dumps(content))
    *parents, last = key.split(".")
    at = content
    for part in parents:
        at = at.setdefault(part, {}) if isinstance(at.get(part), dict) or part not in at else at[part]
    if value:
        at[last] = value[0]
    else:
        del at[last]
    return content


def test_the_base_of_the_variants_loads(folder):
    model = load_model(folder, device="cpu")
    codes = np.random.default_rng(0).integers(0, 5, (3, 40), dtype=np.uint8)
    assert model.predict(codes).shape == (3, 2)
    np.testing.assert_array_equal(load_model(str(folder), device="cpu").predict(codes), model.predict(codes))


#: key, new value (none: the key is left out), and what the message holds besides the file.
VARIANTS = [
    ("args",),
    ("args", None),
    ("args", []),
    ("args", "x"),
    ("arg", {}),
    ("args.architecture",),
    ("args.architecture", None),
    ("args.architecture", 3),
    ("args.architecture", ["basset"]),
    ("args.architecture", "resnet"),
    ("args.architecture", "language_model"),
    ("args.architecture", "__class__"),
    ("args.arguments",),
    ("args.arguments", None),
    ("args.arguments", [1]),
    ("args.arguments", {}),
    ("args.argument", {}),
    ("args.arguments.input_length",),
    ("args.arguments.input_length", "40"),
    ("args.arguments.input_length", 40.0),
    ("args.arguments.input_length", 0),
    ("args.arguments.input_length", -40),
    ("args.arguments.input_length", True),
    ("args.arguments.input_length", 10**9),
    ("args.arguments.input_length", 10**30),
    ("args.arguments.input_length", 41),
    ("args.arguments.input_length", 1),
    ("args.arguments.input_length", None),
    ("args.arguments.input_length", [40]),
    ("args.arguments.n_targets",),
    ("args.arguments.n_targets", 0),
    ("args.arguments.n_targets", -1),
    ("args.arguments.n_targets", 3),
    ("args.arguments.n_targets", 10**9),
    ("args.arguments.n_targets", "2"),
    ("args.arguments.motifs", 10**9),
    ("args.arguments.motifs", -8),
    ("args.arguments.motifs", 9),
    ("args.arguments.motifs", 2**20),
    ("args.arguments.width", 2**20),
    ("args.arguments.width", 0),
    ("args.arguments.kernel", 2**20),
    ("args.arguments.kernel", 0),
    ("args.arguments.kernel", {}),
    ("args.arguments.dilations", 3),
    ("args.arguments.dilations", [1]),
    ("args.arguments.dilations", [[0]]),
    ("args.arguments.dilations", [[1]] * 10**4),
    ("args.arguments.dilations", "12"),
    ("args.arguments.dropout", "0.1"),
    ("args.arguments.dilations", [[1]] * 12),
    ("args.arguments.dropout", 2),
    ("args.arguments.dropout", -1),
    ("args.arguments.activation", "relu"),
    ("args.arguments.activation", None),
    ("args.arguments.colour", 1),
    ("args.arguments.tokenizer", {"kind": "six_mers"}),
    ("args.arguments.tokenizer", {"path": "/etc/passwd"}),
    ("args.arguments.tokenizer", {"kind": "bpe", "path": "../../x.json"}),
    ("args.arguments.tokenizer", {"kind": []}),
    ("args.arguments.backbone", 3),
    ("args.arguments.backbone", "LM/none"),
    ("args.arguments.backbone", None),
    ("args.arguments.backbone", "Basset/tf-human"),
    ("args.arguments.adapter_scale", 2.0),
    ("args.weights",),
    ("args.weights", None),
    ("args.weights", ""),
    ("args.weights", 1),
    ("args.weights", "none.safetensors"),
    ("args.weights", "targets.txt"),
    ("args.weights", "."),
    ("args.weights", "../m.safetensors"),
    ("args.weights", "a\0b"),
    ("args.weights", "/etc/passwd"),
    ("args.weights", "x" * 5000),
    ("args.weights", ["model.safetensors"]),
    ("args.sha256", "00"),
    ("args.sha256", 0),
    ("args.sha256", "0" * 64),
    ("args.sha256", "../" * 20),
    ("args.sha256", "G" * 64),
    ("args.official", {}),
    ("args.official", "x"),
    ("args.official", {"address": "https://x", "md5": "0" * 32}),
    ("args.targets",),
    ("args.targets", None),
    ("args.targets", ""),
    ("args.targets", 5),
    ("args.targets", "none.txt"),
    ("args.targets", "../../etc/passwd"),
    ("args.targets", "/etc/passwd"),
    ("args.targets", "."),
    ("args.targets", "model.safetensors"),
    ("args.activation", "relu"),
    ("args.activation", None),
    ("args.activation", []),
    ("args.reverse_complement", "no"),
    ("args.reverse_complement", 1),
    ("args.reverse_complement", None),
    ("args.code", "import os"),
    ("default_dataloader", 3),
    ("default_dataloader", None),
    ("default_dataloader.default_args", 1),
    ("default_dataloader.default_args.length", 41),
    ("default_dataloader.default_args.length", "40"),
    ("default_dataloader.default_args.use_strand", "no"),
    ("default_dataloader.default_args.use_strand", 0),
    ("postprocessing", None),
    ("postprocessing", []),
    ("postprocessing.variant_effects", None),
    ("postprocessing.variant_effects.use_rc", "no"),
    ("test", 1),
    ("test.expect", "../x.h5"),
    ("test.expect", 4),
    ("test.expect", "/etc/passwd"),
    ("defined_as", 3),
    ("colour", "red"),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v[0]}={str(v[1:])[:30]}")
def test_a_malformed_description_is_refused(variant, folder):
    (folder / "model.yaml").write_text(yaml.safe_dump(changed(BASE, *variant)))
    with pytest.raises(ModelError) as error:
        load_model(folder, device="cpu")
    text, key = str(error.value), variant[0].split(".")[-1]
    assert str(folder) in text and len(text) < 2000
    # A file that is not what it should be is named itself; of a size that does not fit the weights, these are.
    assert key in text or key in (
        "weights",
        "sha256",
        "targets",
        "motifs",
        "dilations",
        "input_length",
        "width",
        "kernel",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\0",
        b"a: [",
        b"- 1\n",
        b"3",
        b"a: 2020-99-99\nargs: {}",
        b"a: !!python/object:os.system {}",
        b"[" * 1000,
        b"? [a]\n: b",
        b"args: &a [*a]",
        b"x: " + b"9" * 5000,
        b"#" * 3_000_000,
        b"a: !!int x",
        b"a: &a\n  b: *a\nargs: *a",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_file_that_is_no_description_is_refused(content, folder):
    (folder / "model.yaml").write_bytes(content)
    with pytest.raises(ModelError, match="model.yaml"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize(("line", "key"), [("args:", "args"), ("  activation: sigmoid", "activation")])
def test_a_repeated_key_of_a_model_yaml_is_an_error(line, key, folder):
    path = folder / "model.yaml"
    path.write_text(path.read_text().replace(line, f"{line}\n{line}", 1))
    with pytest.raises(ModelError, match=rf"(?s)model.yaml: not valid YAML.*the key '{key}' is repeated.*line \d+"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n", "names 1 targets"),
        (b"a\nb\nc\n", "names 3 targets"),
        (b"", "empty"),
        (b"\n\n", "line 1"),
        (b"a\n\nb\n", "line 2"),
        (b"a\n\xff\n", "UTF-8"),
        (b"a\tb\nc\n", "line 1"),
        (b"a\x0bb\n", "line 1"),
    ],
)
def test_targets_that_do_not_name_the_outputs_are_refused(content, message, folder):
    (folder / "targets.txt").write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        load_model(folder, device="cpu")
    assert "targets.txt" in str(error.value)


def test_repeated_names_of_targets_carry_their_index(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("a\nb\na\nc\n")
    assert read_targets(path) == ["a#0", "b", "a#2", "c"]
    path.write_text("a\na\na#0\n")
    with pytest.raises(ModelError, match="'a#0' is also"):
        read_targets(path)
    with pytest.raises(ModelError, match="none.txt"):
        read_targets(tmp_path / "none.txt")


@pytest.mark.parametrize("name", ["targets.txt", "model.safetensors"])
def test_a_link_out_of_the_model_directory_is_refused(name, folder):
    shutil.move(folder / name, folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    with pytest.raises(ModelError, match="not a file inside the model directory"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, folder):
    state = load_file(folder / "model.safetensors")
    state["value.weight"][1, 2] = value
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelError, match="model.safetensors: tensor 'value.weight' holds NaN or infinite"):
        load_model(folder, device="cpu")
    state["value.weight"][1, 2] = 3e38
    state["value.weight"][1, 3] = 3e38  # finite, though their sum is not
    save_file(state, folder / "model.safetensors")
    load_model(folder, device="cpu")


def test_damaged_weights_are_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 3, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelError, match="model.safetensors"):
            load_model(folder, device="cpu")
    for _ in range(200):
        damaged = bytearray(whole)
        for at in rng.integers(0, 400, 3):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            load_model(folder, device="cpu")
        except ModelError as error:
            assert str(folder) in str(error)


BAD_CODES = [
    np.zeros((2, 39), np.uint8),
    np.zeros((2, 41), np.uint8),
    np.zeros(39, np.uint8),
    np.zeros((2, 4, 39), np.float32),
    np.zeros((2, 40, 4), np.float32),
    np.zeros((2, 40)),
    np.zeros((2, 40), np.int64),
    np.zeros((1, 2, 40), np.uint8),
    np.full((1, 40), 5, np.uint8),
    ["A" * 39],
    ["A" * 40, None],
    ["MKVL" * 10],
]


@pytest.mark.parametrize(
    "form",
    [
        lambda codes: codes,
        lambda codes: one_hot(codes),
        lambda codes: one_hot(codes).astype(bool),
        lambda codes: torch.from_numpy(one_hot(codes)),
        lambda codes: [decode(row) for row in codes],
        lambda codes: [decode(row).lower().replace("t", "u") for row in codes],
        lambda codes: np.array([decode(row) for row in codes]),
    ],
    ids=["codes", "one-hot", "bool", "tensor", "strings", "RNA", "array of strings"],
)
def test_windows_in_every_form_give_the_same(form, folder):
    model, codes = load_model(folder, device="cpu"), np.random.default_rng(0).integers(0, 5, (4, 40), dtype=np.uint8)
    with torch.inference_mode():
        expected = model.module(torch.from_numpy(one_hot(codes))).numpy()
    np.testing.assert_array_equal(model.predict(form(codes)), expected)


@pytest.mark.parametrize(
    "codes", BAD_CODES, ids=lambda c: f"{c.dtype}{c.shape}" if hasattr(c, "dtype") else str(c)[:12]
)
def test_windows_of_another_shape_are_refused(codes, folder):
    with pytest.raises(InputError, match="windows of 40 bases|strings of 40|codes 0 to 4|not DNA or RNA"):
        load_model(folder, device="cpu").predict(codes)


def test_batches_and_precisions_that_are_none_are_refused(folder):
    model, codes = load_model(folder, device="cpu"), np.zeros((2, 40), np.uint8)
    assert model.predict(codes[:0]).shape == (0, 2)
    for options in ({"batch_size": 0}, {"precision": "float16"}):
        with pytest.raises(InputError):
            model.predict(codes, **options)


def test_kipoi_loads_by_the_same_checks(folder):
    model = kipoi.get_model(str(folder), source="dir", with_dataloader=False)
    codes = np.random.default_rng(0).integers(0, 5, (3, 40), dtype=np.uint8)
    expected = load_model(folder, device="cpu").predict(codes)
    np.testing.assert_allclose(model.predict_on_batch(one_hot(codes)), expected, atol=1e-6)
    for bad in (one_hot(codes[:, 1:]), one_hot(codes)[0], codes, one_hot(codes).transpose(0, 2, 1)):
        with pytest.raises(InputError, match=r"shape \(N, 4, 40\), not "):
            model.predict_on_batch(bad)
    for key, value in (
        ("args.reverse_complement", "no"),
        ("args.weights", "../x"),
        ("default_dataloader.default_args.length", 41),
    ):
        (folder / "model.yaml").write_text(yaml.safe_dump(changed(BASE, key, value)))
        with pytest.raises(ModelError, match=f"model.yaml: {key}"):
            kipoi.get_model(str(folder), source="dir", with_dataloader=False)


def test_the_readme_s_calls_are_checked_on_a_shipped_model():
    model = load_model(Path(ROOT / "models" / MODEL), device="cpu")
    with pytest.raises(InputError, match=r"\(N, 101\)"):
        model.predict(np.zeros((2, 100), np.uint8))


# Official checkpoints.

OFFICIAL = {"input_length": 1000, "n_targets": 3, "channels": [2, 3, 4], "hidden": 5}


class Response(io.BytesIO):
    headers = {}


@pytest.fixture
def online(monkeypatch, tmp_path):
    """A cache of the test's own, and an opener that gives `content` and counts its calls."""
    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(build("deepsea", **OFFICIAL).state_dict(), buffer)

    class Opener:
        content, calls = buffer.getvalue(), []

        def open(self, address, timeout=None):
            self.calls.append(address)
            return Response(self.content)

    opener = Opener()
    opener.calls.clear()
    monkeypatch.setattr(checkpoint, "_https_only", lambda: opener)
    return opener


def official_folder(folder, **official):
    args = {"architecture": "deepsea", "arguments": OFFICIAL, "targets": "targets.txt", "official": official}
    (folder / "model.yaml").write_text(yaml.safe_dump({"args": args}))
    (folder / "targets.txt").write_text("a\nb\nc\n")
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "md5",
    ["../../x", "/tmp/x", "x" * 32, "0" * 31, "A" * 32, "", 0, None, ["0" * 32], "0" * 32 + "\n", "0" * 32 + "/../x"],
)
def test_a_digest_that_is_none_is_refused_before_anything_is_written(md5, folder, online, tmp_path):
    before = files(tmp_path)
    official_folder(folder, address="https://host/x.pth", md5=md5)
    with pytest.raises(ModelError, match="model.yaml: args.official.md5"):
        load_model(folder, device="cpu")
    assert not online.calls and set(files(tmp_path)) == set(before)


@pytest.mark.parametrize(
    "address",
    ["data:text/plain,x", "file:///etc/passwd", "http://host/x", "ftp://host/x", "/etc/passwd", "", 3, "HTTPS:x"],
)
def test_addresses_are_https_alone(address, folder, online):
    official_folder(folder, address=address, md5="0" * 32)
    with pytest.raises(ModelError, match="model.yaml: args.official.address"):
        load_model(folder, device="cpu")
    assert not online.calls


@pytest.mark.parametrize(
    "address", ["data:text/plain,x", "file:///etc/hostname", "http://127.0.0.1:9/x", "ftp://127.0.0.1/x"]
)
def test_a_redirection_leads_to_https_alone(address, monkeypatch):
    """The opener itself, as a redirection uses it, refuses the address before it connects."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="unknown url type"):
        checkpoint._https_only().open(address, timeout=1)


def test_a_download_with_a_wrong_digest_is_not_kept(folder, online, tmp_path):
    official_folder(folder, address="https://host/x.pth", md5="0" * 32)
    for _ in range(2):
        with pytest.raises(ModelError, match="has md5 .* the download was discarded"):
            load_model(folder, device="cpu")
    assert len(online.calls) == 2 and not files(tmp_path / "cache")


def test_official_weights_are_converted_once_and_verified_at_every_load(folder, online, tmp_path):
    md5 = hashlib.md5(online.content).hexdigest()
    official_folder(folder, address="https://host/x.pth", md5=md5)
    codes = np.random.default_rng(0).integers(0, 4, (2, 1000), dtype=np.uint8)
    expected = load_model(folder, device="cpu").predict(codes)
    cache = tmp_path / "cache" / "official"
    assert files(cache) == [f"{md5}.pth", f"{md5}.safetensors", f"{md5}.sha256"]
    converted = cache / f"{md5}.safetensors"
    assert (cache / f"{md5}.sha256").read_text() == file_digest(converted)
    state = load_file(converted)
    save_file({key: value + 1 for key, value in state.items()}, converted)  # other weights in its place
    np.testing.assert_array_equal(load_model(folder, device="cpu").predict(codes), expected)
    assert len(online.calls) == 1 and (cache / f"{md5}.sha256").read_text() == file_digest(converted)
    # Another order of channels is another conversion.
    official_folder(folder, address="https://host/x.pth", md5=md5, swap_cg=True)
    swapped = load_model(folder, device="cpu").predict(np.array([0, 2, 1, 3], np.uint8)[codes])
    np.testing.assert_allclose(swapped, expected, atol=1e-6)


def test_a_checkpoint_put_by_hand_is_verified(folder, online, tmp_path):
    md5 = hashlib.md5(online.content).hexdigest()
    cache = tmp_path / "cache" / "official"
    cache.mkdir(parents=True)
    (cache / f"{md5}.pth").write_bytes(online.content[:-1])
    official_folder(folder, address="https://host/x.pth", md5=md5)
    for _ in range(2):
        with pytest.raises(ModelError, match="wrong checksum.*delete it"):
            load_model(folder, device="cpu")
    (cache / f"{md5}.pth").write_bytes(online.content)
    load_model(folder, device="cpu")
    assert not online.calls


def test_what_a_network_can_raise_is_told_with_where_to_put_the_file(folder, monkeypatch, tmp_path):
    import http.client

    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path / "cache"))
    official_folder(folder, address="https://host:port/x.pth", md5="0" * 32)
    for error in (None, http.client.IncompleteRead(b""), TimeoutError("slow"), ValueError("no")):
        if error:
            opener = type("Opener", (), {"open": lambda self, *a, error=error, **k: (_ for _ in ()).throw(error)})
            monkeypatch.setattr(checkpoint, "_https_only", opener)
        with pytest.raises(ModelError, match="cannot download .* put it at .*0{32}.pth"):
            load_model(folder, device="cpu")


def test_official_sections_are_checked_where_they_are_used():
    with pytest.raises(ValueError, match="md5"):
        official_weights(None, Official(address="https://x", md5="../x"), "x")


def test_a_network_is_refused_by_its_size_before_it_is_allocated(folder):
    arguments = SIZES | {"motifs": 2**20, "width": 2**20}
    (folder / "model.yaml").write_text(yaml.safe_dump(changed(BASE, "args.arguments", arguments)))
    with pytest.raises(ModelError, match="args.arguments: these sizes make a network of .* GB; at most 5 GB"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"layers": 10**9}, "layers: Input should be less"),
        ({"hidden": 10**9}, "hidden: Input should be less"),
        ({"heads": 0}, "heads"),
        ({"heads": 5}, "multiple of 5 heads"),
        ({"norm": "none"}, "norm"),
        ({"kind": "rnn"}, "'rnn'"),
        ({"max_positions": 0}, "learned positions"),
        ({"vocabulary": 3}, "multiple values"),
        ({"gate": None}, "gate"),
        ({"colour": 1}, "colour"),
        ({"kind": None}, "unknown language model"),
        ({"hidden": "24"}, "hidden"),
    ],
)
@pytest.mark.parametrize("language_model", ["kmers"], indirect=True)
def test_impossible_language_models_are_refused(network, message, language_model, tmp_path):
    folder = tmp_path / "lm"
    shutil.copytree(language_model, folder)
    content = yaml.safe_load((folder / "model.yaml").read_text())
    content["args"]["arguments"]["network"] |= network
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ModelError, match=message) as error:
        load_model(folder, device="cpu")
    assert f"{folder / 'model.yaml'}: args.arguments" in str(error.value)


@pytest.mark.parametrize("language_model", ["kmers"], indirect=True)
def test_one_hot_windows_become_codes_for_a_language_model(language_model):
    model = load_model(language_model, device="cpu")
    codes = np.random.default_rng(0).integers(0, 4, (2, 60), dtype=np.uint8)
    np.testing.assert_array_equal(model.predict(from_one_hot(one_hot(codes))), model.predict(codes))


@pytest.mark.parametrize("content", [b"", b"[]", b"models: 3", b"models: {a: 1}", b"\xff", b"models: ["])
def test_a_malformed_index_is_told(content, tmp_path, monkeypatch):
    (tmp_path / "zoo_index.yaml").write_bytes(content)
    monkeypatch.setenv("REGZOO_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="zoo_index.yaml"):
        load_model("A/b")
