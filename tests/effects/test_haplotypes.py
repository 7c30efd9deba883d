"""Phased alleles scored together, against windows cut and changed by hand."""

import numpy as np
import pandas as pd
import pytest

import regzoo
from regzoo.effects.haplotypes import OVERLAP
from regzoo.errors import InputError
from regzoo.sequence import decode, encode
from tests.conftest import FASTA, MODEL, full_pass

HEAD = "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tmother\tchild\n"
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}


@pytest.fixture(scope="module")
def model():
    return regzoo.load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def genome():
    return regzoo.Genome(FASTA)


def write_vcf(path, genome, rows):
    """Rows (pos, bases of REF, ALT or None for another base, genotype of the child)."""
    lines = []
    for number, (pos, size, alt, genotype) in enumerate(rows):
        ref = decode(genome.codes("chr1")[pos - 1 : pos - 1 + size])
        alt = OTHER[ref] if alt is None else ref[0] if alt == "deletion" else alt
        lines.append("\t".join(["chr1", str(pos), f"v{number}", ref, alt, ".", ".", ".", "GT:PS", "0|0:1", genotype]))
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def vcf(tmp_path_factory, genome):
    rows = [
        (2000, 1, None, "0|1:1"),
        (2010, 1, None, "0|1:1"),
        (2030, 3, "deletion", "1|0:1"),
        (2040, 1, None, "1/1:."),
        (2060, 1, None, "0/1:."),
        (2095, 1, None, "0|1:2"),
        (2300, 1, None, "0|1:2"),
        (2310, 1, "<DEL>", "0|1:2"),
    ]
    return write_vcf(tmp_path_factory.mktemp("v") / "phased.vcf", genome, rows)


@pytest.fixture(scope="module")
def table(model, genome, vcf):
    return regzoo.alleles(model, vcf, genome, targets=["tf3", "tf0"], phased=True, sample="child")


def test_which_alleles_are_taken_together(table):
    found = table[(table.kind == "haplotype") & (table.target == "tf3")].set_index("id")
    assert dict(found.haplotype) == {"v2;v3": "child|1", "v0;v1;v3": "child|2", "v3;v5": "child|2"}
    assert dict(found.phase_set) == {"v2;v3": "1", "v0;v1;v3": "1", "v3;v5": "2"}
    assert list(found.loc["v0;v1;v3"].members.split("+"))[0].startswith("2000:")
    alleles = table[table.kind == "allele"]
    assert set(alleles.haplotype) == {""} and alleles.drop_duplicates("id").shape[0] == 8
    assert found.effect.str.startswith(("haplotype of 2 alleles: ", "haplotype of 3 alleles: ")).all()


def test_windows_are_those_with_all_alleles_in_place(table, model, genome):
    for row in table[table.kind == "haplotype"].itertuples():
        codes = np.array(genome.codes("chr1"))
        letters = list(decode(codes))
        for member in reversed(row.members.split("+")):
            pos, ref, alt = member.split(":")
            at = int(pos) - 1
            assert "".join(letters[at : at + len(ref)]) == ref
            letters[at : at + len(ref)] = alt
        changed = encode("".join(letters))
        start = row.pos - 1 - (101 // 2 - 1) + (len(row.ref) - 1) // 2
        column = model.targets.index(row.target)
        values = {}
        reach = 40 - (len(row.ref) - 1) // 2
        for shift in [0, *(s for s in (-25, 25) if abs(s) <= reach)]:
            windows = np.stack([given[start + shift : start + shift + 101] for given in (codes, changed)])
            values[shift] = full_pass(model, windows)[:, column]
        assert row.diff == pytest.approx(values[0][1] - values[0][0], abs=2e-6)
        assert row.value_ref == pytest.approx(max(v[0] for v in values.values()), abs=2e-6)
        assert row.value_alt == pytest.approx(max(v[1] for v in values.values()), abs=2e-6)
        own = table[(table.kind == "allele") & (table.target == row.target) & table.id.isin(row.id.split(";"))]
        assert row.diff_of_members == pytest.approx(own["diff"].sum(), abs=1e-6)


def test_alleles_have_the_values_that_they_have_alone(table, model, genome, vcf):
    alone = regzoo.alleles(model, vcf, genome, targets=["tf3", "tf0"])
    assert "kind" not in alone
    ours = table[table.kind == "allele"].drop(columns=["rank", "q"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(ours[list(alone.columns.drop(["rank", "q"]))], alone.drop(columns=["rank", "q"]))


def test_both_homologues_and_the_best_target(model, genome, tmp_path, caplog):
    vcf = write_vcf(
        tmp_path / "h.vcf", genome, [(2000, 1, None, "1|1"), (2010, 1, None, "1/1"), (2020, 1, None, "0/1")]
    )
    found = regzoo.alleles(model, vcf, genome, phased=True, sample="child", best=True)
    (row,) = found[found.kind == "haplotype"].itertuples()
    assert (row.haplotype, row.phase_set, row.id) == ("child|1,2", ".", "v0;v1") and len(found) == 4
    assert "child: 1 heterozygous genotypes without phase are in no haplotype" in caplog.text


def test_overlapping_alleles_are_said(model, genome, tmp_path):
    vcf = write_vcf(tmp_path / "o.vcf", genome, [(2000, 4, "deletion", "0|1"), (2002, 1, None, "0|1")])
    found = regzoo.alleles(model, vcf, genome, targets=["tf3"], phased=True, sample="child")
    (row,) = found[found.kind == "haplotype"].itertuples()
    assert row.status == OVERLAP and np.isnan(row.diff) and row.call == ""


def test_changes_beside_each_other_do_not_overlap(model, genome, tmp_path):
    base = decode(genome.codes("chr1")[1999:2000])
    vcf = write_vcf(tmp_path / "b.vcf", genome, [(2000, 1, base + "TT", "0|1"), (2000, 1, OTHER[base], "0|1")])
    found = regzoo.alleles(model, vcf, genome, targets=["tf3"], phased=True, sample="child")
    (row,) = found[found.kind == "haplotype"].itertuples()
    assert (row.ref, row.alt, row.status) == (base, OTHER[base] + "TT", "scored")


def test_a_ref_that_is_not_the_genomes_is_said(model, genome, vcf, tmp_path):
    lines = vcf.read_text().split("\n")
    fields = lines[2].split("\t")
    fields[3], fields[4] = OTHER[fields[3]], fields[3]
    (tmp_path / "w.vcf").write_text("\n".join([*lines[:2], "\t".join(fields), *lines[3:]]))
    found = regzoo.alleles(model, tmp_path / "w.vcf", genome, targets=["tf3"], phased=True, sample="child")
    wrong = found[(found.kind == "haplotype") & found.id.str.startswith("v0")]
    assert list(wrong.status) == ["REF differs from the FASTA"]


BAD = {
    "no sample named": ({}, "name one of the 2 samples; it has mother, child"),
    "another sample": ({"sample": "father"}, "there is no sample 'father'"),
    "a sample without phase": ({"sample": "mother"}, "no genotype of mother is phased"),
    "corrected alleles": ({"sample": "child", "orientation": "fix"}, "genotypes refer to the alleles of the file"),
    "VCF": ({"sample": "child", "output": "x.vcf"}, "haplotypes have no record of their own in VCF"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_refused(kind, model, genome, vcf):
    options, message = BAD[kind]
    with pytest.raises(InputError, match=message):
        regzoo.alleles(model, vcf, genome, phased=True, **options)


def test_files_without_usable_genotypes(model, genome, vcf, tmp_path):
    text = vcf.read_text()
    (tmp_path / "s.vcf").write_text("\n".join("\t".join(line.split("\t")[:8]) for line in text.split("\n")))
    for genotype, message in (
        ("0|2:1", "record 1, sample child: GT '0|2': the record has 1 alternates"),
        ("x", "GT 'x'"),
    ):
        (tmp_path / "g.vcf").write_text(text.replace("0|1:1", genotype, 1))
        with pytest.raises(InputError, match=message.replace("|", r"\|")):
            regzoo.alleles(model, tmp_path / "g.vcf", genome, phased=True, sample="child")
    with pytest.raises(InputError, match="s.vcf: phased: the VCF has no sample"):
        regzoo.alleles(model, tmp_path / "s.vcf", genome, phased=True)
    with pytest.raises(InputError, match="expected a VCF or BCF file with genotypes"):
        regzoo.alleles(model, ["chr1:2000:A:C"], genome, phased=True)
    with pytest.raises(InputError, match="sample 'child' is that of haplotypes"):
        regzoo.alleles(model, vcf, genome, sample="child")
