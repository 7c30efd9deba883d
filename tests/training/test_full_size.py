"""Recipes that are not trained here, the whole way on small inputs of the same formats."""

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from scipy.io import savemat

from regzoo.errors import InputError, ModelError
from regzoo.nets import load_pretrained, save_pretrained
from regzoo.nets.language_models import LanguageModel, make_config
from regzoo.nets.transformer import MaskedLM
from regzoo.sequence import one_hot
from regzoo.tokenizers import OverlappingKmers, SixMers, train_bpe
from regzoo.tokenizers.bpe import BPE
from regzoo.zoo import catalogue, load_model
from tests.conftest import ROOT
from training.data.build import build
from training.evaluate import evaluate_run
from training.export import announce, export
from training.fit import fit
from training.pretrain import pretrain
from training.recipe import load_recipe
from training.run import run_folder

RECIPES = ROOT / "training" / "recipes"
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
BERT = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "pad_token_id": 0,
}
ESM = {
    "model_type": "esm",
    "architectures": ["EsmForMaskedLM"],
    "vocab_size": 4107,
    "emb_layer_norm_before": False,
    "token_dropout": False,
    "position_embedding_type": "rotary",
    "max_position_embeddings": 2050,
    "add_bias_fnn": False,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
    "mask_token_id": 2,
    "tie_word_embeddings": False,
}


def write_backbone(kind, folder):
    """A small model of random weights in the authors' layout."""
    if kind == "dnabert2":
        folder.mkdir()
        rows = np.random.default_rng(0).integers(0, 4, (20, 200)).astype(np.uint8)
        train_bpe(rows, folder / "tokenizer.json", vocabulary=64)
        tokenizer = BPE(folder / "tokenizer.json")
        config = BERT | SMALL | {"vocab_size": 64, "type_vocab_size": 2, "alibi_starting_size": 512}
    elif kind == "dnabert":
        tokenizer, config = (
            OverlappingKmers(6),
            BERT | SMALL | {"vocab_size": 4101, "type_vocab_size": 2, "max_position_embeddings": 512},
        )
    else:
        tokenizer, config = SixMers(), ESM | SMALL
    save_pretrained(LanguageModel(kind, MaskedLM(make_config(config)).eval(), tokenizer, config), folder)
    return str(folder)


def random_texts(rng, count, length):
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(count)]


def write_gue(root, tasks, length):
    rng = np.random.default_rng(0)
    for task in tasks:
        (root / task).mkdir(parents=True)
        for split in ("train", "dev", "test"):
            rows = [f"{text},{i % 2}" for i, text in enumerate(random_texts(rng, 40, length))]
            (root / task / f"{split}.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")


def write_bundle(root):
    rng = np.random.default_rng(1)
    root.mkdir()
    for file, prefix in (("train", "train"), ("valid", "valid"), ("test", "test")):
        x = one_hot(rng.integers(0, 4, (24, 1000)).astype(np.uint8))[:, [0, 2, 1, 3]].astype(np.uint8)
        labels = rng.integers(0, 2, (24, 919)).astype(np.uint8)
        labels[0], labels[1] = 0, 1
        if prefix == "valid":
            labels[:, 7] = 0  # a rare target
        savemat(root / f"{file}.mat", {f"{prefix}xdata": x, f"{prefix}data": labels}, do_compression=True)


def write_colorectal(root):
    """The corpus of training/builds/colorectal.yaml from a small genome."""
    rng = np.random.default_rng(2)
    names = ("chr1", "chr2", "chr7", "chr8", "chr9")
    genome = {name: "".join(random_texts(rng, 1, 40_000)) for name in names}
    (root / "hg38.fa").write_text("".join(f">{n}\n{t[:20_000].lower()}{t[20_000:]}\n" for n, t in genome.items()))
    peaks = [f"{n}\t{s}\t{s + 600}\tp\t0\t.\t1\t-1\t-1\t300\n" for n in names for s in range(1000, 39_000, 4000)]
    (root / "colorectal_H3K27ac.narrowPeak").write_text("".join(peaks))
    (root / "hg38-blacklist.v2.bed").write_text("chr1\t100\t200\n")
    text = (ROOT / "training" / "builds" / "colorectal.yaml").read_text().replace(".gz", "")
    (root / "colorectal.yaml").write_text(text)
    build(root / "colorectal.yaml", root / "colorectal.h5", progress=False)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory, data folder and zoo."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "dataloaders").symlink_to(ROOT / "dataloaders")
    (zoo / "models" / "DeepSEA" / "predict").mkdir(parents=True)
    names = ROOT / "models" / "DeepSEA" / "predict" / "targets.txt"
    (zoo / "models" / "DeepSEA" / "predict" / "targets.txt").write_text(names.read_text())
    (zoo / "zoo_index.yaml").write_text("models: {}\n")
    monkeypatch.setenv("REGZOO_HOME", str(zoo))
    monkeypatch.setenv("REGZOO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copied(recipe, place, backbone=None):
    """The recipe with its data section in the working directory, of small batches and, if it has one, a small
    backbone.
    """
    source = RECIPES / recipe
    content = yaml.safe_load(source.read_text())
    if isinstance(content["data"], str):
        content["data"] = yaml.safe_load((source.parent / content["data"]).read_text())
    content["optimiser"] |= {"batch_size": 8, "precision": "float32", "epochs": 2}
    if backbone:
        content["architecture"]["arguments"]["backbone"] = write_backbone(backbone, place / "backbone")
    path = place / "recipes" / recipe
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content))
    return path


CASES = [
    ("tf-human/dnabert2_117m.yaml", "dnabert2", lambda root: write_gue(root / "gue" / "tf", "01234", 101)),
    ("tf-human/nt_v2_50m.yaml", "nucleotide_transformer", lambda root: write_gue(root / "gue" / "tf", "01234", 101)),
    ("tf-human/nt_v2_500m.yaml", "nucleotide_transformer", lambda root: write_gue(root / "gue" / "tf", "01234", 101)),
    (
        "promoter-core/dnabert6.yaml",
        "dnabert",
        lambda root: write_gue(root / "gue" / "prom", [f"prom_core_{kind}" for kind in ("all", "notata", "tata")], 70),
    ),
    ("colorectal/dnabert2_117m.yaml", "dnabert2", write_colorectal),
    *(
        pytest.param(
            f"deepsea/{name}.yaml", None, lambda root: write_bundle(root / "deepsea_train"), marks=pytest.mark.slow
        )
        for name in ("basset", "deepsea")
    ),
]


@pytest.mark.parametrize(("recipe", "backbone", "write"), CASES)
def test_a_dry_run_goes_the_whole_way(recipe, backbone, write, place):
    write(place)
    path = copied(recipe, place, backbone)
    found = fit(path, dry_run=True)
    assert found["dry run"]["steps"] >= 2 and found["dry run"]["peak_memory_mb"] > 0
    assert not list(run_folder(path).iterdir())
    targets = load_recipe(path).data.targets
    assert list(found["dev"]) == [t for i, t in enumerate(targets) if i != 7]  # write_bundle's rare one has no metrics


def test_a_published_backbone_is_fine_tuned_exported_and_loaded(place):
    write_gue(place / "gue" / "tf", "01234", 101)
    path = copied("tf-human/dnabert2_117m.yaml", place, "dnabert2")
    fit(path)
    evaluate_run(path)
    folder = export(path)
    assert all("lora" in name or "head" in name for name in load_file(folder / "model.safetensors"))
    model = load_model("DNABERT2/tf-human", device="cpu")
    assert model.predict(np.zeros((3, 101), dtype=np.uint8)).shape == (3, 5)


def test_pretraining_goes_on_from_a_published_model(place):
    rng = np.random.default_rng(4)
    for name in ("a", "b"):
        (place / f"{name}.fa").write_text("".join(f">{i}\n{t}\n" for i, t in enumerate(random_texts(rng, 60, 120))))
    content = yaml.safe_load((RECIPES / "lm" / "nt_v2_50m_3utr.yaml").read_text())
    content["start"] = write_backbone("nucleotide_transformer", place / "backbone")
    content["corpus"] |= {"train": ["a.fa"], "held_out": ["b.fa"], "evaluation": []}
    content["optimiser"] |= {"steps": 4, "tokens": 512, "accumulate": 2, "save_every": 2}
    path = place / "recipes" / "lm" / "small.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content))
    pretrain(path)
    before, after = (load_pretrained(f) for f in (place / "backbone", run_folder(path) / "pretrained"))
    assert after.kind == "nucleotide_transformer"
    assert (before.net.encoder.words.weight - after.net.encoder.words.weight).abs().max() > 0
    path.write_text(yaml.safe_dump(content | {"tokenizer": {"kind": "single"}, "network": {"kind": "caduceus"}}))
    with pytest.raises(InputError, match="give either `start`, or `tokenizer` and `network`"):
        pretrain(path)


def test_an_announced_recipe_is_in_the_index_and_cannot_be_loaded(place):
    name = announce(RECIPES / "tf-human" / "dnabert2_117m.yaml")
    entry = catalogue()[name]
    assert entry["status"] == "recipe" and entry["parameters"] == 117_074_176 and entry["targets"] == 5
    announce(RECIPES / "deepsea" / "deepsea.yaml")
    assert catalogue()["DeepSEA/bundle"]["parameters"] == 52_843_119  # the official model's size
    with pytest.raises(
        ModelError,
        match="is a recipe whose weights the zoo does not have: python -m training fit training/recipes/tf-human",
    ):
        load_model(name)
