"""A queue of recipes: order, skipping, failures, and what is executed."""

import json

import pytest
import yaml
from typer.testing import CliRunner

import training.queue
from regzoo.errors import InputError
from tests.training.test_recipes import PLAIN
from training.__main__ import app
from training.queue import run_queue

METRICS = {"data": {"targets": {"a": {"train": {}, "dev": {}, "test": {}}}}, "dev": {}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A queue of three recipes, of which the second is not valid, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "three"):
        content = PLAIN | {"model": f"Test/{name}"} | ({"optimizer": {}} if name == "two" else {})
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "queue.yaml").write_text(
        yaml.safe_dump({"recipes": ["one.yaml", "two.yaml", "three.yaml"], "threads": 2})
    )
    return tmp_path


def test_a_failed_recipe_does_not_stop_the_others_and_finished_ones_are_skipped(place):
    calls = []

    def execute(arguments, log):
        calls.append(arguments)
        command, recipe = arguments[:2]
        name = recipe.rpartition("/")[2].removesuffix(".yaml")
        if command == "fit" and name == "one" and len(calls) == 1:
            return 137
        metrics = METRICS | ({"test": {}} if command == "evaluate" else {})
        (place / "runs" / "Test" / name / "metrics.json").write_text(json.dumps(metrics))
        return 0

    first = run_queue("queue.yaml", execute)
    assert first["one.yaml"] == "failed: fit ended with status 137; see runs/Test/one/queue.log"
    assert first["two.yaml"].startswith("failed: two.yaml: optimizer: ") and first["three.yaml"] == "finished"
    assert calls == [
        ["fit", "one.yaml", "--threads", "2"],
        ["fit", "three.yaml", "--threads", "2"],
        ["evaluate", "three.yaml"],
    ]
    second = run_queue("queue.yaml", execute)
    assert (second["one.yaml"], second["three.yaml"]) == ("finished", "finished before")
    assert calls[3:] == [["fit", "one.yaml", "--threads", "2"], ["evaluate", "one.yaml"]]


def test_the_command_reports_every_recipe_and_fails_if_one_failed(place, monkeypatch):
    monkeypatch.setattr(training.queue, "_process", lambda nice: lambda arguments, log: 0)
    result = CliRunner().invoke(app, ["queue", "queue.yaml"])
    assert result.exit_code == 1
    assert [line.partition(": ")[2][:8] for line in result.stdout.splitlines()] == ["finished", "failed: ", "finished"]


def test_a_process_appends_its_output_to_the_log_at_low_priority(place, monkeypatch):
    (place / "training.py").write_text("import os, sys\nprint(sys.argv[1:], os.nice(0))\nsys.exit(3)\n")
    log = place / "queue.log"
    log.write_text("before\n")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert training.queue._process(7)(["fit", "x.yaml"], log) == 3
    assert log.read_text() == "before\n['fit', 'x.yaml'] 7\n"


def test_a_queue_without_recipes_or_with_other_keys_is_refused(place):
    (place / "queue.yaml").write_text("recipes: []\nthread: 2\n")
    with pytest.raises(InputError, match="queue.yaml: recipes: .*at least 1 item.*thread: .*did you mean 'threads'"):
        run_queue("queue.yaml")
