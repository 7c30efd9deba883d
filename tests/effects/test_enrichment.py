"""`regzoo.enrich` against scipy, scikit-learn, and permutations that are all enumerated."""

from itertools import combinations, permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.effects.allele_report import read_variants
from regzoo.effects.enrichment import _auroc_p, _contexts, _frequencies, _score_table, _within
from regzoo.errors import InputError, OutputError, RegzooError
from regzoo.sequence import decode
from tests.conftest import FASTA, MODEL, VCF

ALLELE = ["chrom", "pos", "ref", "alt"]
HEADER = (
    '##fileformat=VCFv4.2\n##INFO=<ID=AF,Number=A,Type=Float,Description="f">\n'
    '##INFO=<ID=AC,Number=A,Type=Integer,Description="c">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n'
)


@pytest.fixture(scope="module")
def genome():
    return regzoo.Genome(FASTA)


@pytest.fixture(scope="module")
def scores(genome):
    """200 single-base variants with two scores; the second is missing for the last ten alleles."""
    rng = np.random.default_rng(0)
    pos = np.sort(rng.choice(np.arange(1000, 20_000), 200, replace=False))
    ref = [decode(genome.codes("chr1")[p - 1 : p]) for p in pos]
    alt = ["ACGT"[("ACGT".index(base) + rng.integers(1, 4)) % 4] for base in ref]
    table = pd.DataFrame({"record": np.arange(200) + 1, "chrom": "chr1", "pos": pos, "ref": ref, "alt": alt})
    table["id"], table["status"] = ".", "scored"
    table["diff:a"] = rng.normal(0, 1, 200).round(1)  # with ties
    table["diff:b"] = rng.normal(0, 1, 200)
    table["diff_percentile:b"] = table["diff_p:b"] = 50.0
    table["diff:absmax_target"] = "b"
    table.loc[190:, "diff:b"] = np.nan
    return table


@pytest.fixture(scope="module")
def vcf(scores, tmp_path_factory):
    path = tmp_path_factory.mktemp("v") / "v.vcf"
    frequency = np.random.default_rng(1).random(200).round(2)
    lines = [
        f"{row.chrom}\t{row.pos}\t.\t{row.ref}\t{row.alt}\t.\t.\tAC=1;AF={frequency[i] if i != 7 else '.'}\n"
        for i, row in enumerate(scores.itertuples())
    ]
    path.write_text(HEADER + "".join(lines))
    return path


def test_labels_equal_scipy_and_scikit_learn(scores):
    chosen = scores.iloc[::6]
    absent = pd.DataFrame([["chr1", 5, "A", "T"]], columns=ALLELE)
    given = pd.concat([chosen[ALLELE], absent]).assign(chrom="1")
    found = regzoo.enrich(scores, given, top=0.1, permutations=200).set_index("score")
    assert list(found.index) == ["diff:a", "diff:b"]
    assert list(found.alleles) == [200, 190] and list(found.not_scored) == [0, 10]
    assert list(found.labelled) == [34, 32] and list(found.labels_not_scored) == [1, 3]
    truth = np.arange(200) % 6 == 0
    for name, row in found.iterrows():
        size = scores[name].abs().to_numpy()
        own, size = truth[~np.isnan(size)], size[~np.isnan(size)]
        top = size >= np.sort(size)[::-1][round(0.1 * len(size)) - 1]
        expected = fisher_exact([[(top & own).sum(), (top & ~own).sum()], [(~top & own).sum(), (~top & ~own).sum()]])
        assert (row.top, row.labelled_in_top) == (top.sum(), (top & own).sum())
        assert (row.odds_ratio, row.fisher_p) == pytest.approx((expected.statistic, expected.pvalue))
        assert row.auroc == pytest.approx(roc_auc_score(own, size))
        assert row.average_precision == pytest.approx(average_precision_score(own, size))
        assert row.auroc_low < row.auroc < row.auroc_high
    smaller, larger = sorted(found.p)
    assert sorted(found.q) == pytest.approx(sorted([min(2 * smaller, larger), larger]))


def test_the_p_value_of_labels_approaches_that_of_all_permutations():
    rng = np.random.default_rng(2)
    truth, sizes = np.array([True, True, True, False, False, False, False]), rng.random((7, 2))
    sizes[:3, 0] += 0.4
    for column, p in zip(sizes.T, _auroc_p(truth, sizes, 4000, 0)):
        far = abs(roc_auc_score(truth, column) - 0.5)
        drawn = [np.isin(range(7), chosen) for chosen in combinations(range(7), 3)]
        every = [abs(roc_auc_score(labels, column) - 0.5) >= far - 1e-9 for labels in drawn]
        assert p == pytest.approx(np.mean(every), abs=0.03)


def test_labels_that_are_the_largest_scores_are_found(scores):
    order = scores["diff:a"].abs().sort_values(ascending=False).index
    found = regzoo.enrich(scores, scores.loc[order[:40], ALLELE], top=0.05, permutations=99).iloc[0]
    assert found.auroc > 0.99 and found.p == 0.01 and found.odds_ratio == np.inf and found.labelled_in_top == found.top


def test_a_table_of_labels_may_have_controls(scores):
    given = scores[ALLELE].assign(label=(np.arange(200) % 6 == 0).astype(int))
    options = {"top": 0.1, "permutations": 20}
    expected = regzoo.enrich(scores, given[given.label == 1][ALLELE], **options)
    pd.testing.assert_frame_equal(regzoo.enrich(scores, given, **options), expected)


def test_rank_correlation_with_frequency_equals_scipy(scores, vcf, genome):
    found = regzoo.enrich(scores, frequency=vcf, genome=genome, permutations=50).set_index("score")
    frequency = _frequencies(vcf, "AF")
    assert len(frequency) == 199
    assert (
        list(found.alleles) == [199, 189] and list(found.no_frequency) == [1, 1] and list(found.not_scored) == [0, 10]
    )
    values = np.insert(frequency.to_numpy(), 7, np.nan)
    for name, row in found.iterrows():
        keep = ~np.isnan(values) & scores[name].notna()
        assert row.spearman == pytest.approx(spearmanr(scores[name].abs()[keep], values[keep]).statistic)
        assert row.spearman_low < row.spearman < row.spearman_high


def test_permutation_within_strata_equals_all_that_there_are():
    rng = np.random.default_rng(4)
    strata, sizes, values = np.array([1, 0, 1, 0, 0, 1, 2]), rng.random((7, 2)), rng.random(7)
    sizes[:, 0] += values
    within, p = _within(sizes, values, strata, 4000, 0)
    members = [np.flatnonzero(strata == i) for i in range(3)]
    for i in range(2):
        table = pd.DataFrame({"a": pd.Series(sizes[:, i]).rank(), "b": pd.Series(values).rank()})
        centred = table - table.groupby(strata).transform("mean")
        assert within[i] == pytest.approx(np.corrcoef(centred.a, centred.b)[0, 1])
        every = []
        for orders in product(*(permutations(part) for part in members)):
            drawn = centred.b.to_numpy().copy()
            for part, order in zip(members, orders):
                drawn[part] = centred.b.to_numpy()[list(order)]
            every.append(abs(np.corrcoef(centred.a, drawn)[0, 1]) >= abs(within[i]) - 1e-9)
        assert p[i] == pytest.approx(np.mean(every), abs=0.03)


def test_a_correlation_that_context_explains_is_not_significant():
    """Scores and frequencies that depend on the context alone: strongly correlated, but not within contexts."""
    rng = np.random.default_rng(5)
    strata = rng.integers(0, 4, 400)
    sizes, values = strata + rng.random(400), strata + rng.random(400)
    within, p = _within(sizes[:, None], values, strata, 200, 0)
    assert spearmanr(sizes, values).statistic > 0.8 and abs(within[0]) < 0.1 and p[0] > 0.05


def test_contexts_are_those_of_both_strands(scores, genome):
    table = _score_table(scores)
    numbers, letters = _contexts(table.index, genome), decode(genome.codes("chr1"))
    complement, texts = str.maketrans("ACGT", "TGCA"), []
    for _, pos, ref, alt in table.index:
        context = letters[pos - 2 : pos + 1]
        if ref in "GT":
            context, alt = context.translate(complement)[::-1], alt.translate(complement)
        texts.append(context + alt)
    pairs = set(zip(numbers, texts))
    assert len(pairs) == len(set(numbers)) == len(set(texts)) > 50
    indels = pd.MultiIndex.from_tuples([("1", 100, "A", "AT"), ("1", 100, "AT", "A"), ("1", 300, "C", "CG")])
    first, second, third = _contexts(indels.set_names(ALLELE), genome)
    assert first == third != second and not {first, second} & set(numbers)


def test_frequencies_of_alternates(tmp_path):
    path = tmp_path / "v.vcf"
    path.write_text(
        HEADER
        + "1\t5\t.\tA\tC,G\t.\t.\tAF=0.1,0.2\nchr1\t6\t.\tA\tC,G\t.\t.\tAF=0.7,0.1,.\nchr1\t7\t.\tA\tC,G\t.\t.\tAF=.\n"
        "1\t8\t.\tA\tC\t.\t.\tDP=4\n1\t5\t.\tA\tC\t.\t.\tAF=0.1\n"
    )
    assert _frequencies(path, "AF").to_dict() == {
        ("1", 5, "A", "C"): 0.1,
        ("1", 5, "A", "G"): 0.2,
        ("1", 6, "A", "C"): 0.1,
    }


def test_a_report_of_alleles_is_taken_in_every_form(tmp_path):
    given = [f"{row.chrom}:{row.pos}:{row.ref}:{row.alt}" for row in read_variants(VCF).itertuples()]
    variants = [*given[:24], "chr1:5:A:<DEL>", "chr9:5:A:C"]  # the last two are not scored
    wide = regzoo.score_variants(MODEL, variants, FASTA, scores=["diff"], targets=["tf0", "tf3"], device="cpu")
    expected = regzoo.enrich(wide, given[:24:4], permutations=20)
    assert list(expected.score) == ["diff:tf0", "diff:tf3"] and list(expected.not_scored) == [2, 2]
    report = regzoo.alleles(MODEL, variants, FASTA, targets=["tf0", "tf3"], step=0, device="cpu")
    report.to_parquet(tmp_path / "r.parquet")
    report.to_csv(tmp_path / "r.tsv", sep="\t", index=False)
    for table in (report, tmp_path / "r.parquet", str(tmp_path / "r.tsv")):
        found = regzoo.enrich(table, given[:24:4], permutations=20).set_index("score").loc[expected.score]
        pd.testing.assert_frame_equal(found.reset_index(), expected)
    ranked = report.sort_values("rank").drop_duplicates(["record", "ref", "alt"])  # as with `best`
    best = regzoo.enrich(ranked, given[:24:4], permutations=20)
    assert list(best.score) == ["percentile:best"] and (best.alleles[0], best.not_scored[0]) == (24, 2)


def test_the_command_writes_what_the_function_returns(scores, vcf, tmp_path):
    scores.to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    expected = regzoo.enrich(scores, frequency=vcf, genome=FASTA, permutations=30)
    arguments = ["enrich", f"{tmp_path}/s.tsv", "--frequency", str(vcf), "-f", str(FASTA), "--permutations", "30"]
    done = CliRunner().invoke(app, [*arguments, "-o", f"{tmp_path}/out.tsv"])
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.tsv", sep="\t"), expected, rtol=1e-5)
    assert CliRunner().invoke(app, arguments).stdout == (tmp_path / "out.tsv").read_text()
    with pytest.raises(OutputError, match="is the input"):
        regzoo.enrich(f"{tmp_path}/s.tsv", vcf, output=f"{tmp_path}/s.tsv")


def test_bad_input_is_said(scores, vcf, genome, tmp_path):
    labels, other = scores.iloc[::6][ALLELE], tmp_path / "other.vcf"
    other.write_text(HEADER + "chr1\t5\t.\tA\tC,G\t.\t.\tAF=0.1\n")
    away, once = tmp_path / "away.vcf", tmp_path / "once.vcf"
    away.write_text(HEADER + "chr9\t5\t.\tA\tC\t.\t.\tAF=0.1\n")
    once.write_text(HEADER + "".join(f"chr1\t5\t.\tA\tC\t.\t.\tAF={value}\n" for value in (0.1, 0.2)))
    frame = scores[[*ALLELE, "diff:a"]]
    swapped = frame.assign(ref=frame.alt, alt=frame.ref)
    with_frequency = {"frequency": vcf, "genome": genome}
    for given, options, message in (
        (frame, {}, "give either labels or frequency"),
        (frame, {"labels": labels, "frequency": vcf}, "give either labels or frequency"),
        (frame, {"frequency": vcf}, "needs a genome"),
        (frame, {"labels": labels, "top": 0}, "top: expected a fraction between 0 and 1"),
        (frame, {"labels": labels, "permutations": 0}, "permutations: expected 1 or more"),
        (frame, with_frequency | {"key": "AFF"}, "v.vcf: no record has a number in INFO 'AFF'; it has AF, AC"),
        (frame, with_frequency | {"key": "AC"}, "all 200 scored alleles have the same AC"),
        (
            frame,
            with_frequency | {"frequency": other},
            "other.vcf, record 1: INFO AF has 1 values; expected one for each",
        ),
        (frame, with_frequency | {"frequency": away}, "away.vcf: no scored allele has a value of AF"),
        (frame, with_frequency | {"frequency": once}, "once.vcf: 1:5 A>C occurs twice, with different values of AF"),
        (frame, {"labels": away}, "away.vcf: none of its 1 alleles is in the table of scores"),
        (frame, {"labels": pd.concat([labels, labels[:1]])}, "labels: chr1:.* occurs twice"),
        (frame, {"labels": labels.assign(label=2)}, "labels: chr1:.* has the label '2'; expected 0 or 1"),
        (frame, {"labels": frame[ALLELE]}, "no allele is a control"),
        (frame[ALLELE], {"labels": labels}, "scores: no score column"),
        (frame.drop(columns="ref"), {"labels": labels}, "scores: no column 'ref'"),
        (frame.assign(**{"diff:a": np.nan}), {"labels": labels}, "no allele has a score in the column 'diff:a'"),
        (frame.assign(pos="x"), {"labels": labels}, "pos is not a column of whole numbers"),
        (tmp_path / "s.csv", {"labels": labels}, "expected scores as a data frame or as a file .tsv"),
        (tmp_path / "s.tsv", {"labels": labels}, "s.tsv"),
        (swapped, with_frequency, "no scored allele has a value of AF"),
    ):
        with pytest.raises(RegzooError, match=message):
            regzoo.enrich(given, **options)
    index = _score_table(swapped).index
    with pytest.raises(InputError, match="most REF alleles are not its bases"):
        _contexts(index, genome)
