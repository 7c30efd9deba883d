"""Outputs of `regzoo score`: nothing lost, nothing changed, nothing overwritten, whatever happens to the run."""

import dataclasses
import gzip
import logging
import os
import resource
import threading
from contextlib import contextmanager

import h5py
import numpy as np
import pandas as pd
import pysam
import pytest
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.effects.journal import Journal
from regzoo.effects.pipeline import score_variants
from regzoo.effects.writers import Batch, open_writer
from regzoo.errors import InputError, OutputError
from regzoo.output.files import finished_file
from regzoo.sequence import Genome, decode, open_variants
from regzoo.zoo import load_model
from tests.conftest import FASTA, MODEL, VCF

SUFFIXES = (".tsv", ".tsv.gz", ".vcf", ".vcf.gz", ".parquet", ".h5")
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def contig():
    return decode(Genome(FASTA).codes("chr1"))


@contextmanager
def no_larger_files_than(size):
    """A disk that is full: no file can be made larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def random_batch(count):
    rng = np.random.default_rng(0)
    with open_variants([f"chr1:{i}:A:C" for i in range(1, count + 1)]) as source:
        records = next(source.batches(count))
    scores = {"diff": rng.random((count, 9), dtype=np.float32)}
    return Batch(records, records.alleles, np.zeros(count, dtype=bool), scores, {})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_an_error_in_every_format(suffix, tmp_path):
    output, batch = tmp_path / f"o{suffix}", random_batch(3000)
    with pytest.raises(OutputError, match=rf"o{suffix}: cannot write \(File too large\)"), no_larger_files_than(40_000):
        with finished_file(output) as path:
            header = ["##fileformat=VCFv4.2", COLUMNS]
            with open_writer(path, suffix, {"diff": [f"t{i}" for i in range(9)]}, {}, header) as out:
                for _ in range(2):
                    out.write(batch)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_end_of_a_run_is_an_error(tmp_path, model):
    with pytest.raises(OutputError, match="cannot write"), no_larger_files_than(1000):
        score_variants(model, VCF, FASTA, output=tmp_path / "o.vcf")
    assert list(tmp_path.iterdir()) == []


def test_batches_are_kept_when_the_disk_is_full_and_the_message_says_so(tmp_path, caplog):
    with pytest.raises(OutputError, match="o.tsv.parts/00000001.npz: cannot write"):
        with Journal(tmp_path / "o.tsv", {"a": 1}) as journal:
            journal.save(0, {"x": np.arange(3)})
            with no_larger_files_than(1000):
                journal.save(1, {"x": np.arange(3000)})
    assert "finished batches (1) are kept" in caplog.text and "--resume goes on" in caplog.text
    with Journal(tmp_path / "o.tsv", {"a": 1}, resume=True) as journal:
        assert journal.load(0)["x"].tolist() == [0, 1, 2] and journal.load(1) is None
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_of_one_output_is_refused(tmp_path):
    with Journal(tmp_path / "o.tsv", {"a": 1}) as journal:
        with pytest.raises(OutputError, match=f"another run is writing it .process {os.getpid()} on"):
            Journal(tmp_path / "o.tsv", {"a": 2}, restart=True).__enter__()
        journal.save(0, {"x": np.arange(3)})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_user_is_never_touched(tmp_path, model):
    folder = tmp_path / "o.tsv.parts"
    folder.mkdir()
    for name in ("00000000.npz", "notes.txt"):
        (folder / name).write_text("mine")
        with pytest.raises(OutputError, match=f"holds other files .{name}."):
            score_variants(model, VCF, FASTA, output=tmp_path / "o.tsv", restart=True)
        assert (folder / name).read_text() == "mine" and not (tmp_path / "o.tsv").exists()
        (folder / name).unlink()


def stop_after_the_first_batch(monkeypatch, output, model):
    """A run that is interrupted when its first batch is finished."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("regzoo.effects.writers.ScoreTable.write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            score_variants(model, VCF, FASTA, output=output)
    assert (output.parent / f"{output.name}.parts" / "00000000.npz").exists() and not output.exists()


def test_an_interrupted_run_says_how_to_go_on_and_is_not_overwritten_silently(tmp_path, model, monkeypatch, caplog):
    output = tmp_path / "o.tsv"
    stop_after_the_first_batch(monkeypatch, output, model)
    assert "the same command with --resume goes on" in caplog.text
    with pytest.raises(InputError, match="an unfinished run left finished batches there .1.; --resume .* --restart"):
        score_variants(model, VCF, FASTA, output=output)
    score_variants(model, VCF, FASTA, output=output, restart=True)
    assert len(pd.read_csv(output, sep="\t")) == 46
    assert list(tmp_path.iterdir()) == [output]


def test_a_model_that_was_changed_does_not_go_on_with_old_batches(tmp_path, model, monkeypatch):
    output = tmp_path / "o.tsv"
    stop_after_the_first_batch(monkeypatch, output, model)
    changed = load_model(MODEL, device="cpu")
    changed.module.reverse_complement = not changed.module.reverse_complement
    for other in (changed, dataclasses.replace(model, merge_strands=True)):
        with pytest.raises(InputError, match="made from other inputs or options .models.; --restart"):
            score_variants(other, VCF, FASTA, output=output, resume=True)
    score_variants(model, VCF, FASTA, output=output, resume=True)


def test_a_damaged_batch_is_computed_again(tmp_path, model, monkeypatch, caplog):
    output, whole = tmp_path / "o.tsv", tmp_path / "whole.tsv"
    score_variants(model, VCF, FASTA, output=whole)
    for damage in (lambda b: b[: len(b) // 2], lambda b: b[:-300] + bytes(300), lambda b: b""):
        stop_after_the_first_batch(monkeypatch, output, model)
        batch = tmp_path / "o.tsv.parts" / "00000000.npz"
        batch.write_bytes(damage(batch.read_bytes()))
        score_variants(model, VCF, FASTA, output=output, resume=True)
        assert output.read_bytes() == whole.read_bytes() and "00000000.npz: damaged" in caplog.text
        output.unlink()


def test_an_existing_file_keeps_its_mode_and_a_link_is_followed(tmp_path, model):
    real, link = tmp_path / "real.tsv", tmp_path / "link.tsv"
    real.touch(mode=0o600)
    link.symlink_to(real)
    score_variants(model, VCF, FASTA, output=link)
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o600
    assert len(real.read_text().splitlines()) == 47


def test_an_input_is_never_overwritten(tmp_path, model):
    vcf, fasta = tmp_path / "in.vcf", tmp_path / "in.fa"
    vcf.write_bytes(VCF.read_bytes())
    fasta.write_bytes(FASTA.read_bytes())
    (tmp_path / "soft.vcf").symlink_to(vcf)
    os.link(vcf, tmp_path / "hard.vcf")
    for name in ("in.vcf", "soft.vcf", "hard.vcf"):
        with pytest.raises(OutputError, match=f"{name}: is the input .*in.vcf"):
            score_variants(model, vcf, fasta, output=tmp_path / name)
    (tmp_path / "o.vcf").symlink_to(fasta)
    with pytest.raises(OutputError, match="o.vcf: is the input .*in.fa"):
        score_variants(model, vcf, fasta, output=tmp_path / "o.vcf")
    assert vcf.read_bytes() == VCF.read_bytes() and fasta.read_bytes() == FASTA.read_bytes()


def kept_as_they_were(contig):
    """A VCF whose records change when a library parses and writes them."""
    head = "##fileformat=VCFv4.2\n##source=caf\xe9\n##contig=<ID=chr1>\n"
    head += '##INFO=<ID=AF,Number=A,Type=Float,Description="frequency">\n' + f"{COLUMNS}\tFORMAT\ts1\n"
    tails = [
        "1234567.89\tq10;new\tAF=0.123456789;UNDECLARED=7\tGT:NEWKEY\t0/1:x",
        "1e-7\tPASS\tBIG=12345678901234;FLAG\tGT\t./.",
        ".\t.\tNOTE=na\xefve\tGT:DP\t0|1:007",
        "30\tPASS\t.\tGT\t1",
    ]
    rows = [
        f"chr1\t{900 + i}\trs{i}\t{contig[899 + i].lower()}\t{'AC'[contig[899 + i] == 'A']}\t{t}\n"
        for i, t in enumerate(tails)
    ]
    return head, rows


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz"])
def test_records_are_kept_as_they_were(suffix, tmp_path, model, contig):
    head, rows = kept_as_they_were(contig)
    path, out = tmp_path / "in.vcf", tmp_path / f"o{suffix}"
    path.write_bytes((head + "".join(rows)).encode("latin-1"))
    score_variants(model, path, FASTA, output=out, scores=("diff",))
    data = out.read_bytes()
    lines = (gzip.decompress(data) if suffix.endswith(".gz") else data).decode("latin-1").splitlines(keepends=True)
    assert [line for line in lines if line.startswith("#") and "REGZOO" not in line] == head.splitlines(keepends=True)
    assert lines[len(lines) - len(rows) - 1].startswith("#CHROM")
    for line, row in zip(lines[-len(rows) :], rows):
        fields, own = line.rstrip("\n").split("\t"), row.rstrip("\n").split("\t")
        info = "" if own[7] == "." else own[7] + ";"
        assert fields[7].startswith(f"{info}REGZOO_DIFF=")
        assert fields[:7] + fields[8:] == own[:7] + own[8:]


def test_bgzip_output_of_several_blocks_is_read_and_indexed_by_htslib(tmp_path, model, contig):
    path, out = tmp_path / "in.vcf", tmp_path / "o.vcf.gz"
    note = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 50_000))
    rows = [f"chr1\t{p}\t.\t{contig[p - 1]}\t<DEL>\t.\t.\tNOTE={note}\n" for p in range(100, 110)]
    path.write_text("##fileformat=VCFv4.2\n##contig=<ID=chr1>\n" + COLUMNS + "\n" + "".join(rows))
    score_variants(model, path, FASTA, output=out)
    with pysam.TabixFile(str(out)) as file:
        found = list(file.fetch("chr1", 104, 106))
    assert [row.split("\t")[:2] for row in found] == [["chr1", "105"], ["chr1", "106"]]
    assert all(f"NOTE={note};" in row for row in found)
    with gzip.open(out, "rt") as file:
        assert sum(not line.startswith("#") for line in file) == 10


def test_far_positions_get_a_csi_index_and_old_indices_go(tmp_path, model, caplog):
    path, out = tmp_path / "in.vcf", tmp_path / "o.vcf.gz"
    rows = [f"chr1\t{p}\t.\tA\tC\t.\t.\t.\n" for p in (5, 600_000_000)]
    head = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n" + COLUMNS + "\n"
    path.write_text(head + "".join(rows))
    score_variants(model, path, FASTA, output=out)
    with pysam.TabixFile(str(out), index=f"{out}.csi") as file:
        assert [row.split("\t")[1] for row in file.fetch("chr1", 599_999_990, 600_000_010)] == ["600000000"]
    (tmp_path / "o.vcf.gz.tbi").write_text("stale")
    path.write_text(head + "".join(rows[::-1]))
    score_variants(model, path, FASTA, output=out)
    assert "not sorted" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.vcf", "o.vcf.gz"]


def info_lines(path):
    return [line for line in path.read_text().splitlines() if line.startswith("##INFO=<ID=REGZOO")]


def test_scores_of_an_earlier_run_are_replaced(tmp_path, model):
    first, again, fresh = (tmp_path / f"{name}.vcf" for name in ("first", "again", "fresh"))
    score_variants(model, VCF, FASTA, output=first, scores=("diff", "alt"), targets=["tf1"])
    score_variants(model, first, FASTA, output=again, scores=("diff",), targets=["tf2"])
    score_variants(model, VCF, FASTA, output=fresh, scores=("diff",), targets=["tf2"])
    lines = info_lines(again)
    assert sum("ID=REGZOO_DIFF," in line for line in lines) == sum("ID=REGZOO_STATUS," in line for line in lines) == 1
    assert "for tf2;" in next(line for line in lines if "ID=REGZOO_DIFF," in line)
    for old, new, other in zip(*(pysam.VariantFile(str(p)) for p in (first, again, fresh))):
        assert new.info["REGZOO_DIFF"] == other.info["REGZOO_DIFF"] and new.info["REGZOO_ALT"] == old.info["REGZOO_ALT"]
        assert str(new).count("REGZOO_DIFF=") == str(new).count("REGZOO_STATUS=") == 1


def test_one_column_is_a_number_in_a_vcf_and_several_are_on_request(tmp_path, model):
    score_variants(model, VCF, FASTA, output=tmp_path / "t.tsv", scores=("diff",))
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t")
    for options in ({"targets": ["tf3"]}, {"vcf_keys": "each"}):
        score_variants(model, VCF, FASTA, output=tmp_path / "o.vcf", scores=("diff",), **options)
        with pysam.VariantFile(str(tmp_path / "o.vcf")) as file:
            key = "REGZOO_DIFF" if "targets" in options else "REGZOO_DIFF_tf3"
            assert (file.header.info[key].type, file.header.info[key].number) == ("Float", "A")
            np.testing.assert_allclose([r.info[key][0] for r in file], table["diff:tf3"], rtol=1e-5)
    options = {"summaries": ("absmax", "mean"), "vcf_keys": "each"}
    score_variants(model, VCF, FASTA, output=tmp_path / "o.vcf", scores=("diff",), **options)
    for record, (_, row) in zip(pysam.VariantFile(str(tmp_path / "o.vcf")), table.iterrows()):
        name, value = record.info["REGZOO_DIFF_ABSMAX_TARGET"][0], record.info["REGZOO_DIFF_absmax"][0]
        assert value == pytest.approx(row[f"diff:{name}"], rel=1e-5)
        assert abs(value) == pytest.approx(row[7:].abs().max(), rel=1e-5)
    score_variants(model, VCF, FASTA, output=tmp_path / "o.h5", scores=("diff",), summaries=("absmax",))
    score_variants(model, VCF, FASTA, output=tmp_path / "o.parquet", scores=("diff",), summaries=("absmax",))
    frame = pd.read_parquet(tmp_path / "o.parquet")
    with h5py.File(tmp_path / "o.h5") as file:
        assert [n.decode() for n in file["absmax_target/diff"]] == list(frame["diff:absmax_target"])
        np.testing.assert_array_equal(file["scores/diff"][:, 0], frame["diff:absmax"])


def test_names_that_differ_in_punctuation_have_keys_of_their_own(tmp_path, model):
    models = [dataclasses.replace(model, name=name) for name in ("m-1", "m_1", "é")]
    score_variants(models, VCF, FASTA, output=tmp_path / "o.vcf", scores=("diff",), targets=["tf0"])
    with pysam.VariantFile(str(tmp_path / "o.vcf")) as file:
        described = {k: file.header.info[k].description for k in file.header.info if k.startswith("REGZOO_DIFF")}
        assert {k: d.split(",")[0] for k, d in described.items()} == {
            "REGZOO_DIFF_m_1": "diff of m-1",
            "REGZOO_DIFF_m_1_2": "diff of m_1",
            "REGZOO_DIFF__": "diff of é",
        }
        assert set(described) <= set(next(iter(file)).info)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_header_alone_gives_a_header_alone(suffix, tmp_path, model):
    path, out = tmp_path / "in.vcf", tmp_path / f"o{suffix}"
    path.write_text("".join(VCF.read_text().partition(COLUMNS)[:2]) + "\n")
    assert score_variants(model, path, FASTA, output=out) == {}
    if suffix.startswith(".tsv"):
        assert pd.read_csv(out, sep="\t").shape == (0, 17)
    elif suffix == ".parquet":
        assert pd.read_parquet(out).shape == (0, 17)
    elif suffix == ".h5":
        assert h5py.File(out)["scores/diff"].shape == (0, 5)
    else:
        assert list(pysam.VariantFile(str(out))) == []


def test_nothing_that_can_be_scored_gives_rows_with_reasons(tmp_path, model):
    path = tmp_path / "in.vcf"
    path.write_text(f"##fileformat=VCFv4.2\n{COLUMNS}\nchrX\t5\t.\tA\tC,*\t.\t.\t.\n")
    counts = score_variants(model, path, FASTA, output=tmp_path / "o.tsv")
    assert counts == {"contig not in the FASTA": 1, "allele removed by an overlapping deletion": 1}
    assert len(pd.read_csv(tmp_path / "o.tsv", sep="\t")) == 2


def test_pipes_and_standard_input_are_read_and_standard_output_written(tmp_path, model):
    score_variants(model, VCF, FASTA, output=tmp_path / "file.tsv")
    expected = (tmp_path / "file.tsv").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(VCF.read_bytes(),))
    writer.start()
    score_variants(model, pipe, FASTA, output=tmp_path / "pipe.tsv")
    writer.join()
    assert (tmp_path / "pipe.tsv").read_bytes() == expected
    command = ["score", "-", "-f", str(FASTA), "-m", MODEL, "-o", "-", "-q"]
    done = CliRunner().invoke(app, command, input=gzip.compress(VCF.read_bytes()), catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout_bytes == expected
    assert "46 alleles -> standard output" in done.stderr
    refused = CliRunner().invoke(app, [*command, "--resume"], input=VCF.read_bytes())
    assert isinstance(refused.exception, InputError) and "standard output cannot be resumed" in str(refused.exception)


def test_bcf_is_read(tmp_path, model):
    with (
        pysam.VariantFile(str(VCF)) as source,
        pysam.VariantFile(str(tmp_path / "in.bcf"), "wb", header=source.header) as out,
    ):
        for record in source:
            out.write(record)
    score_variants(model, tmp_path / "in.bcf", FASTA, output=tmp_path / "b.tsv")
    score_variants(model, VCF, FASTA, output=tmp_path / "v.tsv")
    assert (tmp_path / "b.tsv").read_bytes() == (tmp_path / "v.tsv").read_bytes()


def test_options_of_the_whole_command():
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.exit_code == 0 and shown.stdout.startswith("regzoo 0.")
    for command in ("score", "zero-shot", "predict", "mutate", "embed", "ls"):
        assert CliRunner().invoke(app, [command, "-h"]).exit_code == 0
    try:
        CliRunner().invoke(app, ["--verbose", "ls"])
        assert logging.getLogger("regzoo").level == logging.INFO
    finally:
        logging.getLogger("regzoo").setLevel(logging.NOTSET)
