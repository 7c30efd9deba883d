"""Checkpoint folders and hub downloads are untrusted: damaged ones are rejected with a ModelError."""

import contextlib
import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regzoo.errors import ModelError
from regzoo.nets import hub, load_pretrained, save_pretrained
from regzoo.nets.language_models import LanguageModel, make_config
from regzoo.nets.transformer import MaskedLM
from regzoo.sequence import encode
from regzoo.tokenizers import BPE, OverlappingKmers, SixMers, train_bpe
from regzoo.zoo import load_language_model

CONFIGS = {
    "dnabert": {
        "model_type": "bert",
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "type_vocab_size": 2,
        "max_position_embeddings": 16,
        "vocab_size": 69,
        "layer_norm_eps": 1e-12,
    },
    "dnabert2": {
        "alibi_starting_size": 16,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "type_vocab_size": 2,
        "vocab_size": 60,
    },
    "nucleotide_transformer": {
        "model_type": "esm",
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "max_position_embeddings": 18,
        "vocab_size": 4105,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 1,
        "mask_token_id": 2,
        "token_dropout": True,
        "position_embedding_type": "rotary",
        "tie_word_embeddings": False,
    },
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A small folder of each kind, with random weights."""
    place = tmp_path_factory.mktemp("authors")
    rng = np.random.default_rng(0)
    bpe = train_bpe(list(rng.integers(0, 4, (50, 60), dtype=np.uint8)), place / "bpe.json", vocabulary=60)
    tokenizers = {"dnabert": OverlappingKmers(3), "dnabert2": bpe, "nucleotide_transformer": SixMers(1)}
    for kind, config in CONFIGS.items():
        torch.manual_seed(0)
        save_pretrained(LanguageModel(kind, MaskedLM(make_config(config)), tokenizers[kind], config), place / kind)
    return place


@pytest.fixture(params=CONFIGS)
def folder(request, originals, tmp_path):
    return shutil.copytree(originals / request.param, tmp_path / request.param)


def use(folder):
    """Load a folder and encode a sequence, so that all parts are used."""
    model = load_pretrained(folder)
    tokens = model.tokenizer.encode(encode("ACGTNACGTACG")[None])
    with torch.inference_mode():
        return model.net.encode(torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask))


#: Values to try for each key.
VALUES = [
    None,
    True,
    0,
    -1,
    1,
    3,
    2**31,
    10**9,
    10**40,
    1.5,
    -0.0,
    "x",
    "",
    [],
    [1],
    {},
    {"a": 1},
    float("nan"),
    float("inf"),
]


def test_every_configuration_key_with_values_of_other_types(folder):
    use(folder)
    path = folder / "config.json"
    original = json.loads(path.read_text())
    for key in original:
        for value in VALUES:
            path.write_text(json.dumps(original | {key: value}))
            with contextlib.suppress(ModelError):
                use(folder)
        path.write_text(json.dumps({k: v for k, v in original.items() if k != key}))
        with contextlib.suppress(ModelError):
            use(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers|layers"),
        ({"hidden_size": 10**9}, "hidden"),
        ({"num_attention_heads": 3}, "multiple of 3 heads"),
        ({"hidden_size": "8"}, "hidden_size: .*valid integer"),
        ({"num_hidden_layers": 2}, "missing"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
    ],
)
def test_invalid_configuration_is_rejected(change, message, folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=message) as error:
        load_pretrained(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'"x"']
)
def test_file_that_is_not_a_configuration_is_rejected(content, folder):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match="config.json"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "vocab.txt", "model.safetensors", "pytorch_model.bin"]
)
def test_damaged_files(file, folder):
    if file == "pytorch_model.bin":
        torch.save(load_file(folder / "model.safetensors"), folder / file)
        (folder / "model.safetensors").unlink()
    if not (folder / file).is_file():
        return
    whole = (folder / file).read_bytes()
    rng = np.random.default_rng(0)
    for i in range(40):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 3000), 1 + i % 4):
            damaged[at] = rng.integers(0, 256)
        (folder / file).write_bytes(damaged[: rng.integers(len(whole))] if i % 8 == 7 else damaged)
        with contextlib.suppress(ModelError):
            use(folder)


def test_tokenizer_keys_with_values_of_other_types(originals, tmp_path):
    folder = shutil.copytree(originals / "dnabert2", tmp_path / "m")
    path = folder / "tokenizer.json"
    original = json.loads(path.read_text())
    holders = [("", original), ("model", original["model"])]
    for name, holder in holders:
        for key in holder:
            for value in (None, 0, -1, "x", [], {}, {"type": "Lowercase"}, {"A": 10**12}, [["A", "C"]] * 3):
                new = original | {key: value} if not name else original | {name: holder | {key: value}}
                path.write_text(json.dumps(new))
                with contextlib.suppress(ModelError):
                    use(folder)
    path.write_text(
        json.dumps(
            original | {"truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}}
        )
    )
    assert BPE(path).encode(encode("ACGT" * 5)[None]).ends.max() == 20
    path.write_text(
        json.dumps(original | {"normalizer": {"type": "Replace", "pattern": {"String": "A"}, "content": ""}})
    )
    with pytest.raises(ModelError, match="tokenizer.json: not a tokenizer of DNA: its tokens cover 9 of 12 bases"):
        BPE(path).encode(encode("ACGTCACGTACG")[None])


def test_vocabulary_in_another_order_is_rejected(originals, tmp_path):
    for kind in ("dnabert", "nucleotide_transformer"):
        folder = shutil.copytree(originals / kind, tmp_path / kind)
        lines = (folder / "vocab.txt").read_text().split()
        lines[10], lines[11] = lines[11], lines[10]
        (folder / "vocab.txt").write_text("\n".join(lines))
        message = f"vocab.txt, line 11: '{lines[10]}', expected '{lines[11]}' for a {kind}"
        with pytest.raises(ModelError, match=message):
            load_pretrained(folder)


def test_weights_that_are_not_finite_are_rejected(folder):
    state = load_file(folder / "model.safetensors")
    name = next(key for key in state if state[key].ndim == 2)
    state[name][0, 0] = float("nan")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelError, match=f"model.safetensors: tensor '{name}' holds NaN"):
        load_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=f"pytorch_model.bin: tensor '{name}' holds NaN"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(1)], {1: torch.zeros(1)}, {"a": 1}, torch.zeros(3), {"a": torch.zeros(2, 2).to_sparse()}],
    ids=["list", "number", "value", "tensor", "sparse"],
)
def test_pickles_of_other_objects_are_rejected(content, originals, tmp_path):
    folder = shutil.copytree(originals / "dnabert", tmp_path / "m")
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="not a checkpoint of plain tensors"):
        load_pretrained(folder)


# The hub.


class Hub:
    """Replaces huggingface_hub: serves the files of a folder with their digests, or raises an error."""

    def __init__(self, folder):
        self.folder, self.error, self.lie, self.downloads = folder, None, (), []

    def model_info(self, repository, revision=None, files_metadata=False):
        if self.error:
            raise self.error
        siblings = []
        for path in sorted(self.folder.iterdir()):
            content = path.read_bytes() + (b"x" if path.name in self.lie else b"")
            lfs = SimpleNamespace(sha256=hashlib.sha256(content).hexdigest()) if path.suffix == ".safetensors" else None
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            siblings.append(SimpleNamespace(rfilename=path.name, lfs=lfs, blob_id=blob))
        return SimpleNamespace(sha="c0ffee", siblings=siblings)

    def download(self, repository, name, revision=None, local_dir=None):
        self.downloads.append(name)
        return shutil.copy(self.folder / name, local_dir)


@pytest.fixture
def online(originals, monkeypatch, tmp_path):
    fake = Hub(originals / "dnabert")
    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "HfApi", lambda: fake)
    monkeypatch.setattr(hub, "hf_hub_download", fake.download)
    return fake


def cached(tmp_path):
    return sorted(str(p.relative_to(tmp_path / "cache")) for p in (tmp_path / "cache").rglob("*") if p.is_file())


def test_download_is_cached_and_verified_at_every_load(online, tmp_path):
    load_language_model("owner/name")
    folder = tmp_path / "cache" / "hub" / "owner--name" / "main"
    assert len(online.downloads) == 3 and json.loads((folder / "source.json").read_text())["commit"] == "c0ffee"
    load_language_model("owner/name")
    assert len(online.downloads) == 3
    content = (folder / "config.json").read_text()
    (folder / "config.json").write_text(content + " ")
    for _ in range(2):
        with pytest.raises(ModelError, match="config.json: wrong checksum"):
            load_language_model("owner/name")
    for source in (b"[]", b"\xff", b"{}", b'{"repository": "a", "commit": "b", "sha256": {"../x": "0"}}'):
        (folder / "source.json").write_bytes(source)
        with pytest.raises(ModelError, match="source.json"):
            load_language_model("owner/name")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_wrong_digest_is_rejected_every_time_and_leaves_nothing(file, online, tmp_path):
    online.lie = (file,)
    for _ in range(2):
        with pytest.raises(ModelError, match=f"owner/name: {file}: wrong checksum: .* download discarded"):
            load_language_model("owner/name")
        assert cached(tmp_path) == []
    online.lie = ()
    load_language_model("owner/name")


def test_folder_filled_by_hand_is_used(online, originals, tmp_path):
    online.error = OSError("no network")
    with pytest.raises(ModelError, match="cannot download") as error:
        load_language_model("owner/name")
    place = tmp_path / "cache" / "hub" / "owner--name" / "main"
    assert str(error.value).endswith(f"put them at {place}")
    shutil.copytree(originals / "dnabert", place)
    load_language_model("owner/name")


@pytest.mark.parametrize(
    "revision", ["../..", "../../x", "/etc", "", ".", "a/../b", "a\0", "a" * 300, None, 3, "a b", "-x"]
)
def test_invalid_revisions_are_rejected(revision, online, tmp_path):
    with pytest.raises(ModelError, match="revision .* is not a commit, branch or tag"):
        load_pretrained("owner/name", revision=revision)
    assert not online.downloads


@pytest.mark.parametrize("name", ["../x", "/nowhere/x", "a/b/c", "", "owner/../x", "a\0b", "-x/y", "https://x/y"])
def test_invalid_names_are_rejected(name, online):
    with pytest.raises(ModelError, match="not a folder, and not OWNER/NAME"):
        load_pretrained(name)
    assert not online.downloads


def test_a_folder_may_be_a_path(originals):
    assert load_language_model(originals / "dnabert").kind == "dnabert"


def test_branches_with_a_slash_are_one_folder(online, tmp_path):
    load_pretrained("owner/name", revision="refs/pr/1")
    assert "hub/owner--name/refs--pr--1/source.json" in cached(tmp_path)


def errors():
    """Errors of huggingface_hub and its HTTP client without a network, or without such a repository."""
    from huggingface_hub import errors

    class ConnectError(Exception):
        """Like that of the HTTP client, which is not an OSError."""

    response = SimpleNamespace(status_code=404, headers={}, request=None, url="u")
    yield ConnectError("[Errno -2] Name or service not known")
    yield errors.OfflineModeIsEnabled("offline")
    yield errors.LocalEntryNotFoundError("nothing cached")
    yield errors.RepositoryNotFoundError("404 not found", response=response)
    yield errors.HFValidationError("bad name")
    yield ConnectionResetError("reset")
    yield TimeoutError("slow")
    yield ValueError("not JSON")


def test_message_without_network_names_files_and_folder(online, tmp_path):
    for error in errors():
        online.error = error
        with pytest.raises(ModelError, match="owner/name: cannot download revision main .*put them at ") as raised:
            load_language_model("owner/name")
        assert type(error).__name__ in str(raised.value) and "\n" not in str(raised.value)
        assert cached(tmp_path) == []
