"""`kipoi veff` on records that differ from the FASTA, on VCFs without a record to score, and what it leaves behind."""

import gzip
import json
import logging
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import kipoi
import numpy as np
import pandas as pd
import pytest
import yaml
from kipoi_utils.utils import override_default_kwargs

import regzoo.kipoi  # noqa: F401 - before kipoi_veff
from regzoo import score_variants
from regzoo.errors import InputError
from regzoo.kipoi import SequenceDataset, command, veff
from regzoo.sequence import Genome
from regzoo.zoo import load_model
from tests.conftest import FASTA, LOADER, MODEL, ROOT, VCF

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


def info_ids(path):
    return re.findall(r"##INFO=<ID=([^,]+),", path.read_text())


@pytest.mark.parametrize("rows", ["", "chr1\t1000\t.\tA\tAC\t.\t.\t.\n"])
@pytest.mark.parametrize("outputs", [None, ["tf3"], [3]])
def test_without_a_record_to_score_the_output_is_the_same_header(rows, outputs, model, temporary, tmp_path, capsys):
    vcf, out, other = (tmp_path / name for name in ("in.vcf", "o.vcf", "scored.vcf"))
    vcf.write_text(HEADER + rows)
    assert score(model, vcf, out, model_outputs=outputs) is None
    assert ("This scores them" in capsys.readouterr().err) == bool(rows)
    base = Genome(FASTA).codes("chr1")[999]
    vcf.write_text(HEADER + f"chr1\t1000\t.\t{'ACGT'[base]}\t{'ACGT'[(base + 1) % 4]}\t.\t.\t.\n")
    score(model, vcf, other, model_outputs=outputs)
    lines = other.read_text().splitlines()
    assert out.read_text().splitlines() == [line for line in lines if line[0] == "#"] == lines[:-1]
    assert len(info_ids(out)) == 2  # the score and the range's id
    assert not list(temporary.iterdir())


def test_header_without_a_record_in_the_regions(model, temporary, tmp_path, capsys):
    vcf, out, bed = (tmp_path / name for name in ("in.vcf", "o.vcf", "r.bed"))
    vcf.write_text(VCF.read_text())
    bed.write_text("chr1\t1\t2\n")
    score(model, vcf, out, restriction_bed=str(bed))
    assert "no variant lies in the regions of --restriction_bed" in capsys.readouterr().err
    assert len(info_ids(out)) == 2 and out.read_text().splitlines()[-1].startswith("#CHROM")


def test_info_ids_are_valid_and_kipoi_veff_reads_them(model, temporary, tmp_path):
    from kipoi_veff.parsers import KipoiVCFParser, parse_kipoi_colname

    out = tmp_path / "o.vcf"
    frames = score(model, VCF, out, return_predictions=True)
    ids = info_ids(out)
    assert ids == ["KV_regzoo_MotifResNet_tf_human_DIFF", "KV_regzoo_MotifResNet_tf_human_rID"]
    assert all(re.fullmatch(r"[A-Za-z_][0-9A-Za-z_.]*", name) for name in ids)  # VCF 4.3, section 1.6.1
    parser = KipoiVCFParser(str(out))
    assert parser.kipoi_parsed_colnames[ids[0]] == ("regzoo", "MotifResNet/tf_human", "DIFF")
    assert parser.kipoi_colnames[ids[0]] == [f"tf{i}" for i in range(5)]
    read = [[row[f"KV_MotifResNet/tf_human_DIFF_tf{i}_{i}"] for i in range(5)] for row in parser]
    np.testing.assert_allclose(read, frames["diff"].to_numpy(), atol=1e-8)
    assert parse_kipoi_colname("KV:dir:examples/rbp:DIFF") == ("dir", "examples/rbp", "DIFF")
    old = tmp_path / "old.vcf"  # as kipoi_veff alone writes it
    old.write_text(re.sub(r',Source="[^"]*"', "", out.read_text().replace(ids[0], "KV:regzoo:M/t:DIFF")))
    assert KipoiVCFParser(str(old)).kipoi_parsed_colnames["KV:regzoo:M/t:DIFF"] == ("regzoo", "M/t", "DIFF")


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_bcftools_reads_the_scores(model, temporary, tmp_path):
    out = tmp_path / "o.vcf"
    frame = score(model, VCF, out, return_predictions=True)["diff"]
    query = ["bcftools", "query", "-f", f"%INFO/{info_ids(out)[0]}\n", str(out)]
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    read = [[float(value) for value in line.split("|")] for line in done.stdout.split()]
    np.testing.assert_allclose(read, frame.to_numpy(), atol=1e-8)


def test_a_failed_run_leaves_no_output(model, temporary, tmp_path, monkeypatch):
    def fail(x):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "predict_on_batch", fail)
    with pytest.raises(RuntimeError):
        score(model, VCF, tmp_path / "o.vcf")
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


@pytest.fixture
def kipoiseq_model(tmp_path):
    """A model of the zoo as a model directory whose dataloader is kipoiseq's, with arguments in the model.yaml."""
    folder = tmp_path / "GROUP" / "MODEL"
    shutil.copytree(ROOT / "models" / MODEL, folder)
    content = yaml.safe_load((folder / "model.yaml").read_text())
    arguments = {"auto_resize_len": 101, "alphabet_axis": 0, "dtype": "np.float32", "ignore_targets": True}
    content["default_dataloader"] = {"defined_as": "kipoiseq.dataloaders.SeqIntervalDl", "default_args": arguments}
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_a_model_with_kipoiseqs_dataloader_is_scored(kipoiseq_model, kipoi_command, tmp_path):
    out = tmp_path / "o.vcf"
    fasta = shutil.copy(FASTA, tmp_path / "genome.fa")  # kipoiseq writes an index beside it
    arguments = json.dumps({"fasta_file": str(fasta)})
    kipoi_command(
        "veff",
        "score_variants",
        kipoiseq_model,
        "--source",
        "dir",
        f"--dataloader_args={arguments}",
        "-i",
        VCF,
        "-o",
        out,
        "-s",
        "diff",
    )
    table = score_variants(MODEL, VCF, FASTA, scores=["diff"])
    table = table[(table.ref.str.len() == 1) & (table["alt"].str.len() == 1)]
    name = next(name for name in info_ids(out) if name.endswith("_DIFF"))
    records = [line.split("\t") for line in out.read_text().splitlines() if line[0] != "#"]
    values = [[float(v) for v in re.search(rf"{name}=([^;]+)", record[7])[1].split("|")] for record in records]
    assert [record[2] for record in records] == list(table.id)
    np.testing.assert_allclose(values, table[[f"diff:tf{i}" for i in range(5)]], atol=1e-5)


def test_descriptions_have_the_postprocessing(kipoiseq_model):
    from kipoi.specs import DataLoaderDescription

    described = kipoi.get_model_descr(MODEL, source="regzoo").postprocessing["variant_effects"]
    assert described.seq_input == ["seq"] and not described.use_rc
    assert [f.type.value for f in described.scoring_functions][:3] == ["diff", "ref", "alt"]
    loader = DataLoaderDescription.load(str(ROOT / "dataloaders" / "sequence" / "dataloader.yaml"))
    assert loader.postprocessing["variant_effects"].bed_input == ["intervals_file"]
    description = kipoi.get_model_descr(str(kipoiseq_model), source="dir")
    assert description.postprocessing["variant_effects"] == described
    assert description.default_dataloader.get().postprocessing["variant_effects"].bed_input == ["intervals_file"]
    content = yaml.safe_load((kipoiseq_model / "model.yaml").read_text())
    del content["postprocessing"]
    (kipoiseq_model / "model.yaml").write_text(yaml.safe_dump(content))
    assert kipoi.get_model_descr(str(kipoiseq_model), source="dir").postprocessing == {}


def test_the_hint_is_for_models_of_this_zoo(model, tmp_path, capsys, monkeypatch):
    vcf = tmp_path / "in.vcf"
    vcf.write_text(HEADER + "chr1\t1000\t.\tA\tAC\t.\t.\t.\n")
    monkeypatch.setattr(model, "source_name", "kipoi")
    score(model, vcf, tmp_path / "o.vcf")
    err = capsys.readouterr().err
    assert "1 alleles are not scored" in err and "regzoo score" not in err


def test_writer_keeps_the_plugins_signature_and_compresses(model, tmp_path):
    import cyvcf2

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
