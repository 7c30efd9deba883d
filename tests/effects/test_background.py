"""Background distributions: percentiles against counting, and random variants against the rates they are drawn by."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy.stats import chisquare

import regzoo
from regzoo.effects import background as module
from regzoo.effects.background import Background, background, of_model, random_variants, sketch
from regzoo.effects.element_distance import EDGES, Elements, quotas
from regzoo.errors import InputError, ModelError
from regzoo.sequence import Genome, decode
from regzoo.zoo import read_targets
from tests.conftest import FASTA, MODEL, ROOT, VCF


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("g") / "g.fa"
    letters = "".join(rng.choice(list("ACGTN"), 30_000, p=[0.3, 0.19, 0.2, 0.3, 0.01]))
    path.write_text(f">one\n{letters[:20_000]}\n>two\n{letters[20_000:]}\n")
    return Genome(path)


def test_percentiles_and_p_values_equal_counting():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, (5000, 2)) * [1, 3]
    table = pd.DataFrame({"diff:a": scores[:, 0], "diff:b": scores[:, 1], "status": "scored"})
    found = sketch(table, ["a", "b"], {})
    values = np.concatenate([rng.normal(0, 2, 500), [0, 100, np.nan]])
    for i, target in enumerate("ab"):
        size = np.abs(scores[:, i])
        counted = np.array([100 * (size < abs(v)).mean() for v in values[:-1]])
        got = found.percentile("diff", target, values)
        assert np.abs(got[:-1] - counted).max() < 0.2 and np.isnan(got[-1])
        tail = counted > 99
        assert np.abs(got[:-1] - counted)[tail].max() < 0.03  # quantiles are dense where they matter
        assert (got[-3], got[-2]) == (0, 100)
        p = found.p_value("diff", target, values)
        counted_p = np.array([(1 + (size >= abs(v)).sum()) / 5001 for v in values[:-1]])
        assert np.abs(p[:-1] - counted_p).max() < 0.002
        assert p[-2] == pytest.approx(1 / 5001)


def test_scores_of_the_background_itself_have_uniform_percentiles(genome):
    model = regzoo.load_model(MODEL, device="cpu")
    found = background(model, genome, count=400, scores=["diff"])
    assert found.count == 400 and found.targets == model.targets and found.about["spectrum"] == "human"
    table = regzoo.score_variants(model, random_variants(genome, 400), genome, scores=["diff"])
    ranks = found.percentile("diff", "tf3", table["diff:tf3"])
    assert np.abs(np.sort(ranks) - np.linspace(0, 100, 400)).max() < 1


def test_random_variants_follow_the_rates_and_the_reference(genome):
    drawn = random_variants(genome, 40_000, seed=1)
    joined = {name: decode(genome.codes(name)) for name in genome.contigs}
    letters = [joined[c][p - 2 : p + 1] for c, p in zip(drawn.chrom, drawn.pos)]
    assert [text[1] for text in letters] == list(drawn.ref) and (drawn.ref != drawn.alt).all()
    assert not any("N" in text for text in letters)
    table = pd.read_csv(module.Path(module.__file__).with_name("data") / "spectrum.tsv", sep="\t", comment="#")
    rates = {(row.context, row.alt): row.variants / row.occurrences for row in table.itertuples()}
    flip = str.maketrans("ACGT", "TGCA")
    rates |= {(context.translate(flip)[::-1], alt.translate(flip)): rate for (context, alt), rate in rates.items()}
    everywhere = [text[i : i + 3] for text in joined.values() for i in range(len(text) - 2)]
    expected = pd.Series({key: rate * everywhere.count(key[0]) for key, rate in rates.items()})
    counts = pd.Series(list(zip(letters, drawn.alt))).value_counts().reindex(expected.index, fill_value=0)
    assert chisquare(counts, expected / expected.sum() * len(drawn)).pvalue > 1e-3
    assert drawn.equals(random_variants(genome, 40_000, seed=1)) and not drawn.equals(random_variants(genome, 40_000))


def test_regions_and_matched_spectra(genome):
    inside = random_variants(genome, 500, regions=["two:101-300"], spectrum="uniform")
    assert set(inside.chrom) == {"two"} and inside.pos.between(101, 300).all()
    assert abs((inside.ref + inside.alt).isin(["AG", "GA", "CT", "TC"]).mean() - 1 / 3) < 0.1
    sequence = decode(genome.codes("one"))
    cpg = [f"one:{i + 1}:C:T" for i in range(1, 5000) if sequence[i : i + 2] == "CG" and sequence[i - 1] in "AT"]
    matched = random_variants(genome, 300, spectrum=cpg)
    assert set(zip(matched.ref, matched.alt)) == {("C", "T")}
    for chrom, pos in zip(matched.chrom, matched.pos):
        text = decode(genome.codes(chrom)[pos - 2 : pos + 1])
        assert text[1:] == "CG" and text[0] in "AT"


def test_distances_to_elements_are_matched(genome):
    bed = pd.DataFrame({"chrom": ["one", "one", "absent"], "start": [5000, 5100, 0], "end": [5200, 5150, 9]})
    near = Elements(bed, genome)
    rng = np.random.default_rng(2)
    positions = rng.integers(0, 20_000, 300)
    inside = range(5000, 5200)
    expected = [0 if p in inside else min(abs(p - 5000), abs(p - 5199)) for p in positions]
    np.testing.assert_array_equal(near.distance(np.zeros(300, dtype=int), positions), expected)
    assert (near.bins(np.ones(5, dtype=int), positions[:5]) == len(EDGES)).all()  # no element on this contig
    sequence = decode(genome.codes("one"))
    at = [p for p in [5010, 5020, 5030, 5060, 5210, 5250, 7000, 15000] if sequence[p] != "N"]
    given = [f"one:{p + 1}:{sequence[p]}:{'A' if sequence[p] != 'A' else 'C'}" for p in at]
    drawn = random_variants(genome, 400, spectrum=given, elements=bed)
    numbers = drawn.chrom.map({"one": 0, "two": 1}).to_numpy()
    wanted = quotas(near.bins(np.zeros(len(at), dtype=int), np.array(at)), 400)
    found = np.bincount(near.bins(numbers, drawn.pos.to_numpy() - 1), minlength=len(wanted))
    np.testing.assert_array_equal(found, wanted)
    assert wanted.sum() == 400 and wanted[0] == 200

    def kinds(table):
        """Distance, context and alternate of variants of both contigs."""
        texts = {name: decode(genome.codes(name)) for name in genome.contigs}
        places = near.bins(table.chrom.map({"one": 0, "two": 1}).to_numpy(), table.pos.to_numpy() - 1)
        contexts = [texts[c][p - 2 : p + 1] for c, p in zip(table.chrom, table.pos)]
        return pd.Series(list(zip(places, contexts, table.alt))).value_counts()

    many = random_variants(genome, 300, seed=3)
    drawn = random_variants(genome, 900, spectrum=many, elements=bed)
    assert (kinds(drawn) == 3 * kinds(many).reindex(kinds(drawn).index)).all()
    with pytest.raises(InputError, match="give the variants as the spectrum, in place of 'human'"):
        random_variants(genome, 10, elements=bed)
    with pytest.raises(InputError, match="no element lies on a contig"):
        random_variants(genome, 10, spectrum=given, elements=["absent:1-10"])


def test_the_p_value_of_deepsea_effects_is_named_e_value(genome):
    model = regzoo.load_model(MODEL, device="cpu")
    made = background(model, genome, count=150, scores=["deepsea_effect"])
    options = {"scores": ["deepsea_effect"], "targets": ["tf0"], "percentile": True, "background": made}
    table = regzoo.score_variants(model, VCF, FASTA, **options).query("status == 'scored'")
    expected = made.p_value("deepsea_effect", "tf0", table["deepsea_effect:tf0"])
    np.testing.assert_allclose(table["deepsea_effect_evalue:tf0"], expected, rtol=1e-5)
    assert "deepsea_effect_p:tf0" not in table


def test_files(tmp_path, genome):
    made = background(
        MODEL, genome, count=150, scores=["diff", "logit"], output=tmp_path / "b.safetensors", device="cpu"
    )
    read = Background.load(tmp_path / "b.safetensors")
    assert (read.targets, read.count, read.about) == (made.targets, made.count, made.about)
    for name, table in made.quantiles.items():
        np.testing.assert_array_equal(read.quantiles[name], table)
    wide = sketch(
        pd.DataFrame(np.ones((200, 3000)), columns=[f"diff:t{i}" for i in range(3000)]),
        [f"t{i}" for i in range(3000)],
        {},
    )
    assert wide.levels.shape == (33,) and (tmp_path / "b.safetensors").stat().st_size < 100_000
    save_file({"levels": np.ones(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    for name in ("other", "text", "missing"):
        with pytest.raises(InputError, match=f"{name}.safetensors: not a background"):
            Background.load(tmp_path / f"{name}.safetensors")


SHIPPED = sorted(path.parent for path in (ROOT / "models").glob("*/*/background.safetensors"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def test_shipped_backgrounds_belong_to_their_models(folder):
    """Of 10,000 variants each, with rising quantiles for each target."""
    name = "/".join(folder.parts[-2:])
    found = of_model(name)
    assert found.targets == read_targets(folder / "targets.txt") and found.count >= 9_900
    assert found.about["model"] == name and "diff" in found.quantiles
    assert (folder / "background.safetensors").stat().st_size < 100_000
    for table in found.quantiles.values():
        assert np.isfinite(table).all() and (np.diff(table, axis=1) >= 0).all() and (table[:, -1] > 0).all()


def test_there_are_shipped_backgrounds():
    assert ROOT / "models" / MODEL in SHIPPED


def test_what_is_refused(tmp_path, genome, language_model):
    with pytest.raises(InputError, match="no spectrum 'mouse'"):
        random_variants(genome, 10, spectrum="mouse")
    with pytest.raises(InputError, match="count: expected 1 or more"):
        random_variants(genome, 0)
    with pytest.raises(InputError, match="no interval lies on the genome"):
        random_variants(genome, 10, regions=["two:15,000-15,010"])
    with pytest.raises(InputError, match="no contig 'three'"):
        random_variants(genome, 10, regions=["three:1-10"])
    with pytest.raises(InputError, match="at least 100 scored variants, and 1 were"):
        background(MODEL, FASTA, variants=["chr1:1602:C:A"])
    with pytest.raises(InputError, match="written as .safetensors"):
        background(MODEL, genome, output=tmp_path / "b.npz")
    with pytest.raises(ModelError, match="no background distribution comes with this model"):
        of_model(language_model)
    found = sketch(pd.DataFrame({"diff:a": np.arange(5.0)}), ["a"], {})
    for arguments, message in ((("logit", "a", [1]), "no score"), (("diff", "b", [1]), "no target")):
        with pytest.raises(InputError, match=message):
            found.percentile(*arguments)
    (tmp_path / "n.fa").write_text(">n\n" + "N" * 500 + "\n")
    module._MOST_DRAWS, most = 1 << 17, module._MOST_DRAWS
    try:
        with pytest.raises(InputError, match="only 0 of 10 variants"):
            random_variants(tmp_path / "n.fa", 10)
    finally:
        module._MOST_DRAWS = most


def test_scores_come_with_percentiles_in_every_output(genome, tmp_path):
    """Tables and VCF hold the background's own percentiles; other scores are as without."""
    model = regzoo.load_model(MODEL, device="cpu")
    made = background(model, genome, count=150, scores=["diff"])
    other = background(model, genome, count=150, scores=["diff"], seed=1)
    options = {"scores": ["diff", "ref"], "targets": ["tf3", "tf0"], "percentile": True}
    table = regzoo.score_variants(model, VCF, FASTA, background=made, **options)
    assert [c for c in table if ":" in c] == [
        f"{name}:{target}" for name in ("diff", "diff_percentile", "diff_p", "ref") for target in ("tf3", "tf0")
    ]
    scored = table[table.status == "scored"]
    for target in ("tf3", "tf0"):
        values = scored[f"diff:{target}"]
        np.testing.assert_allclose(
            scored[f"diff_percentile:{target}"], made.percentile("diff", target, values), rtol=1e-5
        )
        np.testing.assert_allclose(scored[f"diff_p:{target}"], made.p_value("diff", target, values), rtol=1e-5)
    plain = regzoo.score_variants(model, VCF, FASTA, scores=["diff", "ref"], targets=["tf3", "tf0"])
    pd.testing.assert_frame_equal(table[plain.columns], plain)
    made.save(tmp_path / "b.safetensors")
    one = dict(options, targets=["tf3"], scores=["diff"])
    regzoo.score_variants(model, VCF, FASTA, background=tmp_path / "b.safetensors", output=tmp_path / "o.vcf", **one)
    text = (tmp_path / "o.vcf").read_text()
    assert "ID=REGZOO_DIFF_PERCENTILE,Number=A,Type=Float" in text and "REGZOO_DIFF_P=" in text
    both = regzoo.score_variants(
        [model, "Basset/tf-human"], VCF, FASTA, background={MODEL: made, "Basset/tf-human": other}, **options
    )
    np.testing.assert_array_equal(both[f"{MODEL}:diff_percentile:tf3"], table["diff_percentile:tf3"])
    with pytest.raises(InputError, match="percentiles are those of targets, not of summaries"):
        regzoo.score_variants(model, VCF, FASTA, background=made, summaries=["absmax"], percentile=True)
    with pytest.raises(InputError, match="a background is used for percentiles only"):
        regzoo.score_variants(model, VCF, FASTA, background=made)
    with pytest.raises(InputError, match=f"background of {MODEL} has none of the scores ref; it has diff"):
        regzoo.score_variants(model, VCF, FASTA, background=made, percentile=True, scores=["ref"])
    with pytest.raises(InputError, match="of centred windows and the model's own strands"):
        regzoo.score_variants(model, VCF, FASTA, percentile=True, offsets=[-5, 5], background=None)
    with pytest.raises(ModelError, match="no background is given for Basset/tf-human"):
        regzoo.score_variants("Basset/tf-human", VCF, FASTA, background={MODEL: made}, percentile=True)


def test_printed_background_has_no_arrays():
    made = Background(np.linspace(0, 1, 801), {"diff": np.zeros((1, 801), np.float32)}, ["a"], 300, {"seed": 0})
    assert repr(made) == "Background(targets=['a'], count=300, about={'seed': 0})"
