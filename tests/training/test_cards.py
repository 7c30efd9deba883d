"""Kipoi's fields in model.yaml, and the texts and tables of cards."""

import pytest
import yaml
from kipoi.specs import ModelInfo
from typer.testing import CliRunner

from regzoo.errors import InputError
from tests.conftest import ROOT
from tests.training.test_recipes import PLAIN, PROBE
from training.__main__ import app
from training.card import kipoi_info, model_card
from training.export import rewrite_texts
from training.recipe import load_recipe

INTERVAL = {"value": 0.8, "low": 0.7, "high": 0.9}
RECIPES = ROOT / "training" / "recipes"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGZOO_HOME", str(tmp_path / "zoo"))
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "zoo_index.yaml").write_text("models: {}\n")
    data = PLAIN["data"] | {
        "cite_as": "https://doi.org/10.1/x",
        "keywords": ["DNA binding"],
        "tasks": {"a": ".", "b": "b"},
    }
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(PLAIN | {"data": data, "published": {}}))
    return path


def metrics_of(split_rows):
    entry = {name: INTERVAL for name in ("mcc", "auroc", "average_precision")}
    counts = {
        "train": {"rows": 9, "positive": 4, "overlapping": 1, "kept": 8},
        **{s: {"rows": n} for s, n in split_rows.items()},
    }
    return {
        "parameters": 7,
        "input_length": 30,
        **{split: {"a": entry, "b": entry} for split in split_rows},
        "data": {"targets": {"a": counts, "b": counts}, "merged_rows": 0, "contradictory_labels": 0},
    }


def test_kipoi_reads_authors_citation_data_and_tags(recipe):
    info = ModelInfo.from_config(kipoi_info(load_recipe(recipe), "One line."))
    assert [author.name for author in info.authors] == ["The regzoo developers"]
    assert (info.cite_as, info.trained_on, info.doc) == ("https://doi.org/10.1/x", "Made-up sequences.", "One line.")
    assert list(info.tags) == ["DNA binding", "neural network"]
    recipe.write_text(yaml.safe_dump(PROBE))
    assert kipoi_info(load_recipe(recipe), "x")["tags"] == ["linear probe"]
    assert kipoi_info(load_recipe(RECIPES / "lm" / "nt-mini.yaml"), "x")["tags"][-1] == "language model"


def test_a_card_has_metrics_within_sources_and_the_specificity_of_targets(recipe):
    metrics = metrics_of({"dev": 5, "test": 6})
    means = {"rows": 6, "targets": 2, "positive": 0.25, "mcc": 0.5, "auroc": 0.81, "average_precision": 0.6}
    metrics["by_source"] = {"test": {"chr22": means, "other": means | {"auroc": 0.92}}}
    metrics["specificity"] = {
        "test": {
            "a": {"best_other": "b", "difference": 0.2, "p": 1e-9},
            "b": {"best_other": "a", "difference": -0.1, "p": 0.01},
        }
    }
    card = model_card(load_recipe(recipe), metrics, {}, "How.")
    assert "| source | rows | targets | positive | MCC × 100 | AUROC | average precision |" in card
    assert (
        "| chr22 | 6 | 2 | 0.250 | 50.0 | 0.810 | 0.600 |" in card
        and "| other | 6 | 2 | 0.250 | 50.0 | 0.920 |" in card
    )
    assert "On test, the output of 1 of 2 targets has a larger AUROC" in card and "for 1 of them" in card
    assert "is as good or better for b (a)." in card and "No baseline was fitted." in card
    plain = model_card(load_recipe(recipe), metrics_of({"dev": 5}), {}, "How.")
    assert "Within each source" not in plain and "Specificity" not in plain


def write_model(recipe, folder):
    """A model directory with a card of the recipe and figures of its own."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(model_card(load_recipe(recipe), metrics_of({"dev": 5}), {}, "How."))
    content = {"args": {"sha256": "x"}, "info": {"authors": [{"name": "regzoo"}], "doc": "One line.", "license": "MIT"}}
    (folder / "model.yaml").write_text(yaml.safe_dump(content))


def test_texts_are_rewritten_and_nothing_else(recipe, tmp_path):
    assert not rewrite_texts(recipe)  # it has no model in the zoo
    folder = tmp_path / "zoo" / "models" / "Test" / "small"
    write_model(recipe, folder)
    before = (folder / "README.md").read_text()
    content = yaml.safe_load(recipe.read_text())
    content["data"]["description"], content["limits"] = r"Other \1 data.", "Other limits."
    recipe.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["cards", str(recipe)], catch_exceptions=False)
    assert result.stdout == "1 of 1 recipes have a model in the zoo; their texts were rewritten\n"
    after = (folder / "README.md").read_text()
    assert (
        after
        == before.replace("Made-up sequences.", r"Other \1 data.").replace("Of a test.", "Other limits.")
        != before
    )
    written = yaml.safe_load((folder / "model.yaml").read_text())
    assert written["args"] == {"sha256": "x"} and written["info"]["doc"] == "One line."
    assert written["info"]["authors"] == [{"name": "The regzoo developers"}]
    assert written["info"]["trained_on"] == r"Other \1 data." and written["info"]["cite_as"] == "https://doi.org/10.1/x"


@pytest.mark.parametrize("file", ["README.md", "model.yaml"])
def test_a_directory_that_export_did_not_write_is_left_alone(file, recipe, tmp_path):
    folder = tmp_path / "zoo" / "models" / "Test" / "small"
    write_model(recipe, folder)
    (folder / file).write_text("text: of somebody else\n")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(InputError, match="Test/small: not a model directory written by `export`"):
        rewrite_texts(recipe)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_the_zoo_s_trained_models_have_the_texts_of_their_recipes():
    for path in sorted(RECIPES.glob("*/*.yaml")):
        if path.name == "data.yaml":
            continue
        recipe = load_recipe(path)
        folder = ROOT / "models" / recipe.model
        if not (folder / "model.yaml").is_file():
            continue
        data = recipe.corpus if recipe.kind == "language_model" else recipe.data
        card = (folder / "README.md").read_text()
        assert data.description in card and recipe.limits in card, folder
        info = yaml.safe_load((folder / "model.yaml").read_text())["info"]
        assert info == kipoi_info(recipe, info["doc"]), folder
        assert data.cite_as and data.keywords, path
