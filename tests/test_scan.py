"""`regzoo scan` and `regzoo.overlap`, against windows cut and merged one by one."""

import sys
from collections import Counter

import numpy as np
import pandas as pd
import pybigtools
import pyBigWig
import pytest
from torch import nn
from typer.testing import CliRunner

import regzoo
from regzoo import cli
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.evaluate.overlap import Space, compare_elements
from regzoo.nets import build
from regzoo.output import tracks
from regzoo.scanning import predictions
from regzoo.scanning.elements import ELEMENTS
from regzoo.scanning.options import Options, tracks_of
from regzoo.sequence import Genome, decode, reverse_complement
from tests.conftest import FASTA, MODEL, full_pass

L = 40


def network(activation="sigmoid", bias=0.0, targets=("a", "b c"), **options):
    """Windows of 40 bases, pooling 6, no padding."""
    import torch

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(4, 12, 5),
        nn.ReLU(),
        nn.MaxPool1d(3),
        nn.Conv1d(12, 8, 3),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(40, len(targets)),
    )
    nn.init.normal_(net[-1].weight, std=2.0)
    nn.init.constant_(net[-1].bias, bias)
    return regzoo.Model.from_module(net, L, list(targets), activation, device="cpu", **options)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Contigs whose order is not alphabetical, one shorter than a window, one with unknown bases."""
    rng = np.random.default_rng(1)
    codes = {name: rng.integers(0, 4, size).astype(np.uint8) for name, size in (("z", 503), ("b", 1201), ("tiny", 39))}
    codes["b"][300:420] = 4
    codes["b"][700] = 4
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text("".join(f">{name}\n{decode(row)}\n" for name, row in codes.items()))
    return Genome(path)


def cut(genome, contig, start, end, step):
    """Starts and base codes of the windows of a region, one by one."""
    starts = list(range(start, end - L + 1, step))
    if starts[-1] + L < end:
        starts.append(end - L)
    codes = np.array(genome.codes(contig))
    starts = [s for s in starts if (codes[s : s + L] < 4).any()]
    return np.array(starts), np.stack([codes[s : s + L] for s in starts])


def track_by_hand(starts, values, step, size):
    """Value of each base: of the window with the nearest centre, at most half a step away; of two, the later one."""
    found = np.full(size, np.nan)
    centres = starts + L // 2
    for base in range(size):
        near = int(np.argmin(np.abs(centres - base)[::-1]))
        i = len(starts) - 1 - near
        if centres[i] - step // 2 <= base < centres[i] - step // 2 + step:
            found[base] = values[i]
    return found


def read_bedgraph(path, contig, size):
    found = np.full(size, np.nan)
    for line in path.read_text().splitlines()[1:]:
        name, start, end, value = line.split("\t")
        if name == contig:
            assert np.isnan(found[int(start) : int(end)]).all()  # no overlap
            found[int(start) : int(end)] = float(value)
    return found


@pytest.mark.parametrize("reverse_complement", [False, True])
@pytest.mark.parametrize(("step", "shares"), [(6, True), (12, True), (10, True), (7, False), (40, False)])
def test_tracks_hold_the_predictions_of_windows_cut_one_by_one(
    genome, tmp_path, monkeypatch, step, shares, reverse_complement
):
    """At a step of 10, windows of each of three pooling phases share; blocks and sequences are small to have many."""
    model = network(reverse_complement=reverse_complement)
    monkeypatch.setattr(predictions, "_BLOCK", 17)
    monkeypatch.setattr(predictions, "_BASES", 120)
    asked = []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda windows, *rest: asked.append(len(windows)) or predict(windows, *rest))
    found = regzoo.scan(model, genome, step=step, output=[tmp_path / "o.bedgraph", tmp_path / "o.bw"])
    assert found.short_contigs == ["tiny"] and [path.name for path in found.files] == [
        "o.a.bedgraph",
        "o.b_c.bedgraph",
        "o.a.bw",
        "o.b_c.bw",
    ]
    windows = 0
    for contig in ("z", "b"):
        size = len(genome.codes(contig))
        starts, codes = cut(genome, contig, 0, size, step)
        windows += len(starts)
        for name, values in zip(("a", "b_c"), predict(codes).T):
            seen = read_bedgraph(tmp_path / f"o.{name}.bedgraph", contig, size)
            np.testing.assert_allclose(seen, track_by_hand(starts, values, step, size), atol=1e-5)
            with pyBigWig.open(str(tmp_path / f"o.{name}.bw")) as file:
                np.testing.assert_allclose(file.values(contig, 0, size, numpy=True), seen, rtol=1e-6)
    assert found.windows == windows and found.skipped > 0
    assert (sum(asked) < windows / 4) == shares


@pytest.mark.parametrize(
    ("name", "arguments", "step"),
    [
        ("deepsea", {"channels": (16, 16, 16), "hidden": 20}, 200),
        ("basset", {"channels": (16, 16, 16), "hidden": 20}, 144),
    ],
)
def test_published_architectures_share_and_are_exact(name, arguments, step, monkeypatch):
    length = {"deepsea": 1000, "basset": 600}[name]
    net = build(name, input_length=length, n_targets=3, **arguments)
    model = regzoo.Model.from_module(net, length, 3, "identity", reverse_complement=True, device="cpu")
    found = regzoo.scan(model, FASTA, regions="chr1:1-9,000", threshold=-1e9)
    default = (length // 4) - (length // 4) % {"deepsea": 16, "basset": 48}[name]
    assert found.attrs["windows"] == -(-(9000 - length) // default) + 1
    codes = Genome(FASTA).codes("chr1")[:9000]
    starts = np.arange(0, 9000 - length + 1, step)
    options = Options(model, step, 0.0, None, None, None, "float32", 64)
    values = predictions.Predictor(options, tracks_of(model, (), None))(np.array(codes), starts)
    monkeypatch.setattr(model, "_folded", lambda: None)
    expected = full_pass(model, np.stack([codes[s : s + length] for s in starts]))
    assert options.shared is not None
    np.testing.assert_allclose(values, expected, atol=1e-5)


def elements_by_hand(starts, values, threshold):
    """Merge called windows one by one: start, end, value, summit, windows."""
    found = []
    for start, value in zip(starts.tolist(), values.tolist()):
        if value < threshold:
            continue
        if found and start <= found[-1][1]:
            one = found[-1]
            one[1], one[4] = start + L, one[4] + 1
            if value > one[2]:
                one[2], one[3] = value, start + L // 2
        else:
            found.append([start, start + L, value, start + L // 2, 1])
    return found


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
def test_elements_are_merged_windows(genome, tmp_path, monkeypatch, threshold):
    model = network()
    monkeypatch.setattr(predictions, "_BLOCK", 5)
    frame, seen = regzoo.scan(model, genome, step=11, threshold=threshold), 0
    for contig in ("b", "z"):
        starts, codes = cut(genome, contig, 0, len(genome.codes(contig)), 11)
        for target, values in zip(model.targets, full_pass(model, codes).T):
            expected = elements_by_hand(starts, values, threshold)
            own = frame[(frame.chrom == contig) & (frame.target == target)]
            seen += len(expected)
            assert own[["start", "end", "summit", "windows"]].to_numpy().tolist() == [
                [s, e, c, n] for s, e, _, c, n in expected
            ]
            np.testing.assert_allclose(own.value, [one[2] for one in expected], atol=1e-6)
            np.testing.assert_array_equal(own.score, np.rint(1000 * own.value))
    assert seen == len(frame) > 0 and list(frame.chrom) == sorted(frame.chrom) and frame.name.is_unique
    # Lengths: what is left out is counted.
    sizes = frame.end - frame.start
    kept = regzoo.scan(model, genome, step=11, threshold=threshold, min_length=52, max_length=90)
    assert len(kept) == int(sizes.between(52, 90).sum())
    assert (kept.attrs["too_short"], kept.attrs["too_long"]) == (int((sizes < 52).sum()), int((sizes > 90).sum()))
    # Files hold the same.
    names = [tmp_path / name for name in ("o.narrowPeak", "o.bed", "o.tsv", "o.tsv.gz", "o.parquet", "o.h5")]
    summary = regzoo.scan(model, genome, step=11, threshold=threshold, output=names)
    assert summary.files == names and summary.elements == Counter(frame.target)
    assert summary.bases == (frame.end - frame.start).groupby(frame.target).sum().to_dict()
    for table in (pd.read_csv(names[2], sep="\t"), pd.read_csv(names[3], sep="\t"), pd.read_parquet(names[4])):
        pd.testing.assert_frame_equal(table, frame, check_dtype=False, rtol=1e-6)
    peaks = pd.read_csv(names[0], sep="\t", header=None)
    assert peaks.shape == (len(frame), 10) and set(peaks[7]) == set(peaks[8]) == {-1}
    assert (peaks[1] + peaks[9]).tolist() == frame.summit.tolist()
    assert " " not in names[0].read_text()
    assert regzoo.predict(model, names[0], genome)["window_start"].tolist() == (frame.summit - L // 2).tolist()
    assert pd.read_csv(names[1], sep="\t", header=None).equals(peaks[[0, 1, 2, 3, 4, 5]])


def test_no_element_is_an_empty_table(genome, tmp_path):
    frame = regzoo.scan(network(), genome, threshold=1.0)
    assert not len(frame) and list(frame) == list(ELEMENTS)
    summary = regzoo.scan(network(), genome, threshold=1.0, output=[tmp_path / "o.narrowPeak", tmp_path / "o.tsv"])
    assert summary.elements == {"a": 0, "b c": 0} and (tmp_path / "o.narrowPeak").read_text() == ""
    assert (tmp_path / "o.tsv").read_text().split() == list(frame)


def test_regions_are_merged_and_bound_the_windows(genome):
    model = network(targets=("a",))
    whole = regzoo.scan(model, genome, regions=["z", "b:1-100", "b:91-200", "b:600-700"], threshold=0.0, step=9)
    assert whole[["chrom", "start", "end"]].to_numpy().tolist() == [["b", 0, 200], ["b", 599, 700], ["z", 0, 503]]
    frame = pd.DataFrame({"chrom": ["b", "b"], "start": [599, 0], "end": [700, 200]})
    parts = regzoo.scan(model, genome, regions=frame, threshold=0.0, step=9)
    pd.testing.assert_frame_equal(parts, whole[:2])
    assert regzoo.scan(model, genome, regions="z", threshold=0.0, step=9).windows.tolist() == [-(-463 // 9) + 1]
    # A gap of unknown bases parts elements; windows of unknown bases only are skipped and counted.
    frame = regzoo.scan(model, genome, regions="b:201-520", threshold=0.0, step=40)
    assert frame.attrs["skipped"] == 2 and frame.attrs["windows"] == 6
    assert frame[["start", "end"]].to_numpy().tolist() == [[200, 320], [400, 520]]


def test_both_strands_are_predicted_by_themselves_where_it_is_asked(genome):
    model = network(stranded=True, targets=("a",))
    frame = regzoo.scan(model, genome, regions="z", threshold=0.0, step=12)
    assert frame[["target", "strand"]].to_numpy().tolist() == [["a.plus", "+"], ["a.minus", "-"]]
    starts, codes = cut(genome, "z", 0, 503, 12)
    forward, reverse = full_pass(model, codes)[:, 0], full_pass(model, reverse_complement(codes))[:, 0]
    np.testing.assert_allclose(frame.value, [forward.max(), reverse.max()], atol=1e-5)
    assert frame.summit.tolist() == [starts[forward.argmax()] + 20, starts[reverse.argmax()] + 20]
    assert regzoo.scan(model, genome, regions="z", threshold=0.0, use_strand=False).strand.tolist() == ["."]


def test_profiles_and_values_that_are_not_finite(genome, profile_model):
    net = nn.Sequential(nn.Conv1d(4, 1, 1, bias=False), nn.AvgPool1d(4))
    nn.init.ones_(net[0].weight)
    model = regzoo.Model.from_module(net, L, ["a"], "identity", device="cpu")
    frame = regzoo.scan(model, genome, regions="b", step=10, threshold=1.0)  # the mean of ten bins: the known bases
    assert model.bins == 10 and set(frame.value) == {1.0} and frame.attrs["windows"] > frame.windows.sum()

    class Log(nn.Module):
        def forward(self, x):
            return (x.sum((1, 2)) - 39.5).log()[:, None] if x.any() else x[:, 0, :1]

    model = regzoo.Model.from_module(Log(), L, ["a"], "identity", device="cpu")
    frame = regzoo.scan(model, genome, regions="b", step=10, threshold=-1.0)
    codes = cut(genome, "b", 0, 1201, 10)[1]
    assert frame.attrs["not_finite"] == int((codes == 4).any(axis=1).sum()) > 0
    with pytest.raises(ModelError, match="every prediction is NaN"):
        regzoo.scan(model, genome, regions="b:381-440", step=10, threshold=0.0)


def test_the_fdr_is_that_of_shuffled_windows(genome, tmp_path):
    """A motif that real sequence has often, and shuffled sequence seldom."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 20_000).astype(np.uint8)
    motif = np.array([0, 2, 1, 3, 3, 0, 1, 1, 2, 0])
    for place in range(100, 19_900, 250):
        codes[place : place + 10] = motif
    codes[5000:5300] = 4
    path = tmp_path / "g.fa"
    path.write_text(f">c\n{decode(codes)}\n")
    net = nn.Sequential(nn.Conv1d(4, 1, 10, bias=False), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    nn.init.zeros_(net[0].weight)
    net[0].weight.data[0, motif, np.arange(10)] = 1.0
    model = regzoo.Model.from_module(net, L, ["a"], "identity", device="cpu")
    found = regzoo.scan(model, path, fdr=0.05, step=10)
    shuffled = predictions.shuffled(codes.copy(), np.random.default_rng([0, 0, 0]))
    starts = np.array([s for s in range(0, 19_961, 10) if (codes[s : s + L] < 4).any()])
    windows = np.arange(L) + starts[:, None]
    real, null = full_pass(model, codes[windows])[:, 0], full_pass(model, shuffled[windows])[:, 0]
    ratio = {t: np.sum(null >= t) / np.sum(real >= t) for t in np.unique(real)}
    threshold = found.attrs["thresholds"]["a"]
    assert threshold == min(t for t in ratio if ratio[t] <= 0.05) > real.min() and found.windows.sum() == np.sum(
        real >= threshold
    )
    # The shuffled sequence: unknown bases stay, dinucleotides of each run are kept, all else differs.
    assert ((shuffled == 4) == (codes == 4)).all() and (shuffled != codes).mean() > 0.5
    for run in (slice(0, 5000), slice(5300, 15_300), slice(15_300, 20_000)):
        pairs = [Counter(zip(row[run][:-1].tolist(), row[run][1:].tolist())) for row in (codes, shuffled)]
        assert pairs[0] == pairs[1]
    nn.init.zeros_(net[0].weight)
    with pytest.raises(InputError, match="a: no threshold has an fdr of 0.1; shuffled sequence is predicted as high"):
        regzoo.scan(model, path, fdr=0.1, step=10, output=tmp_path / "o.bed")
    assert list(tmp_path.iterdir()) == [path]


BAD = {
    "a short region": ({"regions": "b:1-39"}, "b:1-39 has 39 bases, but custom reads windows of 40; widen"),
    "a region beyond": (
        {"regions": ["b:1-50", "b:1,100-1,202"]},
        "locus 2: b:1100-1202 reaches beyond its contig, which has 1201",
    ),
    "a contig": ({"regions": "y"}, "region 'y' is no file, locus or contig; .*its contigs are z, b, tiny"),
    "a contig of a locus": ({"regions": "y:1-99"}, "locus 1: .*no contig 'y'"),
    "no region": ({"regions": []}, "no locus is given"),
    "an empty frame": ({"regions": pd.DataFrame({"chrom": [], "start": [], "end": []})}, "has no row"),
    "unknown bases": ({"regions": "b:301-420"}, "hold no known base"),
    "step 0": ({"step": 0}, "step: expected 1 to 40"),
    "step 41": ({"step": 41}, "step: expected 1 to 40"),
    "step 2.5": ({"step": 2.5}, "step: expected a whole number of bases, got 2.5"),
    "a seed": ({"seed": -1}, "seed: expected 0"),
    "a target": ({"targets": ["c"]}, "no target 'c'"),
    "a threshold": ({"threshold": 50}, "can reach, got 50"),
    "two thresholds": ({"threshold": 0.5, "fdr": 0.1}, "either a threshold or an fdr"),
    "an fdr": ({"fdr": 1.5}, "fdr: expected a fraction"),
    "lengths": ({"max_length": 39}, "no element can be that short"),
    "lengths swapped": ({"max_length": 50, "min_length": 60}, "no element can be that short"),
    "a length": ({"min_length": 0}, "min_length: expected 1"),
    "a batch": ({"batch_size": 0}, "batch_size: expected 1"),
    "a precision": ({"precision": "int8"}, "no precision 'int8'"),
    "known ones elsewhere": ({"compare": ["y:5-9"]}, "none of its 1 intervals is in the searched regions"),
    "a suffix": ({"output": "o.wig"}, "o.wig: unknown suffix"),
    "twice": ({"output": ["o.bed", "./o.bed"]}, "o.bed: is given twice"),
    "a folder": ({"output": "none/o.bed"}, "none/o.bed: cannot write there"),
    "a folder of the second": ({"output": ["o.bed", "none/o.bw"]}, "none/o.a.bw: cannot write there"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_named_and_leaves_nothing(kind, genome, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, message = BAD[kind]
    with pytest.raises((InputError, OutputError), match=message):
        regzoo.scan(network(), genome, **({"output": ["o.bw", "o.bed"]} | options))
    assert not list(tmp_path.iterdir())


def test_models_of_values_need_a_threshold_for_elements_only(genome, tmp_path):
    model = network("identity", targets=("a",))
    for options in ({}, {"output": tmp_path / "o.bed"}, {"output": tmp_path / "o.bw", "compare": "b:1-9"}):
        with pytest.raises(
            InputError, match="custom does not predict probabilities, so that elements need a threshold"
        ):
            regzoo.scan(model, genome, **options)
    assert not list(tmp_path.iterdir())
    summary = regzoo.scan(model, genome, output=tmp_path / "o.bw")
    assert summary.thresholds == {} and pybigtools.open(str(tmp_path / "o.bw")).chroms() == {"b": 1201, "z": 503}
    frame = regzoo.scan(model, genome, threshold=0.0)
    np.testing.assert_array_equal(frame.score, np.rint(1000 * frame.value / frame.value.max()))


def test_a_bigwig_that_is_not_complete_is_refused(genome, tmp_path, monkeypatch):
    """pybigtools itself is silent when rows stop or the disk is full."""
    contigs = {"b": 1201}
    rows = [("b", np.array([0, 10]), np.array([10, 20]), np.array([0.5, 0.25], dtype=np.float32))]
    tracks.write_bigwig(tmp_path / "o.bw", rows, contigs, "o.bw")

    def interrupted():
        yield rows[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tracks.write_bigwig(tmp_path / "o.bw", interrupted(), contigs, "o.bw")
    monkeypatch.setattr(tracks, "_read_back", lambda *_: (1, 10))
    with pytest.raises(OutputError, match="named.bw: this bigWig file does not hold what was written"):
        tracks.write_bigwig(tmp_path / "o.bw", rows, contigs, "named.bw")
    monkeypatch.undo()
    with pytest.raises(OutputError, match="named.bw: cannot write this bigWig file"):
        tracks.write_bigwig(tmp_path / "o.bw", rows, {"c": 5}, "named.bw")
    monkeypatch.setitem(sys.modules, "pybigtools", None)
    with pytest.raises(OutputError, match=r"pip install 'regzoo\[tracks\]'"):
        regzoo.scan(network(), genome, output=tmp_path / "x.bw")
    assert [path.name for path in tmp_path.iterdir()] == ["o.bw"]


def test_the_command_writes_and_compares(tmp_path):
    arguments = ["scan", str(FASTA), "-m", MODEL, "-t", "tf3", "-r", "chr1:1-2,000", "-r", "chr2:1-3,000", "-q"]
    bed = tmp_path / "known.bed"
    bed.write_text("chr1\t100\t600\nchr2\t2000\t2500\n")
    done = CliRunner().invoke(cli.app, [*arguments, "--compare", str(bed), "-o", str(tmp_path / "o.bed")])
    assert done.exit_code == 0, done.output
    frame = regzoo.scan(MODEL, FASTA, regions=["chr1:1-2,000", "chr2:1-3,000"], targets=["tf3"], compare=bed)
    assert f"{len(frame):>9,}  elements of tf3 at 0.5 or more" in done.stderr and "odds_ratio" in done.stdout
    [row] = frame.attrs["comparison"]
    again = regzoo.overlap(frame, bed, FASTA, regions=["chr1:1-2,000", "chr2:1-3,000"])
    pd.testing.assert_frame_equal(again, pd.DataFrame([row]))
    done = CliRunner().invoke(cli.app, arguments)
    assert done.stdout.count("\n") == len(frame) + 1 and done.stdout.startswith("chrom\tstart\tend\tname\tscore")


def scan_in_blocks(genome, folder, **options):
    """Scan in small blocks, with shuffled sequence; the bytes of every output."""
    outputs = [folder / name for name in ("o.bedgraph", "o.bed", "o.tsv")]
    options = {"seed": 7} | options  # with which shuffled sequence has a threshold of that FDR
    regzoo.scan(network(), genome, step=10, fdr=0.9, output=outputs, **options)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(predictions, "_BLOCK", 17)


def stop_after(monkeypatch, count):
    """Have the predictor of blocks raise after some blocks; the blocks that it is called for."""
    seen, predict = [], predictions.BlockPredictor.__call__

    def counted(self, block):
        if len(seen) == count:
            raise KeyboardInterrupt
        seen.append(block)
        return predict(self, block)

    monkeypatch.setattr(predictions.BlockPredictor, "__call__", counted)
    return seen


@pytest.mark.parametrize("count", [1, 7, 13])
def test_a_stopped_scan_is_resumed_with_the_same_bytes(genome, tmp_path, monkeypatch, small_blocks, count):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    with monkeypatch.context() as patch:
        every = stop_after(patch, None)
        whole = scan_in_blocks(genome, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, count)
        scan_in_blocks(genome, stopped)
    assert [path.name for path in stopped.iterdir()] == ["o.bedgraph.parts"]
    with pytest.raises(InputError, match=rf"finished batches there \({count}\); --resume goes on"):
        scan_in_blocks(genome, stopped)
    with pytest.raises(InputError, match=r"made from other inputs or options \(seed\); --restart removes it"):
        scan_in_blocks(genome, stopped, resume=True, seed=8)
    with pytest.raises(InputError, match=r"made from other inputs or options \(regions\)"):
        scan_in_blocks(genome, stopped, resume=True, regions="b")
    with monkeypatch.context() as patch:
        rest = stop_after(patch, None)
        assert scan_in_blocks(genome, stopped, resume=True) == whole
    assert rest == every[count:] and len(every) == 20 and {block.shuffled for block in every} == {False, True}


def test_restart_and_what_cannot_be_resumed(genome, tmp_path, monkeypatch, small_blocks):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 3)
        scan_in_blocks(genome, tmp_path)
    assert "o.bedgraph.parts" not in scan_in_blocks(genome, tmp_path, restart=True, seed=8)
    for output in (None, "-"):
        for option in ("resume", "restart"):
            with pytest.raises(InputError, match="only a scan that writes a file can be resumed"):
                regzoo.scan(network(), genome, output=output, **{option: True})


def test_sequences_in_memory_are_told_apart(genome, tmp_path, monkeypatch, small_blocks):
    first, second = (
        Genome.from_sequences(
            {name: np.random.default_rng(seed).permutation(genome.codes(name)) for name in genome.contigs}
        )
        for seed in (1, 2)
    )
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 3)
        scan_in_blocks(first, tmp_path)
    with pytest.raises(InputError, match=r"made from other inputs or options \(genome\)"):
        scan_in_blocks(second, tmp_path, resume=True)
    with pytest.raises(InputError, match="sequences in memory cannot be given to several workers"):
        scan_in_blocks(first, tmp_path, restart=True, workers=2)


def test_workers_write_the_same_bytes(genome, tmp_path, small_blocks):
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        found.append(scan_in_blocks(genome, folder, workers=workers))
    assert found[0] == found[1]
    with pytest.raises(InputError, match="workers: expected 1"):
        regzoo.scan(network(), genome, workers=0)


def sets(intervals):
    return [set(range(s, e)) for s, e in intervals]


@pytest.mark.parametrize("seed", range(4))
def test_overlap_against_sets_of_bases(genome, seed):
    """Bases as sets of positions; shifts of each contig by hand, with the same random numbers."""
    rng = np.random.default_rng(seed)
    elements, known = {}, {}
    for contig in ("b", "z"):
        size = len(genome.codes(contig))
        starts = np.sort(rng.choice(size // 50, 6, replace=False)) * 50
        elements[contig] = [(int(s), int(s) + 30) for s in starts]
        starts = rng.integers(0, size - 40, 5)
        known[contig] = [(int(s), int(s) + int(rng.integers(5, 40))) for s in starts]
    frame, bed = (
        pd.DataFrame([(contig, s, e) for contig in part for s, e in part[contig]], columns=["chrom", "start", "end"])
        for part in (elements, known)
    )
    [row] = regzoo.overlap(frame, bed, genome, permutations=40, seed=seed).to_dict("records")

    union = {c: set().union(*sets(known[c])) for c in known}
    ours = {c: set().union(*sets(elements[c])) for c in elements}
    merged = {c: [b for b in sorted(union[c]) if b - 1 not in union[c]] for c in union}  # adjoining ones would differ
    hit = sum(bool(one & union[c]) for c in elements for one in sets(elements[c]))
    both, either = (sum(len(f(ours[c], union[c])) for c in ours) for f in (set.intersection, set.union))
    size = int(genome.lengths.sum())
    a, b, c = both, sum(map(len, ours.values())) - both, sum(map(len, union.values())) - both
    assert row["elements"] == 12 and row["overlapping"] == hit and row["precision"] == hit / 12
    assert row["known"] == sum(map(len, merged.values())) and row["recall"] == row["found"] / row["known"]
    found = 0
    for contig, firsts in merged.items():
        for first in firsts:
            last = first
            while last + 1 in union[contig]:
                last += 1
            found += bool(set(range(first, last + 1)) & ours[contig])
    assert row["found"] == found and row["jaccard"] == both / either
    assert row["odds_ratio"] == pytest.approx(a * (size - either) / (b * c) if b * c else np.inf)
    shifts = np.random.default_rng(seed)
    sizes = {contig: len(genome.codes(contig)) for contig in ("z", "b")}  # in the order of the genome
    counts = []
    for _ in range(40):
        by = dict(zip(sizes, shifts.integers(np.array(list(sizes.values())))))
        counts.append(
            sum(
                bool({(base + int(by[contig])) % sizes[contig] for base in one} & union[contig])
                for contig in sizes
                for one in sets(elements[contig])
            )
        )
    assert row["expected"] == pytest.approx(np.mean(counts)) and row["enrichment"] == pytest.approx(
        hit / np.mean(counts)
    )
    assert row["p"] == pytest.approx((1 + np.sum(np.array(counts) >= hit)) / 41)


def test_overlap_in_regions(genome, caplog):
    """Known intervals are cut to the regions; each target by itself; no element is not an error of a scan."""
    frame = pd.DataFrame(
        {"chrom": ["b", "b", "z"], "start": [10, 150, 0], "end": [20, 160, 9], "target": ["x", "x", "y"]}
    )
    regions, known = ["b:1-50", "b:101-200", "z"], ["b:41-110", "b:155-300", "b:900-950"]
    found = regzoo.overlap(frame, known, genome, regions=regions).set_index("target")
    assert "1 of 3 intervals are not in the searched regions" in caplog.text
    assert found.elements.to_dict() == {"x": 2, "y": 1} and found.overlapping.to_dict() == {"x": 1, "y": 0}
    assert found.known.to_dict() == {"x": 3, "y": 3}  # 41-50, 101-110, 155-200
    assert found.jaccard.x == 6 / (20 + 66 - 6) and found.precision.y == found.recall.y == 0
    space = Space(genome, np.array([1]), np.array([0]), np.array([100]))
    empty = compare_elements(frame[:0], ["x"], space.known(["b:1-50"]))
    assert empty.elements[0] == 0 and np.isnan(empty.precision[0]) and empty.recall[0] == 0 and empty.p[0] == 1
    for elements, options, message in (
        ("b:51-100", {"regions": regions}, "b:51-100 is not in the regions"),
        ("b:1,190-1,202", {}, "reaches beyond its contig, which has 1201"),
        ("y:1-2", {}, "no contig 'y'"),
        ("b:1-9", {"permutations": 0}, "permutations: expected 1"),
        ("b:1-9", {"seed": -1}, "seed: expected 0"),
    ):
        with pytest.raises(InputError, match=message):
            regzoo.overlap(elements, known, genome, **options)
