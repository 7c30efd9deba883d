"""`regzoo ls`: what fits a terminal, and the targets of models."""

import pytest
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.errors import ModelError
from regzoo.listing import model_lines, target_lines
from regzoo.zoo import catalogue, load_model
from tests.conftest import MODEL


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_lines_fit_the_terminal_and_name_every_model(width):
    lines = model_lines(width)
    assert max(map(len, lines)) <= width
    named = [line.split()[0] for line in lines[1:] if not line.startswith("    ")]
    assert [name for name in named if name != "title"] == list(catalogue())


def test_nothing_is_cut_where_there_is_no_terminal():
    done = CliRunner().invoke(app, ["ls"])
    lines = done.stdout.splitlines()
    assert len(lines) == len(catalogue()) + 1
    assert all(line.endswith(entry["title"]) for line, entry in zip(lines[1:], catalogue().values()))


def test_targets_of_one_model_and_of_all():
    done = CliRunner().invoke(app, ["ls", MODEL])
    assert done.stdout.splitlines() == load_model(MODEL, device="cpu").targets
    done = CliRunner().invoke(app, ["ls", "--targets"])
    pairs = [line.split("\t") for line in done.stdout.splitlines()]
    counts = {name: sum(model == name for model, _ in pairs) for name in {model for model, _ in pairs}}
    assert counts == {name: entry["targets"] for name, entry in catalogue().items() if entry["status"] != "recipe"}
    assert max(map(len, target_lines(width=80))) <= 80


def test_a_recipe_and_an_unknown_model_are_said():
    recipe = next(name for name, entry in catalogue().items() if entry["status"] == "recipe")
    with pytest.raises(ModelError, match="is a recipe"):
        target_lines(recipe)
    with pytest.raises(ModelError, match="did you mean"):
        target_lines("MotifResnet/tf-human")
