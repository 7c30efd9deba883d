"""Choices of `regzoo score` that decide about numbers: repeated options, strand, reference, place in the window."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.effects.pipeline import score_variants
from regzoo.effects.windows import check_alleles, variant_offset
from regzoo.errors import InputError, RegzooError
from regzoo.sequence import Genome, decode, encode_many, read_alleles
from regzoo.sequence.alleles import STATUS_TEXTS
from regzoo.zoo import load_model
from tests.conftest import FASTA, MODEL, VCF, full_pass
from tests.effects.alleles import SCORED, make_alleles

HEADER = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
TARGETS = [f"diff:tf{i}" for i in range(5)]


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def stranded(model):
    """A model that reads one strand: the shipped one without the mean over strands in it."""
    module = copy.deepcopy(model.module)
    module.reverse_complement = False
    return dataclasses.replace(model, name="one/strand", module=module, stranded=True)


@pytest.fixture(scope="module")
def contig():
    return decode(Genome(FASTA).codes("chr1"))


def table_of(tmp_path, model, vcf=VCF, **options):
    score_variants(model, vcf, FASTA, output=tmp_path / "o.tsv", **options)
    return pd.read_csv(tmp_path / "o.tsv", sep="\t", keep_default_na=False, na_values=[""])


def write_vcf(tmp_path, rows):
    """Rows of (pos, ref, alt) or (pos, ref, alt, info)."""
    path = tmp_path / "in.vcf"
    lines = (f"chr1\t{p}\tv{p}\t{r}\t{a}\t.\t.\t{info[0] if info else '.'}\n" for p, r, a, *info in rows)
    path.write_text(HEADER + "".join(lines))
    return path


def substitution(contig, pos):
    """Reference and another base."""
    return contig[pos - 1], "AC"[contig[pos - 1] == "A"]


def test_what_is_given_twice_is_computed_once_under_its_own_name(tmp_path, model):
    once = table_of(tmp_path, model, scores=("diff", "logit"), targets=["tf0", "tf3"], offsets=(0, 5))
    twice = table_of(
        tmp_path, [model, model], scores=("diff", "diff", "logit"), targets=["tf0", "tf3", "tf0"], offsets=(0, 5, 5)
    )
    pd.testing.assert_frame_equal(once, twice)
    sums = [table_of(tmp_path, MODEL, summaries=s) for s in (("mean", "l2"), ("mean", "mean", "l2"))]
    pd.testing.assert_frame_equal(*sums)


def test_models_given_twice_keep_their_own_columns(tmp_path, model):
    other = "Basset/tf-human"
    alone = table_of(tmp_path, other, scores=("diff",))
    command = ["score", str(VCF), "-f", str(FASTA), "-o", str(tmp_path / "c.tsv"), "-q", "-s", "diff"]
    done = CliRunner().invoke(app, [*command, "-m", MODEL, "-m", MODEL, "-m", other], catch_exceptions=False)
    assert done.exit_code == 0
    both = pd.read_csv(tmp_path / "c.tsv", sep="\t")
    np.testing.assert_allclose(both[[f"{other}:{t}" for t in TARGETS]], alone[TARGETS], atol=1e-6)
    with pytest.raises(InputError, match=f"two models are named .{MODEL}."):
        table_of(tmp_path, [model, dataclasses.replace(model, targets=list("abcde"))])


def test_default_scores_follow_the_model(tmp_path, model, profile_model):
    assert len(table_of(tmp_path, model).columns) == 7 + 10
    assert list(table_of(tmp_path, profile_model).columns[7:]) == ["diff:a", "diff:b"]
    both = table_of(tmp_path, [model, load_model(profile_model, device="cpu")])
    assert [c.rpartition(":")[0] for c in both.columns[7:]] == (
        [f"{MODEL}:diff"] * 5 + [f"{MODEL}:logit"] * 5 + [f"{profile_model}:diff"] * 2
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_are_not_scores(value, tmp_path, model):
    broken = dataclasses.replace(model, module=copy.deepcopy(model.module))
    broken.module.activation = torch.nn.Identity()
    with torch.no_grad():
        list(broken.module.parameters())[-1][1] = value
    table = table_of(tmp_path, broken, scores=("alt",))
    assert set(table.status) == {"prediction is not a finite number"}
    assert table["alt:tf1"].isna().all() and table["alt:tf0"].notna().all()


def test_strict_takes_offsets_grids_and_deletions_into_account(tmp_path, model, contig):
    length = model.input_length
    end, before = len(contig), variant_offset(length)
    genome = Genome(FASTA)

    def problem(pos, ref_length=1, **options):
        allele = make_alleles(("chr1", pos, contig[pos - 1 : pos - 1 + ref_length], "N"))
        return STATUS_TEXTS[check_alleles(allele, genome, length, strict=True, **options)[0]]

    first, last = before + 1, end - length + before + 1  # the outermost positions whose windows are inside
    near = "too near a contig's end"
    assert [problem(p) for p in (first - 1, first, last, last + 1)] == [near, SCORED, SCORED, near]
    for offset in (-40, 25):
        moved = {"offsets": (0, offset)}
        low, high = max(first, first - offset), min(last, last - offset)
        assert [problem(p, **moved) for p in (low - 1, low, high, high + 1)] == [near, SCORED, SCORED, near]
    assert problem(last, 6) == near and problem(last - 5, 6) == SCORED
    gridded = {"grid": 16, "offsets": (-3,)}
    for pos in (first, first + 2, first + 3, first + 5):
        start = (pos - 1 - before - 3) // 16 * 16
        assert problem(pos, **gridded) == (near if start < 0 else SCORED)
    path = write_vcf(tmp_path, [(p, *substitution(contig, p)) for p in (first + 39, first + 40)])
    assert list(table_of(tmp_path, model, path, strict=True, offsets=(-40,)).status) == [near, SCORED]


def test_letters_of_rna_are_read(tmp_path, model, contig):
    pos = contig.index("T", 1000) + 1
    dna, rna = [(pos, "T", "A"), (pos, "T", "TGT")], [(pos, "u", "A"), (pos, "U", "UGU")]
    expected = table_of(tmp_path, model, write_vcf(tmp_path, dna))
    assert set(expected.status) == {SCORED}
    pd.testing.assert_frame_equal(table_of(tmp_path, model, write_vcf(tmp_path, rna)), expected)
    path = write_vcf(tmp_path, [(pos, "T", "<DUP>"), (pos, "T", "A,,C")])
    alleles = read_alleles(path)
    assert [(a, STATUS_TEXTS[s]) for a, s in zip(alleles.alt_texts().to_pylist(), alleles.status.tolist())] == [
        ("<DUP>", "symbolic allele"),
        ("A", SCORED),
        ("", "ALT has an empty entry"),
        ("C", SCORED),
    ]


def test_each_variant_is_scored_on_its_genes_strand(tmp_path, stranded, contig, caplog):
    at = [1000, 2000, 3000, 4000, 5000]
    info = ["STRAND=+", "STRAND=-1;X=1", "STRAND=?", ".", "STRAND=-"]
    path = write_vcf(tmp_path, [(p, *substitution(contig, p), i) for p, i in zip(at, info)])
    forward, reverse = (table_of(tmp_path, stranded, path, scores=("diff",), strands=s) for s in ("forward", "reverse"))
    assert not caplog.text
    default = table_of(tmp_path, stranded, path, scores=("diff",))
    assert caplog.text.count("one/strand reads one strand, and all variants are scored on the forward strand") == 1
    pd.testing.assert_frame_equal(default, forward)
    assert (forward[TARGETS] - reverse[TARGETS]).abs().to_numpy().max() > 1e-3

    def expected(strands):
        return [{"+": forward, "-": reverse}[s].loc[i, TARGETS].tolist() for i, s in enumerate(strands) if s]

    got = table_of(tmp_path, stranded, path, scores=("diff",), strands_from="INFO:STRAND")
    assert list(got.status) == [SCORED, SCORED, *["no strand in INFO STRAND"] * 2, SCORED]
    np.testing.assert_allclose(got[TARGETS].dropna(), expected(["+", "-", "", "", "-"]), atol=1e-6)

    genes = tmp_path / "genes.bed"
    genes.write_text(
        "1\t900\t1000\tg0\t0\t+\nchr1\t1999\t2001\tg1\t0\t-\nchr1\t2900\t3100\ta\t0\t+\nchr1\t2950\t3100\tb\t0\t-\n"
        "chr1\t3900\t3999\tc\t0\t+\nchr1\t4900\t5100\td\t0\t.\nchrZ\t1\t5\te\t0\t-\n"
    )
    got = table_of(tmp_path, stranded, path, scores=("diff",), strands_from=str(genes))
    none = "in no gene of known strand"
    assert list(got.status) == [SCORED, SCORED, "genes on both strands", none, none]
    np.testing.assert_allclose(got[TARGETS].dropna(), expected(["+", "-", "", "", ""]), atol=1e-6)
    genes.write_text("chr1\t900\t1000\n")
    with pytest.raises(InputError, match="genes.bed: no interval has a strand"):
        table_of(tmp_path, stranded, path, strands_from=str(genes))
    with pytest.raises(InputError, match="give either strands 'mean'"):
        table_of(tmp_path, stranded, path, strands="mean", strands_from=str(genes))


def test_a_ref_that_differs_can_take_the_fastas_place(tmp_path, model, contig):
    letters = "ACGT"
    rows = []
    for pos in (1500, 1500, 1503):  # two records of one place, and one whose window overlaps
        wrong = letters[(letters.index(contig[pos - 1]) + 1 + len(rows) % 2) % 4]
        rows.append((pos, wrong, letters[(letters.index(wrong) + 1) % 4]))
    rows += [(1500, *substitution(contig, 1500)), (1600, "A" + contig[1600:1602], "A"), (1700, "CCC", "G")]
    assert contig[1599] != "A" and contig[1699:1702] != "CCC"
    path = write_vcf(tmp_path, rows)
    reported = table_of(tmp_path, model, path, scores=("ref", "alt"))
    differs = "REF differs from the FASTA"
    assert list(reported.status) == [differs, differs, differs, SCORED, differs, differs]
    table = table_of(tmp_path, model, path, scores=("ref", "alt"), ref_mismatch="replace")
    assert set(table.status) == {SCORED}
    for row in table.itertuples(index=False):
        start = row.pos - 1 - variant_offset(model.input_length)
        sides = [
            (contig[: row.pos - 1] + letters + contig[row.pos - 1 + len(row.ref) :])[start : start + model.input_length]
            for letters in (row.ref, row.alt)
        ]
        np.testing.assert_allclose(row[7:12], full_pass(model, encode_many(sides))[0], atol=2e-6)
        np.testing.assert_allclose(row[12:17], full_pass(model, encode_many(sides))[1], atol=2e-6)
    with pytest.raises(InputError, match="no treatment of REF mismatches 'ignore'"):
        table_of(tmp_path, model, path, ref_mismatch="ignore")


@pytest.mark.parametrize(("anchor", "place"), [("veff", 49), ("veff2", 50)])
def test_the_anchor_is_where_the_variant_sits_in_its_window(anchor, place, tmp_path, stranded, contig):
    assert [variant_offset(length, anchor) for length in (101, 100)] == [place, 49]
    path = write_vcf(tmp_path, [(p, *substitution(contig, p)) for p in (800, 1300)])
    table = table_of(tmp_path, stranded, path, scores=("ref",), anchor=anchor, strands="forward")
    windows = [contig[pos - 1 - place : pos - 1 - place + 101] for pos in table.pos]
    np.testing.assert_allclose(table.iloc[:, 7:12], stranded.predict(encode_many(windows)), atol=2e-6)


SCORES = """
import numpy as np

def ratio(ref, alt):
    return alt / ref

def wrong_shape(ref, alt):
    return alt.sum()

def fails(ref, alt):
    raise KeyError("x")

number = 3
"""


def test_scores_by_functions_of_the_users_own(tmp_path, model, monkeypatch):
    (tmp_path / "own_scores_for_tests.py").write_text(SCORES)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "own_scores_for_tests.ratio"
    table = table_of(tmp_path, model, scores=("ref", "alt", name), targets=["tf1"])
    np.testing.assert_allclose(table[f"{name}:tf1"], table["alt:tf1"] / table["ref:tf1"], rtol=1e-5)
    for wrong, message in {
        "no_such_module.f": "cannot import it .No module named 'no_such_module'.*PYTHONPATH",
        "own_scores_for_tests.missing": "cannot import it .*no attribute 'missing'",
        "own_scores_for_tests.number": "is not a function",
        "own_scores_for_tests.wrong_shape": r"gave an array of shape \(\); \(alleles, targets\) is \(46, 5\)",
        "own_scores_for_tests.fails": r"the function failed \(KeyError: 'x'\)",
    }.items():
        with pytest.raises(InputError, match=message):
            table_of(tmp_path, model, scores=(wrong,))


def test_a_killed_worker_is_an_error_that_says_what_to_do(tmp_path, model, monkeypatch):
    (tmp_path / "kills_its_process.py").write_text("import os\ndef f(ref, alt): os._exit(9)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RegzooError, match="a worker process ended early.*give fewer --workers.*__main__"):
        table_of(tmp_path, MODEL, scores=("kills_its_process.f",), workers=2)
    assert [p.name for p in tmp_path.iterdir() if "kills" not in p.name and p.name != "__pycache__"] == []
