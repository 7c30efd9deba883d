"""`regzoo score`: every allele against windows cut from strings, all formats, all reasons, nothing lost."""

import gzip
from contextlib import nullcontext

import cyvcf2
import h5py
import numpy as np
import pandas as pd
import pyfaidx
import pysam
import pytest
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.effects import run as running
from regzoo.effects import writers
from regzoo.effects.pipeline import score_variants
from regzoo.effects.windows import allele_windows, variant_offset
from regzoo.errors import InputError, OutputError, RegzooError
from regzoo.sequence import Genome, decode, encode_many
from regzoo.zoo import load_model, model_folder
from tests.conftest import FASTA, MODEL, VCF, full_pass, run
from tests.effects.alleles import SCORED, make_alleles

HEADER = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=24000>\n##contig=<ID=chr2,length=16000>\n"
    '##contig=<ID=chr9>\n##INFO=<ID=AF,Number=A,Type=Float,Description="frequency">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def contigs(tmp_path_factory):
    index = tmp_path_factory.mktemp("index") / "g.fai"
    return {record.name: str(record).upper() for record in pyfaidx.Fasta(str(FASTA), indexname=str(index))}


def write_vcf(tmp_path, rows):
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + "".join("\t".join(map(str, row)) + "\t.\tPASS\t.\n" for row in rows))
    return path


def string_windows(contig, pos, ref, alt, length):
    """The windows of both alleles by cutting strings: the independent version."""
    start = pos - 1 - variant_offset(length)
    padded = "N" * length + contig + "N" * 2 * length
    changed = padded[: length + pos - 1] + alt + padded[length + pos - 1 + len(ref) :]
    first = length + start
    return padded[first : first + length], changed[first : first + length]


@pytest.mark.parametrize("length", [10, 11, 101])
def test_windows_of_every_kind_of_allele(length, contigs):
    contig = contigs["chr1"]
    genome = Genome(FASTA)
    end = len(contig)
    alleles, expected = [], []
    places = [1, 2, 3, 50, 5000, end - 60, end - 3, end]
    for pos in places:
        for ref_length, alt in [(1, "A"), (1, "C"), (2, "GT"), (1, "ACGTACGT"), (4, "A"), (30, "T"), (1, "ACGT" * 40)]:
            if pos - 1 + ref_length > end:
                continue
            ref = contig[pos - 1 : pos - 1 + ref_length]
            alleles.append(("chr1", pos, ref, alt))
            expected.append(string_windows(contig, pos, ref, alt, length))
    ref, alt, _ = allele_windows(make_alleles(*alleles), genome, length)
    for i, (expected_ref, expected_alt) in enumerate(expected):
        assert decode(ref[i]) == expected_ref, alleles[i]
        assert decode(alt[i]) == expected_alt, alleles[i]


def test_every_record_comes_out_in_order_with_a_score_or_a_reason(tmp_path, model, contigs):
    c = contigs["chr1"]
    other = {"A": "C", "C": "G", "G": "T", "T": "A"}
    rows = [
        ("chr1", 900, "snv", c[899], other[c[899]]),
        ("1", 950, "alias", c[949], other[c[949]]),
        ("chr1", 500, "unsorted_mnv", c[499:502], "".join(other[b] for b in c[499:502])),
        ("chr1", 700, "multi", c[699], f"{other[c[699]]},{c[699]}ACG,<DEL>,*"),
        ("chr1", 800, "deletion", c[799:810], c[799]),
        ("chr1", 1, "first_base", c[0].lower(), other[c[0]].lower()),
        ("chr1", len(c), "last_base", c[-1], other[c[-1]]),
        ("chr1", 600, "mismatch", other[c[599]], c[599]),
        ("chr1", 610, "none", c[609], "."),
        ("chr1", 620, "iupac", c[619], "R"),
        ("chr1", 620, "iupac_ref", "r", "A"),
        ("chr1", 640, "mixed_case", c[639].upper() + c[640].lower(), other[c[639]].lower() + other[c[640]]),
        ("chr1", 660, "shared_bases", c[659:664], c[659] + other[c[660]] + c[661:664]),
        ("chr1", 30000, "outside", "A", "C"),
        ("chr9", 5, "no_contig", "A", "C"),
        ("chr1", 900, "snv", c[899], other[c[899]]),
    ]
    path, out = write_vcf(tmp_path, rows), tmp_path / "out.tsv"
    counts = score_variants(model, path, FASTA, output=out, scores=("ref", "alt", "diff"), batch_size=4)
    table = pd.read_csv(out, sep="\t", keep_default_na=False)
    expected = [(i + 1, row[2], alt) for i, row in enumerate(rows) for alt in str(row[4]).upper().split(",")]
    assert list(zip(table.record, table.id, table["alt"])) == expected
    assert sum(counts.values()) == len(table)
    reasons = {
        "mismatch": "REF differs from the FASTA",
        "none": "no alternate allele",
        "outside": "position outside the contig",
        "iupac": "ALT has letters other than A, C, G, T",
        "iupac_ref": "REF has letters other than A, C, G, T, N",
        "no_contig": "contig not in the FASTA",
    }
    for name, status in zip(table.id, table.status):
        if name != "multi":
            assert status == reasons.get(name, SCORED)
    assert list(table.status[table.id == "multi"])[2:] == [
        "symbolic allele",
        "allele removed by an overlapping deletion",
    ]
    for row in table[table.status == SCORED].itertuples():
        pair = string_windows(c, row.pos, row.ref, row.alt, model.input_length)
        ref, alt = full_pass(model, encode_many(pair))[:, 0]
        assert float(row[8]) == pytest.approx(ref, abs=2e-6)
        assert float(table.loc[row.Index, "alt:tf0"]) == pytest.approx(alt, abs=2e-6)
        assert float(table.loc[row.Index, "diff:tf0"]) == pytest.approx(alt - ref, abs=4e-6)
    assert (table.loc[table.status != SCORED, "diff:tf0"] == "").all()


def test_strict_names_the_variants_near_an_end(tmp_path, model, contigs):
    base = contigs["chr1"][0]
    path = write_vcf(tmp_path, [("chr1", 1, "x", base, "A" if base != "A" else "C")])
    counts = score_variants(model, path, FASTA, output=tmp_path / "o.tsv", strict=True)
    assert counts == {"too near a contig's end": 1}


def test_all_formats_hold_the_same_numbers(tmp_path, model):
    outputs = {s: tmp_path / f"out{s}" for s in (".tsv", ".tsv.gz", ".vcf", ".vcf.gz", ".parquet", ".h5")}
    for output in outputs.values():
        score_variants(model, VCF, FASTA, output=output, scores=("diff", "logit"), targets=["tf3", "tf1"])
    tsv = pd.read_csv(outputs[".tsv"], sep="\t")
    columns = ["diff:tf3", "diff:tf1", "logit:tf3", "logit:tf1"]
    pd.testing.assert_frame_equal(tsv, pd.read_csv(outputs[".tsv.gz"], sep="\t"))
    parquet = pd.read_parquet(outputs[".parquet"])
    np.testing.assert_allclose(parquet[columns], tsv[columns], rtol=1e-6)
    assert list(parquet.id) == list(tsv.id)
    with h5py.File(outputs[".h5"]) as file:
        assert [t.decode() for t in file["columns/diff"]] == ["tf3", "tf1"]
        np.testing.assert_allclose(file["scores/diff"], tsv[columns[:2]], rtol=1e-6)
        assert [t.decode() for t in file["variants/id"]] == list(tsv.id)
    for suffix in (".vcf", ".vcf.gz"):
        records = list(cyvcf2.VCF(str(outputs[suffix])))
        values = [[float(v) for v in r.INFO["REGZOO_LOGIT"].split("|")] for r in records]
        np.testing.assert_allclose(values, tsv[columns[2:]], rtol=1e-6)
        assert [r.INFO["REGZOO_STATUS"] for r in records] == [SCORED] * len(tsv)
        assert [(r.ID, r.REF, r.ALT) for r in records] == [(r.ID, r.REF, r.ALT) for r in cyvcf2.VCF(str(VCF))]


def test_planted_motifs_are_broken_and_made_as_their_ids_say(tmp_path, model):
    score_variants(model, VCF, FASTA, output=tmp_path / "o.tsv", scores=("diff",))
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    ap1 = {kind: table[table.id.str.startswith(f"{kind}_ap1")]["diff:tf3"] for kind in ("breaks", "makes", "neutral")}
    assert (ap1["breaks"] < 0).all() and (ap1["makes"] > 0).all()
    assert ap1["neutral"].abs().max() < min(ap1["breaks"].abs().min(), ap1["makes"].abs().min())


ROW = "chr1\t5\t.\tA\tC\t.\t.\tAF=0.5\n"
BAD_VCFS = {
    "empty": ("", "not a VCF file"),
    "no header": ("chr1\t5\t.\tA\tC\t.\t.\t.\n", "not a VCF file"),
    "columns apart by spaces": (HEADER.replace("\t", " "), "header is missing or damaged .line 6"),
    "cut off": (
        HEADER + "chr1\t5\t.\tA",
        "record 1 is not valid VCF .line 7: it has 4 tab-separated columns, the header 8",
    ),
    "spaces": (HEADER + "chr1 5 . A C . . .\n", "separated by spaces, not tabs"),
    "blank line": (HEADER + ROW + "\n" + ROW, "record 2 is not valid VCF .line 8: it is blank"),
    "NUL byte": (HEADER + ROW.replace("AF", "A\0F"), "NUL byte"),
    "letters for a number": (HEADER + ROW.replace("5", "x"), "POS 'x' is not a whole number"),
    "position out of range": (HEADER + ROW.replace("5", "2147483648"), "POS '2147483648' is not a whole number"),
    "contig of another alphabet": (HEADER + ROW.replace("chr1", "chr\xe9"), "CHROM .* holds blanks or characters"),
    "empty ALT": (HEADER + ROW.replace("\tC\t", "\t\t"), "ALT is empty"),
    "second header": (HEADER + ROW + HEADER, "a header line after the header's end"),
}


@pytest.mark.parametrize("kind", BAD_VCFS)
def test_bad_vcfs_are_refused_and_leave_no_output(kind, tmp_path, model):
    content, message = BAD_VCFS[kind]
    path = tmp_path / "bad.vcf"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=message) as error:
        score_variants(model, path, FASTA, output=tmp_path / "o.vcf.gz")
    assert "bad.vcf" in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.vcf"]


def test_a_bad_record_after_good_ones_leaves_no_output(tmp_path, model):
    path = tmp_path / "bad.vcf"
    path.write_text(VCF.read_text() + "chr1\t5\t.\tA")
    with pytest.raises(InputError, match="record 47"):
        score_variants(model, path, FASTA, output=tmp_path / "o.vcf")
    assert not (tmp_path / "o.vcf").exists()


def test_truncated_gzip(tmp_path, model):
    path = tmp_path / "x.vcf.gz"
    path.write_bytes(gzip.compress(VCF.read_bytes())[:-20])
    with pytest.raises(InputError, match="truncated"):
        score_variants(model, path, FASTA, output=tmp_path / "o.tsv")


def test_what_else_is_refused(tmp_path, model):
    with pytest.raises(InputError, match="no score 'dif'"):
        score_variants(model, VCF, FASTA, output=tmp_path / "o.tsv", scores=("dif",))
    with pytest.raises(InputError, match="no target 'tf9'; it has tf0"):
        score_variants(model, VCF, FASTA, output=tmp_path / "o.tsv", targets=["tf9"])
    with pytest.raises(OutputError, match="unknown suffix"):
        score_variants(model, VCF, FASTA, output=tmp_path / "o.xls")
    with pytest.raises(OutputError, match="cannot write"):
        score_variants(model, VCF, FASTA, output=tmp_path / "missing" / "o.tsv")
    with pytest.raises(RegzooError, match="did you mean 'MotifResNet/tf-human'"):
        score_variants("MotifResnet/tf_human", VCF, FASTA, output=tmp_path / "o.tsv")


def test_a_grid_moves_windows_by_less_than_its_step_and_says_how_much_that_changes(tmp_path, contigs):
    length, grid = 101, 16
    genome, contig = Genome(FASTA), contigs["chr1"]
    alleles = [("chr1", pos, contig[pos - 1], "AC"[contig[pos - 1] == "A"]) for pos in (40, 700, 701, 715)]
    ref, alt, places = allele_windows(make_alleles(*alleles), genome, length, grid)
    assert (places[:, 1] % grid == 0).all()
    padded = "N" * length + contig
    for row, (_, pos, _, other) in enumerate(alleles):
        shift = pos - 1 - variant_offset(length) - places[row, 1]
        assert 0 <= shift < grid
        first = places[row, 1] + length
        assert decode(ref[row]) == padded[first : first + length]
        changed = padded[: length + pos - 1] + other + padded[length + pos :]
        assert decode(alt[row]) == changed[first : first + length]
    command = ["score", VCF, "-f", FASTA, "-m", MODEL, "-o", tmp_path / "o.tsv", "-q", "--grid", grid]
    err = CliRunner().invoke(app, list(map(str, command))).stderr
    assert "grid 16 and float32 against" in err and "correlation 0.9" in err


def test_the_command_reports_counts_and_refuses_without_a_traceback(tmp_path):
    command = ["score", VCF, "-f", FASTA, "-m", MODEL, "-o", tmp_path / "o.tsv", "-s", "diff", "-q"]
    assert "46  scored" in CliRunner().invoke(app, list(map(str, command))).stderr
    _, err = run("regzoo", "score", "none.vcf", "-f", FASTA, "-m", MODEL, "-o", tmp_path / "p.tsv", expect=1)
    assert err == "error: none.vcf: no such VCF file\n"
    assert not (tmp_path / "p.tsv").exists()


def test_without_an_output_the_table_of_the_file_is_returned(tmp_path, model):
    options = {"scores": ("diff", "alt"), "summaries": ("absmax", "mean")}
    counts = score_variants(model, VCF, FASTA, output=tmp_path / "o.parquet", **options)
    frame = score_variants(model, VCF, Genome(FASTA), **options)
    pd.testing.assert_frame_equal(frame, pd.read_parquet(tmp_path / "o.parquet"), check_dtype=False)
    assert counts == frame.status.value_counts().to_dict() == {SCORED: 46}
    assert list(frame)[:7] == ["record", "chrom", "pos", "id", "ref", "alt", "status"]


def test_models_and_variants_come_in_any_form(model):
    expected = score_variants(model, VCF, FASTA, scores=["diff"])
    rows = expected[["chrom", "pos", "id", "ref", "alt"]]
    strings = (rows.chrom + ":" + rows.pos.astype(str) + ":" + rows.ref + ":" + rows["alt"]).tolist()
    for given, variants in ((MODEL, str(VCF)), ([model_folder(MODEL)], rows), ([model, model], strings)):
        found = score_variants(given, variants, FASTA, scores=["diff"])
        assert found.drop(columns="id").equals(expected.drop(columns="id"))
    with pytest.raises(InputError, match="row 1: expected a string CHROM:POS:REF:ALT"):
        score_variants(model, ["chr1:5:A:C", "rs7"], FASTA)


def test_a_table_of_variants_can_be_written_as_vcf_and_resumed(tmp_path, model, contigs):
    base = contigs["chr1"][899]
    rows = pd.DataFrame({"chrom": ["1", "chr2"], "pos": [900, 5], "ref": [base, "A"], "alt": ["<DEL>", "*"]})
    score_variants(model, rows, FASTA, scores=("diff",), output=tmp_path / "o.vcf", resume=True)
    lines = (tmp_path / "o.vcf").read_text().splitlines()
    assert lines[1:3] == ["##contig=<ID=1>", "##contig=<ID=chr2>"]
    assert lines[-2:] == [
        f"1\t900\t.\t{base}\t<DEL>\t.\t.\tREGZOO_DIFF=.;REGZOO_STATUS=symbolic_allele",
        "chr2\t5\t.\tA\t*\t.\t.\tREGZOO_DIFF=.;REGZOO_STATUS=allele_removed_by_an_overlapping_deletion",
    ]


def test_bcf_holds_the_vcf(tmp_path, model, monkeypatch):
    for name in ("o.vcf", "o.bcf"):
        score_variants(model, VCF, FASTA, scores=("diff",), targets=["tf0"], output=tmp_path / name)
    with pysam.VariantFile(str(tmp_path / "o.vcf")) as text, pysam.VariantFile(str(tmp_path / "o.bcf")) as binary:
        assert list(map(str, binary)) == list(map(str, text))
        assert [r.id for r in binary.fetch("chr1", 1600, 1601)] == ["breaks_ap1_1"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.bcf", "o.bcf.csi", "o.vcf"]
    monkeypatch.setattr("regzoo.effects.writers.VcfWriter.write", lambda self, batch: setattr(self, "records", 46))
    with pytest.raises(OutputError, match="46 records were scored, but 0 are in the BCF"):
        score_variants(model, VCF, FASTA, output=tmp_path / "p.bcf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.bcf", "o.bcf.csi", "o.vcf", "p.bcf.parts"]


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz"])
def test_a_record_that_is_missing_in_a_vcf_is_noticed(suffix, tmp_path, model, monkeypatch):
    parts = writers._parts

    def lose_one_line(records):
        head, info, tail = parts(records)
        return head.slice(1), info.slice(1), tail.slice(1)

    monkeypatch.setattr(writers, "_parts", lose_one_line)
    monkeypatch.setattr(writers, "_joined", lambda texts, counts: texts.slice(1))
    with pytest.raises(OutputError, match="46 records were written, but 45 are in the file"):
        score_variants(model, VCF, FASTA, output=tmp_path / f"o{suffix}")
    assert not (tmp_path / f"o{suffix}").exists()


def test_windows_with_unknown_bases_and_past_an_end_are_counted(tmp_path, contigs):
    bases = list("ACGT" * 100)
    bases[150] = "N"
    fasta = tmp_path / "g.fa"
    fasta.write_text(f">c\n{''.join(bases)}\n")
    positions = [1, 100, 101, 102, 201, 202, 300, 399]  # windows of 101 bases: 49 before the variant, 51 after it
    rows = [f"c:{p}:{bases[p - 1]}:{'AC'[bases[p - 1] == 'A']}" for p in positions]
    frame = score_variants(MODEL, rows, fasta, scores=("diff",), targets=["tf0"])
    assert frame.attrs == {"padded": 2, "unknown": sum(p - 50 <= 150 < p + 51 for p in positions)}
    counts = score_variants(MODEL, rows, fasta, output=tmp_path / "o.tsv")
    assert (counts.padded, counts.unknown) == (2, 3) and counts == {SCORED: 8}
    lines = ["\t".join([*row.split(":")[:2], ".", *row.split(":")[2:], ".", ".", "."]) for row in rows]
    (tmp_path / "in.vcf").write_text(HEADER + "\n".join(lines))
    command = ["score", "-m", MODEL, tmp_path / "in.vcf", "-f", fasta, "-o", tmp_path / "o.tsv", "-q", "-s", "diff"]
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    assert "2  of the scored: window padded with N" in done.stderr
    assert "3  of the scored: window with unknown bases" in done.stderr


def test_reading_scoring_and_writing_at_once_changes_no_byte(tmp_path, model, monkeypatch):
    """Batches of 7 records, against the same ones read, scored and written one after the other."""
    monkeypatch.setattr(running, "BATCH", 7)
    score_variants(model, VCF, FASTA, batch_size=7, output=tmp_path / "threads.tsv")
    monkeypatch.setattr(running, "read_ahead", lambda items: items)
    monkeypatch.setattr(running, "in_background", nullcontext)
    score_variants(model, VCF, FASTA, batch_size=7, output=tmp_path / "serial.tsv")
    assert (tmp_path / "serial.tsv").read_bytes() == (tmp_path / "threads.tsv").read_bytes()


def test_items_are_read_ahead_in_order_and_errors_come_through():
    def items():
        yield from range(3)
        raise InputError("record 4")

    got = []
    with pytest.raises(InputError, match="record 4"):
        for item in running.read_ahead(items()):
            got.append(item)
    assert got == [0, 1, 2]
    written = []

    def write(item):
        if item == 2:
            raise OutputError("full")
        written.append(item)

    with pytest.raises(OutputError, match="full"), running.in_background(write) as call:
        for item in range(5):
            call(item)
    assert written == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": "diff"}, "scores: expected a list, got the string 'diff'"),
        ({"summaries": ["sum"]}, "no summary 'sum'; there are absmax"),
        ({"strands": "both"}, "no choice of strands 'both'"),
        ({"precision": "fp8"}, "no precision 'fp8'"),
        ({"anchor": "middle"}, "no anchor 'middle'"),
        ({"vcf_keys": "all"}, "no way to write VCF keys 'all'"),
        ({"offsets": ()}, "no offset given"),
        ({"grid": 0}, "grid: expected 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"workers": 0}, "workers: expected 1 or more, got 0"),
        ({"resume": True}, "a returned table cannot be resumed"),
        ({"targets": ["tf9"]}, "no target 'tf9'"),
    ],
)
def test_options_that_are_not_valid_are_errors_of_the_library(options, message, model):
    with pytest.raises(InputError, match=message):
        score_variants(model, VCF, FASTA, **options)


@pytest.mark.parametrize("variants", [[], pd.DataFrame({"chrom": [], "pos": [], "ref": [], "alt": []})])
def test_no_variants_give_a_table_without_rows(variants, model, tmp_path):
    frame = score_variants(model, variants, FASTA, scores=("diff",), targets=["tf1"])
    assert list(frame) == ["record", "chrom", "pos", "id", "ref", "alt", "status", "diff:tf1"] and len(frame) == 0
    assert score_variants(model, variants, FASTA, output=tmp_path / "o.vcf.gz") == {}
