"""`regzoo ls` and `regzoo info`."""

import io
import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.errors import ModelError
from regzoo.listing import model_info, show_info, show_models
from regzoo.zoo import catalogue, list_models, load_model
from tests.conftest import MODEL


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_fits_the_terminal_and_names_every_model(width, capsys):
    show_models(list_models(), True, width)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert {line.split()[0] for line in lines if line.strip()} >= set(catalogue())


def test_nothing_is_cut_where_there_is_no_terminal():
    done = CliRunner().invoke(app, ["ls"])
    table = pd.read_csv(io.StringIO(done.stdout), sep="\t", index_col="model")
    assert list(table.index) == list(catalogue())
    assert list(table.title) == [entry["title"] for entry in catalogue().values()]


def test_targets_of_a_model():
    done = CliRunner().invoke(app, ["ls", MODEL])
    assert done.stdout.splitlines() == load_model(MODEL, device="cpu").targets
    assert json.loads(CliRunner().invoke(app, ["ls", MODEL, "--json"]).stdout) == done.stdout.splitlines()


def test_a_recipe_and_an_unknown_model_are_refused():
    recipe = next(name for name, entry in catalogue().items() if entry["status"] == "recipe")
    for name, message in ((recipe, "is a recipe"), ("MotifResnet/tf-human", "did you mean")):
        for command in ("ls", "info"):
            done = CliRunner().invoke(app, [command, name])
            assert isinstance(done.exception, ModelError) and message in str(done.exception)


def test_info_has_the_card_the_targets_the_metrics_and_commands_that_run(tmp_path, capsys):
    found, model = model_info("MotifResNet/rbp"), load_model("MotifResNet/rbp", device="cpu")
    assert found["targets"] == model.targets and found["stranded"] and found["input_length"] == model.input_length
    assert found["mean_metrics"] == catalogue()["MotifResNet/rbp"]["mean_metrics"]
    assert found["card"].startswith("# MotifResNet/rbp")
    for command in found["commands"][:-1]:
        name, *arguments = command.split()[1:]
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0 and "MotifResNet/rbp" in arguments
    show_info(found, False)
    text = capsys.readouterr().out
    assert "ELAVL1" in text and "regzoo score variants.vcf" in text and "## Data and split" in text
    assert json.loads(CliRunner().invoke(app, ["info", "MotifResNet/rbp", "--json"]).stdout)["targets"] == model.targets


def test_info_of_a_language_model_and_of_a_directory(tmp_path, language_model):
    assert "regzoo embed" in model_info("LM/caduceus-mini")["commands"][0]
    found = model_info(language_model)
    assert found["card"] is None and found["status"] is None and "zero-shot" in found["commands"][1]
    done = CliRunner().invoke(app, ["info", language_model])
    assert done.exit_code == 0 and "a model directory" in done.stdout
