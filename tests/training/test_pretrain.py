"""Pretraining on made-up sequences with a known grammar: overlaps left out, exact resume, metrics, export for Kipoi."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

import training.pretrain
from regzoo.errors import InputError
from regzoo.sequence import decode, encode, reverse_complement
from regzoo.tokenizers import BPE, OverlappingKmers, SixMers
from regzoo.zoo import load_model
from tests.conftest import ROOT
from tests.training.commands import passes_kipoi_test, train
from training.baseline import fit_baseline
from training.data import load_examples
from training.data.corpus import load_corpus
from training.data.records import read_sequences
from training.evaluate import evaluate_run
from training.export_lm import export_language_model
from training.pretrain import choose_masked, corrupted, pretrain
from training.probe import export_probe, fit_probe
from training.recipe import Corpus, load_recipe
from training.run import run_folder

NETWORKS = {
    "six_mers": ({"kind": "six_mers"}, {"kind": "transformer", "positions": "rotary", "norm": "pre", "gate": "silu"}),
    "bpe": ({"kind": "bpe", "vocabulary": 120}, {"kind": "transformer"}),
    "kmers": (
        {"kind": "kmers", "k": 3},
        {"kind": "transformer", "gate": "none", "positions": "learned", "max_positions": 80},
    ),
    "single": ({"kind": "single"}, {"kind": "caduceus"}),
}


def sentence(rng, length=60):
    """Repeats of one of four words: a masked base can be told from its neighbours."""
    word = rng.choice(["ACGTTG", "CCATGA", "GATTAC", "TTGCAA"])
    return (word * 20)[int(rng.integers(0, 6)) :][:length]


def write_csv(path, sequences):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("sequence,label\n" + "".join(f"{s},{i % 2}\n" for i, s in enumerate(sequences)))


@pytest.fixture
def recipe(tmp_path, monkeypatch, request):
    tokenizer, network = NETWORKS[getattr(request, "param", "six_mers")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGZOO_DATA", str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    write_csv(
        tmp_path / "data" / "a" / "train.csv",
        [sentence(rng) + "".join(rng.choice(list("ACGT"), 20)) for _ in range(400)],
    )
    write_csv(
        tmp_path / "data" / "a" / "dev.csv", [sentence(rng) + "".join(rng.choice(list("ACGT"), 20)) for _ in range(60)]
    )
    sizes = {"hidden": 32, "layers": 1, "heads": 2}
    sizes |= {"state": 8} if network["kind"] == "caduceus" else {"feed_forward": 48}
    content = {
        "kind": "language_model",
        "model": "LM/test",
        "title": "A test",
        "limits": "Of a test.",
        "tokenizer": tokenizer,
        "network": network | sizes,
        "corpus": {
            "train": ["a/train.csv"],
            "held_out": ["a/dev.csv"],
            "overlap_kmer": 78,
            "description": "Made-up sequences.",
        },
        "optimiser": {"steps": 30, "tokens": 400, "learning_rate": 0.01, "precision": "float32", "save_every": 10},
    }
    path = tmp_path / "recipes" / "lm" / "small.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("recipe", NETWORKS, indirect=True)
def test_a_stopped_run_ends_with_the_same_weights_and_learns(recipe, monkeypatch):
    metrics = pretrain(recipe)
    whole = load_file(run_folder(recipe) / "model.safetensors")
    (run_folder(recipe) / "checkpoint.pt").unlink()
    original = training.pretrain._Batches.__call__

    def stop(self, step, part, parts):
        if step == 17:
            raise KeyboardInterrupt
        return original(self, step, part, parts)

    with monkeypatch.context() as patch:
        patch.setattr(training.pretrain._Batches, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(recipe)
    pretrain(recipe)
    resumed = load_file(run_folder(recipe) / "model.safetensors")
    differ = {name: (whole[name] - resumed[name]).abs().max().item() for name in whole}
    assert not any(differ.values()), differ
    log = json.loads((run_folder(recipe) / "log.json").read_text())
    assert [line["step"] for line in log] == [10, 20, 30] and log[-1]["loss"] < log[0]["loss"]
    held_out = metrics["held out"]["all"]
    assert held_out["bases"] > 100 and 1 < held_out["perplexity per base"]["order-5 Markov"] < 3
    assert held_out["perplexity per base"]["base frequencies by position"] > 3


def test_what_a_recipe_names_wrongly_is_told(recipe):
    content = yaml.safe_load(recipe.read_text())
    content["optimiser"]["learning_rat"] = 1
    recipe.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"learning_rat: .*\(did you mean 'learning_rate'\?\)"):
        load_recipe(recipe)


def test_overlaps_on_either_strand_and_repeats_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("REGZOO_DATA", str(tmp_path))
    rng = np.random.default_rng(1)
    make = lambda n: ["".join(rng.choice(list("ACGT"), 50)) for _ in range(n)]  # noqa: E731
    train, held_out, evaluation = make(30), make(5), make(5)
    train[3] = train[3][:10] + decode(reverse_complement(encode(evaluation[2])))[5:45]
    train[4] = train[4][:20] + held_out[0][:30]
    train[5] = train[6]
    train[7] = "N" * 20 + train[7][20:]
    (tmp_path / "t.fa").write_text("".join(f">{i}\n{s[:25]}\n{s[25:]}\n" for i, s in enumerate(train)))
    (tmp_path / "h.txt").write_text("".join(f"{s}\t0.5\tNA\n" for s in held_out))
    write_csv(tmp_path / "e.csv", evaluation)
    section = Corpus(
        train=["t.fa"], held_out=["h.txt"], evaluation=["e.csv"], window=50, overlap_kmer=24, description="d"
    )
    kept, out, report = load_corpus(section)
    assert {decode(row) for row in kept[50]} == {s for i, s in enumerate(train) if i not in (3, 4, 7)}
    assert report["left out"] == {"evaluation": 2, "repeated": 1, "unknown": 1}
    assert [decode(row) for row in out[50]] == held_out
    with pytest.raises(InputError, match="no such file"):
        load_corpus(section.model_copy(update={"train": ["x*.fa"]}))
    (tmp_path / "empty.fa").write_text("nothing")
    with pytest.raises(InputError, match="empty.fa: no sequence"):
        read_sequences(tmp_path / "empty.fa")


def test_masking_hides_the_share_asked_for_and_bases_in_all_their_kmers():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (200, 120)).astype(np.uint8)
    for tokenizer in (SixMers(), OverlappingKmers(6)):
        tokens = tokenizer.encode(codes)
        chosen = choose_masked(tokens, tokenizer, 0.15, np.random.default_rng(1))
        inner = tokens.ends > tokens.starts
        assert not (chosen & ~inner).any() and 0.11 < chosen.sum() / inner.sum() < 0.17
        ids = corrupted(tokens.ids, chosen, tokenizer, np.random.default_rng(2))
        assert (ids[~chosen] == tokens.ids[~chosen]).all()
        assert 0.75 < (ids[chosen] == tokenizer.mask).mean() < 0.85
    runs = np.diff(np.flatnonzero(np.diff(np.pad(chosen[:, 1:-1], ((0, 0), (1, 1))).ravel().astype(int))))[::2]
    assert (runs >= 6).mean() > 0.9  # spans of k, shorter only at an end


@pytest.mark.parametrize("recipe", ["bpe", "single"], indirect=True)
def test_an_exported_model_passes_kipoi_test_and_embeds(recipe, tmp_path, monkeypatch, caplog):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "dataloaders").symlink_to(ROOT / "dataloaders")
    (zoo / "zoo_index.yaml").write_text("models: {}\n")
    monkeypatch.setenv("REGZOO_HOME", str(zoo))
    train("pretrain", recipe)
    train("export", recipe)
    assert passes_kipoi_test(zoo / "models" / "LM" / "test", caplog)
    card = (zoo / "models" / "LM" / "test" / "README.md").read_text()
    value = yaml.safe_load((zoo / "zoo_index.yaml").read_text())["models"]["LM/test"]["perplexity_per_base"]
    assert f"{value:.3f}" in card and "not the authors'" in card
    embedding = load_model("LM/test", device="cpu").predict(encode("ACGTTG" * 85)[None])
    assert len(embedding) == 1 and np.isfinite(embedding).all() and embedding.std() > 0
    assert torch.get_num_threads() == 1


def test_a_tokenizer_is_trained_on_a_fasta(tmp_path):
    (tmp_path / "x.fa").write_text(">a\n" + "TATAAACG" * 300 + "\n")
    out = train("tokenizer", tmp_path / "x.fa", "-o", tmp_path / "t.json", "--merges", "20")
    tokenizer = BPE(tmp_path / "t.json")
    assert f"{len(tokenizer)} tokens" in out and "TATAAACG" in "".join(tokenizer.vocabulary)


@pytest.mark.parametrize("recipe", ["six_mers"], indirect=True)
def test_a_probe_stands_on_a_language_model_s_one_copy(recipe, tmp_path, monkeypatch, caplog):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "dataloaders").symlink_to(ROOT / "dataloaders")
    (zoo / "zoo_index.yaml").write_text("models: {}\n")
    monkeypatch.setenv("REGZOO_HOME", str(zoo))
    pretrain(recipe)
    export_language_model(recipe)
    rng = np.random.default_rng(3)
    for split, count in (("train", 160), ("dev", 60), ("test", 60)):
        rows = [("ACGTTG" * 20 if i % 2 else "CCATGA" * 20)[int(rng.integers(0, 6)) :][:36] for i in range(count)]
        noise = ["".join(rng.choice(list("ACGT"), 24)) for _ in rows]
        write_csv(tmp_path / "data" / "task" / split / f"{split}.csv", [a + b for a, b in zip(rows, noise)])
        (tmp_path / "data" / "task" / split / f"{split}.csv").rename(tmp_path / "data" / "task" / f"{split}.csv")
    content = {
        "kind": "probe",
        "model": "Probe/test",
        "title": "A test",
        "backbone": "LM/test",
        "limits": "Of a test.",
        "data": {"folder": "task", "tasks": {"word": "."}, "overlap_kmer": 50, "description": "Made-up."},
    }
    path = tmp_path / "recipes" / "task" / "probe.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content))
    for step in (fit_probe, fit_baseline, evaluate_run, export_probe):
        step(path)
    folder = zoo / "models" / "Probe" / "test"
    assert set(load_file(folder / "model.safetensors")) == {"head.weight", "head.bias"}
    assert passes_kipoi_test(folder, caplog)
    metrics = json.loads((run_folder(path) / "metrics.json").read_text())
    assert metrics["test"]["word"]["auroc"]["low"] > 0.6  # a language model of thirty steps, far from chance
    # The metrics are those of the exported model.
    test = load_examples(load_recipe(path).data)[0]["test"]
    found = roc_auc_score(test.labels[:, 0], load_model("Probe/test", device="cpu").predict(test.codes)[:, 0])
    assert metrics["test"]["word"]["auroc"]["value"] == pytest.approx(found)
