"""The public API: `import regzoo`, every form of input, networks of one's own, and the command as a layer over it."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import kipoi
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import regzoo
from regzoo import cli
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.sequence import decode, one_hot, read_bed
from tests.conftest import BED, FASTA, MODEL, ROOT, VCF


@pytest.fixture(scope="module")
def model():
    return regzoo.load_model(MODEL, device="cpu")


def test_the_package_lists_its_public_names_and_loads_them_when_used():
    assert dir(regzoo) == sorted(regzoo.__all__) == sorted(dir(regzoo))
    for name in regzoo.__all__:
        assert getattr(regzoo, name).__doc__
    code = "import sys, regzoo; print(sorted({'torch', 'numpy', 'pandas', 'kipoi', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'predictions'"):
        regzoo.predictions  # noqa: B018


def test_the_snippet_of_the_readme(model, tmp_path):
    table = regzoo.predict(model, BED, genome=FASTA)
    assert list(table)[:5] == ["chrom", "start", "end", "name", "strand"] and list(table)[-5:] == model.targets
    windows = ["ACGTA" * 20 + "C", "TTGAC" * 20 + "N"]
    np.testing.assert_array_equal(regzoo.predict(model, windows), model.predict(windows))
    scored = regzoo.score_variants(model, VCF, genome=FASTA)
    assert {"chrom", "pos", "ref", "alt", "status"} <= set(scored)
    first = scored.iloc[[0]]
    again = regzoo.score_variants(model, first[["chrom", "pos", "ref", "alt"]], genome=FASTA)
    text = f"{first.chrom[0]}:{first.pos[0]}:{first.ref[0]}:{first.alt[0]}"
    for one in (again, regzoo.score_variants(model, [text], genome=FASTA), model.score_variants([text], FASTA)):
        np.testing.assert_allclose(
            one.filter(like="diff").to_numpy(float), first.filter(like="diff").to_numpy(float), atol=1e-6
        )
    found = regzoo.saturation_mutagenesis(model, "chr1:1,550-1,650", genome=FASTA)
    assert found.effects.shape == (101, len(found.alleles), len(found.targets)) and found.targets == model.targets
    frame = found.to_frame()
    assert len(frame) == 101 * 4 and list(frame)[:5] == ["chrom", "pos", "name", "ref", "alt"]
    row = frame.iloc[17]
    at = row.pos - 1 - found.start
    assert row.ref == found.sequence[at]
    assert row["diff:tf3"] == found.effects[at, found.alleles.index(row.alt), 3]
    found.plot(tmp_path / "locus.png", targets=["tf3"])
    assert (tmp_path / "locus.png").stat().st_size > 10_000


def test_intervals_in_every_form_give_the_same(model):
    bed = read_bed(BED)
    expected = regzoo.predict(model, str(BED), str(FASTA))
    frame = pd.DataFrame(
        {"chrom": bed.contigs, "start": bed.starts, "end": bed.ends, "name": bed.names, "strand": bed.strands}
    )
    loci = [f"{c}:{s + 1:,}-{e}" for c, s, e in zip(bed.contigs, bed.starts, bed.ends)]
    genome = regzoo.Genome(FASTA)
    for given in (Path(BED), bed, frame, loci):
        found = regzoo.predict(Path(ROOT / "models" / MODEL) if given is bed else MODEL, given, genome)
        pd.testing.assert_frame_equal(
            found[["chrom", "start", "end", *model.targets]], expected[["chrom", "start", "end", *model.targets]]
        )
    one = regzoo.predict(model, loci[0], genome)
    np.testing.assert_allclose(
        one.loc[0, model.targets].astype(float), expected.loc[0, model.targets].astype(float), atol=2e-6
    )
    assert one.name[0] == loci[0]


def test_a_fasta_of_windows_needs_no_genome(model, tmp_path):
    codes = regzoo.Genome(FASTA).windows(np.zeros(3, int), np.array([5, 500, 900]), 101)
    (tmp_path / "w.fa").write_text("".join(f">w{i}\n{decode(row)}\n" for i, row in enumerate(codes)))
    found = regzoo.predict(model, tmp_path / "w.fa", targets=["tf3"])
    assert list(found) == ["name", "tf3"] and list(found.name) == ["w0", "w1", "w2"]
    np.testing.assert_allclose(found.tf3, model.predict(codes)[:, 3], atol=1e-7)
    with pytest.raises(InputError, match="chr1 has 24000 bases, but .* reads windows of 101"):
        regzoo.predict(model, FASTA)


BAD_INPUTS = {
    "no genome": (lambda: regzoo.predict(MODEL, BED), InputError, "intervals need a genome"),
    "a locus without genome": (lambda: regzoo.predict(MODEL, "chr1:5-9"), InputError, "a locus needs a genome"),
    "a number": (lambda: regzoo.predict(MODEL, 5, FASTA), InputError, "expected a BED file, a locus"),
    "a genome that is none": (lambda: regzoo.predict(MODEL, BED, 5), InputError, "expected the path of a FASTA"),
    "a model that is none": (lambda: regzoo.predict(5, BED, FASTA), ModelError, "expected the name or path of a model"),
    "no model": (lambda: regzoo.predict([], BED, FASTA), InputError, "no model is given"),
    "wrong length": (lambda: regzoo.predict(MODEL, ["ACGT"]), InputError, "windows of 101 bases; sequence 0 has 4"),
    "a locus of another form": (lambda: regzoo.predict(MODEL, ["chr1:9-5"], FASTA), InputError, "not after the end"),
    "a frame without a column": (
        lambda: regzoo.predict(MODEL, pd.DataFrame({"chrom": ["chr1"], "start": [5]}), FASTA),
        InputError,
        "no column 'end'",
    ),
    "a frame with a bad row": (
        lambda: regzoo.predict(MODEL, pd.DataFrame({"chrom": ["chr1"] * 2, "start": [5, 9], "end": [9, 9]}), FASTA),
        InputError,
        "row 1: 9-9 is not",
    ),
    "a frame with text": (
        lambda: regzoo.predict(MODEL, pd.DataFrame({"chrom": ["chr1"], "start": ["a"], "end": [9]}), FASTA),
        InputError,
        "row 0: start 'a' is not a whole number",
    ),
    "a device": (lambda: regzoo.load_model(MODEL, device="tpu:9"), InputError, "no device|torch sees"),
    "a missing GPU": (lambda: regzoo.load_model(MODEL, device="cuda:97"), InputError, "CUDA devices"),
    "a device without memory": (lambda: regzoo.load_model(MODEL, device="meta"), InputError, "cannot compute on it"),
    "a device of another kind": (lambda: regzoo.load_model(MODEL, device="xpu"), InputError, "cannot compute on it"),
    "no batch of windows": (
        lambda: regzoo.predict(MODEL, BED, FASTA, batch_size=0),
        InputError,
        "batch_size: expected",
    ),
    "no batch of changes": (
        lambda: regzoo.saturation_mutagenesis(MODEL, "chr1:100-110", FASTA, batch_size=0),
        InputError,
        "batch_size: expected 1 or more, got 0",
    ),
    "no batch of tokens": (
        lambda: regzoo.embed("LM/caduceus-mini", ["ACGT" * 9], batch_size=0),
        InputError,
        "batch_size: expected 1 or more, got 0",
    ),
    "a seed of shuffled sequences": (
        lambda: regzoo.explain(MODEL, "chr1:100-110", FASTA, seed=-1),
        InputError,
        "seed: expected 0 or more, got -1",
    ),
    "a seed of random variants": (
        lambda: regzoo.background(MODEL, FASTA, seed=-1),
        InputError,
        "seed: expected 0 or more, got -1",
    ),
    "random variants and others": (
        lambda: regzoo.background(MODEL, FASTA, variants=["chr1:1600:A:T"], count=500),
        InputError,
        "give either these or variants",
    ),
    "a status": (lambda: regzoo.list_models(status="done"), ModelError, "there are official, recipe, trained"),
    "a target": (lambda: regzoo.predict(MODEL, BED, FASTA, targets=["tf9"]), InputError, "no target 'tf9'"),
    "a mutated locus off its contig": (
        lambda: regzoo.saturation_mutagenesis(MODEL, "chr1:23,990-24,001", FASTA),
        InputError,
        "does not lie on its contig",
    ),
    "a picture's target": (
        lambda: regzoo.saturation_mutagenesis(MODEL, "chr1:100-110", FASTA).plot(targets=["x"]),
        InputError,
        "no target 'x'",
    ),
    "a picture's suffix": (
        lambda: regzoo.saturation_mutagenesis(MODEL, "chr1:100-110", FASTA, targets=["tf3"]).plot("x.bmp"),
        OutputError,
        "x.bmp",
    ),
    "variants of another form": (lambda: regzoo.score_variants(MODEL, ["chr1:5:A"], FASTA), InputError, "chr1:5:A"),
    "embedding by a CNN": (lambda: regzoo.embed(MODEL, ["ACGT"]), ModelError, "not a language model"),
    "data for compare": (lambda: regzoo.compare(MODEL, {"tf3": 5}), InputError, "expected a file, a data frame"),
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_what_is_not_accepted_is_said(kind):
    call, error, message = BAD_INPUTS[kind]
    with pytest.raises(error, match=message):
        call()


def test_models_of_the_zoo_are_listed():
    everything = regzoo.list_models()
    assert {"status", "title", "targets"} <= set(everything) and MODEL in everything.index
    trained = regzoo.list_models(status="trained", data="tf-human")
    assert set(trained.status) == {"trained"} and MODEL in trained.index and "MotifResNet/rbp" not in trained.index
    assert "MotifResNet/rbp" in regzoo.list_models(target="elavl1").index
    listed = json.loads(
        CliRunner().invoke(cli.app, ["ls", "--status", "trained", "--data", "tf-human", "--json"]).stdout
    )
    assert [entry["model"] for entry in listed] == list(trained.index)


def test_compare_and_transfer_take_data_in_memory(model):
    rng = np.random.default_rng(0)
    codes = regzoo.Genome(FASTA).windows(np.zeros(80, int), rng.integers(0, 20_000, 80), 101)
    sequences, labels = [decode(row) for row in codes], (model.predict(codes)[:, 3] > 0.2).astype(int)
    labels[:6] = 1 - labels[:6]
    frame = pd.DataFrame({"sequence": sequences, "label": labels})
    first = regzoo.compare([model, "Basset/tf-human"], {"tf3": frame})
    second = regzoo.compare(model, {"tf3": (sequences, labels)})
    assert first.metrics.auroc[0] == second.metrics.auroc[0] and list(first.cost.model) == [MODEL, "Basset/tf-human"]
    assert np.isnan(first.cost.memory_mb[0]) and first.cost.memory_mb[1] > 50
    matrix = regzoo.transfer(model, {"set": frame}, targets=["tf3", "tf0"]).matrix
    assert matrix.loc["tf3", "set"] == pytest.approx(first.metrics.auroc[0])


class Foreign(nn.Module):
    """A network as somebody else writes it, with names that the zoo's architectures use differently."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2))
        self.trunk = nn.Sequential(nn.Conv1d(6, 4, 3), nn.Sigmoid())
        self.out = nn.LazyLinear(3)

    def forward(self, x):
        x = self.layers(x + x.roll(1, 2))
        return self.out((self.trunk(x) * x[:, :4, 1:-1]).flatten(1))


def sequential():
    return nn.Sequential(
        nn.Conv1d(4, 8, 7), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(3), nn.Flatten(), nn.Linear(8 * 18, 3)
    )


@pytest.mark.parametrize("make", [Foreign, sequential])
@pytest.mark.parametrize("reverse_complement", [False, True])
def test_a_network_of_ones_own_is_scored_exactly(make, reverse_complement):
    """Against windows cut from the genome by hand and passed through the network itself."""
    torch.manual_seed(0)
    net = make().eval()
    wrapped = regzoo.Model.from_module(
        net, 60, ["a", "b", "c"], name="mine", reverse_complement=reverse_complement, device="cpu"
    )
    codes = regzoo.Genome(FASTA).codes("chr1")

    def by_hand(windows):
        x = torch.from_numpy(one_hot(windows))
        with torch.no_grad():
            forward, reverse = torch.sigmoid(net(x)), torch.sigmoid(net(x.flip(1, 2)))
        return ((forward + reverse) / 2 if reverse_complement else forward).numpy()

    positions = np.arange(2000, 2040)
    scored = regzoo.score_variants(
        wrapped,
        [f"chr1:{p}:{decode(codes[p - 1 : p])}:{'ACGT'[(codes[p - 1] + 1) % 4]}" for p in positions],
        FASTA,
        scores=["diff"],
    )
    reference = np.stack([codes[p - 1 - 29 : p - 1 + 31] for p in positions])
    changed = reference.copy()
    changed[:, 29] = (changed[:, 29] + 1) % 4
    np.testing.assert_allclose(scored.filter(like="diff"), by_hand(changed) - by_hand(reference), atol=1e-6)
    found = regzoo.saturation_mutagenesis(wrapped, "chr1:2001-2030", FASTA)
    window = np.array(codes[2015 - 30 : 2015 + 30])
    for allele in range(4):
        mutated = window.copy()
        mutated[2004 - 1985] = allele
        expected = by_hand(mutated[None]) - by_hand(window[None])
        np.testing.assert_allclose(found.effects[4, allele], expected[0], atol=1e-6)


def test_networks_that_do_not_fit_are_refused():
    net = sequential()
    for arguments, message in (
        ((net, 70, 3), "cannot read a window of 70 bases"),
        ((net, 60, 4), r"gives \(1, 3\)"),
        ((net, 60, "abc"), "not one string"),
        ((net, 60, ["a", "a", "b"]), "distinct target names"),
        ((net, 60, 3, "relu"), "no activation 'relu'"),
        (("net", 60, 3), "expected a torch.nn.Module, got str"),
    ):
        with pytest.raises(ModelError, match=message):
            regzoo.Model.from_module(*arguments)
    net[0].weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="NaN or infinite"):
        regzoo.Model.from_module(net, 60, 3)


def test_profiles_of_ones_own_network():
    net = nn.Sequential(nn.Conv1d(4, 2, 5, padding="same"), nn.MaxPool1d(10))
    wrapped = regzoo.Model.from_module(net, 60, ["a", "b"], "softplus", device="cpu")
    assert wrapped.output_shape == (2, 6) and wrapped.outputs == "rates"
    assert list(regzoo.predict(wrapped, ["ACGTAC" * 10]))[:2] == ["a:0", "a:1"]


def test_a_kipoi_model_of_the_zoo_is_taken(model):
    through = regzoo.load_model(kipoi.get_model(MODEL, source="regzoo"), device="cpu")
    codes = regzoo.Genome(FASTA).windows(np.zeros(3, int), np.array([5, 500, 900]), 101)
    assert through.targets == model.targets and through.outputs == model.outputs
    np.testing.assert_array_equal(through.predict(codes), model.predict(codes))


KIPOI_YAML = """
type: pytorch
args: {{module_file: net.py, module_obj: net, weights: w.pt}}
default_dataloader: {{defined_as: kipoiseq.dataloaders.SeqIntervalDl, default_args: {{auto_resize_len: 40}}}}
info: {{authors: [{{name: a}}], doc: d}}
schema:
  inputs: {{name: seq, shape: "{shape}", doc: one-hot}}
  targets: {{name: y, shape: "(2,)", doc: y, column_labels: [left, right]}}
"""


@pytest.mark.parametrize("shape", ["(4, 1, 40)", "(40, 4)", "(4, 40)", "(1, 40, 4)"])
def test_a_kipoi_model_of_another_source_is_taken(shape, tmp_path):
    """A PyTorch model directory by somebody else, with its input in another layout."""
    channels_last = shape.endswith("4)")
    (tmp_path / "model.yaml").write_text(KIPOI_YAML.format(shape=shape))
    (tmp_path / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
        "        x = x.reshape(len(x), *([40, 4] if "
        f"{channels_last} else [4, 40]))\n        x = x.transpose(1, 2) if {channels_last} else x\n"
        "        return x[:, 0, :20].sum(1, keepdim=True) * torch.tensor([[1.0, 2.0]])\nnet = Net()\n"
    )
    torch.save({}, tmp_path / "w.pt")
    taken = regzoo.load_model(kipoi.get_model(str(tmp_path), source="dir", with_dataloader=False), device="cpu")
    assert taken.input_length == 40 and taken.targets == ["left", "right"]
    np.testing.assert_array_equal(taken.predict(["A" * 10 + "C" * 30, "AG" * 20]), [[10, 20], [10, 20]])


COMMANDS = {
    cli.predict: regzoo.predict,
    cli.scan: regzoo.scan,
    cli.score: regzoo.score_variants,
    cli.zero_shot: regzoo.zero_shot,
    cli.mutate: regzoo.saturation_mutagenesis,
    cli.embed: regzoo.embed,
    cli.explain: regzoo.explain,
    cli.attention: regzoo.attention,
    cli.motifs: regzoo.motifs,
    cli.marginalise: regzoo.marginalise,
    cli.alleles: regzoo.alleles,
    cli.report: regzoo.report,
    cli.background: regzoo.background,
    cli.enrich: regzoo.enrich,
    cli.compare: regzoo.compare,
    cli.transfer: regzoo.transfer,
    cli.benchmark: regzoo.benchmark,
    cli.fetch: regzoo.fetch,
    cli.serve: regzoo.serve,
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_the_command_has_the_functions_names_order_and_defaults(command):
    """Except that a command shows progress unless --quiet."""
    ours, theirs = (inspect.signature(f).parameters for f in (command, COMMANDS[command]))
    assert [name for name in ours if name != "quiet"] == [name for name in theirs if name != "progress"]
    for name in ours:
        if name == "quiet":
            assert ours[name].default is False and theirs["progress"].default is False
        elif ours[name].default not in (inspect.Parameter.empty, ...):
            assert ours[name].default == theirs[name].default, name


@pytest.mark.parametrize("name", ["evaluate", "nets", "kipoi"])
def test_modules_are_loaded_at_first_use(name, monkeypatch):
    monkeypatch.delattr(regzoo, name, raising=False)  # as after `import regzoo` alone
    assert getattr(regzoo, name) is sys.modules[f"regzoo.{name}"]


def test_no_model_that_matches_is_said():
    done = CliRunner().invoke(cli.app, ["ls", "--target", "CTFC"])
    assert done.exit_code == 0 and done.stderr == "no model matches; `regzoo ls` lists all\n"
