"""`kipoi veff` on a current Kipoi: against numbers of the plugin in its own time, and against `regzoo score`."""

import json
import re

import cyvcf2
import h5py
import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

import regzoo.kipoi  # noqa: F401 - before kipoi_veff
from regzoo import score_variants
from regzoo.nets import build
from regzoo.nets.checkpoint import convert_official
from tests.conftest import FASTA, LOADER, MODEL, ROOT, VCF, shared_data
from tests.nets.test_official_parity import made_up_state
from training.export import SCORES as KIPOI_SCORES

ARGS = f"--dataloader_args={json.dumps(LOADER)}"


def plugin_scores(path, name):
    """Scores of a VCF that the plugin wrote: array (records, targets)."""
    key = next(
        k
        for k in re.findall(r"##INFO=<ID=([^,]+),", path.read_text())
        if k.endswith(f"tf_human_{name.upper()}") or k.endswith(f"variantEffects_{name.upper()}")
    )
    values = [
        re.search(rf"{re.escape(key)}=([^;\t\n]+)", line)[1] for line in path.read_text().splitlines() if line[0] != "#"
    ]
    return np.array([[float(v) for v in value.split("|")] for value in values])


def single_bases(path):
    return [r for r in cyvcf2.VCF(str(path)) if len(r.REF) == 1 and all(len(a) == 1 for a in r.ALT)]


def test_command_equals_regzoo_score_and_counts_what_it_leaves_out(kipoi_command, tmp_path):
    out = tmp_path / "veff.vcf"
    _, err = kipoi_command(
        "veff", "score_variants", MODEL, "--source", "regzoo", ARGS, "-i", VCF, "-o", out, "-s", *KIPOI_SCORES
    )
    left_out = len(list(cyvcf2.VCF(str(VCF)))) - len(single_bases(VCF))
    assert f"{left_out} alleles are not scored (indel or several bases: {left_out})" in err
    assert f"regzoo score {VCF} --genome {FASTA} --model {MODEL}" in err
    table = score_variants(MODEL, VCF, FASTA, scores=KIPOI_SCORES)
    table = table[(table.ref.str.len() == 1) & (table["alt"].str.len() == 1)]
    for name in KIPOI_SCORES:
        own = table[[f"{name}:tf{i}" for i in range(5)]]
        np.testing.assert_allclose(plugin_scores(out, name), own, atol=2e-4 if "logit" in name else 1e-5)
    assert [line.split("\t")[2] for line in out.read_text().splitlines() if line[0] != "#"] == list(table.id)


def test_nothing_of_a_record_is_lost_and_no_file_is_left_beside_the_input(kipoi_command, tmp_path):
    source = tmp_path / "in.vcf"
    base = {"C": "T", "G": "A", "A": "G", "T": "C"}
    ref = cyvcf2.VCF(str(VCF)).__next__().REF
    header = [line for line in VCF.read_text().splitlines() if line.startswith("#")]
    header[-1] += "\tFORMAT\tS1\tS2"
    header.insert(1, '##INFO=<ID=AF,Number=A,Type=Float,Description="x">')
    header.insert(1, '##FORMAT=<ID=GT,Number=1,Type=String,Description="x">')
    fixed = next(line for line in VCF.read_text().splitlines() if line[0] != "#").split("\t")
    others = [b for b in "ACGT" if b not in (ref, base[ref])]
    rows = [
        [*fixed[:4], base[ref], "50", "PASS", "AF=0.25", "GT", "0/1", "1/1"],
        [*fixed[:4], f"{base[ref]},{others[0]}", ".", "q10", "AF=0.25,0.5", "GT", "0/2", "./."],
        ["chr1", "3", *fixed[2:4], base[ref], ".", "PASS", ".", "GT", "0/0", "0/1"],
        ["chr1", "1000", "symbolic", ref, "<DEL>", ".", "PASS", ".", "GT", "0/0", "0/1"],
    ]
    header.insert(1, '##FILTER=<ID=q10,Description="x">')
    source.write_text("\n".join(header + ["\t".join(row) for row in rows]) + "\n")
    out = tmp_path / "out.vcf"
    _, err = kipoi_command("veff", "score_variants", MODEL, "--source", "regzoo", ARGS, "-i", source, "-o", out)
    assert "3 alleles are not scored" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.vcf", "out.vcf"]
    scored = [line.split("\t") for line in out.read_text().splitlines() if line[0] != "#"]
    assert [row[8:] for row in scored] == [row[8:] for row in rows[:2]]
    assert [row[6] for row in scored] == ["PASS", "q10"]
    assert [row[7].split(";")[0] for row in scored] == ["AF=0.25", "AF=0.25,0.5"]


def test_extra_output_and_chosen_outputs(kipoi_command, tmp_path):
    out = tmp_path / "o.h5"
    kipoi_command(
        "veff",
        "score_variants",
        MODEL,
        "--source",
        "regzoo",
        ARGS,
        "-i",
        VCF,
        "-e",
        out,
        "--model_outputs",
        "tf3",
    )
    with h5py.File(out) as file:
        assert file["preds/diff"].shape == (len(single_bases(VCF)), 1)


def test_python_api(tmp_path):
    import kipoi
    import kipoi_veff

    model = kipoi.get_model(MODEL, source="regzoo")
    frames = kipoi_veff.score_variants(
        model, dict(LOADER), str(VCF), str(tmp_path / "o.vcf"), scores=["diff"], return_predictions=True
    )
    np.testing.assert_allclose(frames["diff"].to_numpy(), plugin_scores(tmp_path / "o.vcf", "diff"), atol=1e-7)


def test_restriction_bed(kipoi_command, tmp_path):
    bed = tmp_path / "r.bed"
    bed.write_text("chr1\t0\t2000\n")
    out = tmp_path / "o.vcf"
    kipoi_command("veff", "score_variants", MODEL, "--source", "regzoo", ARGS, "-i", VCF, "-o", out, "-r", bed)
    positions = [int(line.split("\t")[1]) for line in out.read_text().splitlines() if line[0] != "#"]
    assert positions == [r.POS for r in single_bases(VCF) if r.CHROM == "chr1" and r.POS <= 2000]


@pytest.mark.parametrize("regions", ["vcf", "bed"])
def test_mutation_maps_equal_a_direct_computation(kipoi_command, regions, tmp_path):
    from regzoo.sequence import Genome
    from regzoo.zoo import load_model

    path = tmp_path / f"regions.{regions}"
    start = 1550
    if regions == "bed":
        path.write_text("chr1\t1550\t1651\tap1\n")
    else:
        lines = VCF.read_text().splitlines()
        records = [line for line in lines if line[0] != "#"]
        path.write_text("\n".join([line for line in lines if line[0] == "#"] + records[1:2]) + "\n")
        start = int(records[1].split("\t")[1]) - 1 - (101 // 2 - 1)
    out, picture = tmp_path / "map.h5", tmp_path / "map.png"
    kipoi_command("veff", "create_mutation_map", MODEL, "--source", "regzoo", ARGS, "-r", path, "-o", out, "-s", "diff")
    kipoi_command(
        "veff",
        "plot_mutation_map",
        "-f",
        out,
        "--input_entry",
        "0",
        "--model_seq_input",
        "seq",
        "--scoring_key",
        "diff",
        "--model_output",
        "tf3",
        "-o",
        picture,
    )
    assert picture.stat().st_size > 5000
    import kipoi_veff

    entry = kipoi_veff.MutationMapPlotter(fname=str(out)).mutation_map[0]["seq"]["diff"]["tf3"]
    model, genome = load_model(MODEL, device="cpu"), Genome(FASTA)
    window = genome.windows(np.array([genome.number("chr1")]), np.array([start]), 101)[0]
    changed = np.repeat(window[None], 404, axis=0)
    changed[np.arange(404), np.repeat(np.arange(101), 4)] = np.tile(np.arange(4), 101)
    expected = (model.predict(changed) - model.predict(window[None]))[:, 3].reshape(101, 4).T
    got = np.asarray(entry["mutation_map"], dtype=float)
    np.testing.assert_allclose(np.nan_to_num(got), expected, atol=1e-5)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """DeepSEA/variantEffects with the made-up weights of the golden scores, as a model directory."""
    folder = tmp_path_factory.mktemp("zoo") / "DeepSEA" / "variantEffects"
    folder.mkdir(parents=True)
    original = ROOT / "models" / "DeepSEA" / "variantEffects"
    net = build("deepsea")
    convert_official(net, made_up_state("deepsea_varianteffects"), swap_cg=True)
    save_file(net.state_dict(), folder / "model.safetensors")
    content = yaml.safe_load((original / "model.yaml").read_text())
    del content["args"]["official"]
    content["args"]["weights"] = "model.safetensors"
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    (folder / "targets.txt").write_text((original / "targets.txt").read_text())
    return folder


@pytest.fixture(scope="module")
def golden_vcf(tmp_path_factory):
    golden = np.load(ROOT / "tests" / "golden" / "kipoi_veff_deepsea.npz")
    path = tmp_path_factory.mktemp("golden") / "in.vcf"
    rows = [
        f"{c}\t{p}\t.\t{r}\t{a}\t.\t.\t." for c, p, r, a in zip(*(golden[k] for k in ("chrom", "pos", "ref", "alt")))
    ]
    head = "##fileformat=VCFv4.2\n##contig=<ID=chr20>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    path.write_text(head + "\n".join(rows) + "\n")
    return path, golden


def tolerance(name):
    return 2e-4 if name.startswith("logit") else 1e-5


def test_the_command_gives_the_plugins_own_numbers(kipoi_command, official, golden_vcf, tmp_path):
    fasta = shared_data("genome", "chr20_1mb.fa")
    path, golden = golden_vcf
    arguments = json.dumps({"fasta_file": str(fasta)})
    kipoi_command(
        "veff",
        "score_variants",
        official,
        "--source",
        "dir",
        f"--dataloader_args={arguments}",
        "-i",
        path,
        "-o",
        tmp_path / "o.vcf",
        "-s",
        *KIPOI_SCORES,
    )
    for name in KIPOI_SCORES:
        np.testing.assert_allclose(
            plugin_scores(tmp_path / "o.vcf", name), golden[f"score_{name}"], atol=tolerance(name), rtol=0
        )


def test_regzoo_score_gives_the_plugins_own_numbers(official, golden_vcf, tmp_path):
    fasta = shared_data("genome", "chr20_1mb.fa")
    path, golden = golden_vcf
    score_variants(official, path, fasta, scores=KIPOI_SCORES, output=tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        for name in KIPOI_SCORES:
            np.testing.assert_allclose(file[f"scores/{name}"], golden[f"score_{name}"], atol=tolerance(name), rtol=0)
