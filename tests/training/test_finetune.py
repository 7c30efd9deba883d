"""Heads, adapters, accumulation, tracking, several processes: what a fit can be asked for beside the usual."""

import json
import os
import subprocess
import sys

import numpy as np
import optuna
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from regzoo.errors import InputError, OutputError
from regzoo.nets.checkpoint import file_digest
from regzoo.nets.sequence_model import LanguageModelNet
from regzoo.zoo import load_model
from tests.conftest import ROOT
from tests.training.commands import passes_kipoi_test
from training.__main__ import fit_command
from training.data import load_examples
from training.estimators import ALPHAS, fit_linear
from training.evaluate import evaluate_run, predict_sequences
from training.export import export
from training.fit import fit
from training.networks import load_run, predict
from training.recipe import load_recipe
from training.run import Run, run_folder, write
from training.search import search

MOTIF = "TGACTCAT"
LM = {
    "tokenizer": {"kind": "six_mers"},
    "network": {
        "kind": "transformer",
        "hidden": 16,
        "layers": 2,
        "heads": 2,
        "feed_forward": 32,
        "norm": "pre",
        "positions": "rotary",
        "gate": "silu",
        "output_bias": False,
    },
}


def write_table(path, rng, rows, value):
    lines = ["sequence\tx\ty"]
    for i in range(rows):
        bases = list(rng.choice(list("ACGT"), 36))
        for start in (2, 20)[: i % 3]:
            bases[start : start + len(MOTIF)] = MOTIF
        lines.append("".join(bases) + "\t" + value(i % 3))
    path.write_text("\n".join(lines) + "\n")


VALUES = {
    "binary": lambda n: f"{int(n > 0)}\t{'NA' if n == 1 else int(n > 1)}",
    "regression": lambda n: f"{n}\t{'NA' if n == 1 else -2 * n + 5}",
    "multiclass": lambda n: f"{int(n == 0)}\t{int(n > 0)}",
}


@pytest.fixture
def recipe(tmp_path, monkeypatch, request):
    """A recipe of a task in a working directory and a zoo of its own, with a language model in it."""
    task = getattr(request, "param", "binary")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGZOO_DATA", raising=False)
    monkeypatch.setenv("REGZOO_HOME", str(tmp_path / "zoo"))
    rng = np.random.default_rng(0)
    for split, rows in (("train", 360), ("dev", 90), ("test", 90)):
        write_table(tmp_path / f"{split}.tsv", rng, rows, VALUES[task])
    files = [{"path": f"{s}.tsv", "split": s, "labels": {"x": "x", "y": "y"}} for s in ("train", "dev", "test")]
    content = {
        "kind": "fit",
        "model": "Test/small",
        "title": "A test",
        "limits": "Of a test.",
        "data": {
            "format": "files",
            "description": "Made-up sequences.",
            "folder": ".",
            "files": files,
            "task": task,
            "overlap_kmer": 20,
            "stranded": task != "binary",
        },
        "architecture": {"name": "motif_resnet", "arguments": {"motifs": 16, "width": 8, "dilations": [[1]]}},
        "optimiser": {"epochs": 8, "batch_size": 60, "learning_rate": 0.02, "precision": "float32", "ema": 0.9},
    }
    path = tmp_path / "recipes" / "small.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content))
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "dataloaders").symlink_to(ROOT / "dataloaders")
    (zoo / "zoo_index.yaml").write_text("models: {}\n")
    return path


def edit(path, **changes):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def add_language_model(zoo):
    """LM/test with random weights, as `python -m training export` writes one."""
    folder = zoo / "models" / "LM" / "test"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    net = LanguageModelNet(36, **LM)
    state = {k: v.contiguous() for k, v in net.state_dict().items() if k != "lm.decoder.weight"}
    save_file(state, folder / "model.safetensors")
    (folder / "targets.txt").write_text("".join(f"e{i}\n" for i in range(16)))
    args = {
        "architecture": "language_model",
        "arguments": {"input_length": 36} | LM,
        "weights": "model.safetensors",
        "sha256": file_digest(folder / "model.safetensors"),
        "targets": "targets.txt",
        "activation": "identity",
    }
    (folder / "model.yaml").write_text(yaml.safe_dump({"args": args}))
    index = {
        "models": {"LM/test": {"status": "trained", "title": "t", "input_length": 36, "targets": 16, "parameters": 1}}
    }
    (zoo / "zoo_index.yaml").write_text(yaml.safe_dump(index))


@pytest.mark.parametrize("recipe", ["regression", "multiclass"], indirect=True)
def test_other_heads_learn_and_their_export_predicts_what_the_run_did(recipe, tmp_path, caplog):
    fit(recipe)
    evaluate_run(recipe)
    folder, metrics = export(recipe), json.loads((run_folder(recipe) / "metrics.json").read_text())
    loaded, task = load_recipe(recipe), load_recipe(recipe).data.task
    test = load_examples(loaded.data)[0]["test"]
    model = load_model(str(folder), device="cpu")
    found = model.predict(test.codes)
    np.testing.assert_allclose(found, predict(load_run(Run(recipe)), test.codes, loaded.data), atol=2e-3)
    card = (folder / "README.md").read_text()
    if task == "regression":
        assert metrics["test"]["x"]["pearson"]["value"] > 0.7 and "Pearson" in card and "MCC" not in card
        known = ~np.isnan(test.labels[:, 1])
        assert np.corrcoef(found[known, 1], test.labels[known, 1])[0, 1] == pytest.approx(
            metrics["test"]["y"]["pearson"]["value"], abs=1e-3
        )
        assert abs(found[:, 1].mean() - np.nanmean(test.labels[:, 1])) < 1  # in the labels' units
    else:
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        assert metrics["test"]["x"]["auroc"]["value"] > 0.8
    assert passes_kipoi_test(folder, caplog)


@pytest.mark.parametrize("adapters", [True, False])
def test_a_language_model_is_fine_tuned_by_adapters_or_whole(adapters, recipe, tmp_path):
    add_language_model(tmp_path / "zoo")
    architecture = {"name": "language_model", "arguments": {"backbone": "LM/test"}}
    edit(recipe, architecture=architecture, adapters={"rank": 2, "alpha": 8} if adapters else None)
    before = load_file(tmp_path / "zoo" / "models" / "LM" / "test" / "model.safetensors")
    fit(recipe)
    evaluate_run(recipe)
    folder = export(recipe)
    state = load_file(folder / "model.safetensors")
    own = {name.rpartition(".")[2] for name in state}
    assert ("lora_A" in own) == adapters and ("lm.encoder.words.weight" in state) != adapters
    test = load_examples(load_recipe(recipe).data)[0]["test"]
    found = load_model(str(folder), device="cpu").predict(test.codes)
    np.testing.assert_allclose(found, predict(load_run(Run(recipe)), test.codes, load_recipe(recipe).data), atol=2e-3)
    plain = LanguageModelNet(36, n_targets=2, **LM)
    plain.load_state_dict(before | {k: v.float() for k, v in state.items() if k.startswith("head")}, strict=False)
    assert (
        np.abs(predict(plain.eval(), test.codes, load_recipe(recipe).data) - found).max() > 0.01
    )  # the backbone did change


def test_a_tracker_leaves_the_weights_alone(recipe):
    states = []
    for track in (None, "tensorboard"):
        fit(recipe, track=track)
        states.append(load_file(run_folder(recipe) / "model.safetensors"))
        (run_folder(recipe) / "checkpoint.pt").unlink()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert list(run_folder(recipe).rglob("events.out.tfevents.*"))


def test_accumulated_gradients_are_those_of_the_whole_step(recipe, monkeypatch):
    from training.loop import Loop, Plan
    from training.recipe import Optimiser

    class Objective(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x, y):
            return (self.network(x) - y).square().mean()

    x, y, weights = torch.randn(64, 5), torch.randn(64, 1), []
    for accumulate in (1, 4):
        torch.manual_seed(3)
        network = torch.nn.Linear(5, 1)
        options = Optimiser(learning_rate=0.1, accumulate=accumulate, precision="float32")
        plan = Plan(recipe.parent / str(accumulate), {}, 1, 5, 5)
        plan.folder.mkdir()
        batch = lambda step, part, parts: (x[part::parts], y[part::parts])  # noqa: E731
        weights.append(Loop(network, Objective(network), batch, options, plan).run()["weight"])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


def test_distillation_learns_from_the_teacher_alone_where_it_is_asked_to(recipe):
    fit(recipe)
    student = recipe.with_name("student.yaml")
    student.write_text(recipe.read_text())
    data = yaml.safe_load(recipe.read_text())["data"]
    rows = [line.split("\t") for line in open("train.tsv").read().splitlines()]
    flipped = [rows[0]] + [[s, str(1 - int(x)), "NA" if y == "NA" else str(1 - int(y))] for s, x, y in rows[1:]]
    with open("flipped.tsv", "w") as out:  # labels that say the opposite
        out.writelines("\t".join(row) + "\n" for row in flipped)
    data["files"][0]["path"] = "flipped.tsv"
    edit(student, model="Test/student", data=data, distillation={"teachers": [str(recipe)], "weight": 1.0})
    assert fit(student)["dev"]["x"]["auroc"]["value"] > 0.8
    edit(student, distillation={"teachers": ["none/such.yaml"]})
    with pytest.raises(InputError, match="none/such.yaml: cannot read this file"):
        fit(student)


def test_patience_stops_and_keeps_the_best_epoch(recipe):
    options = yaml.safe_load(recipe.read_text())["optimiser"]
    edit(recipe, optimiser=options | {"epochs": 40, "learning_rate": 0.3, "patience": 2, "ema": 0})
    metrics = fit(recipe)
    log = json.loads((run_folder(recipe) / "log.json").read_text())
    scores = [line["score"] for line in log]
    assert len(log) < 40 and metrics["epochs"] == np.argmax(scores) + 1 == len(log) - 2
    assert np.mean([metrics["dev"][t]["auroc"]["value"] for t in "xy"]) == pytest.approx(max(scores))


def test_a_full_disk_is_told_and_the_file_before_is_kept(tmp_path):
    (tmp_path / "a.pt").write_text("before")

    def full(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a.pt: cannot write \(No space left on device\); free some space"):
        write(tmp_path / "a.pt", full)
    assert (tmp_path / "a.pt").read_text() == "before" and len(list(tmp_path.iterdir())) == 1

    def full_in_pytorch(path):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    with pytest.raises(OutputError, match="a.pt: cannot write .*is the disk full"):
        write(tmp_path / "a.pt", full_in_pytorch)
    assert (tmp_path / "a.pt").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_finished_run_is_evaluated_and_predicts(recipe, tmp_path):
    assert "test" not in fit(recipe)
    text = evaluate_run(recipe)
    folder = run_folder(recipe)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {p.name for p in folder.glob("evaluation*")} >= {
        "evaluation-test.tsv",
        "evaluation-dev.svg",
        "evaluation.md",
    }
    lines = (folder / "evaluation-test.tsv").read_text().splitlines()
    row = dict(zip(lines[0].split("\t"), lines[1].split("\t")))
    assert (
        float(row["auroc"]) == pytest.approx(metrics["test"]["x"]["auroc"]["value"], rel=1e-4) and "macro mean" in text
    )
    count = predict_sequences(recipe, tmp_path / "test.tsv", tmp_path / "o.tsv")
    assert count == 90 and (tmp_path / "o.tsv").read_text().startswith("sequence\tx\ty\n2\t")
    other = recipe.with_name("other.yaml")
    other.write_text(recipe.read_text())
    edit(other, model="Test/other")
    with pytest.raises(InputError, match="no finished run"):
        evaluate_run(other)


def test_a_search_stops_poor_trials_resumes_and_writes_the_best_recipe(recipe, tmp_path):
    path = tmp_path / "s.yaml"
    content = {
        "recipe": "recipes/small.yaml",
        "trials": 3,
        "fixed": {"optimiser.epochs": 2},
        "space": {
            "optimiser.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
            "optimiser.batch_size": [30, 60],
        },
    }
    path.write_text(yaml.safe_dump(content))
    first = search(path)
    assert sum(first["trials"].values()) == 3
    path.write_text(yaml.safe_dump(content | {"trials": 5}))
    second = search(path)
    assert sum(second["trials"].values()) == 5 and second["score"] >= first["score"]
    study = optuna.load_study(study_name="s", storage="sqlite:///runs/searches/s/study.db")
    assert len({t.params["optimiser.learning_rate"] for t in study.trials}) == 5
    best = load_recipe(second["recipe"])
    assert best.optimiser.learning_rate == second["values"]["optimiser.learning_rate"] and best.optimiser.epochs == 2
    path.write_text(yaml.safe_dump(content | {"space": {"optimiser.rate": [1]}}))
    with pytest.raises(InputError, match="rate: Extra inputs"):
        search(path)
    path.write_text(yaml.safe_dump(content | {"sampler": "grid"}))
    with pytest.raises(InputError, match="optimiser.learning_rate has a range, but a grid needs lists"):
        search(path)


@pytest.mark.slow
def test_two_processes_train_as_one_does(recipe):
    options = yaml.safe_load(recipe.read_text())["optimiser"]
    edit(recipe, optimiser=options | {"patience": 3, "epochs": 30})
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "-m",
        "training",
        "fit",
        str(recipe),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    metrics = json.loads((run_folder(recipe) / "metrics.json").read_text())
    assert metrics["dev"]["x"]["auroc"]["value"] > 0.8


@pytest.mark.parametrize("recipe", ["regression"], indirect=True)
def test_options_that_would_do_nothing_are_refused(recipe):
    plain = recipe.read_text()
    edit(recipe, adapters={"rank": 2})
    with pytest.raises(InputError, match="Test/small: adapters need a backbone"):
        fit(recipe)
    recipe.write_text(plain)
    edit(recipe, distillation={"teachers": [str(recipe)]})
    with pytest.raises(InputError, match="distillation needs binary targets, not regression"):
        fit(recipe)
    content = yaml.safe_load(plain)
    for key in ("architecture", "optimiser"):
        del content[key]
    recipe.write_text(yaml.safe_dump(content | {"kind": "probe", "backbone": "LM/none"}))
    for track, dry_run in ((None, True), ("tensorboard", False)):
        with pytest.raises(InputError, match="a probe has no training steps"):
            fit_command(str(recipe), threads=None, track=track, dry_run=dry_run)


def test_rows_of_one_cluster_do_not_vouch_for_each_other_in_cross_validation():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 6)
    features = rng.normal(size=(40, 60))[groups] + 0.01 * rng.normal(size=(240, 60))
    labels = rng.normal(size=40)[groups]  # nothing to learn, but a group can be learnt by heart
    order = rng.permutation(len(groups))
    features, labels, groups = features[order], labels[order], groups[order]
    assert fit_linear(features, labels, regression=True)[2] == ALPHAS.min()
    assert fit_linear(features, labels, regression=True, groups=groups)[2] == ALPHAS.max()


def test_records_without_a_label_are_told(recipe, caplog):
    with open("train.tsv", "a") as out:
        out.write("ACGTACGTACGTACGTACGTACGTACGTACGTACGT\tNA\tNA\n")
    load_examples(load_recipe(recipe).data)
    assert "train.tsv: 1 of 361 records have no label and are left out" in caplog.text
