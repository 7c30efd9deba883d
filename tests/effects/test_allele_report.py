"""`regzoo.alleles` against scores and motif matches computed one by one, and what it does with tables people have."""

import numpy as np
import pandas as pd
import pysam
import pytest
import torch
from scipy.stats import false_discovery_control
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.effects.allele_report import read_variants
from regzoo.effects.motif_changes import motif_changes
from regzoo.errors import InputError
from regzoo.sequence import decode
from tests.conftest import FASTA, MODEL, VCF, full_pass

AP1 = """MEME version 4

ALPHABET= ACGT

strands: + -

MOTIF AP1
letter-probability matrix: alength= 4 w= 9 nsites= 20
 0.97 0.01 0.01 0.01
 0.01 0.01 0.01 0.97
 0.01 0.01 0.97 0.01
 0.97 0.01 0.01 0.01
 0.01 0.49 0.49 0.01
 0.01 0.01 0.01 0.97
 0.01 0.97 0.01 0.01
 0.97 0.01 0.01 0.01
 0.01 0.01 0.01 0.97
"""


@pytest.fixture(scope="module")
def model():
    return regzoo.load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def genome():
    return regzoo.Genome(FASTA)


@pytest.fixture(scope="module")
def made(model, genome):
    return regzoo.background(model, genome, count=300, scores=["diff"])


@pytest.fixture(scope="module")
def meme(tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "ap1.meme"
    path.write_text(AP1)
    return path


@pytest.fixture(scope="module")
def table(model, genome, made, meme):
    return regzoo.alleles(model, VCF, genome, background=made, motifs=meme)


def test_values_are_the_largest_over_shifted_windows(table, model, genome):
    step, given = 101 // 4, read_variants(VCF)
    for row in table[(table.target == "tf3") & (table.status == "scored")].iloc[::7].itertuples():
        contig = genome.codes(row.chrom)
        start = row.pos - 1
        sides = {"value_ref": [], "value_alt": []}
        for offset in (-step, 0, step):
            first = start - (101 // 2 - 1) + offset
            changed = np.concatenate(
                [contig[:start], [("ACGT").index(b) for b in row.alt], contig[start + len(row.ref) :]]
            )
            sides["value_ref"].append(contig[first : first + 101])
            sides["value_alt"].append(changed[first : first + 101])
        for side, windows in sides.items():
            expected = full_pass(model, np.stack(windows).astype(np.uint8))[:, 3].max()
            assert getattr(row, side) == pytest.approx(expected, abs=2e-6)
    assert len(given) == table.drop_duplicates(["record", "alt"]).shape[0]


def test_calls_percentiles_and_order(table, made, model, genome):
    scored = table[table.status == "scored"]
    for row in scored.itertuples():
        before, after = row.value_ref >= 0.5, row.value_alt >= 0.5
        assert row.call == {(0, 1): "gain", (1, 0): "loss", (1, 1): "class", (0, 0): "none"}[before, after]
    plain = regzoo.score_variants(model, VCF, genome, scores=["diff"], targets=["tf3"])
    ours = scored[scored.target == "tf3"].sort_values("record")
    np.testing.assert_allclose(ours["diff"], plain[plain.status == "scored"]["diff:tf3"], atol=1e-6)
    np.testing.assert_allclose(ours.percentile, made.percentile("diff", "tf3", ours["diff"]))
    np.testing.assert_allclose(scored.q, false_discovery_control(scored.p))
    assert (np.diff(scored.percentile) <= 1e-6).all() and list(table["rank"]) == list(range(1, len(table) + 1))
    assert (table.status[len(scored) :] != "scored").all()


def test_words_say_what_the_names_of_the_example_say(model, genome, meme, made):
    best = regzoo.alleles(model, VCF, genome, targets=["tf3"], background=made, motifs=meme, best=True)
    broken = best[best.id.str.startswith("breaks_ap1") & (best.status == "scored")]
    assert len(broken) and broken.effect.str.contains("loses tf3|lowers tf3").any()
    assert broken.motif.str.startswith("breaks AP1").mean() > 0.7
    made_ = best[best.id.str.startswith("makes_ap1") & (best.status == "scored")]
    assert (
        made_.effect.str.contains("gains tf3|raises tf3").any() and made_.motif.str.startswith("makes AP1").mean() > 0.7
    )
    assert not best.duplicated(["record", "ref", "alt"]).any()


def test_motif_scans_keep_torchs_threads(genome, meme):
    table = pd.DataFrame({"chrom": ["chr1"], "pos": [1601], "ref": ["T"], "alt": ["C"], "known": [True]})
    assert torch.get_num_threads() == 1
    motif_changes(table, genome, meme)
    assert torch.get_num_threads() == 1


def test_a_motif_is_found_on_either_strand(genome, meme, tmp_path):
    fasta = tmp_path / "g.fa"
    fasta.write_text(">c\n" + "C" * 40 + "ATGAGTCAT" + "C" * 40 + "ATGACTCAT" + "C" * 40 + "\n")
    other = regzoo.Genome(fasta)
    rows = pd.DataFrame(
        {"chrom": "c", "pos": [44, 92, 20], "ref": ["A", "G", "C"], "alt": ["C", "T", "G"], "known": True}
    )
    assert decode(other.codes("c")[np.array([43, 91, 19])]) == "AGC"
    texts = motif_changes(rows, other, meme)
    assert texts[0].startswith("breaks AP1 (p 8e-06 → ") and texts[1].startswith("breaks AP1") and texts[2] == ""
    reverse = rows.assign(ref=rows.alt, alt=rows.ref)
    assert motif_changes(reverse, other, meme)[0].startswith("makes AP1")


def test_swapped_and_flipped_alleles_are_said_and_put_right(model, genome, caplog):
    codes = genome.codes("chr1")
    flip = str.maketrans("ACGT", "TGCA")
    place = next(i for i in range(2000, 3000) if decode(codes[i : i + 1]) == "A") + 1
    right = pd.DataFrame({"chrom": ["chr1"], "pos": [place], "ref": ["A"], "alt": ["G"]})
    wrong = {
        "swapped": ("G", "A"),
        "flipped": ("A".translate(flip), "G".translate(flip)),
        "flipped and swapped": ("G".translate(flip), "A".translate(flip)),
    }
    expected = regzoo.alleles(model, right, genome, targets=["tf3"]).iloc[0]
    assert expected.orientation == ""
    for kind, (ref, alt) in wrong.items():
        given = right.assign(ref=ref, alt=alt)
        kept = regzoo.alleles(model, given, genome, targets=["tf3"]).iloc[0]
        assert kept.orientation == kind and kept.status == "REF differs from the FASTA" and kept.ref == ref
        assert f"1 of 1 alleles: {kind}" in caplog.text
        fixed = regzoo.alleles(model, given, genome, targets=["tf3"], orientation="fix").iloc[0]
        assert (fixed.orientation, fixed.ref, fixed.alt) == (f"{kind} (fixed)", "A", "G")
        assert fixed["diff"] == expected["diff"]
    neither = regzoo.alleles(model, right.assign(ref="C", alt="G"), genome, orientation="fix").iloc[0]
    assert neither.orientation == "neither allele is the genome's" and neither.status == "REF differs from the FASTA"


def test_posteriors_rank_a_credible_set(model, genome, made, tmp_path):
    given = read_variants(VCF)
    given = (
        given[given.known][["chrom", "pos", "id", "ref", "alt"]].head(6).assign(PP=[0.9, 0.02, 0.01, 0.03, 0.02, 0.02])
    )
    given.to_csv(tmp_path / "set.tsv", sep="\t", index=False)
    table = regzoo.alleles(model, tmp_path / "set.tsv", genome, background=made, pip="PP", best=True)
    product = table.pip * table.percentile
    assert (np.diff(product) <= 1e-9).all() and set(table.pip) == set(given.PP)
    given.rename(columns={"PP": "pip"})[["id", "pip"]].to_csv(tmp_path / "pip.csv", index=False)
    by_file = regzoo.alleles(
        model, given.drop(columns="PP"), genome, background=made, pip=str(tmp_path / "pip.csv"), best=True
    )
    pd.testing.assert_frame_equal(by_file, table)
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    lines += [
        "\t".join([r.chrom, str(r.pos), r.id, r.ref, r.alt, ".", ".", f"X=1;PIP={r.PP}"]) for r in given.itertuples()
    ]
    (tmp_path / "set.vcf").write_text("\n".join(lines) + "\n")
    by_info = regzoo.alleles(model, tmp_path / "set.vcf", genome, background=made, pip="INFO:PIP", best=True)
    pd.testing.assert_frame_equal(by_info, table)


def test_the_command_writes_the_same_table(table, made, meme, tmp_path):
    made.save(tmp_path / "b.safetensors")
    done = CliRunner().invoke(
        app,
        [
            "alleles",
            str(VCF),
            "-f",
            str(FASTA),
            "-m",
            MODEL,
            "--background",
            str(tmp_path / "b.safetensors"),
            "--motifs",
            str(meme),
            "-q",
            "--device",
            "cpu",
            "-o",
            str(tmp_path / "o.tsv"),
        ],
    )
    assert done.exit_code == 0 and "alleles" in done.stderr
    written = pd.read_csv(tmp_path / "o.tsv", sep="\t", keep_default_na=False, na_values=[""])
    assert list(written) == list(table)
    np.testing.assert_allclose(written.percentile, table.percentile, rtol=1e-4)  # float32 rounding of the scores
    assert list(written.effect.fillna("")) == list(table.effect)


def test_models_of_values_have_no_calls(genome):
    table = regzoo.alleles(
        "MotifResNet/utr3-mpra", ["chr1:2000:" + decode(genome.codes("chr1")[1999:2000]) + ":N"], genome
    )
    assert set(table.call) == {""}
    base = decode(genome.codes("chr1")[1999:2000])
    table = regzoo.alleles("MotifResNet/utr3-mpra", [f"chr1:2000:{base}:{'A' if base != 'A' else 'C'}"], genome)
    assert set(table.call) == {""} and table.effect.str.contains("raises|lowers|little").all()


BAD = {
    "threshold": ({"threshold": 1.5}, "threshold must lie between 0 and 1"),
    "step": ({"step": -1}, "step must not be negative"),
    "orientation": ({"orientation": "guess"}, "no treatment of orientation 'guess'"),
    "pip": ({"pip": "nothing.tsv"}, "nothing.tsv: no such table"),
    "pip of a key": ({"pip": "INFO:NONE"}, "no variant has a value"),
    "motifs": ({"motifs": "nothing.meme"}, "nothing.meme: no such MEME file"),
    "background": ({"background": "nothing.safetensors"}, "nothing.safetensors: not a background file"),
    "target": ({"targets": ["tf9"]}, "no target 'tf9'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_refused(kind, model, genome):
    options, message = BAD[kind]
    with pytest.raises(InputError, match=message):
        regzoo.alleles(model, VCF, genome, **options)


def test_bad_tables_are_named(model, genome, tmp_path):
    (tmp_path / "x.meme").write_text("not a motif\n")
    with pytest.raises(InputError, match="x.meme: no"):
        regzoo.alleles(model, VCF, genome, motifs=tmp_path / "x.meme")
    pd.DataFrame({"id": ["a"], "x": [1]}).to_csv(tmp_path / "p.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="p.tsv: expected columns pip and id"):
        regzoo.alleles(model, VCF, genome, pip=str(tmp_path / "p.tsv"))
    first = read_variants(VCF).iloc[0]
    pd.DataFrame({"id": [first.id], "pip": [1.5]}).to_csv(tmp_path / "p.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="1.5, which is not a probability"):
        regzoo.alleles(model, VCF, genome, pip=str(tmp_path / "p.tsv"))
    for values, message in (
        ([0.1, 0.2], f"{first.id} has several values of pip"),
        (["0.1", "high"], "expected numbers"),
    ):
        pd.DataFrame({"id": [first.id] * 2, "pip": values}).to_csv(tmp_path / "p.tsv", sep="\t", index=False)
        with pytest.raises(InputError, match=f"p.tsv: .*{message}"):
            regzoo.alleles(model, VCF, genome, pip=str(tmp_path / "p.tsv"))
    with pytest.raises(InputError, match="column 'PP': expected numbers"):
        regzoo.alleles(model, read_variants(VCF).assign(PP="high"), genome, pip="PP")
    with (
        pysam.VariantFile(str(VCF)) as source,
        pysam.VariantFile(str(tmp_path / "x.bcf"), "wb", header=source.header) as out,
    ):
        for record in source:
            out.write(record)
    with pytest.raises(InputError, match="x.bcf: INFO:PIP is read from VCF; convert BCF"):
        regzoo.alleles(model, tmp_path / "x.bcf", genome, pip="INFO:PIP")
