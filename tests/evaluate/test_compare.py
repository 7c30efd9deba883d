"""`compare` and `transfer` against scikit-learn on the same predictions, and invalid inputs."""

import gzip
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.evaluate import compare as compare_module
from regzoo.evaluate.compare import compare
from regzoo.evaluate.labelled import read_labelled
from regzoo.evaluate.transfer import specificity, transfer
from regzoo.sequence import Genome, decode, encode_many, read_bed
from regzoo.sequence.codes import fitted
from regzoo.zoo import load_model
from tests.conftest import BED, FASTA, MODEL

MODELS = [MODEL, "Basset/tf-human"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Intervals of the example as labelled sequences: windows of a motif against the others."""
    bed, genome = read_bed(BED), Genome(FASTA)
    rows = genome.windows(np.array([genome.number(str(c)) for c in bed.contigs]), bed.resized(101), 101)
    labels = np.array(["ap1" in name for name in bed.names]).astype(int)
    path = tmp_path_factory.mktemp("data") / "ap1.csv"
    path.write_text("sequence,label\n" + "".join(f"{decode(row)},{label}\n" for row, label in zip(rows, labels)))
    return path, rows, labels


def command(*arguments):
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, [*arguments, "-q"])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_metrics_equal_scikit_learn(data, tmp_path):
    path, rows, labels = data
    outputs = [tmp_path / f"o.{suffix}" for suffix in ("tsv", "md", "svg")]
    data_sets = ["-d", f"tf3={path}", "-d", f"tf1={path}"]
    out = command("compare", *MODELS, *data_sets, *(part for output in outputs for part in ("-o", str(output))))
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert list(table.target) == ["tf3", "tf3", "tf1", "tf1"] and list(table.model) == MODELS * 2
    predicted = {name: load_model(name, device="cpu").predict(rows) for name in MODELS}
    for row in table.itertuples():
        scores = predicted[row.model][:, int(row.target[2])]
        assert row.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
        assert row.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-4)
        assert row.mcc == pytest.approx(matthews_corrcoef(labels, scores >= 0.5), abs=1e-4)
        assert row.auroc_low <= row.auroc <= row.auroc_high
    assert table.p.isna().tolist() == [True, False, True, False]
    assert (tmp_path / "o.md").read_text().strip() == out.strip() and "sequences per second" in out
    assert (tmp_path / "o.svg").stat().st_size > 10_000


def test_sequences_of_other_lengths_are_centred():
    codes = encode_many(["ACGTA"])
    assert [decode(fitted(codes, n)[0]) for n in (3, 5, 7, 8)] == ["CGT", "ACGTA", "NACGTAN", "NNACGTAN"]


def test_invalid_input_is_rejected(data, tmp_path):
    path = data[0]
    with pytest.raises(OutputError, match="unknown suffix"):
        compare(MODELS, [f"tf3={path}"], output=[tmp_path / "o.gif"])
    with pytest.raises(InputError, match="expected TARGET=FILE"):
        compare(MODELS, [str(path)])
    with pytest.raises(InputError, match="no such data file"):
        compare(MODELS, ["tf3=none.csv"])
    with pytest.raises(InputError, match="has no target 'tf9'"):
        compare([MODEL], [f"tf9={path}"])
    with pytest.raises(InputError, match="'tf3' is given twice"):
        compare(MODELS, [f"tf3={path}", f"tf3={path}"])
    with pytest.raises(OutputError, match="is the input"):
        compare(MODELS, [f"tf3={path}", f"tf1={tmp_path}/t.tsv"], output=[tmp_path / "t.tsv"])
    bad = tmp_path / "bad.csv"
    bad.write_text("sequence,label\nACGT,2\n")
    with pytest.raises(InputError, match="bad.csv, line 2: expected"):
        compare(MODELS, [f"tf3={bad}"])
    bad.write_text("sequence,label\nACGT,1\nACGA,1\n")
    with pytest.raises(InputError, match="only one class"):
        compare(MODELS, [f"tf3={bad}"])


def test_measured_values_of_sequences_of_any_length_and_of_rna(data, tmp_path, caplog):
    """Sequences are centred in the window and cut or padded. A duplicate model is compared once."""
    texts = [decode(row) for row in data[1]]
    texts = [text[:90] if i % 3 == 0 else "AC" + text + "GTT" if i % 3 == 1 else text for i, text in enumerate(texts)]
    centred = ["N" * 5 + text + "N" * 6 if len(text) == 90 else text[len(text) // 2 - 50 :][:101] for text in texts]
    loaded = [load_model(name, device="cpu") for name in MODELS]
    scores = loaded[0].predict(encode_many(centred))[:, 3]
    values = scores + np.random.default_rng(0).normal(0, 0.3, len(texts))
    path = tmp_path / "v.csv"
    rows = "".join(f"{text.replace('T', 'U').lower()},{v:.5f}\n" for text, v in zip(texts, values))
    path.write_text("sequence,value\n" + rows)
    outputs = [tmp_path / f"o.{suffix}" for suffix in ("tsv", "png", "pdf")]
    text = compare([*loaded, loaded[0]], [f"tf3={path}"], output=outputs).to_markdown()
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert list(table.model) == MODELS
    padded, cut = (sum(len(t) == n for t in texts) for n in (90, 106))
    assert set(table.cut) == {cut} and set(table.padded) == {padded}
    assert f"tf3: {cut} of 92 sequences cut at both ends to the 101 bases of {MODEL}" in caplog.text
    assert f"tf3: {padded} of 92 sequences padded with N to the 101 bases of {MODEL}" in caplog.text
    assert (tmp_path / "o.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "o.png").stat().st_size > 5_000
    assert table.pearson[0] == pytest.approx(pearsonr(values, scores)[0], abs=1e-4)
    assert table.spearman[0] == pytest.approx(spearmanr(values, scores)[0], abs=1e-4)
    assert table.difference[1] == pytest.approx(table.pearson[1] - table.pearson[0], abs=1e-4)
    assert 0 < table.p[1] <= 1 and "paired bootstrap" in text and "auroc" not in text
    path.write_text("sequence,value\nMKTAYIAKQRQISFVKSHFSRQLEE,1.5\n")
    with pytest.raises(InputError, match="v.csv, line 2: .* is this a protein"):
        compare(MODELS, [f"tf3={path}"])
    path.write_text("sequence,value\nACGT,high\n")
    with pytest.raises(InputError, match="line 2: expected 'sequence,NUMBER'"):
        compare(MODELS, [f"tf3={path}"])


def test_killed_process_is_reported(data, monkeypatch):
    class Killed:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, *_):
            raise BrokenProcessPool

    monkeypatch.setattr(compare_module, "ProcessPoolExecutor", Killed)
    with pytest.raises(ModelError, match=f"{MODEL}: its process ended early.*memory.*__main__"):
        compare([MODEL], [f"tf3={data[0]}"])


DAMAGED = {
    "bad UTF-8": b"sequence,label\nACG\xe9,1\n",
    "damaged gzip": gzip.compress(b"sequence,label\nACGT,1\n")[:12] + b"\xff" * 20,
    "long field": b"sequence,label\n" + b"A" * 200_000 + b",1\n",
    "no sequence": b"sequence,label\n,1\n",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_labelled_files_are_rejected(kind, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(InputError, match="x.csv"):
        read_labelled(path)


def test_files_saved_by_excel_are_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbfsequence,label\r\nACGU,1\r\nACNN,0\r\n")
    found = read_labelled(path)
    assert (
        [decode(row) for row in found.codes] == ["ACGT", "ACNN"] and found.unknown == 2 and list(found.labels) == [1, 0]
    )


def test_specificity_compares_with_best_other_target():
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 4)) < 0.4).astype(float)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    labels[:, 3] = 1  # one class
    scores = np.nan_to_num(labels) + rng.normal(0, 0.8, labels.shape)
    scores[:, 1] += np.nan_to_num(labels[:, 0])  # an output that predicts another target
    table = specificity(list("abcd"), labels, scores)
    assert list(table.target) == ["a", "b", "c"]
    for row in table.itertuples():
        known = ~np.isnan(labels[:, row.Index])
        areas = [roc_auc_score(labels[known, row.Index], scores[known, other]) for other in range(4)]
        best = max((area, "abcd"[i]) for i, area in enumerate(areas) if i != row.Index)
        assert row.auroc == pytest.approx(areas[row.Index]) and (row.best_other_auroc, row.best_other) == pytest.approx(
            best
        )
        assert row.difference == pytest.approx(row.auroc - row.best_other_auroc) and 0 <= row.p <= 1
    assert table.best_other[0] == "b"
    alone = specificity(["a"], labels[:, :1], scores[:, :1])
    assert alone.auroc[0] == table.auroc[0] and alone.best_other.isna().all()
    with pytest.raises(InputError, match="labels and scores of shape"):
        specificity(["a"], labels, scores)


def test_transfer_is_auroc_of_each_target_on_each_data_set(data, tmp_path):
    path, rows, labels = data
    other = tmp_path / "gc.csv"
    high = ((rows == 1) | (rows == 2)).mean(axis=1) > 0.5
    other.write_text("sequence,label\n" + "".join(f"{decode(row)},{int(v)}\n" for row, v in zip(rows, high)))
    data_sets = ["-d", f"ap1={path}", "-d", f"gc={other}"]
    outputs = ["-o", str(tmp_path / "o.tsv"), "-o", str(tmp_path / "o.png")]
    out = command("transfer", MODEL, *data_sets, "-t", "tf3", "-t", "tf0", *outputs)
    scores = load_model(MODEL, device="cpu").predict(rows)
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert list(zip(table.tested, table.trained)) == [(s, t) for s in ("ap1", "gc") for t in ("tf3", "tf0")]
    for row in table.itertuples():
        truth = labels if row.tested == "ap1" else high
        assert row.value == pytest.approx(roc_auc_score(truth, scores[:, int(row.trained[2])]), abs=1e-4)
        assert row.low <= row.value <= row.high
        assert f"{row.value:.3f}" in out
    assert (tmp_path / "o.png").stat().st_size > 5_000
    both = transfer([MODEL, MODELS[1], MODEL], [f"ap1={path}"], targets=["tf3", "tf3"], output=[tmp_path / "o.pdf"])
    assert list(both.matrix.index) == [f"{name}:tf3" for name in MODELS]
    assert (tmp_path / "o.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(OutputError, match="unknown suffix"):
        transfer([MODEL], [f"ap1={path}"], output=["o.gif"])
