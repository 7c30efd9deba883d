"""Training: data read and cleaned, recipes checked, runs resumed exactly, models exported that Kipoi can test."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from regzoo.errors import InputError
from regzoo.sequence import decode, encode_many, reverse_complement
from regzoo.sequence.shared_kmers import shares_kmer
from tests.conftest import ROOT
from tests.training.commands import passes_kipoi_test, train
from training.augment import augment
from training.baseline import fit_baseline, kmer_counts
from training.data import load_examples
from training.evaluate import evaluate_run
from training.export import export
from training.fit import fit
from training.loop import Loop, TrainingError
from training.objective import Supervised
from training.recipe import Augmentation, load_recipe
from training.run import run_folder

LENGTH = 40
MOTIF = "TGACTCATCC"


def write_task(folder, rng, rows):
    """A task whose positives hold a motif."""
    folder.mkdir(parents=True)
    for split, count in rows.items():
        lines = ["sequence,label"]
        for i in range(count):
            bases = list(rng.choice(list("ACGT"), LENGTH))
            if i % 2:
                start = rng.integers(0, LENGTH - len(MOTIF))
                bases[start : start + len(MOTIF)] = MOTIF
            lines.append(f"{''.join(bases)},{i % 2}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A small recipe on made-up data, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGZOO_DATA", raising=False)
    rng = np.random.default_rng(0)
    write_task(tmp_path / "data" / "a", rng, {"train": 300, "dev": 60, "test": 60})
    write_task(tmp_path / "data" / "b", rng, {"train": 200, "dev": 60})
    content = {
        "kind": "fit",
        "model": "Test/small",
        "title": "A test",
        "limits": "Of a test.",
        "data": {
            "folder": "data",
            "description": "Made-up sequences.",
            "tasks": {"a": "a", "b": "b"},
            "overlap_kmer": 20,
        },
        "architecture": {"name": "motif_resnet", "arguments": {"motifs": 16, "width": 8, "dilations": [[1]]}},
        "augmentation": {"shift": 2, "mutate": 0.02, "erase": 2},
        "optimiser": {"epochs": 3, "batch_size": 64, "learning_rate": 0.01, "precision": "float32"},
    }
    path = tmp_path / "recipes" / "small.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content))
    return path


def edit(path, **changes):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def test_overlap_equals_comparing_strings():
    rng = np.random.default_rng(5)
    texts = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(40)]
    others = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(5)]
    texts[3] = others[0][5:25] + texts[3][20:]
    texts[7] = texts[7][:10] + decode(reverse_complement(encode_many([others[1]]))[0])[:20]
    texts[9] = others[2][:19] + texts[9][19:]
    k = 20
    pieces = {o[i : i + k] for o in others for i in range(11)}
    pieces |= {decode(reverse_complement(encode_many([p]))[0]) for p in pieces}
    expected = [any(t[i : i + k] in pieces for i in range(11)) for t in texts]
    assert list(shares_kmer(encode_many(texts), encode_many(others), k)) == expected
    assert expected[3] and expected[7]


def test_overlaps_are_dropped_duplicates_merged_and_contradictions_masked(recipe):
    train = recipe.parent.parent / "data" / "a" / "train.csv"
    dev_row = (recipe.parent.parent / "data" / "b" / "dev.csv").read_text().splitlines()[1].split(",")[0]
    rows = train.read_text().splitlines()
    first, second = (row.split(",")[0] for row in rows[1:3])
    flipped = decode(reverse_complement(encode_many([first]))[0])
    train.write_text("\n".join([*rows, f"{flipped},0", f"{second},0", f"{dev_row},1"]) + "\n")
    splits, report = load_examples(load_recipe(recipe).data)
    windows = {decode(c) for c in splits["train"].codes}
    assert dev_row not in windows and not ({first, flipped} <= windows)
    assert second not in windows  # its two labels contradict each other, and it has no other
    assert report["merged_rows"] == 2 and report["contradictory_labels"] == 1
    assert report["targets"]["a"]["train"] == {"rows": 303, "positive": 151, "overlapping": 1, "kept": 299}
    assert "test" not in report["targets"]["b"] and len(splits["test"]) == 60
    assert np.isnan(splits["test"].labels[:, 1]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sequence,label\nACGT,2\n", "line 2: expected"),
        ("seq,label\nACGT,1\n", "first line must be"),
        ("sequence,label\n" + "A" * 40 + ",1\n", "only one class"),
        ("sequence,label\nACGT,1\nACG,0\n", "line 3: 3 bases, but 4"),
        ("sequence,label\n", "no example"),
    ],
)
def test_bad_data_is_named(content, message, recipe):
    (recipe.parent.parent / "data" / "a" / "train.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        load_examples(load_recipe(recipe).data)


def test_a_recipe_with_unknown_or_impossible_values_is_refused_with_the_nearest_name(recipe):
    edit(recipe, optimizer={})
    with pytest.raises(InputError, match="optimizer: .*did you mean 'optimiser'"):
        load_recipe(recipe)
    edit(recipe, optimizer=0, optimiser={"epochs": 0, "learning_rate": 0.1})
    with pytest.raises(InputError, match="optimiser.epochs: .*greater than 0"):
        load_recipe(recipe)
    with pytest.raises(InputError, match="nowhere.yaml: cannot read"):
        load_recipe("nowhere.yaml")


def test_a_stopped_run_ends_with_the_same_weights(recipe, monkeypatch):
    fit(recipe)
    whole = load_file(run_folder(recipe) / "model.safetensors")
    (run_folder(recipe) / "checkpoint.pt").unlink()
    original = Loop._train_step

    def stop_in_the_second_epoch(self, step):
        if step == 9:
            raise KeyboardInterrupt
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_train_step", stop_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe)
    fit(recipe)
    resumed = load_file(run_folder(recipe) / "model.safetensors")
    differ = {name: (whole[name] - resumed[name]).abs().max().item() for name in whole}
    assert not any(differ.values()), differ


def test_learning_finds_the_motif_and_the_checkpoint_guards_its_recipe(recipe):
    edit(recipe, optimiser={"epochs": 10, "batch_size": 32, "learning_rate": 0.01, "precision": "float32"})
    fit(recipe)
    evaluate_run(recipe)
    metrics = json.loads((run_folder(recipe) / "metrics.json").read_text())
    assert metrics["test"]["a"]["auroc"]["value"] > 0.9
    assert metrics["test"]["a"]["auroc"]["low"] <= metrics["test"]["a"]["auroc"]["value"]
    edit(recipe, seed=5)
    with pytest.raises(InputError, match="made by another version of this recipe"):
        fit(recipe)


def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_the_checkpoint(recipe, monkeypatch):
    original = Supervised.forward
    calls = []

    def fail_later(self, codes, labels):
        calls.append(1)
        return original(self, codes, labels) * (float("nan") if len(calls) == 10 else 1)

    monkeypatch.setattr(Supervised, "forward", fail_later)
    with pytest.raises(TrainingError, match="loss is nan at step 10 .*the checkpoint of step 8 is kept"):
        fit(recipe)
    assert torch.load(run_folder(recipe) / "checkpoint.pt", weights_only=True)["step"] == 8


def test_augmentation_keeps_length_and_counts():
    codes = torch.from_numpy(encode_many(["ACGTACGTACGTTTGACC"] * 200))
    options = Augmentation(reverse_complement=False, shift=3)
    shifted = augment(codes, options, torch.Generator().manual_seed(1))
    texts = {decode(row) for row in shifted.numpy()}
    padded = "NNN" + decode(codes[0].numpy()) + "NNN"
    assert texts == {padded[i : i + 18] for i in range(7)}


def test_kmer_presence_is_blind_to_strand_and_skips_unknown_bases():
    texts = ["ACGTACGTNACG", "CGTNACGTACGT"]
    codes = encode_many(texts)
    features = kmer_counts(codes, k=4, presence=True)
    assert features.shape == (2, 136)  # (4^4 + 4^2) / 2 k-mers up to strand
    assert (features[0] != kmer_counts(reverse_complement(codes), k=4, presence=True)[0]).nnz == 0
    known = {min(t, decode(reverse_complement(encode_many([t]))[0])) for t in ("ACGT", "CGTA", "GTAC", "TACG")}
    assert features[0].sum() == len(known)


def test_fit_baseline_and_export_make_a_model_that_kipoi_tests(recipe, monkeypatch, tmp_path, caplog):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "dataloaders").symlink_to(ROOT / "dataloaders")
    (zoo / "zoo_index.yaml").write_text("models: {}\n")
    monkeypatch.setenv("REGZOO_HOME", str(zoo))
    out = train("fit", recipe)
    assert out.startswith("| target") and "auroc" in out
    fit_baseline(recipe)
    with pytest.raises(
        InputError, match="has no metrics on test; run `python -m training evaluate .*small.yaml` first"
    ):
        export(recipe)
    evaluate_run(recipe)
    train("export", recipe)
    entry = yaml.safe_load((zoo / "zoo_index.yaml").read_text())["models"]["Test/small"]
    metrics = json.loads((run_folder(recipe) / "metrics.json").read_text())
    assert entry["status"] == "trained" and entry["parameters"] == metrics["parameters"]
    assert passes_kipoi_test(zoo / "models" / "Test" / "small", caplog)
    card = (zoo / "models" / "Test" / "small" / "README.md").read_text()
    value = metrics["test"]["a"]["auroc"]["value"]
    assert f"Recipe: `{recipe}`, " in card  # its real path, which is not under training/recipes
    assert f"{value:.3f}" in card and "logistic regression on 6-mers" in card
