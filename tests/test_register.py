"""`regzoo register`: Kipoi's configuration keeps what it holds, and one that is malformed is told."""

import pytest
import yaml

from regzoo.doctor import _source
from regzoo.errors import InputError
from regzoo.register import config_path, register
from regzoo.zoo import zoo_folder


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config_path().parent.mkdir()
    return config_path()


def test_what_is_there_is_kept(config):
    config.write_text("a: 1\nmodel_sources:\n  mine: {type: local, local_path: /x}\n")
    register()
    content = yaml.safe_load(config.read_text())
    assert content["a"] == 1 and set(content["model_sources"]) == {"mine", "kipoi", "regzoo"}
    assert content["model_sources"]["regzoo"]["local_path"] == str(zoo_folder() / "models")
    assert _source().passed


@pytest.mark.parametrize("content", [b"", b"model_sources:\n"])
def test_an_empty_configuration_is_filled(content, config):
    config.write_bytes(content)
    register()
    assert _source().passed


@pytest.mark.parametrize("content", [b"- a\n", b"model_sources: [a]\n", b"x", b"\xff", b"a: [", b"model_sources: 3"])
def test_a_malformed_configuration_is_told_and_kept(content, config):
    config.write_bytes(content)
    with pytest.raises(InputError, match="config.yaml"):
        register()
    assert config.read_bytes() == content
    assert not _source().passed and _source().fix


def test_a_source_that_is_none_is_a_finding(config):
    for path in (3, None, "a\0b", "/nowhere"):
        config.write_text(yaml.safe_dump({"model_sources": {"regzoo": {"local_path": path}}}))
        assert not _source().passed
