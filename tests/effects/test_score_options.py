"""What `regzoo score` offers beyond plain scores, each against a direct computation."""

import gzip
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest
import torch
import yaml

from regzoo.effects.pipeline import difference_from_exact, score_variants
from regzoo.effects.windows import left_normalised, variant_offset
from regzoo.errors import InputError
from regzoo.sequence import Genome, decode, encode_many
from regzoo.zoo import load_model, model_folder
from tests.conftest import BIN, FASTA, MODEL, VCF
from tests.effects.alleles import make_alleles

HEADER = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n##contig=<ID=chr2>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
TARGETS = [f"tf{i}" for i in range(5)]


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


def table_of(tmp_path, model, vcf=VCF, **options):
    score_variants(model, vcf, FASTA, output=tmp_path / "o.tsv", **options)
    return pd.read_csv(tmp_path / "o.tsv", sep="\t")


def windows(allele, length, shift=0):
    """Both windows of an allele by cutting strings."""
    contig = "N" * 500 + decode(Genome(FASTA).codes(allele.chrom)) + "N" * 500
    at = allele.pos - 1 + 500
    changed = contig[:at] + allele.alt + contig[at + len(allele.ref) :]
    first = at - variant_offset(length) + shift
    return contig[first : first + length], changed[first : first + length]


def turned(text):
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


def differences(table, model, shift=0, reverse=False):
    pairs = [windows(row, model.input_length, shift) for row in table.itertuples()]
    sides = [[turned(pair[i]) if reverse else pair[i] for pair in pairs] for i in (0, 1)]
    # One strand at a time: the mean over both is inside this model's module.
    module, net = model.module, model.module.net
    with torch.inference_mode():
        ref, alt = (
            module.activation(net(torch.eye(5)[torch.from_numpy(encode_many(side)).long()][..., :4].mT)).numpy()
            for side in sides
        )
    return alt - ref


@pytest.fixture(scope="module")
def one_strand(tmp_path_factory):
    """The shipped model without the mean over strands in it."""
    folder = tmp_path_factory.mktemp("zoo") / "one" / "strand"
    shutil.copytree(model_folder(MODEL), folder)
    content = yaml.safe_load((folder / "model.yaml").read_text())
    content["args"]["reverse_complement"] = False
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    return load_model(str(folder), device="cpu")


@pytest.mark.parametrize("strands", ["forward", "reverse", "mean", "max"])
def test_strands(strands, tmp_path, one_strand):
    table = table_of(tmp_path, one_strand, scores=("diff",), strands=strands)
    forward, reverse = differences(table, one_strand), differences(table, one_strand, reverse=True)
    expected = {
        "forward": forward,
        "reverse": reverse,
        "mean": (forward + reverse) / 2,
        "max": np.where(np.abs(reverse) > np.abs(forward), reverse, forward),
    }[strands]
    np.testing.assert_allclose(table[[f"diff:{t}" for t in TARGETS]], expected, atol=1e-5)


def test_offsets_move_windows_and_scores_are_averaged(tmp_path, one_strand):
    table = table_of(tmp_path, one_strand, scores=("diff",), offsets=(-7, 0, 20), strands="forward")
    expected = np.mean([differences(table, one_strand, shift) for shift in (-7, 0, 20)], axis=0)
    np.testing.assert_allclose(table[[f"diff:{t}" for t in TARGETS]], expected, atol=1e-5)
    with pytest.raises(InputError, match="offset 60 moves chr1:800 out of its window of 101 bases"):
        table_of(tmp_path, one_strand, offsets=(60,))


def test_summaries_take_the_place_of_targets(tmp_path, model):
    full = table_of(tmp_path, model, scores=("diff", "logit"), targets=["tf0", "tf3"])
    table = table_of(tmp_path, model, scores=("diff", "logit"), targets=["tf0", "tf3"], summaries=("absmax", "mean"))
    expected = ["diff:absmax", "diff:mean", "logit:absmax", "logit:mean", "diff:absmax_target", "logit:absmax_target"]
    assert list(table.columns[7:]) == expected
    values = full[["diff:tf0", "diff:tf3"]]
    largest = values.abs().idxmax(axis=1)
    assert set(largest) == set(values) and (table["diff:absmax"] < 0).any()
    np.testing.assert_allclose(table["diff:absmax"], [values.loc[i, c] for i, c in largest.items()], rtol=1e-5)
    assert list("diff:" + table["diff:absmax_target"]) == list(largest)
    np.testing.assert_allclose(table["diff:mean"], values.mean(axis=1), rtol=1e-4, atol=1e-7)


def test_several_models_in_one_pass(tmp_path, model):
    names = [MODEL, "Basset/tf-human"]
    both = table_of(tmp_path, names, scores=("diff", "alt"))
    for name in names:
        alone = table_of(tmp_path, name, scores=("diff", "alt"))
        for column in alone.columns[7:]:
            np.testing.assert_allclose(both[f"{name}:{column}"], alone[column], atol=1e-6)
    for suffix in (".vcf", ".h5", ".parquet"):
        score_variants(names, VCF, FASTA, output=tmp_path / f"o{suffix}", scores=("diff",))
    frame = pd.read_parquet(tmp_path / "o.parquet")
    np.testing.assert_allclose(frame["Basset/tf-human:diff:tf2"], both["Basset/tf-human:diff:tf2"], rtol=1e-5)
    record = next(iter(pysam.VariantFile(str(tmp_path / "o.vcf"))))
    value = record.info["REGZOO_DIFF_Basset_tf_human"][0].split("|")[2]
    assert float(value) == pytest.approx(both["Basset/tf-human:diff:tf2"][0], rel=1e-5)


def all_equal_alleles(contig, pos, ref, alt):
    """Every (position, ref, alt) without a needless base that makes the same sequence: brute force near the allele."""
    changed = contig[: pos - 1] + alt + contig[pos - 1 + len(ref) :]
    grow = len(alt) - len(ref)
    for at in range(max(1, pos - 40), pos + 10):
        for size in range(1, len(ref) + 2):
            old, new = contig[at - 1 : at - 1 + size], changed[at - 1 : at - 1 + size + grow]
            if new and contig[: at - 1] + new + contig[at - 1 + size :] == changed:
                yield at, old, new


def test_normalising_gives_the_leftmost_of_the_shortest_forms(tmp_path):
    rng = np.random.default_rng(8)
    contig = "".join(rng.choice(list("AC"), 200))  # two letters make repeats
    path = tmp_path / "g.fa"
    path.write_text(f">chr1\n{contig}\n")
    genome = Genome(path)
    for _ in range(150):
        pos, size = int(rng.integers(1, 190)), int(rng.integers(1, 5))
        ref = contig[pos - 1 : pos - 1 + size]
        alt = "".join(rng.choice(list("AC"), rng.integers(1, 5)))
        if alt == ref:
            continue
        got, moved = left_normalised(make_alleles(("chr1", pos, ref, alt)), genome)
        forms = list(all_equal_alleles(contig, pos, ref, alt))
        shortest = min(len(old) + len(new) for _, old, new in forms)
        leftmost = min(f for f in forms if len(f[1]) + len(f[2]) == shortest)
        assert (got.pos[0], got.ref_texts()[0].as_py(), got.alt_texts()[0].as_py()) == leftmost
        assert moved[0] == (leftmost != (pos, ref, alt))


def test_normalised_alleles_are_told_and_nothing_else_changes(tmp_path, model):
    contig = decode(Genome(FASTA).codes("chr1"))
    at = next(i for i in range(900, 23_000) if contig[i] == contig[i + 1] == contig[i + 2] != contig[i - 1])
    rows = [(at + 2, contig[at + 1 : at + 3], contig[at + 1]), (1200, contig[1199], "ACGT"[contig[1199] == "A"])]
    path = tmp_path / "in.vcf"
    path.write_text(HEADER + "".join(f"chr1\t{p}\tv\t{r}\t{a}\t.\t.\t.\n" for p, r, a in rows))
    table = table_of(tmp_path, model, path, normalise=True, scores=("diff",))
    assert list(zip(table.pos, table.ref, table["alt"])) == [(at, contig[at - 1 : at + 1], contig[at - 1]), rows[1]]
    score_variants(model, path, FASTA, output=tmp_path / "o.vcf", normalise=True, scores=("diff",))
    moved, plain = list(pysam.VariantFile(str(tmp_path / "o.vcf")))
    assert (moved.pos, moved.ref) == rows[0][:2]
    assert moved.info["REGZOO_NORMALISED"] == (f"{at}:{contig[at - 1 : at + 1]}:{contig[at - 1]}",)
    assert "REGZOO_NORMALISED" not in plain.info


def test_sorted_vcf_output_is_indexed_and_unsorted_is_told(tmp_path, model, caplog):
    score_variants(model, VCF, FASTA, output=tmp_path / "o.vcf.gz")
    with pysam.VariantFile(str(tmp_path / "o.vcf.gz")) as file:
        assert [r.id for r in file.fetch("chr1", 1600, 1601)] == ["breaks_ap1_1"]
    lines = VCF.read_text().splitlines(keepends=True)
    path = tmp_path / "unsorted.vcf"
    path.write_text("".join([*lines[:4], lines[5], lines[4], *lines[6:]]))
    score_variants(model, path, FASTA, output=tmp_path / "u.vcf.gz")
    assert not (tmp_path / "u.vcf.gz.tbi").exists() and "not sorted" in caplog.text


def many_variants(path, count):
    """Records at consecutive positions, of which one in 32 can be scored."""
    contig = decode(Genome(FASTA).codes("chr1"))
    rows = [(p, contig[p - 1], "*" if p % 32 else "AC"[contig[p - 1] == "A"]) for p in range(100, 100 + count)]
    path.write_text(HEADER + "".join(f"chr1\t{p}\t.\t{r}\t{a}\t.\t.\t.\n" for p, r, a in rows))
    return path


def children(process):
    """Process ids of the worker processes of a running command."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(p) for p in listed if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def runs(pid):
    """Whether a process runs; a zombie does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def scored_by_two(tmp_path_factory):
    """A VCF of eight batches, and its table by two workers."""
    folder = tmp_path_factory.mktemp("two")
    path = many_variants(folder / "in.vcf", 16_000)
    score_variants(MODEL, path, FASTA, output=folder / "whole.tsv.gz", workers=2, scores=("diff",))
    return path, folder / "whole.tsv.gz"


def test_workers_give_the_same_table(tmp_path, model, scored_by_two):
    path, whole = scored_by_two
    one = table_of(tmp_path, model, path, scores=("diff",))
    pd.testing.assert_frame_equal(one, pd.read_csv(whole, sep="\t"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_run_takes_its_workers_along_and_is_resumed_byte_for_byte(number, tmp_path, model, scored_by_two):
    path, whole = scored_by_two
    output = tmp_path / "o.tsv.gz"
    parts = tmp_path / "o.tsv.gz.parts"
    command = [
        BIN / "regzoo",
        "score",
        path,
        "-f",
        FASTA,
        "-m",
        MODEL,
        "-o",
        output,
        "-s",
        "diff",
        "-q",
        "--workers",
        2,
    ]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    while not (parts / "00000000.npz").exists():
        assert process.poll() is None
        time.sleep(0.01)
    workers = children(process)
    process.send_signal(number)
    _, error = process.communicate()
    deadline = time.monotonic() + 30
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(workers) == 2 and not any(map(runs, workers))
    assert not output.exists()
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        assert "the same command with --resume goes on" in error
        assert not list(tmp_path.glob(".unfinished-*"))
        return
    kept = {p: p.stat().st_mtime_ns for p in parts.glob("*.npz")}
    options = {"progress": False, "workers": 2}
    with pytest.raises(InputError, match="an unfinished run left finished batches there .*; --resume"):
        score_variants(model, path, FASTA, output=output, scores=("diff",), **options)
    with pytest.raises(InputError, match="made from other inputs or options"):
        score_variants(model, path, FASTA, output=output, scores=("alt",), resume=True, **options)
    assert {p: p.stat().st_mtime_ns for p in parts.glob("*.npz")} == kept
    assert list(tmp_path.glob(".unfinished-*"))
    score_variants(model, path, FASTA, output=output, scores=("diff",), resume=True, **options)
    assert output.read_bytes() == whole.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz", ".vcf", ".vcf.gz", ".parquet", ".h5"])
def test_a_run_makes_the_same_bytes_again(suffix, tmp_path, model):
    outputs = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for output in outputs:
        score_variants(model, VCF, FASTA, output=output)
        time.sleep(1.1 * (suffix in (".tsv.gz", ".h5")))  # a time in the file would differ
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_bf16_is_near_and_its_distance_is_told(tmp_path, model):
    exact, near = (table_of(tmp_path, model, scores=("diff",), precision=p) for p in ("float32", "bf16"))
    columns = [f"diff:{t}" for t in TARGETS]
    differ = (exact[columns] - near[columns]).abs().to_numpy().max()
    assert 0 < differ < 0.02
    largest, correlation = difference_from_exact(model, VCF, FASTA, precision="bf16")
    assert largest == pytest.approx(differ, abs=1e-5) and correlation > 0.999


def test_profiles_have_their_own_scores(tmp_path, profile_model):
    loaded = load_model(profile_model, device="cpu")
    table = table_of(tmp_path, profile_model, scores=("l2", "js", "log2fc", "diff"))
    pairs = [windows(row, 512) for row in table.itertuples()]
    ref, alt = (loaded.predict(encode_many([pair[i] for pair in pairs])) for i in (0, 1))
    assert ref.shape == (len(table), 2, loaded.output_shape[1]) and ref.shape[2] > 1
    np.testing.assert_allclose(table[["l2:a", "l2:b"]], np.sqrt(((alt - ref) ** 2).sum(2)), atol=1e-5)
    np.testing.assert_allclose(table[["diff:a", "diff:b"]], alt.mean(2) - ref.mean(2), atol=1e-5)
    with pytest.raises(InputError, match="score 'logit' is made for probabilities"):
        table_of(tmp_path, profile_model, scores=("logit",))
    with pytest.raises(InputError, match="score 'js' compares profiles, but model MotifResNet/tf-human predicts one"):
        table_of(tmp_path, MODEL, scores=("js",))


def test_compressed_tsv_is_plain_gzip(tmp_path, model):
    score_variants(model, VCF, FASTA, output=tmp_path / "o.tsv.gz")
    assert gzip.decompress((tmp_path / "o.tsv.gz").read_bytes()).startswith(b"record\tchrom")
