"""Motifs planted into sequences and networks are found; enrichment, alignment and marginal effects by brute force."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import fisher_exact, ttest_1samp
from torch import nn
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.effects.motif_changes import read_motifs
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.motif_finding.attended import enriched, high_attention, merged
from regzoo.motif_finding.marginal import as_matrix
from regzoo.motif_finding.modisco import modisco
from regzoo.motif_finding.motif import benjamini_hochberg
from regzoo.motif_finding.seqlets import find_seqlets
from regzoo.sequence import decode
from regzoo.sequence.codes import encode

PLANTED = {"one": "TGACTCAT", "two": "CCGGAAGTG"}
LENGTH = 60


def complement(text):
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


class Reader(nn.Module):
    """A network that counts exact matches of two words on either strand, smoothed by a sigmoid."""

    def __init__(self):
        super().__init__()
        width = max(map(len, PLANTED.values()))
        self.conv = nn.Conv1d(4, 4, width, bias=True)
        words = [text for word in PLANTED.values() for text in (word, complement(word))]
        with torch.no_grad():
            self.conv.weight.zero_()
            for i, word in enumerate(words):
                for j, base in enumerate(word):
                    self.conv.weight[i, "ACGT".index(base), j] = 1.0
                self.conv.bias[i] = 2.0 - len(word)
        self.relu = nn.ReLU()

    def forward(self, x):
        active = self.relu(self.conv(x)).amax(dim=2)
        return torch.stack([active[:, :2].sum(1), active[:, 2:].sum(1)], dim=1) - 1


@pytest.fixture(scope="module")
def model():
    return regzoo.Model.from_module(
        Reader(), LENGTH, list(PLANTED), "identity", name="reader", reverse_complement=False
    )


@pytest.fixture(scope="module")
def planted():
    """Sequences, and where the words are: (row, start, word, strand)."""
    rng = np.random.default_rng(3)
    texts, truth = [], []
    for row in range(120):
        text = "".join(rng.choice(list("ACGT"), LENGTH))
        name = "one" if row % 2 else "two"
        word, strand = PLANTED[name], "+-"[row % 3 == 0]
        start = int(rng.integers(12, 36))
        word = word if strand == "+" else complement(word)
        texts.append(text[:start] + word + text[start + len(word) :])
        truth.append((str(row), start, name, strand))
    return texts, truth


def test_planted_motifs_are_found_with_their_sites_and_strands(model, planted, tmp_path):
    texts, truth = planted
    outputs = [tmp_path / name for name in ("m.meme", "m.tsv", "m.bed", "m.svg")]
    found = regzoo.motifs(model, texts, min_sites=30, output=outputs)
    assert [one.target for one in found.motifs] == ["one", "two"]
    for one in found.motifs:
        word = PLANTED[one.target]
        assert word in (one.consensus, complement(one.consensus))
        turned = word != one.consensus
        expected = {(row, start, strand) for row, start, name, strand in truth if name == one.target}
        strands = one.sites.strand.map({"+": "-", "-": "+"}) if turned else one.sites.strand
        got = set(zip(one.sites.window, one.sites.start, strands))
        assert len(got) == len(one.sites) and len(expected & got) >= 0.97 * len(expected)
        for row, start, strand in got - expected:  # the network is active where all letters but one match by chance
            text = texts[int(row)][start : start + len(word)]
            assert sum(a == b for a, b in zip(text if strand == "+" else complement(text), word)) >= len(word) - 1
        assert (one.sites.end - one.sites.start == len(word)).all()
    known = read_motifs(outputs[0])
    assert list(known) == [one.name for one in found.motifs]
    np.testing.assert_allclose(known[found.motifs[0].name].T, found.motifs[0].pwm, atol=1e-6)
    assert pd.read_csv(outputs[1], sep="\t").sites.tolist() == [len(one.sites) for one in found.motifs]
    assert len(pd.read_csv(outputs[2], sep="\t", header=None)) == len(found.sites)
    assert outputs[3].read_text().startswith("<?xml")


@pytest.mark.slow
def test_modisco_finds_planted_motifs_with_their_sites_and_strands(monkeypatch):
    """TF-MoDISco on contributions of 1 in a word, and noise around it."""
    tfmodisco = pytest.importorskip("modiscolite.tfmodisco")
    rng, word = np.random.default_rng(4), encode(PLANTED["two"])
    codes = rng.integers(0, 4, (400, 100)).astype(np.uint8)
    hypothetical, truth = rng.normal(0, 0.05, (400, 100, 4)), set()
    for row in range(400):
        start, turned = int(rng.integers(25, 65)), row % 3 == 0
        codes[row, start : start + len(word)] = 3 - word[::-1] if turned else word
        places = np.arange(start, start + len(word))
        hypothetical[row, places] -= 0.3
        hypothetical[row, places, codes[row, places]] += 1.3
        truth.add((row, start, turned))
    sides, run = [], tfmodisco.TFMoDISco
    monkeypatch.setattr(tfmodisco, "TFMoDISco", lambda *args, **options: sides.extend(run(*args, **options)) or sides)
    (one,) = modisco(codes, hypothetical, min_sites=50)
    (pattern,) = sides[0]
    assert len(one.members) == len(pattern.seqlets)  # no seqlet of its pattern is lost
    assert len(one.counts) == len(word)
    found = one.counts.argmax(axis=1)
    turned = not (found == word).all()
    assert (3 - found[::-1] == word).all() if turned else True
    sites = {(seqlet.row, start, reverse != turned) for seqlet, start, reverse in one.members}
    assert len(sites) == len(one.members) and sites <= truth
    assert len(sites) >= 0.9 * len(truth)  # its filter of noise drops 22 of the 400 seqlets, which it finds all
    assert np.mean([seqlet.score for seqlet, _, _ in one.members]) == pytest.approx(len(word), rel=0.05)


def test_sizes_of_modisco_follow_the_length_of_the_windows(monkeypatch):
    """With TF-MoDISco's defaults, sites near the ends of a window of 100 bases would be discarded."""
    tfmodisco = pytest.importorskip("modiscolite.tfmodisco")
    given = []
    monkeypatch.setattr(tfmodisco, "TFMoDISco", lambda *args, **options: given.append(options) or (None, None))
    for length in (100, 399, 400):
        assert modisco(np.zeros((2, length), dtype=np.uint8), np.zeros((2, length, 4))) == []
    assert [options.get("trim_to_window_size") for options in given] == [20, 20, None]
    assert given[2] == {"final_min_cluster_size": 20}


def test_modisco_is_refused_where_it_does_not_fit(model, planted, monkeypatch):
    with pytest.raises(ModelError, match="MotifResNet/rbp reads one strand, but TF-MoDISco compares both"):
        regzoo.motifs("MotifResNet/rbp", ["ACGTA" * 20 + "C"] * 3, method="modisco")
    monkeypatch.setattr("regzoo.motif_finding.modisco.find_spec", lambda name: None)
    with pytest.raises(InputError, match="run: pip install 'modisco-lite>=3'"):
        regzoo.motifs(model, planted[0], method="modisco")


def test_filters_are_their_words(model, planted):
    found = regzoo.motifs(model, planted[0], method="filters", min_sites=20)
    words = [text for word in PLANTED.values() for text in (word, complement(word))]
    assert len(found) == 4
    for one in found.motifs:
        number = int(one.name.removeprefix("filter")) - 1
        assert one.consensus.startswith(words[number])
        for site in one.sites.itertuples():
            text = planted[0][int(site.window)][site.start : site.end]
            text = text if site.strand == "+" else complement(text)
            assert text.startswith(words[number])


def test_seqlets_are_the_spans_of_largest_sums():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.1, (50, 80))
    values[10, 20:30] += 2
    values[30, 70:78] += 2
    values[5, :] -= 3
    found = find_seqlets(values)
    assert {(one.row, one.start, one.end) for one in found[:2]} == {(10, 20, 30), (30, 70, 78)}
    assert all(one.score == pytest.approx(values[one.row, one.start : one.end].sum()) for one in found)
    covered = np.zeros(values.shape, dtype=int)
    for one in found:
        covered[one.row, one.start : one.end] += 1
    assert covered.max() == 1 and not covered[5].any()


def test_regions_of_high_attention_are_runs_above_mean_and_ten_times_the_minimum():
    scores = np.full(40, 0.01)
    scores[3:9], scores[20:23], scores[30:40], scores[33] = 0.5, 0.9, 0.4, 0.05
    assert high_attention(scores) == [(3, 9), (34, 40)]
    assert high_attention(np.linspace(1, 2, 30)) == []


def test_enriched_texts_by_fishers_exact_test():
    """The one-sided hypergeometric test is Fisher's."""
    word = "GATTACAG"
    positives = [f"AAAA{word}CCCC" if i < 18 else "ACGT" * 4 for i in range(24)]
    negatives = [f"TT{word}GGGGTT" if i < 3 else "TGCA" * 4 for i in range(30)]
    regions = [[(4, 12)] if i < 18 else [(0, 4)] for i in range(24)]
    p = [
        fisher_exact([[18, 6], [3, 27]], alternative="greater").pvalue,
        fisher_exact([[6, 18], [0, 30]], alternative="greater").pvalue,
    ]
    found = enriched(positives, negatives, regions)
    assert list(found) == [word]
    assert found[word][0] == pytest.approx(benjamini_hochberg(np.array(p))[0])
    assert found[word][1] == [(i, 4, 12) for i in range(18)]


def test_similar_texts_are_joined_where_they_align():
    found = {"GATTACA": (1e-4, [(0, 10, 17)]), "CGATTACAG": (1e-6, [(1, 4, 13)]), "TTTTTTTT": (1e-3, [(2, 0, 8)])}
    groups = merged(found)
    assert groups == [(1e-6, [(0, 13), (1, 8)]), (1e-3, [(2, 4)])]


def test_marginal_effects_equal_predictions_one_by_one(model):
    table = regzoo.marginalise(model, "TGACTCAT", count=20, seed=5)
    rng = np.random.default_rng(5)
    before = rng.integers(0, 4, (20, LENGTH)).astype(np.uint8)
    texts = [decode(row) for row in before]
    after = [text[:26] + "TGACTCAT" + text[34:] for text in texts]
    change = model.predict(after) - model.predict(texts)
    np.testing.assert_allclose(table.effect, change.mean(axis=0), atol=1e-6)
    for column, row in enumerate(table.itertuples()):
        low, high = ttest_1samp(change[:, column].astype(float), 0).confidence_interval()
        assert (row.low, row.high) == pytest.approx((low, high), abs=1e-6)
    assert table.target.tolist() == ["one", "two"] and table.effect[0] > 0.9 > abs(table.effect[1])


def test_pairs_of_motifs_at_distances_and_orientations(model):
    table = regzoo.marginalise(model, PLANTED["one"], second=PLANTED["two"], distances=[0, 7], count=8, position=3)
    assert len(table) == 2 * 4 * 2
    texts = [decode(row) for row in np.random.default_rng(0).integers(0, 4, (8, LENGTH)).astype(np.uint8)]
    row = table[(table.distance == 7) & (table.orientation == "+-") & (table.target == "two")].iloc[0]
    other = complement(PLANTED["two"])

    def placed(text, *parts):
        for word, start in parts:
            text = text[:start] + word + text[start + len(word) :]
        return text

    parts = [(PLANTED["one"], 3), (other, 3 + 8 + 7)]
    base = model.predict(texts)
    both, first, second = (
        (model.predict([placed(text, *some) for text in texts]) - base)[:, 1].mean()
        for some in (parts, parts[:1], parts[1:])
    )
    assert (row.effect, row["first"], row.second) == pytest.approx((both, first, second), abs=1e-6)
    assert row.interaction == pytest.approx(both - first - second, abs=1e-6)


def test_motifs_are_drawn_from_their_matrix():
    np.testing.assert_array_equal(as_matrix("AN"), [[1, 0, 0, 0], [0.25] * 4])
    model = regzoo.load_model("EnhancerNet/promoter-core", device="cpu")
    table = regzoo.marginalise(model, "TATAWAAR", ["ACGTA" * 14], targets=["tata"], count=30, position=5)
    assert table.n.tolist() == [30] and table.effect[0] > 0


def test_motifs_of_attention(tmp_path, monkeypatch):
    """The sequences of a word are enriched where attention happens to lie on it; a made-up reader stands in."""
    rng = np.random.default_rng(1)
    word = "GATTACAGG"
    texts = ["".join(rng.choice(list("ACGT"), 30)) + word + "".join(rng.choice(list("ACGT"), 30)) for _ in range(30)]
    scores = np.full(69, 0.001)
    scores[30:39] = 0.1
    positives = enriched(texts, ["".join(rng.permutation(list(t))) for t in texts], [high_attention(scores)] * 30)
    assert list(positives) == [word]
    read = regzoo.attention("NT-mini/tf-human", texts)
    for one in read:
        one.contributions[:, 0] = scores
    monkeypatch.setattr("regzoo.motif_finding.find.attention", lambda *given, **options: read)
    found = regzoo.motifs("NT-mini/tf-human", texts, method="attention", min_sites=5, output=tmp_path / "a.bed")
    (one,) = found.motifs
    assert one.consensus[12 - 4 :][:9] == word and len(one.counts) == 24 and one.p < 1e-6
    assert one.sites.start.tolist() == [34 - 12] * 30 and one.sites.score.tolist() == pytest.approx([0.9 + 0.015] * 30)
    assert len((tmp_path / "a.bed").read_text().splitlines()) == 30


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, InputError, "magic"),
        ({"negatives": ["ACGT"]}, InputError, "negatives are for the method 'attention'"),
        ({"min_sites": 1}, InputError, "min_sites"),
        ({"method": "attention"}, ModelError, "not a language model"),
        ({"output": "x.csv"}, OutputError, "x.csv"),
        ({"database": "x.meme"}, InputError, "x.meme"),
        ({"targets": ["three"]}, InputError, "three"),
    ],
)
def test_what_is_refused(model, planted, options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        regzoo.motifs(model, planted[0][:5], **options)
    assert list(tmp_path.iterdir()) == []


def test_what_marginalise_refuses(model, tmp_path):
    (tmp_path / "x.meme").write_text("not motifs\n")
    for motif, options, message in (
        ("ACXT", {}, "'X' is not a base"),
        ("", {}, "empty"),
        ("A" * 61, {}, "does not fit into a window of 60"),
        ("ACGT", {"position": 58}, "at position 58"),
        ("ACGT", {"second": "ACGT"}, "`second` and `distances` together"),
        (np.ones((3, 4)), {}, r"expected probabilities of shape \(W, 4\)"),
        (f"{tmp_path}/x.meme:CTCF", {}, "x.meme"),
        ("ACGT", {"count": 1}, "count"),
    ):
        with pytest.raises(InputError, match=message):
            regzoo.marginalise(model, motif, **options)


def test_the_commands(tmp_path):
    made = tmp_path / "t.tsv"
    done = CliRunner().invoke(
        app, ["marginalise", "TGACTCA", "-m", "MotifResNet/tf-human", "--count", "10", "-t", "tf3"]
    )
    assert done.exit_code == 0 and "tf3" in done.output
    done = CliRunner().invoke(
        app, ["marginalise", "TGACTCA", "-m", "MotifResNet/tf-human", "--count", "10", "-o", str(made)]
    )
    assert done.exit_code == 0 and pd.read_csv(made, sep="\t").target.tolist() == [f"tf{i}" for i in range(5)]


@pytest.mark.slow
def test_known_motifs_are_matched(model, planted, tmp_path):
    """TOMTOM against a database of these words and random ones. Its functions take minutes to compile at first."""
    rng = np.random.default_rng(0)
    words = {**PLANTED, **{f"random{i}": "".join(rng.choice(list("ACGT"), 10)) for i in range(60)}}
    lines = ["MEME version 4", "", "ALPHABET= ACGT", ""]
    for name, word in words.items():
        lines += [f"MOTIF {name}", f"letter-probability matrix: alength= 4 w= {len(word)} nsites= 20 E= 0"]
        lines += [" ".join("0.97" if base == letter else "0.01" for base in "ACGT") for letter in word] + [""]
    (tmp_path / "db.meme").write_text("\n".join(lines))
    found = regzoo.motifs(model, planted[0], min_sites=30, database=tmp_path / "db.meme")
    table = found.to_frame()
    assert table.match.tolist() == table.target.tolist() and (table.match_q < 1e-2).all()
