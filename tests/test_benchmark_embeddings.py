"""Suites 'geneb' and 'utr3', on small made data, against scikit-learn."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import regzoo
from regzoo.errors import InputError, ModelError
from regzoo.sequence import Genome, decode, encode
from regzoo.suites import geneb, heads, probe, utr3, utr3_tasks
from regzoo.suites.data import DataFolder
from regzoo.zoo import load_language_model
from tests.test_benchmark import changed, folder, plain_folder, random_texts, value  # noqa: F401 - fixtures

MODEL = "LM/nt-mini"


def labelled(rng, count, classes=2, length=40):
    table = pd.DataFrame({"sequence": random_texts(rng, count, length)})
    share = table.sequence.str.count("[GC]").rank(method="first") / (count + 1)
    return table.assign(label=(share * classes).astype(int))


@pytest.fixture
def geneb_folder(plain_folder, monkeypatch):  # noqa: F811
    """One task of GUE, and one of three classes in a file of the user's."""
    rng = np.random.default_rng(0)
    files = {"gue/tf/0/train.csv.gz": labelled(rng, 60), "gue/tf/0/test.csv.gz": labelled(rng, 50)}
    name = "leannmlindsey_GUE_human_tf_0"
    monkeypatch.setattr(geneb, "_SETS", {name: tuple(files)})
    root = plain_folder(files)
    own = labelled(rng, 90, 3).assign(split=["train"] * 50 + ["dev"] * 10 + ["test"] * 30)
    (root / "geneb").mkdir()
    own.rename(columns={"sequence": "text"}).to_csv(root / "geneb" / "three.csv", index=False)
    return root


def test_geneb_reports_empty_cells_and_records_the_digest(geneb_folder):
    path = geneb_folder / "geneb" / "three.csv"
    table = pd.read_csv(path).assign(label=lambda table: table.label.map({0: "NA", 1: "None", 2: "other"}))
    table.to_csv(path, index=False)
    folder = DataFolder(geneb_folder)  # noqa: F811
    task = geneb.tasks(folder)[1]
    assert set(task.labels) == {0, 1, 2} and len(task.ids) == 80
    assert folder.used["geneb/three.csv"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "geneb/three.csv" in regzoo.benchmark("geneb", data=geneb_folder, data_sets=["three"]).data
    table.to_csv(path.with_name("three.csv.gz"), index=False)
    with pytest.raises(InputError, match=r"three.csv.gz: there is another file of the task 'three'"):
        geneb.tasks(DataFolder(geneb_folder))
    path.with_name("three.csv.gz").unlink()
    for column, message in (("text", "no sequence"), ("label", "no label"), ("split", "no split")):
        broken = table.astype(str)
        broken.loc[7, column] = ""
        broken.to_csv(path, index=False)
        with pytest.raises(InputError, match=f"three.csv, row 7: {message}"):
            geneb.tasks(DataFolder(geneb_folder))


def by_hand(task, features, shots, seed):
    """The published protocol, written out."""
    train, labels = task.half, task.labels.astype(int)
    x, y = features[train], labels[train]
    rows = np.arange(len(y))
    if shots:
        draw = np.random.RandomState(seed)
        rows = np.concatenate([draw.choice(np.where(y == c)[0], shots, replace=False) for c in np.unique(y)])
    return LogisticRegression(max_iter=1000).fit(x[rows], y[rows]).predict(features[~train])


def test_geneb_against_sklearn(geneb_folder, tmp_path):
    result = regzoo.benchmark("geneb", MODEL, geneb_folder, device="cpu", output=tmp_path / "r.geneb.json")
    lm = load_language_model(MODEL, "cpu")
    references = {
        "mcc": matthews_corrcoef,
        "accuracy": accuracy_score,
        "macro_f1": lambda true, said: f1_score(true, said, average="macro"),
    }
    written = json.loads((tmp_path / "r.geneb.json").read_text())
    assert written["schema_version"] == "1.0" and written["model_id"] == "lm-nt-mini"
    assert written["meta"]["params"] == sum(one.numel() for one in lm.net.parameters())
    tasks = geneb.tasks(DataFolder(geneb_folder))
    assert [(task.name, int(task.half.sum()), len(task.ids)) for task in tasks] == [
        ("leannmlindsey_GUE_human_tf_0", 60, 110),
        ("three", 50, 80),
    ]
    for task in tasks:
        features = probe.scores(lm, task)
        for regime, shots in (("full", None), ("10shot", 10), ("1shot", 1)):
            predicted = [by_hand(task, features, shots, seed) for seed in (13, 17, 42, 123, 997)]
            for metric, key in (("mcc", "MCC"), ("accuracy", "Acc"), ("macro_f1", "F1")):
                row = value(result.table, model=MODEL, data_set=task.name, target=regime, metric=metric)
                expected = np.mean([references[metric](task.labels[~task.half], one) for one in predicted])
                assert row.value == pytest.approx(expected, abs=1e-9) and row.low < row.value < row.high
                assert written["results"][regime][task.name][key] == pytest.approx(expected)
    assert value(result.table, model="published: SpliceBERT 1024nt", target="full").value == 0.6678


def test_geneb_reports_bad_files_and_submissions(geneb_folder, tmp_path):
    with pytest.raises(InputError, match="one model"):
        regzoo.benchmark("geneb", [MODEL, MODEL], geneb_folder, output=tmp_path / "r.geneb.json")
    with pytest.raises(InputError, match="the suite 'geneb'"):
        regzoo.benchmark("probe", MODEL, geneb_folder, output=tmp_path / "r.geneb.json")
    path = geneb_folder / "geneb" / "three.csv"
    pd.read_csv(path).drop(columns="split").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"three.csv: no column 'split'"):
        regzoo.benchmark("geneb", data=geneb_folder)
    assert not (tmp_path / "r.geneb.json").exists()


def test_ridge_against_sklearn():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(120, 6)) * [1, 5, 0.1, 2, 1, 1] + 3
    labels = features @ rng.normal(size=6) + rng.normal(size=120)
    groups, alphas = rng.integers(0, 30, 120), np.logspace(-2, 3, 6)
    found, expected = heads.ridge(features, labels, groups, alphas), np.empty(120)
    for train, test in GroupKFold(10).split(features, groups=groups):
        scaler = StandardScaler().fit(features[train])  # every inner fold is standardised anew; see the tolerance
        inner = list(GroupKFold(5).split(train, groups=groups[train]))
        model = RidgeCV(alphas, cv=inner).fit(scaler.transform(features[train]), labels[train])
        expected[test] = model.predict(scaler.transform(features[test]))
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)
    assert stats.pearsonr(found, labels)[0] > 0.9


def test_groups_stay_together():
    with pytest.raises(InputError, match="at least two groups"):
        heads.outer_folds(np.zeros(9))
    groups = np.random.default_rng(2).integers(0, 7, 60)
    folds = heads.outer_folds(groups)
    assert len(folds) == 7 and sorted(np.concatenate([test for _, test in folds])) == list(range(60))
    assert not any(set(groups[train]) & set(groups[test]) for train, test in folds)


def test_tuned_heads_learn_what_there_is_and_nothing_else():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(200, 4))
    labels = np.sin(features[:, 0]) + 0.1 * rng.normal(size=200)
    groups = np.arange(200)
    assert stats.pearsonr(heads.support_vectors(features, labels, groups, 4), labels)[0] > 0.5
    assert abs(stats.pearsonr(heads.support_vectors(features, rng.permutation(labels), groups, 2), labels)[0]) < 0.25
    classes = (labels > 0).astype(float)
    assert roc_auc_score(classes, heads.perceptron(features, classes, groups, 1)) > 0.8
    with pytest.raises(InputError, match="each class in at least 10 groups .* one class is in 3"):
        heads.perceptron(features, np.arange(200) < 3, groups, 1)


def test_the_perceptron_does_not_see_neighbours():
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(40), 5)  # rows of a group are alike, and classes of groups are drawn at random
    features = rng.normal(size=(40, 32))[groups] + 0.01 * rng.normal(size=(200, 32))
    labels = rng.permutation(np.arange(40) % 2)[groups].astype(float)
    assert roc_auc_score(labels, heads.perceptron(features, labels, np.arange(200), 1)) > 0.9
    assert roc_auc_score(labels, heads.perceptron(features, labels, groups, 1)) < 0.75
    with pytest.raises(InputError, match="one class is in 8"):
        heads.perceptron(features, labels, groups // 5, 1)


def test_two_groups_are_too_few_to_choose_a_penalty():
    features, labels, groups = np.eye(20), np.arange(20.0), np.arange(20) % 2
    with pytest.raises(InputError, match="at least three groups .* there are 2"):
        heads.ridge(features, labels, groups, np.ones(2))
    with pytest.raises(InputError, match="at least three groups .* there are 2"):
        heads.support_vectors(features, labels, groups, 1)
    assert np.isfinite(heads.ridge(features, labels, np.arange(20) % 3, np.ones(2))).all()


def fasta(names, texts):
    return "".join(f">{name}\n{text}\n" for name, text in zip(names, texts))


def utr3_files(rng):
    names = [f"rs{i}" for i in range(40)]
    refs = random_texts(rng, 40, 61)
    alts = changed(rng, refs, 30)
    alts[0] = alts[0][:-1]  # a deletion has no place among single-base variants
    table = pd.DataFrame({"mpra_variant_id": [*names, "absent"]})
    for cell in utr3_tasks.CELLS:
        for kind in ("Ref", "Alt", "Skew"):
            table[f"log2FoldChange_{kind}_{cell}"] = rng.normal(size=41)
    table.loc[3, "log2FoldChange_Ref_K562"] = np.nan
    mpra = "utr3/mpra_griesemer/"
    oligos = fasta([f"{name}_ref" for name in names], refs)
    stability = "".join(f"{text}\t{x:.3f}\tNA\n" for text, x in zip(random_texts(rng, 30, 50), rng.normal(size=30)))
    stability = stability.replace("NA\n", "0.5\n", 20).replace("0.5\n", "-0.2\n", 10)
    files = {
        f"{mpra}fastUTR_mpra.txt.gz": table,
        f"{mpra}ENCFF770UJN.fasta.gz": oligos,
        f"{mpra}ENCFF090JTW.fasta.gz": fasta([f"{name}_alt/{name}_other" for name in names], alts),
        "utr3/mpra_siegel/fastUTR_mpra.txt.gz": stability,
        "utr3/half_life/all_HLs_human.txt.gz": pd.DataFrame(
            {"ensembl_gene_id": [f"ENSG{i:04}" for i in range(150)], "external_gene_name": "x"}
            | {f"study{s}": np.where(rng.random(150) < 0.1, np.nan, rng.normal(size=150)) for s in range(15)}
        ),
    }
    for protein in ("ELAVL1", "FUS", "HNRNPC", "IGF2BP123", "PUM2", "QKI"):
        for part, count in (("train", 40), ("test", 30)):
            heads_ = [f" chr1,+,{i},{i + 40}; class:{i % 2}" for i in range(count)]
            files[f"utr3/rbp/{protein}_{part}.fa.gz"] = fasta(heads_, random_texts(rng, count, 41))
    return files, refs, alts


def test_utr3_data_sets(plain_folder):  # noqa: F811
    files, refs, alts = utr3_files(np.random.default_rng(4))
    tasks = {task.name: task for task in utr3.tasks(DataFolder(plain_folder(files)))}
    mprau = tasks["mprau"]
    assert mprau.ids[:2] == ["rs0:ref", "rs1:ref"] and len(mprau.ids) == 80
    assert [decode(codes) for codes in mprau.sequences] == [*refs, *alts]
    assert len(set(mprau.groups[:40])) == 40 and (mprau.groups[:40] == mprau.groups[40:]).all()
    table = files["utr3/mpra_griesemer/fastUTR_mpra.txt.gz"]
    np.testing.assert_array_equal(mprau.values["K562"][40:], table.log2FoldChange_Alt_K562[:40])
    variants = tasks["mprau variants"]
    assert variants.ids == [f"rs{i}" for i in range(1, 40)]  # the deletion is left out
    for name, row in zip(variants.ids, variants.variants.itertuples()):
        i = int(name[2:])
        text = decode(variants.genome.codes(row.chrom))
        assert text == refs[i] and text[row.pos - 1] == row.ref
        assert text[: row.pos - 1] + row.alt + text[row.pos :] == alts[i]
    np.testing.assert_array_equal(variants.labels["mprau variants HMEC"], table.log2FoldChange_Skew_HMEC[1:40])
    assert tasks["clip QKI"].half.sum() == 40 and len(tasks["clip QKI, bases"].ids) == 30


def test_utr3_against_sklearn_and_zero_shot(plain_folder, tmp_path, monkeypatch):  # noqa: F811
    rng = np.random.default_rng(5)
    monkeypatch.setattr(utr3, "_AROUND", (3,))
    monkeypatch.setattr(utr3, "_ZERO_SHOT", ("p_ref", "llr", "vis_mean within 3"))
    files, refs, alts = utr3_files(rng)
    root = plain_folder(files)
    genes = [f"ENSG{i:04}.2 some gene" for i in range(5, 140)]
    (tmp_path / "utrs.fa").write_text(fasta(genes, random_texts(rng, 135, 80)))
    chosen = ["mprau", "half-life", "clip FUS", "clip FUS, bases", "mprau variants"]
    found = regzoo.benchmark(
        "utr3", MODEL, root, utrs=tmp_path / "utrs.fa", data_sets=chosen, device="cpu", batch_size=256
    )
    assert "--utrs utrs.fa" in found.command
    lm = load_language_model(MODEL, "cpu")
    tasks = {task.name: task for task in utr3.tasks(DataFolder(root), utrs=tmp_path / "utrs.fa")}
    clip = tasks["clip FUS"]
    vectors, half = probe.scores(lm, clip), clip.half
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(vectors[half], clip.labels[half])
    area = roc_auc_score(clip.labels[~half], head.decision_function(vectors[~half]))
    assert value(found.table, model=MODEL, data_set="clip FUS").value == pytest.approx(area, abs=1e-6)
    mprau = tasks["mprau"]
    known = ~np.isnan(mprau.values["K562"])
    assert known.sum() == 79
    predicted = heads.ridge(
        probe.scores(lm, mprau)[known], mprau.values["K562"][known], mprau.groups[known], mprau.alphas
    )
    row = value(found.table, model=MODEL, data_set="mprau K562", target="ridge regression")
    assert row.n == 79 and row.value == pytest.approx(
        stats.pearsonr(predicted, mprau.values["K562"][known])[0], abs=1e-3
    )
    assert value(found.table, model="published: DNABERT-2", data_set="half-life").value == 0.32
    variants = tasks["mprau variants"]
    table = regzoo.zero_shot(lm, variants.variants, variants.genome, scores=["llr"], length=61)
    expected = stats.spearmanr(table["zero_shot:llr"], variants.labels["mprau variants K562"])[0]
    row = value(found.table, model=MODEL, data_set="mprau variants K562", target="llr")
    assert row.value == pytest.approx(expected, abs=1e-3)
    genes_found = value(found.table, model=MODEL, data_set="half-life").n
    assert genes_found == len(tasks["half-life"].ids) <= 135


def test_variants_of_two_classes(plain_folder, tmp_path, monkeypatch):  # noqa: F811
    rng = np.random.default_rng(6)
    monkeypatch.setattr(utr3, "_AROUND", (2,))
    monkeypatch.setattr(utr3, "_ZERO_SHOT", ("p_ref", "llr", "vis_mean within 2"))
    root = plain_folder(utr3_files(rng)[0])
    texts = random_texts(rng, 12, 1300)
    (tmp_path / "g.fa").write_text(fasta([f"c{i}" for i in range(12)], texts))
    other = {"A": "G", "C": "T", "G": "A", "T": "C"}
    lists = [
        [f"c{i}:{p}:{text[p - 1]}:{other[text[p - 1]]}" for i, text in enumerate(texts)] for p in (301, 1001)
    ]  # 700 bases apart, so that each is a group of its own
    arguments = {"genome": tmp_path / "g.fa", "positives": lists[0], "negatives": lists[1]}
    names = ["variants", "variants, both alleles embedded"]
    found = regzoo.benchmark("utr3", MODEL, root, data_sets=names, trials=1, device="cpu", **arguments).table
    table = regzoo.zero_shot(MODEL, [*lists[0], *lists[1]], tmp_path / "g.fa", scores=["p_ref"], device="cpu")
    labels = np.repeat([1, 0], [len(one) for one in lists])
    area = roc_auc_score(labels, table["zero_shot:p_ref"])
    assert value(found, model=MODEL, data_set="variants", target="p_ref").value == pytest.approx(area)
    assert value(found, model=MODEL, target="perceptron on both alleles").n == len(labels)
    task = utr3.tasks(DataFolder(root), trials=1, **arguments)[-1]
    ref, alt = (np.stack(side) for side in utr3._windows(task))
    for i, row in enumerate(task.variants.itertuples()):
        text, first = texts[int(row.chrom[1:])], row.pos - 1 - 256
        expected = "N" * max(0, -first) + text[max(0, first) : row.pos + 256]
        expected += "N" * (513 - len(expected))
        assert decode(ref[i]) == expected and decode(alt[i]) == expected[:256] + row.alt + expected[257:]
    with pytest.raises(InputError, match="give all three"):
        regzoo.benchmark("utr3", data=root, positives=lists[0])
    with pytest.raises(InputError, match="option of the suite 'utr3'"):
        regzoo.benchmark("mpra", data=root, trials=3)


def test_variants_of_another_genome_are_refused(plain_folder):  # noqa: F811
    root = plain_folder(utr3_files(np.random.default_rng(6))[0])
    genome = Genome.from_sequences({"chr1": encode("ACGTN" * 10)})
    good = ["chr1:1:A:G", "chr1:7:C:T", "chr1:2:CG:C"]
    for bad, reason in (
        (["chr1:3:T:A", "chr1:4:G:A"], r"chr1:3:T:A: REF differs from the FASTA .*; 2 of 4 single-base"),
        (["chr2:3:G:A"], r"chr2:3:G:A: contig not in the FASTA .*; 1 of 3"),
        (["chr1:99:G:A"], r"chr1:99:G:A: position outside the contig"),
        (["chr1:5:N:A"], r"chr1:5:N:A: REF is not A, C, G or T"),
    ):
        with pytest.raises(InputError, match=f"negatives: {reason}"):
            regzoo.benchmark("utr3", data=root, genome=genome, positives=good, negatives=[*good, *bad])
    task = utr3.tasks(DataFolder(root), genome=genome, positives=good, negatives=good[:2])[-1]
    assert task.choice == "2 of 3 positives, 2 of 2 negatives"
    with pytest.raises(ModelError, match="data set variants: llr of positive:1 is not a finite number"):
        values = np.zeros((4, len(utr3._ZERO_SHOT)))
        values[1, 1] = np.nan
        utr3.report([task], [], [values])


def test_neighbours_are_one_group():
    genome = Genome.from_sequences({name: encode("A" * 3000) for name in ("chr1", "chr2")})
    places = [("chr1", 1512), ("1", 1000), ("chr2", 1000), ("chr1", 2025), ("chr1", 487), ("chr1", 2537)]
    table = pd.DataFrame(places, columns=["chrom", "pos"]).assign(ref="A", alt="C")
    none = np.zeros(len(table), dtype=bool)
    task = utr3_tasks.AllelePairs("v", [], [], none, "", table, genome, {}, True)
    windows = [set(range(pos - 256, pos + 257)) for pos in table.pos]  # of 513 bases
    assert windows[0] & windows[1] and not windows[1] & windows[4] and not windows[0] & windows[3]
    assert utr3._neighbours(task).tolist() == [1, 1, 3, 2, 0, 2]


def test_names_of_scores_do_not_depend_on_their_number(plain_folder, tmp_path):  # noqa: F811
    root = plain_folder(utr3_files(np.random.default_rng(9))[0])
    names = ["clip FUS, bases", "mprau variants"]
    tasks = [task for task in utr3.tasks(DataFolder(root)) if task.name in names]
    rows = [{"data_set": task.name, "id": one, "score": float(i)} for task in tasks for i, one in enumerate(task.ids)]
    pd.DataFrame(rows).to_csv(tmp_path / "mine.tsv", sep="\t", index=False)
    found = regzoo.benchmark("utr3", tmp_path / "mine.tsv", root, data_sets=names).table
    assert set(found[found.model == "mine.tsv"].target) == {"score"}
    baseline = found[found.model.str.startswith("baseline")]
    assert set(baseline.target) == {"A+T", "change in G+C"}


def test_bases_are_drawn_with_the_seed(plain_folder):  # noqa: F811
    root = plain_folder(utr3_files(np.random.default_rng(10))[0])
    drawn = []
    for seed in (0, 0, 1):
        tasks = {task.name: task for task in utr3.tasks(DataFolder(root), seed, 50)}
        task, whole = tasks["clip QKI, bases"], tasks["clip QKI"]
        drawn.append(task.ids)
        for one, codes, label in zip(task.ids, task.sequences, task.measures[0].labels):
            assert (codes == whole.sequences[whole.ids.index(one)]).all()
            assert label == whole.labels[whole.ids.index(one)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 10


def test_bases_are_those_in_the_middle(plain_folder):  # noqa: F811
    lm = load_language_model("LM/caduceus-mini", "cpu")
    root = plain_folder(utr3_files(np.random.default_rng(7))[0])
    task = {task.name: task for task in utr3.tasks(DataFolder(root))}["clip FUS, bases"]
    codes = np.stack(task.sequences)
    total = np.zeros(len(codes))
    for place in range(18, 23):  # of 41 bases
        hidden = lm.tokenizer.encode(codes)
        token = int(np.flatnonzero((hidden.starts[0] <= place) & (place < hidden.ends[0]))[0])
        ids = hidden.ids.copy()
        ids[:, token] = lm.tokenizer.mask
        with torch.inference_mode():
            vectors = lm.net.encode(torch.from_numpy(ids), torch.from_numpy(hidden.mask))[:, token]
            p = lm.net.logits(vectors).softmax(-1).numpy()
        letters = [lm.tokenizer.vocabulary.index(letter) for letter in "ACGT"]
        p = p[:, letters] / p[:, letters].sum(axis=1, keepdims=True)
        total += p[np.arange(len(codes)), codes[:, place]] / 5
    np.testing.assert_allclose(utr3.scores(lm, task)[:, 0], total, atol=1e-5)
