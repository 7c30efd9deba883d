"""`kipoi veff` on records that differ from the FASTA, on VCFs without a record to score, and what it leaves behind."""

import gzip
import logging
import tempfile
from pathlib import Path

import kipoi
import numpy as np
import pytest
from kipoi_utils.utils import override_default_kwargs

import regzoo.kipoi  # noqa: F401 - before kipoi_veff
from regzoo.errors import InputError
from regzoo.kipoi import SequenceDataset, command, veff
from regzoo.sequence import Genome
from regzoo.zoo import load_model
from tests.conftest import FASTA, LOADER, MODEL

HEADER = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture(scope="module")
def model():
    return kipoi.get_model(MODEL, source="regzoo")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def score(model, vcf, out, **options):
    return veff.score_variants(model, dict(LOADER), str(vcf), str(out), scores=["diff"], **options)


def test_records_that_differ_from_the_fasta_are_scored_with_their_ref(model, temporary, tmp_path, capsys):
    genome = Genome(FASTA)
    base = int(genome.codes("chr1")[999])
    ref, alt = (base + 1) % 4, (base + 2) % 4
    vcf = tmp_path / "in.vcf"
    rows = [f"chr1\t1000\t{a}\t{'ACGT'[ref]}\t{'ACGT'[b]}\t.\t.\t.\n" for a, b in (("x", alt), ("y", base))]
    vcf.write_text(HEADER + "".join(rows))
    frame = score(model, vcf, tmp_path / "o.vcf", return_predictions=True)["diff"].to_numpy()
    assert "REF differs from the FASTA in 2 scored records" in capsys.readouterr().err
    start = 1000 - 101 // 2
    window = genome.windows(np.array([genome.number("chr1")]), np.array([start]), 101)[0]
    windows = np.stack([window] * 3)
    windows[:, 999 - start] = [ref, alt, base]
    expected = load_model(MODEL, device="cpu").predict(windows)
    np.testing.assert_allclose(frame, expected[1:] - expected[0], atol=1e-5)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("rows", ["", "chr1\t1000\t.\tA\tAC\t.\t.\t.\n"])
def test_without_a_record_to_score_the_output_is_a_header(rows, model, temporary, tmp_path, capsys):
    vcf, out = tmp_path / "in.vcf", tmp_path / "o.vcf"
    vcf.write_text(HEADER + rows)
    assert score(model, vcf, out) is None
    lines = out.read_text().splitlines()
    assert lines[-1].startswith("#CHROM") and all(line.startswith("#") for line in lines)
    assert ("This scores them" in capsys.readouterr().err) == bool(rows)
    assert not list(temporary.iterdir())


def test_the_hint_is_for_models_of_this_zoo(model, tmp_path, capsys, monkeypatch):
    vcf = tmp_path / "in.vcf"
    vcf.write_text(HEADER + "chr1\t1000\t.\tA\tAC\t.\t.\t.\n")
    monkeypatch.setattr(model, "source_name", "kipoi")
    score(model, vcf, tmp_path / "o.vcf")
    err = capsys.readouterr().err
    assert "1 alleles are left out" in err and "regzoo score" not in err


def test_writer_keeps_the_plugins_signature_and_compresses(model, tmp_path):
    import cyvcf2
    import pandas as pd

    vcf, out = tmp_path / "in.vcf", tmp_path / "o.vcf.gz"
    vcf.write_text(HEADER + "chr1\t1000\t.\tA\tC\t.\t.\t.\n")
    writer = veff.VcfWriter(model, str(vcf), str(out), "_", lambda record: f"my{record.POS}", True)
    writer({"diff": pd.DataFrame({"t": [0.5]})}, list(cyvcf2.VCF(str(vcf))))
    writer.close()
    assert out.read_bytes()[12:14] == b"BC"
    assert gzip.decompress(out.read_bytes()).decode().splitlines()[-1].startswith("chr1\t1000\tmy1000\tA\tC")


def test_ensure_tabixed_vcf_sorts_and_refuses_to_overwrite(temporary, tmp_path):
    vcf = tmp_path / "in.vcf"
    rows = [f"{c}\t{p}\t.\tA\tC\t.\t.\t.\n" for c, p in (("chr2", 9), ("chr1", 10), ("chr2", 2), ("chr1", 9))]
    vcf.write_text(HEADER + "".join(rows))
    path = Path(veff.ensure_tabixed_vcf(str(vcf), force_tabix=False))
    content = gzip.decompress(path.read_bytes()).decode()
    assert content == HEADER + "".join(rows[i] for i in (2, 0, 3, 1))
    assert sorted(p.name for p in path.parent.iterdir()) == ["variants.vcf.gz", "variants.vcf.gz.tbi"]
    (tmp_path / "in.vcf.gz").write_bytes(b"")
    with pytest.raises(OSError, match="force_tabix"):
        veff.ensure_tabixed_vcf(str(vcf), force_tabix=False)


def test_default_args_keep_the_postprocessing():
    from kipoiseq.dataloaders import SeqIntervalDl

    expected = SeqIntervalDl.postprocessing
    assert expected["variant_effects"].bed_input == ["intervals_file"]
    assert override_default_kwargs(SeqIntervalDl, {"auto_resize_len": 1000}).postprocessing == expected


def test_ls_without_a_reachable_source_shows_this_zoo(monkeypatch, capsys):
    def fail(self):
        raise OSError("no network")

    monkeypatch.setattr(kipoi.sources.GitSource, "pull_source", fail)
    monkeypatch.setattr("sys.argv", ["kipoi"])
    command.main(["ls", "all"])
    assert not logging.getLogger("regzoo.sequence.genome").disabled  # as Kipoi's own configuration would leave it
    out, err = capsys.readouterr()
    assert MODEL in out.split() and "no network" in err and "--source" in err


def test_an_unknown_strand_stays_unknown(tmp_path):
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t100\t110\ta\t0\t.\nchr1\t100\t110\tb\t0\t-\n")
    dataset = SequenceDataset(str(bed), str(FASTA), use_strand=True)
    assert [str(dataset[i]["metadata"]["ranges"]["strand"]) for i in range(2)] == [".", "-"]


def test_options_of_the_encoding(tmp_path):
    bed = tmp_path / "x.bed"
    bed.write_text("chr1\t0\t10\ta\t3\n")
    options = {"length": 20, "label_columns": [5]}
    plain = SequenceDataset(str(bed), str(FASTA), **options)[0]["inputs"]
    sample = SequenceDataset(
        str(bed), str(FASTA), **options, neutral_value=0.25, dtype="float64", alphabet_axis=1, label_dtype="int64"
    )[0]
    assert sample["inputs"].dtype == np.float64 and sample["targets"].dtype == np.int64
    assert (sample["inputs"][:5] == 0.25).all() and np.array_equal(sample["inputs"][5:], plain.T[5:])
    for wrong in ({"alphabet_axis": 2}, {"dtype": "float33"}, {"label_dtype": "x"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            SequenceDataset(str(bed), str(FASTA), **wrong)
