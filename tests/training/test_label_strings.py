"""Tables of label strings, and metrics within the sources that their rows come from."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import average_precision_score, roc_auc_score

from regzoo.errors import InputError
from regzoo.evaluate.metrics import evaluate_predictions
from tests.conftest import ROOT, shared_data
from training.data import Examples, load_examples
from training.evaluate import evaluate_run
from training.fit import fit
from training.networks import load_run, predict
from training.recipe import load_recipe
from training.run import Run, run_folder
from training.scores import source_means, source_table

TASKS = "task\tTF\tcell\n0\tCTCF\tK562\n1\tCTCF\tHeLa-S3\n2\tMAX\tK562\n"


def bases(rng, length):
    return "".join(rng.choice(list("ACGT"), length))


def write_tables(folder, rng, count=24, source=True):
    """Splits of 100- and 60-bp windows; every task has both classes, and one label in each split is masked."""
    (folder / "tasks.tsv").write_text(TASKS)
    for split in ("train", "valid", "test"):
        rows = []
        for i in range(count):
            labels = f"{i % 2}{i // 2 % 2}{'.' if i == 3 else i % 2}"
            rows.append(
                [f"r{i}", bases(rng, 100 if i % 3 else 60), labels, *(["long" if i % 3 else "short"] if source else [])]
            )
        head = ["id", "sequence", "labels", *(["source"] if source else [])]
        (folder / f"{split}.tsv").write_text("\n".join("\t".join(row) for row in [head, *rows]) + "\n")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGZOO_DATA", raising=False)
    write_tables(tmp_path, np.random.default_rng(0))
    path = tmp_path / "any.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "kind": "fit",
                "model": "Test/strings",
                "title": "A test",
                "limits": "Of a test.",
                "data": {
                    "format": "label_strings",
                    "folder": ".",
                    "description": "Made up.",
                    "length": 80,
                    "overlap_kmer": 30,
                    "files": {"train": "train.tsv", "dev": "valid.tsv", "test": "test.tsv"},
                },
                "architecture": {"name": "motif_resnet", "arguments": {"motifs": 8, "width": 8, "dilations": [[1]]}},
                "optimiser": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01, "precision": "float32"},
            }
        )
    )
    return path


def test_targets_are_named_by_the_tasks_and_characters_become_labels(recipe):
    data = load_recipe(recipe).data
    assert data.targets == ["CTCF_K562", "CTCF_HeLa-S3", "MAX_K562"]
    splits, report = load_examples(data)
    train = splits["train"]
    assert train.codes.shape == (24, 80) and train.sources.tolist() == ["long" if i % 3 else "short" for i in range(24)]
    expected = [[i % 2, i // 2 % 2, np.nan if i == 3 else i % 2] for i in range(24)]
    np.testing.assert_array_equal(train.labels, np.array(expected, dtype=np.float32))
    assert (train.codes[0, :10] == 4).all() and (train.codes[1] < 4).all()  # 60 bases are centred in 80, 100 are cut
    assert report["targets"]["MAX_K562"]["test"] == {"rows": 23, "positive": 11}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train.tsv", "\t000\t", "\t00\t", "train.tsv, line 2: 2 labels, but 3 tasks"),
        ("valid.tsv", "\t000\t", "\t0x0\t", "valid.tsv, line 2: label 'x'; expected 0, 1 or '.'"),
        ("test.tsv", "labels", "label", "test.tsv: no column 'labels'; it has"),
        ("tasks.tsv", "MAX\tK562", "CTCF\tK562", "tasks.tsv, line 4: a second task of the name 'CTCF_K562'"),
        ("tasks.tsv", "TF", "factor", "tasks.tsv: no column 'TF'; it has 'task', 'factor', 'cell'"),
    ],
)
def test_bad_tables_are_named(file, old, new, message, recipe):
    path = recipe.parent / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_examples(load_recipe(recipe).data)


def test_metrics_within_a_source_are_those_of_its_rows():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (200, 2)).astype(np.float32)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    sources = np.array(["a", "b"])[rng.integers(0, 2, 200)]
    labels[sources == "b", 1] = 0  # one class: no metrics there
    scores = rng.random((200, 2)).astype(np.float32)
    examples, data = (
        Examples(np.zeros((200, 5), np.uint8), labels, sources),
        type("D", (), {"task": "binary", "targets": ["x", "y"]}),
    )
    table = source_table(data, examples, scores)
    assert list(zip(table.source, table.target)) == [("a", "x"), ("a", "y"), ("b", "x")]
    for row in table.itertuples():
        column = ["x", "y"].index(row.target)
        own = (sources == row.source) & ~np.isnan(labels[:, column])
        assert row.rows == own.sum() and row.positive == pytest.approx(labels[own, column].mean())
        assert row.predicted == pytest.approx(scores[own, column].mean())
        assert row.auroc == pytest.approx(roc_auc_score(labels[own, column], scores[own, column]))
        assert row.average_precision == pytest.approx(average_precision_score(labels[own, column], scores[own, column]))
    means = source_means(table, examples)
    assert means["a"]["targets"] == 2 and means["a"]["rows"] == (sources == "a").sum()
    assert means["a"]["auroc"] == pytest.approx(table.auroc[:2].mean(), abs=1e-4)


def test_evaluate_adds_the_metrics_within_each_source(recipe):
    fit(recipe, threads=1)
    evaluate_run(recipe)
    folder = run_folder(recipe)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["by_source"]) == {"dev", "test"} and set(metrics["by_source"]["test"]) == {"long", "short"}
    test = load_examples(load_recipe(recipe).data)[0]["test"]
    scores = predict(load_run(Run(recipe)), test.codes, load_recipe(recipe).data).numpy()
    for index, target in enumerate(["CTCF_K562", "CTCF_HeLa-S3", "MAX_K562"]):
        known = ~np.isnan(test.labels[:, index])
        expected = evaluate_predictions(test.labels[known, index], scores[known, index])
        for name, entry in expected.items():
            assert metrics["test"][target][name] == pytest.approx(entry)
    own = metrics["specificity"]["test"]["CTCF_K562"]
    areas = [roc_auc_score(test.labels[:, 0], scores[:, index]) for index in range(3)]
    assert own["difference"] == pytest.approx(areas[0] - max(areas[1:]), abs=1e-4)
    assert own["best_other"] == ["CTCF_HeLa-S3", "MAX_K562"][int(np.argmax(areas[1:]))]
    table = pd.read_csv(folder / "evaluation-test-by-source.tsv", sep="\t")
    assert len(table) == 6 and metrics["by_source"]["test"]["short"]["rows"] == 8


def test_the_published_windows_have_the_published_numbers_of_positives(monkeypatch):
    folder = shared_data("multi_tf")
    monkeypatch.setenv("REGZOO_DATA", str(folder.parent))
    data = load_recipe(ROOT / "training" / "recipes" / "tf-dream" / "motif_resnet.yaml").data
    tasks = pd.read_csv(folder / "tasks.tsv", sep="\t")
    assert data.targets == list(tasks.TF + "_" + tasks.cell) and len(set(data.targets)) == 109
    [piece] = data.model_copy(update={"files": {"dev": "valid.tsv.gz"}}).read()
    assert [int((values == 1).sum()) for values in piece.labels.values()] == list(tasks.pos_valid)
    assert set(piece.sources) == {"dhs_HepG2", "dhs_K562", "peak_ctcf", "peak_pu1", "sharpr"}


def test_rows_without_a_source_column_have_none(recipe):
    write_tables(recipe.parent, np.random.default_rng(0), source=False)
    splits, _ = load_examples(load_recipe(recipe).data)
    assert all(part.sources is None for part in splits.values())


def test_targets_with_one_class_in_test_have_no_metrics_there(recipe):
    path = recipe.parent / "test.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    for row in rows[1:]:
        row[2] = "000"
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    content = yaml.safe_load(recipe.read_text())
    content["data"]["rare_targets"] = True
    recipe.write_text(yaml.safe_dump(content))
    fit(recipe, threads=1)
    evaluate_run(recipe)
    metrics = Run(recipe).metrics()
    assert (
        metrics["test"] == {}
        and metrics["by_source"]["test"] == {}
        and set(metrics["dev"]) == {"CTCF_K562", "CTCF_HeLa-S3", "MAX_K562"}
    )
