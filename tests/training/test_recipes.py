"""Recipes are checked before any work starts, runs are named by their model, and test is evaluated by `evaluate`
alone.
"""

import contextlib
import json
import shutil

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import training.run
from regzoo.errors import InputError, RegzooError
from tests.conftest import ROOT
from training.__main__ import app
from training.baseline import fit_baseline, read_baseline
from training.data import Examples, load_examples
from training.evaluate import evaluate_run
from training.export import announce, export
from training.fit import fit
from training.networks import load_run, predict
from training.pretrain import pretrain
from training.probe import fit_probe
from training.recipe import load_recipe
from training.run import Run, run_folder
from training.scores import check_dev
from training.search import search
from training.section import read_section

RECIPES = ROOT / "training" / "recipes"
PLAIN = {
    "kind": "fit",
    "model": "Test/small",
    "title": "A test",
    "limits": "Of a test.",
    "data": {"folder": "data", "tasks": {"a": "."}, "description": "Made-up sequences.", "overlap_kmer": 20},
    "architecture": {"name": "motif_resnet", "arguments": {"motifs": 8, "width": 8, "dilations": [[1]]}},
    "augmentation": {"shift": 1},
    "adapters": None,
    "published": {"other": [1.0]},
    "optimiser": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "precision": "float32", "betas": [0.9, 0.99]},
}
PROBE = {
    "kind": "probe",
    "model": "Probe/x",
    "title": "A test",
    "limits": "l",
    "data": PLAIN["data"],
    "backbone": "LM/nt-mini",
    "rows": 10,
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGZOO_DATA", raising=False)
    return tmp_path


@pytest.fixture
def recipe(place):
    """A recipe on made-up data whose positives hold a motif."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 120), ("dev", 40), ("test", 40)):
        rows = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(count)]
        rows = [("TGACTCATCC" + row[10:] if i % 2 else row) + f",{i % 2}" for i, row in enumerate(rows)]
        (place / "data").mkdir(exist_ok=True)
        (place / "data" / f"{split}.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    path = place / "mine" / "any.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(PLAIN))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"- a\n", "expected keys and values"),
        (b"", "expected keys and values"),
        (b"3", "expected keys and values"),
        (b"a: [", "not valid YAML"),
        (b"[" * 1000, "not valid YAML"),
        (b"a: 2020-99-99", "not valid YAML"),
        (b"? [a]\n: 1", "not valid YAML"),
        (b"1: 2\n", "x.yaml"),
        (b"data: none.yaml", "none.yaml: cannot read"),
        (b"data: x.yaml", "x.yaml"),
        (b'data: "a\\0b"', "a"),
        (b"&a a: *a", "x.yaml"),
    ],
)
def test_a_file_that_is_no_recipe_is_told(content, message, place):
    path = place / "x.yaml"
    path.write_bytes(content)
    for read in (load_recipe, search, run_folder):
        with pytest.raises(InputError) as error:
            read(path)
    with pytest.raises(InputError, match=message) as error:
        load_recipe(path)
    assert str(place) in str(error.value)


VALUES = [None, -1, 10**30, 1.5, "x", [1], {"a": 1}]


@pytest.mark.parametrize(
    "content", [PLAIN, PROBE, RECIPES / "lm" / "nt-mini.yaml"], ids=["model", "probe", "language model"]
)
def test_values_of_every_other_type_raise_no_other_error(content, place):
    if not isinstance(content, dict):
        content = yaml.safe_load(content.read_text())
    path = place / "x.yaml"

    def keys(section, before=()):
        for key, value in section.items():
            yield (*before, key)
            if isinstance(value, dict):
                yield from keys(value, (*before, key))

    for *parents, last in keys(content):
        for value in VALUES:
            changed = json.loads(json.dumps(content))
            at = changed
            for key in parents:
                at = at[key]
            at[last] = value
            path.write_text(yaml.safe_dump(changed))
            with contextlib.suppress(RegzooError):
                load_recipe(path)


def test_damaged_recipes_raise_no_other_error(place):
    path, rng = place / "x.yaml", np.random.default_rng(0)
    for original in (yaml.safe_dump(PLAIN), yaml.safe_dump(PROBE), (RECIPES / "lm" / "dnabert2-mini.yaml").read_text()):
        for _ in range(100):
            damaged = bytearray(original.encode())
            for at in rng.integers(0, len(damaged), 2):
                damaged[at] = rng.integers(0, 256)
            path.write_bytes(damaged)
            with contextlib.suppress(RegzooError):
                load_recipe(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limits": None}, "limits: "),
        ({"limits": "  "}, "limits: "),
        ({"data": PLAIN["data"] | {"description": ""}}, "data.*`description` is needed for the model card"),
        ({"model": "x"}, "model: "),
        ({"model": "../x"}, "model: "),
        ({"model": "a/b/c"}, "model: "),
        ({"model": "a/.."}, "model: "),
    ],
)
@pytest.mark.parametrize("content", [PLAIN, PROBE], ids=["model", "probe"])
def test_a_card_s_text_and_a_proper_name_are_needed(content, change, message, place):
    path = place / "x.yaml"
    path.write_text(yaml.safe_dump(content))
    load_recipe(path)
    path.write_text(yaml.safe_dump(content | change))
    with pytest.raises(InputError, match=f"x.yaml: {message}"):
        load_recipe(path)
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if key != "limits"}))
    with pytest.raises(InputError, match="limits: Field required"):
        load_recipe(path)


def test_every_recipe_of_the_zoo_has_its_card_s_text():
    paths = [path for path in RECIPES.glob("*/*.yaml") if path.name != "data.yaml"]
    names = [load_recipe(path).model for path in paths]
    assert len(set(names)) == len(names) > 40  # runs are named by them


def test_runs_are_named_by_the_model_and_older_ones_are_found(recipe, place):
    assert str(run_folder(recipe)) == "runs/Test/small"
    path = RECIPES / "tf-human" / "basset.yaml"
    assert str(run_folder(path)) == f"runs/{load_recipe(path).model}" == "runs/Basset/tf-human"
    old = place / "runs" / "tf-human" / "basset"
    old.mkdir(parents=True)
    assert str(run_folder(path)) == "runs/Basset/tf-human"
    (old / "metrics.json").write_text("{}")
    assert str(run_folder(path)) == "runs/tf-human/basset"
    (place / "runs" / "Basset" / "tf-human").mkdir(parents=True)
    assert str(run_folder(path)) == "runs/tf-human/basset"
    (place / "runs" / "Basset" / "tf-human" / "checkpoint.pt").write_text("")
    assert str(run_folder(path)) == "runs/Basset/tf-human"
    # A recipe of somebody else that is called the same is not that run's.
    (place / "runs" / "mine" / "any").mkdir(parents=True)
    (place / "runs" / "mine" / "any" / "metrics.json").write_text("{}")
    assert str(run_folder(recipe)) == "runs/Test/small"


def test_cards_and_index_name_the_recipe_s_own_path(recipe, monkeypatch):
    assert Run(RECIPES / "tf-human" / "basset.yaml").name == "training/recipes/tf-human/basset.yaml"
    assert Run(recipe).name == str(recipe) and Run("mine/any.yaml").name == "mine/any.yaml"
    with pytest.raises(InputError, match="the index lists recipes in"):
        announce(recipe)
    monkeypatch.setattr(training.run, "HOME", recipe.parents[1])
    assert Run(recipe).name == "mine/any.yaml"


def test_fit_looks_at_dev_and_evaluate_at_test(recipe, place, monkeypatch):
    runner = CliRunner()
    out = runner.invoke(app, ["fit", str(recipe), "--dry-run"], catch_exceptions=False).stdout
    assert "steps, about" in out and "| a " in out
    assert not (place / "runs" / "Test" / "small" / "metrics.json").exists()
    out = runner.invoke(app, ["fit", str(recipe)], catch_exceptions=False).stdout
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert table[0].split()[1::2] == ["target", "mcc", "auroc", "average_precision"] and len(table) == 3
    metrics = Run(recipe).metrics()
    assert "test" not in metrics and f"{metrics['dev']['a']['auroc']['value']:.3f} (" in table[2]
    with pytest.raises(InputError, match=f"no metrics on test; run `python -m training evaluate {recipe}` first"):
        export(recipe)
    runner.invoke(app, ["evaluate", str(recipe)], catch_exceptions=False)
    after = Run(recipe).evaluated_metrics()
    assert after["dev"] == metrics["dev"] and after["test"]["a"].keys() == metrics["dev"]["a"].keys()
    (run_folder(recipe) / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="metrics.json: not valid JSON"):
        export(recipe)


def test_baselines_belong_to_the_data_section(recipe, place):
    found = fit_baseline(recipe)
    data = load_recipe(recipe).data
    assert read_baseline(recipe, data) == found and len(list((place / "runs" / "baselines").iterdir())) == 1
    assert read_baseline(recipe, data.model_copy(update={"overlap_kmer": 25})) == {}
    # Those of another recipe with the same data, and those that were kept by the recipe's folder, are found.
    other = shutil.copy(recipe, place / "other.yaml")
    assert read_baseline(other, data.model_copy(update={"description": "In other words."})) == found
    [path] = (place / "runs" / "baselines").iterdir()
    (place / "runs" / "mine").mkdir()
    path.rename(place / "runs" / "mine" / "baseline.json")
    assert read_baseline(recipe, data) == found


def test_a_dev_set_by_which_nothing_can_be_compared_is_refused_before_training(recipe, place):
    data = load_recipe(recipe).data
    codes = np.zeros((3, 30), np.uint8)
    for labels in ([1, 1, 1], [np.nan] * 3):
        with pytest.raises(InputError, match="no target has both classes in dev"):
            check_dev(data, Examples(codes, np.array(labels, np.float32)[:, None]))
    check_dev(data, Examples(codes, np.array([[0], [1], [np.nan]], np.float32)))
    (place / "data" / "dev.csv").write_text("sequence,label\n" + "ACGTT" * 6 + ",1\n" + "CCGTT" * 6 + ",1\n")
    recipe.write_text(yaml.safe_dump(PLAIN | {"data": PLAIN["data"] | {"rare_targets": True}}))
    with pytest.raises(InputError, match="no target has both classes in dev"):
        fit(recipe)
    assert not (run_folder(recipe) / "checkpoint.pt").exists()


def test_a_section_in_the_same_file_or_beside_it(recipe):
    content = yaml.safe_load(recipe.read_text())
    recipe.with_name("data.yaml").write_text(yaml.safe_dump(content["data"]))
    recipe.write_text(yaml.safe_dump(content | {"data": "data.yaml"}))
    assert read_section(recipe, type(load_recipe(recipe))).data.description == "Made-up sequences."


@pytest.mark.parametrize("language_model", ["six_mers"], indirect=True)
def test_a_probe_s_machine_is_evaluated_on_test_by_what_it_predicted(language_model, place):
    """Ridge and SVR on embeddings: test is in the metrics after `evaluate` alone, by Pearson's r of the kept
    predictions.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", 80), ("dev", 20), ("test", 20)):
        rows = ["".join(rng.choice(list("ACGT"), 60, p=[s, 0.5 - s, 0.25, 0.25])) for s in rng.uniform(0, 0.5, count)]
        (place / f"{split}.tsv").write_text("sequence\ty\n" + "".join(f"{s}\t{s.count('A') / 60}\n" for s in rows))
    files = [{"path": f"{s}.tsv", "split": s, "labels": {"y": "y"}} for s in ("train", "dev", "test")]
    data = {
        "format": "files",
        "folder": ".",
        "files": files,
        "task": "regression",
        "overlap_kmer": 30,
        "description": "d",
    }
    path = place / "probe.yaml"
    path.write_text(yaml.safe_dump(PROBE | {"data": data, "svr": True, "rows": 80}))
    with pytest.MonkeyPatch.context() as patch:
        zoo = place / "zoo"
        (zoo / "models" / "LM").mkdir(parents=True)
        shutil.copytree(language_model, zoo / "models" / "LM" / "nt-mini")
        entry = {"status": "trained", "title": "t", "input_length": 60, "targets": 24, "parameters": 1}
        (zoo / "zoo_index.yaml").write_text(yaml.safe_dump({"models": {"LM/nt-mini": entry}}))
        patch.setenv("REGZOO_HOME", str(zoo))
        before = fit_probe(path)
        assert set(before["svr"]) == {"dev"} and "test" not in before
        evaluate_run(path)
        codes = load_examples(load_recipe(path).data)[0]["test"].codes
        ridge = predict(load_run(Run(path)), codes, load_recipe(path).data)[:, 0].numpy()
    metrics = Run(path).evaluated_metrics()
    labels = [float(line.split("\t")[1]) for line in (place / "test.tsv").read_text().splitlines()[1:]]
    kept = np.load(run_folder(path) / "svr.npz")["test"][:, 0]
    assert metrics["svr"]["test"]["y"]["pearson"]["value"] == pytest.approx(np.corrcoef(kept, labels)[0, 1], abs=1e-5)
    assert metrics["test"]["y"]["pearson"]["value"] == pytest.approx(np.corrcoef(ridge, labels)[0, 1], abs=1e-5)
    assert metrics["svr"]["dev"] == before["svr"]["dev"] and metrics["dev"] == before["dev"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (None, "kind: missing; expected one of fit, probe, language_model$"),
        ("langage_model", "kind: 'langage_model' is unknown; .*did you mean 'language_model'"),
        (["fit"], r"kind: \['fit'\] is unknown"),
    ],
)
def test_a_recipe_says_its_kind(kind, message, recipe):
    content = {key: value for key, value in PLAIN.items() if key != "kind"} | ({"kind": kind} if kind else {})
    recipe.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=f"any.yaml: {message}"):
        load_recipe(recipe)


def test_a_command_refuses_recipes_of_other_kinds(recipe):
    with pytest.raises(InputError, match="any.yaml: a recipe of kind 'fit'; this needs 'language_model'"):
        pretrain(recipe)
    with pytest.raises(InputError, match="nt-mini.yaml: a recipe of kind 'language_model'; this needs 'fit'"):
        fit(RECIPES / "lm" / "nt-mini.yaml")
    with pytest.raises(InputError, match="a recipe of kind 'language_model'; this needs 'fit' or 'probe'"):
        evaluate_run(RECIPES / "lm" / "nt-mini.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "epochs: Extra inputs .*this key belongs to another section"),
        ({"data": PLAIN["data"] | {"foldr": "x"}}, "data.*foldr: .*did you mean 'folder'"),
        ({"augmentation": {"shfit": 1}}, "augmentation.shfit: .*did you mean 'shift'"),
        ({"backbone": "LM/nt-mini"}, "backbone: Extra inputs"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(change, message, recipe):
    recipe.write_text(yaml.safe_dump(PLAIN | change))
    with pytest.raises(InputError, match=message):
        load_recipe(recipe)


def test_a_run_is_resumed_after_changes_of_texts_and_not_with_a_damaged_checkpoint(recipe):
    fit(recipe)
    checkpoint = run_folder(recipe) / "checkpoint.pt"
    recipe.write_text(
        yaml.safe_dump(PLAIN | {"limits": "Others.", "title": "T", "data": PLAIN["data"] | {"keywords": ["x"]}})
    )
    fit(recipe)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="checkpoint.pt: not a checkpoint .*move it away"):
        fit(recipe)
