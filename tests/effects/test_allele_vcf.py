"""Allele reports as VCF and BCF, read back with cyvcf2."""

import re

import cyvcf2
import numpy as np
import pysam
import pytest
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.effects.allele_report import read_variants
from regzoo.errors import InputError
from tests.conftest import FASTA, MODEL, VCF

TARGETS = ["tf3", "tf0"]


@pytest.fixture(scope="module")
def model():
    return regzoo.load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def table(model):
    return regzoo.alleles(model, VCF, FASTA, targets=TARGETS)


def info_of(path):
    """INFO entries of each record as texts."""
    with pysam.BGZFile(str(path)) if str(path).endswith("gz") else open(path, "rb") as file:
        lines = [line.decode().rstrip("\n").split("\t") for line in file if not line.startswith(b"#")]
    return [dict(entry.partition("=")[::2] for entry in fields[7].split(";")) for fields in lines]


def test_every_value_is_in_its_record(table, model, tmp_path):
    out = tmp_path / "o.vcf"
    counts = regzoo.alleles(model, VCF, FASTA, targets=TARGETS, output=out)
    given = read_variants(VCF)
    assert sum(counts.values()) == len(given)
    by_key = {(row.record, row.alt, row.target): row for row in table.itertuples()}
    entries = info_of(out)
    for row in given.itertuples():
        info = entries[row.record - 1]
        for name in ("value_ref", "value_alt", "diff", "percentile", "p", "q"):
            values = info[f"REGZOO_{name.upper()}"].split(",")[row.alternate - 1].split("|")
            expected = [getattr(by_key.get((row.record, row.alt, target)), name, np.nan) for target in TARGETS]
            if values == ["."]:
                assert np.isnan(expected).all()
            else:
                np.testing.assert_allclose(np.array(values, dtype=float), expected, rtol=1e-6)
        first = by_key.get((row.record, row.alt, "tf3")) or by_key[row.record, row.alt, ""]
        assert info["REGZOO_STATUS"].split(",")[row.alternate - 1] == re.sub(r"[\s,]+", "_", first.status)
    described = [line for line in out.read_text().split("\n") if line.startswith("##INFO=<ID=REGZOO_DIFF,")]
    assert f"for {MODEL}:tf3|{MODEL}:tf0" in described[0] and "Number=A,Type=String" in described[0]


def test_lines_are_unchanged_but_for_info(model, tmp_path):
    regzoo.alleles(model, VCF, FASTA, targets=TARGETS, output=tmp_path / "a.vcf")
    regzoo.alleles(model, tmp_path / "a.vcf", FASTA, targets=["tf0"], best=True, output=tmp_path / "b.vcf")
    for path in (tmp_path / "a.vcf", tmp_path / "b.vcf"):  # fields of an earlier report are replaced
        before, after = VCF.read_text().split("\n"), path.read_text().split("\n")
        kept = [line for line in after if not line.startswith("##INFO=<ID=REGZOO_")]
        assert len(kept) == len(before) and [line for line in kept if line.startswith("#")] == [
            line for line in before if line.startswith("#")
        ]
        for old, new in zip(before, kept):
            if old and not old.startswith("#"):
                old, new = old.split("\t"), new.split("\t")
                own = ";".join(entry for entry in new[7].split(";") if not entry.startswith("REGZOO_"))
                assert [*old[:7], *old[8:]] == [*new[:7], *new[8:]] and old[7] in (own or ".", own)


@pytest.mark.parametrize("suffix", ["vcf", "vcf.gz", "bcf"])
def test_the_best_target_is_named_and_numbers_are_numbers(model, suffix, tmp_path):
    out = tmp_path / f"o.{suffix}"
    best = regzoo.alleles(model, VCF, FASTA, targets=TARGETS, best=True)
    regzoo.alleles(model, VCF, FASTA, targets=TARGETS, best=True, output=out)
    reader = cyvcf2.VCF(str(out))
    records, by_key = list(reader), {(row.record, row.alt): row for row in best.itertuples()}
    assert all(
        re.fullmatch(r"[A-Za-z_][0-9A-Za-z_.]*", line["ID"]) for line in reader.header_iter() if "ID" in line.info()
    )
    seen = 0
    for number, record in enumerate(records, 1):
        values = record.INFO.get("REGZOO_DIFF")
        if len(record.ALT) != 1 or values is None:
            continue
        row = by_key[number, record.ALT[0]]
        assert values == pytest.approx(row.diff, rel=1e-5) and record.INFO["REGZOO_TARGET"] == row.target
        assert record.INFO["REGZOO_MODEL"] == MODEL and record.INFO["REGZOO_CALL"] == row.call
        assert record.INFO["REGZOO_RANK"] == row.rank
        seen += 1
    assert seen > 20 and len(records) == read_variants(VCF).record.max()
    if suffix != "vcf":
        assert (tmp_path / f"o.{suffix}.{'csi' if suffix == 'bcf' else 'tbi'}").is_file()


def test_tables_and_corrected_alleles_keep_their_records(model, tmp_path):
    codes = regzoo.Genome(FASTA).codes("chr1")
    base = "ACGT"[codes[2499]]
    other = "ACGT"[(codes[2499] + 1) % 4]
    (tmp_path / "t.tsv").write_text(f"chrom\tpos\tref\talt\tPP\nchr1\t2500\t{other}\t{base}\t0.25\n")
    out = tmp_path / "o.vcf"
    regzoo.alleles(model, tmp_path / "t.tsv", FASTA, targets=["tf3"], orientation="fix", pip="PP", output=out)
    (line,) = [line.split("\t") for line in out.read_text().split("\n") if line and not line.startswith("#")]
    assert line[3:5] == [other, base]
    assert "REGZOO_ORIENTATION=swapped_(fixed)" in line[7] and "REGZOO_PIP=0.25" in line[7]


def test_an_alternate_that_is_given_twice_keeps_both_rows(model, tmp_path):
    base = "ACGT"[regzoo.Genome(FASTA).codes("chr1")[2499]]
    alt = "A" if base != "A" else "C"
    path = tmp_path / "d.vcf"
    path.write_text(
        "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t2500\t.\t{base}\t{alt},{alt}\t.\t.\t.\n"
    )
    assert len(regzoo.alleles(model, path, FASTA, targets=["tf3"])) == 2
    assert regzoo.alleles(model, path, FASTA, targets=["tf3"], output=tmp_path / "o.vcf") == {"scored": 2}
    first, second = info_of(tmp_path / "o.vcf")[0]["REGZOO_DIFF"].split(",")
    assert first == second


def test_standard_input_is_refused_and_the_command_writes(model, tmp_path):
    with pytest.raises(InputError, match="VCF output reads the variants twice"):
        regzoo.alleles(model, "-", FASTA, output=tmp_path / "o.vcf")
    out = tmp_path / "o.vcf.gz"
    options = ["-f", str(FASTA), "-m", MODEL, "-t", "tf3", "-q", "--best", "-o", str(out), "--device", "cpu"]
    done = CliRunner().invoke(app, ["alleles", str(VCF), *options])
    assert done.exit_code == 0 and len(info_of(out)) == read_variants(VCF).record.max()
    again = CliRunner().invoke(app, ["alleles", str(out), *options])
    assert again.exit_code == 1 and isinstance(again.exception, InputError | regzoo.OutputError)
