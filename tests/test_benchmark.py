"""Suites of `regzoo.benchmark`, on small made data, against scipy and scikit-learn."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from typer.testing import CliRunner

import regzoo
from regzoo import cli
from regzoo.errors import InputError
from regzoo.sequence import decode, encode, one_hot, reverse_complement
from regzoo.suites import alleles, data, deepsea, mpra, probe, run, satmut
from regzoo.suites.data import FILES, DataFolder, Source
from regzoo.suites.protocol import direction, halves
from regzoo.suites.windows import allele_windows, readout
from regzoo.zoo import load_language_model
from tests.conftest import FASTA, VCF, shared_data

BASES = np.array(list("ACGT"))
LENGTH = 21


class Quadratic(nn.Module):
    """A weighted sum over bases and positions, and its square, for three targets."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 4, LENGTH, generator=generator) / 4)

    def forward(self, x):
        found = torch.einsum("tcl,ncl->nt", self.weight, x)
        return found + found**2 / 4


@pytest.fixture(scope="module")
def model():
    return regzoo.Model.from_module(Quadratic(), LENGTH, ["a", "b", "c"], "identity", name="small", device="cpu")


def by_hand(model, texts):
    """Predictions of windows given as text, averaged over both strands."""
    weight = model.module.net.weight.detach().numpy().astype(float)
    sides = [[encode(text) for text in texts], [reverse_complement(encode(text)) for text in texts]]
    sums = [np.einsum("tcl,ncl->nt", weight, one_hot(np.array(side))) for side in sides]
    return np.mean([found + found**2 / 4 for found in sums], axis=0)


def random_texts(rng, count, length):
    return ["".join(row) for row in BASES[rng.integers(0, 4, (count, length))]]


def changed(rng, texts, index):
    """Texts with another base at an index."""
    other = {base: [b for b in "ACGT" if b != base] for base in "ACGT"}
    return [text[:index] + rng.choice(other[text[index]]) + text[index + 1 :] for text in texts]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write tables of a suite, whose digests take the place of the published ones."""

    def write(tables):
        for name, table in tables.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(table, str):
                path.write_text(table)
                content = table.encode()
            else:
                content = table.to_csv(sep="," if ".csv" in name else "\t", index=False).encode()
                table.to_csv(path, sep="," if ".csv" in name else "\t", index=False)
            monkeypatch.setitem(FILES, name, Source(hashlib.sha256(content).hexdigest(), FILES[name].origin))
        return tmp_path

    return write


def allele_tables():
    rng = np.random.default_rng(0)
    chroms = [f"chr{1 + i % 8}" for i in range(60)]
    low = random_texts(rng, 60, 100)
    high = changed(rng, low, 49)
    alt_high = rng.random(60) < 0.5
    dsqtl = pd.DataFrame({"id": [f"q{i}" for i in range(60)], "chrom_hg18": chroms, "pos": range(100, 160)})
    dsqtl["ref"] = [(a if up else b)[49] for a, b, up in zip(low, high, alt_high)]
    dsqtl["alt"] = [(b if up else a)[49] for a, b, up in zip(low, high, alt_high)]
    dsqtl = dsqtl.assign(beta=rng.normal(size=60), seq_high=high, seq_low=low)
    middle = random_texts(rng, 40, 101)
    lee = pd.DataFrame({"chrom_hg19": [f"chr{1 + i % 6}" for i in range(70)], "rsid": [f"r{i}" for i in range(70)]})
    lee["chrom_hg18"] = chroms[:30] + ["chr9"] * 40
    lee["pos_hg18"] = [*range(100, 130), *range(40)]
    lee["allele1"] = [text[49] for text in low[:30]] + [text[50] for text in middle]
    lee["allele2"] = [text[49] for text in high[:30]] + [text[50] for text in changed(rng, middle, 50)]
    lee["label"] = [1] * 30 + [-1] * 40
    for name in ("gkmSVM_delta", "kmerSVM_delta", "CADD", "GWAVA_tss"):
        lee[name] = rng.normal(size=70)
    lee["seq_101bp_hg19"] = [None] * 30 + middle
    ref = random_texts(rng, 50, 30)
    cagi = pd.DataFrame({"ID": [f"c{i}" for i in range(50)], "chr": [1 + i % 9 for i in range(50)]})
    cagi["LogSkew.Comb"] = rng.normal(size=50)
    cagi["emVar_Hit"] = [int(i % 2) for i in range(50)]
    cagi = cagi.assign(ref_sequence=ref, alt_sequence=changed(rng, ref, 15))
    cagi.loc[3, "alt_sequence"] = cagi.ref_sequence[3][:14] + "-" + cagi.ref_sequence[3][15:]  # a deletion
    ref = random_texts(rng, 50, 101)
    alt = changed(rng, ref, 50)
    udacha = pd.DataFrame({"chrom_hg38": chroms[:50], "pos": range(500, 550), "rsid": [f"u{i}" for i in range(50)]})
    udacha = udacha.assign(ref=[t[50] for t in ref], alt=[t[50] for t in alt], cell="K562", assay="ATAC")
    udacha = udacha.assign(ref_es=rng.normal(size=50), alt_es=rng.normal(size=50), fdr=0.05, ref_seq_101bp=ref)
    codebook = udacha.rename(columns={"rsid": "id"}).assign(TF="CTCF", exp="chipseq", comb_es=rng.random(50) + 0.1)
    codebook["pref_allele"] = rng.choice(["ref", "alt"], 50)
    return {
        "variants/dsqtl_lcl_degner2012_hg18.tsv.gz": dsqtl,
        "variants/dsqtl_benchmark_lee2015.tsv.gz": lee,
        "variants/cagi4_eqtl_mpra_train.tsv.gz": cagi,
        "variants/asv_chromatin_udacha_hg38.tsv.gz": udacha,
        "variants/asb_codebook_hg38.tsv.gz": codebook,
    }


@pytest.fixture
def plain_folder(folder, monkeypatch):
    """As `folder`, with uncompressed tables under the names of gzipped ones, which may be read as they are."""
    original = pd.DataFrame.to_csv
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda self, *a, **k: original(self, *a, **(k | {"compression": None})))
    return folder


def value(table, **wanted):
    for key, one in wanted.items():
        table = table[table[key] == one]
    assert len(table) == 1
    return table.iloc[0]


def test_alleles_are_centred_as_far_as_the_sequence_permits():
    ref, alt = encode("ACGTACGTAC"), encode("ACGTTCGTAC")
    for length, expected in ((5, "GTTCG"), (4, "TTCG"), (10, "ACGTTCGTAC"), (14, "NNACGTTCGTACNN")):
        windows = allele_windows([ref], [alt], [4], length)
        assert decode(windows[1][0]) == expected and decode(windows[0][0]) == expected.replace("TTC", "TAC")
    first, _ = allele_windows([ref], [encode("CCGTACGTAC")], [0], 5)
    assert decode(first[0]) == "ACGTA"  # cut at the edge rather than padded
    ref, alt = allele_windows([encode("ACGTACGTAC")], [encode("ACGTCGTAC")], [4], 10)  # a deletion
    assert decode(ref[0]) == "ACGTACGTAC" and decode(alt[0]) == "ACGTCGTACN"


def test_each_distinct_window_is_predicted_once_and_strands_are_averaged(model, monkeypatch):
    texts = random_texts(np.random.default_rng(1), 5, LENGTH)
    windows = np.array([encode(text) for text in [*texts, *texts]])
    seen, predict = [], regzoo.Model.predict
    monkeypatch.setattr(
        regzoo.Model, "predict", lambda self, codes, *a: seen.append(len(codes)) or predict(self, codes)
    )
    found = readout(model, windows)
    np.testing.assert_allclose(found, by_hand(model, [*texts, *texts]), atol=1e-5)
    assert seen == [10]  # five windows and their reverse complements
    stranded = regzoo.Model.from_module(Quadratic(), LENGTH, 3, "sigmoid", stranded=True, device="cpu")
    expected = stranded.module.net(torch.from_numpy(one_hot(windows))).detach().numpy()
    np.testing.assert_allclose(readout(stranded, windows), expected, rtol=2e-3, atol=1e-3)  # logits


def test_halves_share_no_group_and_do_not_depend_on_the_order():
    groups = np.repeat([f"chr{i}" for i in range(20)], np.arange(1, 21))
    half = halves(groups, seed=4)
    assert not set(groups[half]) & set(groups[~half]) and abs(half.sum() - (~half).sum()) <= 20
    order = np.random.default_rng(0).permutation(len(groups))
    np.testing.assert_array_equal(halves(groups[order], seed=4), half[order])
    assert (halves(groups, seed=5) != half).any()


def test_direction_counts_no_effect_as_half_right():
    ones = np.ones((1, 4))
    assert direction(np.array([1, 0, 1, 0.0]), np.array([2, -1, 0, 3.0]), ones)[0] == 0.625


def test_dsqtl_against_scipy(model, plain_folder):
    tables = allele_tables()
    found = regzoo.benchmark("alleles", model, plain_folder(tables)).table
    table = tables["variants/dsqtl_lcl_degner2012_hg18.tsv.gz"]
    effect = by_hand(model, table.seq_high.str[39:60]) - by_hand(model, table.seq_low.str[39:60])  # index 49 at 10
    half = halves(table.chrom_hg18)
    best = ((effect[half] > 0).mean(axis=0)).argmax()
    row = value(found, model="small", data_set="dsqtl", metric="direction")
    assert row.target == model.targets[best] and row.n == (~half).sum() and row.low < row.value < row.high
    right = effect[~half, best] > 0
    assert row.value == pytest.approx(right.mean())
    p = value(found, model="small", data_set="dsqtl", metric="sign_test_p").value
    assert p == pytest.approx(stats.binomtest(int(right.sum()), len(right)).pvalue)
    sign = np.where(table.alt == table.seq_high.str[49], 1, -1)
    for metric, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        expected = reference((sign * effect[:, best])[~half], (sign * table.beta.abs())[~half])[0]
        got = value(found, model="small", data_set="dsqtl", metric=metric).value
        assert got == pytest.approx(expected, abs=1e-5)


def test_a_swapped_allele_changes_the_sign(model, plain_folder):
    task = alleles.tasks(DataFolder(plain_folder(allele_tables())))[0]
    before = alleles.scores(model, task)
    task.refs, task.alts = task.alts, task.refs
    np.testing.assert_allclose(alleles.scores(model, task), -before, atol=1e-5)
    assert np.abs(before).min() > 0


def test_published_scores_and_controls_against_sklearn(model, plain_folder):
    tables = allele_tables()
    found = regzoo.benchmark("alleles", model, plain_folder(tables), targets=["b"]).table
    lee, dsqtl = tables["variants/dsqtl_benchmark_lee2015.tsv.gz"], tables["variants/dsqtl_lcl_degner2012_hg18.tsv.gz"]
    flanks = [t[39:49] + "{}" + t[50:60] for t in dsqtl.seq_high[:30]]
    flanks += [t[40:50] + "{}" + t[51:61] for t in lee.seq_101bp_hg19[30:]]
    first, second = ([text.format(base) for text, base in zip(flanks, lee[name])] for name in ("allele1", "allele2"))
    size = np.abs(by_hand(model, second) - by_hand(model, first))[:, 1]
    expected = {"average_precision": average_precision_score, "auroc": roc_auc_score}
    half = halves(lee.chrom_hg19)
    for metric, reference in expected.items():
        row = value(found, model="small", data_set="dsqtl-lee2015", metric=metric)
        assert row.n == 70 and row.value == pytest.approx(reference(lee.label == 1, size))
        own = value(found, model="published: deltaSVM (magnitude)", metric=metric).value
        assert own == pytest.approx(reference((lee.label == 1)[~half], lee.gkmSVM_delta.abs()[~half]))
        own = value(found, model="published: CADD", metric=metric).value
        assert own == pytest.approx(reference((lee.label == 1)[~half], lee.CADD[~half]))
    emvars = value(found, model="small", data_set="cagi4-emvars", metric="pearson")
    assert emvars.n == 25


def test_variants_without_a_sequence_are_read_from_a_genome(plain_folder, tmp_path):
    tables = allele_tables()
    name = "variants/asv_chromatin_udacha_hg38.tsv.gz"
    rng = np.random.default_rng(5)
    contigs = {f"chr{i}": list(random_texts(rng, 1, 700)[0]) for i in range(1, 9)}
    for table in (tables[name], tables["variants/asb_codebook_hg38.tsv.gz"]):
        for row in table.itertuples():
            contigs[row.chrom_hg38][row.pos - 1] = row.ref
        table["ref_seq_101bp"] = None
    text = "".join(f">{contig}\n{''.join(letters)}\n" for contig, letters in contigs.items())
    (tmp_path / "genome.fa").write_text(text)
    root = plain_folder(tables)
    task = alleles.tasks(DataFolder(root), regzoo.Genome(tmp_path / "genome.fa"), 20)[4]
    row = tables[name].iloc[7]
    around = "".join(contigs[row.chrom_hg38])[row.pos - 21 : row.pos + 20]
    assert task.name == "udacha" and decode(task.refs[7]) == around
    assert decode(task.alts[7]) == around[:20] + row.alt + around[21:]
    contigs[row.chrom_hg38][row.pos - 1] = row.alt
    (tmp_path / "other.fa").write_text("".join(f">{c}\n{''.join(letters)}\n" for c, letters in contigs.items()))
    with pytest.raises(InputError, match=f"udacha, u7.*expected REF {row.ref}, found {row.alt}"):
        alleles.tasks(DataFolder(root), regzoo.Genome(tmp_path / "other.fa"), 20)


def test_a_missing_or_other_data_file_is_named(plain_folder, monkeypatch, tmp_path):
    monkeypatch.delenv("REGZOO_DATA", raising=False)
    with pytest.raises(InputError, match="--data.*REGZOO_DATA"):
        regzoo.benchmark("alleles")
    with pytest.raises(InputError, match="no such folder"):
        regzoo.benchmark("alleles", data=tmp_path / "none")
    root = plain_folder(allele_tables())
    path = root / "variants" / "cagi4_eqtl_mpra_train.tsv.gz"
    text = path.read_text()
    path.write_text(text + "\n")
    with pytest.raises(InputError, match="cagi4.*has sha256 .*expected CAGI4 .*sha256"):
        regzoo.benchmark("alleles", data=root)
    path.unlink()
    digest = FILES["variants/cagi4_eqtl_mpra_train.tsv.gz"].sha256
    with pytest.raises(InputError, match=f"cagi4.*missing; expected CAGI4.*{digest}"):
        regzoo.benchmark("alleles", data=root)


def test_scores_in_a_file_give_the_figures_of_the_model(model, plain_folder, tmp_path):
    root = plain_folder(allele_tables())
    tasks = alleles.tasks(DataFolder(root))
    rows = [
        pd.DataFrame(alleles.scores(model, task), columns=model.targets).assign(data_set=task.name, id=task.ids)
        for task in tasks[:2]
    ]
    table = pd.concat(rows).sample(frac=1, random_state=0)
    path = tmp_path / "mine.csv"
    table.to_csv(path, index=False)
    found = regzoo.benchmark("alleles", [model, path], root, rows=tmp_path / "rows.tsv").table
    columns = ["target", "data_set", "metric", "value", "n"]
    own = found[(found.model == "small") & found.data_set.isin(["dsqtl", "dsqtl-lee2015"])]
    pd.testing.assert_frame_equal(
        own[columns].reset_index(drop=True), found[found.model == "mine.csv"][columns].reset_index(drop=True)
    )
    listed = pd.read_csv(tmp_path / "rows.tsv", sep="\t")
    assert set(zip(table.data_set, table.id)) <= set(zip(listed.data_set, listed.id)) and "alt" in listed
    first = table.iloc[0]
    for bad, message in (
        (table.iloc[1:], f"1 ids do not match; '{first.id}' has no row"),
        (pd.concat([table, table.iloc[:1]]), f"'{first.id}' occurs more than once"),
        (pd.concat([table, table.iloc[:1].assign(id="x9")]), "'x9' is not in the data set"),
        (pd.concat([table, table.iloc[:1].assign(data_set="d")]), "no data set 'd'"),
        (table.assign(b=np.nan), "column 'b': expected a finite number"),
        (table.drop(columns="id"), "expected columns data_set, id"),
    ):
        bad.to_csv(path, index=False)
        with pytest.raises(InputError, match=message):
            regzoo.benchmark("alleles", path, root)


def satmut_tables():
    """Three elements, of which the first two overlap."""
    rng = np.random.default_rng(2)
    text = random_texts(rng, 1, 18)[0]
    elements = {"one": ("1", 101, text), "two": ("1", 103, text[2:]), "three": ("2", 500, random_texts(rng, 1, 40)[0])}
    rows = []
    for name, (chrom, start, sequence) in elements.items():
        for place, ref in enumerate(sequence):
            for alt in "ACGT-":
                if alt != ref:
                    rows.append((chrom, start + place, ref, alt, rng.integers(5, 50), rng.normal(), rng.random(), name))
    names = ["Chrom", "Pos", "Ref", "Alt", "Barcodes", "Coefficient", "pValue", "Element"]
    table = pd.DataFrame(rows, columns=names)
    table.loc[rng.random(len(table)) < 0.3, "pValue"] = 1e-7
    fasta = "".join(f">{n} chr{c}:{s}-{s + len(t) - 1}\n{t}\n" for n, (c, s, t) in elements.items())
    return elements, table, {"mpra_satmut/effects.tsv.gz": table, "mpra_satmut/elements.fa": fasta}


def test_saturation_mutagenesis_against_windows_by_hand(model, plain_folder):
    elements, table, files = satmut_tables()
    root = plain_folder(files)
    tasks = satmut.tasks(DataFolder(root))
    loci = {task.name: task.locus for task in tasks}
    assert loci["one"] == loci["two"] != loci["three"]
    kept = table[(table.Alt != "-") & (table.Barcodes >= 10)]
    correlations, scores = {}, {}
    for task in tasks:
        _, start, text = elements[task.name]
        part = kept[kept.Element == task.name]
        assert task.ids == [f"{row.Pos}:{row.Ref}:{row.Alt}" for row in part.itertuples()]
        found = satmut.scores(model, task)
        scores[task.name] = found
        if task.name != "three":  # the whole element fits one window, whose padding does not change
            left = (LENGTH - len(text)) // 2
            for index in (0, 7, len(part) - 1):
                place, alt = part.Pos.iloc[index] - start, part.Alt.iloc[index]
                both = [text, text[:place] + alt + text[place + 1 :]]
                options = [
                    by_hand(model, [("N" * n + t + "N" * LENGTH)[:LENGTH] for t in both]) for n in (left, left + 1)
                ]
                assert any(np.allclose(pair[1] - pair[0], found[index], atol=1e-5) for pair in options)
        every = np.column_stack([found, found.mean(axis=1), found[np.arange(len(found)), np.abs(found).argmax(axis=1)]])
        correlations[task.name] = [stats.pearsonr(column, part.Coefficient)[0] for column in every.T], every, part
    result = regzoo.benchmark("satmut", model, root).table
    names = [*model.targets, "mean over targets", "largest target"]
    for name, others in (("one", ["three"]), ("three", ["one", "two"])):  # elements of other loci alone
        pick = int(np.mean([correlations[other][0] for other in others], axis=0).argmax())
        values, every, part = correlations[name]
        row = value(result, model="small", data_set=name, metric="pearson")
        assert row.target == names[pick] and row.value == pytest.approx(values[pick], abs=1e-5)
        area = roc_auc_score(part.pValue < 1e-5, np.abs(every[:, pick]))
        assert value(result, model="small", data_set=name, metric="auroc").value == pytest.approx(area, abs=1e-6)
    row = value(result, target="mean over targets", data_set="mean of 3 elements", metric="pearson")
    assert row.value == pytest.approx(np.mean([values[3] for values, _, _ in correlations.values()]), abs=1e-5)


def test_an_element_with_another_base_is_refused(plain_folder):
    _, table, files = satmut_tables()
    table.loc[0, "Ref"] = table.Alt[0]
    root = plain_folder(files | {"mpra_satmut/effects.tsv.gz": table.assign(Barcodes=20)})
    with pytest.raises(InputError, match="element one: REF . at 101 is not the element's base"):
        satmut.tasks(DataFolder(root))


def test_reporter_assays_against_scipy(model, plain_folder):
    rng = np.random.default_rng(6)
    names = [f"s{i}{end}" for i in range(40) for end in ("", "_Reversed:")]
    lenti = pd.DataFrame({"seq_id": names, "sequence": random_texts(rng, 80, 30), "log2_activity": rng.normal(size=80)})
    sharpr = pd.DataFrame({"region": [f"r{i}" for i in range(60)], "chrom_hg19": [f"chr{i % 7}" for i in range(60)]})
    sharpr["sequence"] = random_texts(rng, 60, 31)
    for cell in ("HepG2", "K562"):
        for replicate in (1, 2):
            sharpr[f"{cell}_minP_rep{replicate}_meanlog2rna"] = rng.normal(size=60)
    sharpr.loc[::2, "HepG2_minP_rep2_meanlog2rna"] = np.nan
    root = plain_folder(
        {
            "lentimpra/HepG2_test.tsv.gz": lenti,
            "lentimpra/WTC11_val.tsv.gz": lenti.assign(seq_id=[f"t{i}_{end}" for i in range(40) for end in "FR"]),
            "mpra_sharpr/regions_295bp_hg19.tsv.gz": sharpr,
        }
    )
    for task in mpra.tasks(DataFolder(root))[:2]:
        np.testing.assert_array_equal(task.half[::2], task.half[1::2])  # both orientations in one half
    found = regzoo.benchmark("mpra", model, root, targets=["c"]).table
    predicted = by_hand(model, sharpr.sequence.str[5:26])[:, 2]
    measured = sharpr.filter(like="HepG2").mean(axis=1)
    for metric, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        row = value(found, model="small", data_set="sharpr-HepG2", metric=metric)
        assert row.n == 60 and row.value == pytest.approx(reference(predicted, measured)[0], abs=1e-5)


def test_a_probe_against_sklearn(plain_folder, monkeypatch, tmp_path, language_model):
    rng = np.random.default_rng(7)
    sizes = {"train": 60, "test": 40}
    files = {
        f"gue/tf/0/{part}.csv.gz": pd.DataFrame({"sequence": random_texts(rng, n, 60)}) for part, n in sizes.items()
    }
    for table in files.values():
        table["label"] = table.sequence.str.count("[GC]") > 30
        table["label"] = table.label.astype(int)
    monkeypatch.setattr(probe, "_SETS", {"tf 0": (*files, (0.8, 0.8, 0.8, 0.9, 0.8))})
    root = plain_folder(files)
    task = probe.tasks(DataFolder(root), training_rows=50)[0]
    assert task.half.sum() == 50
    vectors = probe.scores(load_language_model(language_model, "cpu"), task)
    texts = [decode(codes) for codes in task.sequences]
    expected = np.stack(regzoo.embed(language_model, texts, device="cpu").embedding)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    result = regzoo.benchmark("probe", language_model, root, training_rows=50, device="cpu")
    assert result.command.endswith("--training-rows 50")
    found = result.table
    forest = RandomForestClassifier(random_state=0).fit(vectors[task.half], task.labels[task.half])
    area = roc_auc_score(task.labels[~task.half], forest.predict_proba(vectors[~task.half])[:, 1])
    assert value(found, model=language_model).value == pytest.approx(area)
    assert value(found, model="published: Caduceus-Ph").value == 0.9
    frame = pd.DataFrame(vectors).add_prefix("d").assign(data_set="tf 0", id=task.ids)
    frame.to_parquet(tmp_path / "mine.parquet")
    found = regzoo.benchmark("probe", tmp_path / "mine.parquet", root, training_rows=50).table
    assert value(found, model="mine.parquet").value == pytest.approx(area)


def test_the_command_writes_json_and_markdown(plain_folder, tmp_path):
    root = plain_folder(satmut_tables()[2])
    out, text = tmp_path / "r.json", tmp_path / "r.md"
    arguments = ["benchmark", "satmut", "--data", str(root), "-o", str(out), "-o", str(text), "-q"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert found["command"] == "regzoo benchmark satmut" and found["versions"]["regzoo"] == regzoo.__version__
    assert set(found["data"]) == {"mpra_satmut/effects.tsv.gz", "mpra_satmut/elements.fa"}
    result = regzoo.benchmark("satmut", data=root)
    assert len(found["rows"]) == len(result.table) and found["rows"][0]["value"] == pytest.approx(
        result.table.value[0], abs=1e-6
    )
    assert text.read_text().strip() == done.output.strip() == result.to_markdown()
    assert "| one | baseline: change in G+C |" in done.output


def test_a_bar_shows_the_data_set(plain_folder, capsys):
    regzoo.benchmark("alleles", data=plain_folder(allele_tables()), progress=True)
    shown = capsys.readouterr().err
    assert "0/6" in shown and "baseline, codebook" in shown and "6/6" in shown


def test_alleles_that_the_model_does_not_score(monkeypatch):
    given = regzoo.score_variants("Basset/tf-human", VCF, FASTA, scores=["logit"], device="cpu")
    given = given.query("status == 'scored'")[["chrom", "pos", "ref", "alt"]]
    total = len(given)
    given = pd.concat([given, given.head(1).assign(chrom="absent")])
    arguments = {"genome": FASTA, "variants": given, "reference": "Basset/tf-human", "device": "cpu"}
    own = deepsea.scores

    def partly(model, task, batch_size):
        values = own(model, task, batch_size).copy()
        values[kept:] = np.nan
        return values

    monkeypatch.setattr(deepsea, "scores", partly)
    kept = 12
    table = regzoo.benchmark("deepsea", "MotifResNet/tf-human", **arguments).table
    scored = table[table.model == "MotifResNet/tf-human"]
    assert (scored.n == 12).all() and set(table[table.model.str.startswith("baseline")].n) == {total}
    unscored = f"1 of {total + 1} alleles left out, which Basset/tf-human does not score"
    more = f"{total - 12} of {total} alleles left out, which the model does not score"
    assert set(scored.note) == {f"{unscored}; {more}"}
    kept = 2
    with pytest.raises(InputError, match=f"the model scores 2 of {total} alleles; expected 3 or more"):
        regzoo.benchmark("deepsea", "MotifResNet/tf-human", **arguments)


def test_targets_of_the_reference():
    task = deepsea.AgreementTask("t", [], [], np.zeros(4), "", pd.DataFrame(), None, pd.DataFrame({"a": range(4)}))
    with pytest.raises(InputError, match="no target 'b'; it has a"):
        deepsea.report([task], ["b"], [np.arange(4.0)[:, None]], True)


def test_the_command_names_what_is_not_the_default(plain_folder):
    table = pd.DataFrame({"chrom": ["chr1"], "pos": [1], "ref": ["A"], "alt": ["C"]})
    special = {"utr3": {"positives": table, "negatives": "far/n.vcf", "trials": 3, "utrs": None}}
    words = run._command("utr3", [], None, (), (), 50, 0, special)
    assert words == "regzoo benchmark utr3 --training-rows 50 --positives ... --negatives n.vcf --trials 3"
    for reference, text in (
        ("DeepSEA/beluga", " --reference DeepSEA/beluga"),
        ("DeepSEA/variantEffects", ""),
        (object(), " --reference ..."),
    ):
        special = {"deepsea": {"variants": [("chr1", 1, "A", "C")], "reference": reference}}
        words = run._command("deepsea", [], None, (), (), 10_000, 0, special)
        assert words == f"regzoo benchmark deepsea --variants ...{text}"


def test_agreement_with_another_model_against_scipy(monkeypatch):
    monkeypatch.setattr(deepsea, "TOP", 10)
    arguments = {"genome": FASTA, "variants": VCF, "reference": "Basset/tf-human", "device": "cpu"}
    result = regzoo.benchmark("deepsea", "MotifResNet/tf-human", **arguments)
    assert "--variants" in result.command and result.data == {}
    tables = [
        regzoo.score_variants(name, VCF, FASTA, scores=["logit"], device="cpu").query("status == 'scored'")
        for name in ("MotifResNet/tf-human", "Basset/tf-human")
    ]
    for target in ("tf0", "tf4"):
        one, other = (table[f"logit:{target}"].to_numpy(float) for table in tables)
        for metric, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            row = value(result.table, model="MotifResNet/tf-human", target=target, metric=metric)
            assert row.value == pytest.approx(reference(one, other)[0], abs=1e-4) and row.n == len(one)
        strongest = [set(np.argsort(-np.abs(x), kind="stable")[:10]) for x in (one, other)]
        row = value(result.table, model="MotifResNet/tf-human", target=target, metric="top_10_overlap")
        assert row.value == len(strongest[0] & strongest[1]) / 10 < 1
    assert len(result.table[result.table.model.str.startswith("baseline")]) == 3  # the largest of all targets alone
    one, other = (np.abs(table.filter(like="logit:").to_numpy(float)).max(axis=1) for table in tables)
    row = value(result.table, model="MotifResNet/tf-human", target="largest of all targets", metric="pearson")
    assert row.value == pytest.approx(stats.pearsonr(one, other)[0], abs=1e-4)
    assert row.note == ""
    chosen = regzoo.benchmark("deepsea", "MotifResNet/tf-human", targets=["tf4"], **arguments).table
    assert set(chosen[chosen.model == "MotifResNet/tf-human"].target) == {"tf4"}
    monkeypatch.setattr(deepsea, "TOP", len(one))
    few = regzoo.benchmark("deepsea", "MotifResNet/tf-human", **arguments).table
    assert set(few.metric) == {"pearson", "spearman"}
    with pytest.raises(InputError, match="needs variants and their genome"):
        regzoo.benchmark("deepsea", "MotifResNet/tf-human", reference="Basset/tf-human")
    with pytest.raises(InputError, match="variants: an option of the suite 'deepsea'"):
        regzoo.benchmark("mpra", variants=VCF, data=FASTA.parent)


def test_one_data_set_can_be_evaluated(plain_folder, monkeypatch):
    root = plain_folder(satmut_tables()[2])
    found = regzoo.benchmark("satmut", data=root).table
    seen, own = [], satmut.baseline
    monkeypatch.setattr(satmut, "baseline", lambda task: seen.append(task.name) or own(task))
    arguments = ["benchmark", "satmut", "--data", str(root), "--data-set", "three", "-q"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0 and "| three |" in done.output and "| one |" not in done.output
    assert seen == ["three"]
    result = regzoo.benchmark("satmut", data=root, data_sets=["three"])
    assert result.command == "regzoo benchmark satmut --data-set three"
    columns = ["metric", "value"]
    pd.testing.assert_frame_equal(
        result.table.query("data_set == 'three'")[columns].reset_index(drop=True),
        found.query("data_set == 'three'")[columns].reset_index(drop=True),
    )
    with pytest.raises(InputError, match="no data set 'four' in the suite 'satmut'; there are one, three, two"):
        regzoo.benchmark("satmut", data=root, data_sets=["four"])


def test_what_does_not_apply_is_refused(tmp_path):
    for call, message in (
        (lambda: regzoo.benchmark("dna"), "no suite 'dna'"),
        (lambda: regzoo.benchmark("mpra", data=tmp_path, genome="hg38.fa"), "reads no genome"),
        (lambda: regzoo.benchmark("probe", data=tmp_path, targets=["a"]), "no targets"),
        (lambda: regzoo.benchmark("mpra", data=tmp_path, data_sets="sharpr-K562"), "data_sets: expected a list"),
        (lambda: regzoo.benchmark("probe", data=tmp_path, training_rows=0), "training_rows"),
        (lambda: regzoo.benchmark("mpra", tmp_path / "no.tsv", tmp_path), "missing; expected"),
        (
            lambda: regzoo.benchmark("mpra", data=tmp_path, reference="DeepSEA/beluga"),
            "reference: an option of the suite",
        ),
        (lambda: regzoo.benchmark("geneb", data=tmp_path, training_rows=50), "suites 'probe' and 'utr3'; leave it out"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_digests_are_those_of_the_real_files():
    root = shared_data("variants").parent
    folder = DataFolder(root)
    for name in data.FILES:
        folder.path(name)
    assert folder.used == {name: source.sha256 for name, source in data.FILES.items()}
