"""`regzoo compare` against scikit-learn on the same predictions, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from regzoo.errors import InputError, OutputError
from regzoo.evaluate.compare import compare_models
from regzoo.evaluate.transfer import transfer_matrix
from regzoo.sequence import Genome, decode, encode_many, read_bed
from regzoo.sequence.codes import fitted
from regzoo.zoo import load_model
from tests.conftest import BED, FASTA, MODEL, run

MODELS = [MODEL, "Basset/tf-human"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The example's intervals as labelled sequences: a motif's windows against the others."""
    bed, genome = read_bed(BED), Genome(FASTA)
    rows = genome.windows(np.array([genome.number(str(c)) for c in bed.contigs]), bed.resized(101), 101)
    labels = np.array(["ap1" in name for name in bed.names]).astype(int)
    path = tmp_path_factory.mktemp("data") / "ap1.csv"
    path.write_text("sequence,label\n" + "".join(f"{decode(row)},{label}\n" for row, label in zip(rows, labels)))
    return path, rows, labels


def test_the_table_holds_scikit_learn_s_numbers(data, tmp_path):
    path, rows, labels = data
    outputs = [tmp_path / f"o.{suffix}" for suffix in ("tsv", "md", "svg")]
    out, _ = run("regzoo", "compare", *MODELS, "-d", f"tf3={path}", "-d", f"tf1={path}", "-q",
                 *(part for output in outputs for part in ("-o", output)))  # fmt: skip
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert list(table.target) == ["tf3", "tf3", "tf1", "tf1"] and list(table.model) == MODELS * 2
    for row in table.itertuples():
        scores = load_model(row.model, device="cpu").predict(rows)[:, int(row.target[2])]
        assert row.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
        assert row.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-4)
        assert row.mcc == pytest.approx(matthews_corrcoef(labels, scores >= 0.5), abs=1e-4)
        assert row.auroc_low <= row.auroc <= row.auroc_high
    assert table.p.isna().tolist() == [True, False, True, False]
    assert (tmp_path / "o.md").read_text().strip() == out.strip() and "sequences a second" in out
    assert (tmp_path / "o.svg").stat().st_size > 10_000


def test_sequences_of_other_lengths_stand_in_the_middle():
    codes = encode_many(["ACGTA"])
    assert [decode(fitted(codes, n)[0]) for n in (3, 5, 7, 8)] == ["CGT", "ACGTA", "NACGTAN", "NNACGTAN"]


def test_what_is_refused(data, tmp_path):
    path = data[0]
    with pytest.raises(OutputError, match="unknown suffix"):
        compare_models(MODELS, [f"tf3={path}"], [tmp_path / "o.pdf"])
    with pytest.raises(InputError, match="expected TARGET=FILE"):
        compare_models(MODELS, [str(path)])
    with pytest.raises(InputError, match="no such data file"):
        compare_models(MODELS, ["tf3=none.csv"])
    with pytest.raises(InputError, match="has no target 'tf9'"):
        compare_models([MODEL], [f"tf9={path}"], progress=False)
    bad = tmp_path / "bad.csv"
    bad.write_text("sequence,label\nACGT,2\n")
    with pytest.raises(InputError, match="bad.csv, line 2: expected"):
        compare_models(MODELS, [f"tf3={bad}"])
    bad.write_text("sequence,label\nACGT,1\nACGA,1\n")
    with pytest.raises(InputError, match="only one class"):
        compare_models(MODELS, [f"tf3={bad}"])


def test_measured_values_have_correlations_and_a_paired_bootstrap(data, tmp_path):
    _, rows, _ = data
    scores = load_model(MODEL, device="cpu").predict(rows)[:, 3]
    values = scores + np.random.default_rng(0).normal(0, 0.3, len(rows))
    path = tmp_path / "v.csv"
    path.write_text("sequence,value\n" + "".join(f"{decode(row)},{v:.5f}\n" for row, v in zip(rows, values)))
    text = compare_models(MODELS, [f"tf3={path}"], [tmp_path / "o.tsv", tmp_path / "o.png"], progress=False)
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert table.pearson[0] == pytest.approx(pearsonr(values, scores)[0], abs=1e-4)
    assert table.spearman[0] == pytest.approx(spearmanr(values, scores)[0], abs=1e-4)
    assert table.difference[1] == pytest.approx(table.pearson[1] - table.pearson[0], abs=1e-4)
    assert 0 < table.p[1] <= 1 and "paired bootstrap" in text and "auroc" not in text
    path.write_text("sequence,value\nACGT,high\n")
    with pytest.raises(InputError, match="line 2: expected 'sequence,NUMBER'"):
        compare_models(MODELS, [f"tf3={path}"])


def test_transfer_is_the_auroc_of_every_target_on_every_set(data, tmp_path):
    path, rows, labels = data
    other = tmp_path / "gc.csv"
    high = ((rows == 1) | (rows == 2)).mean(axis=1) > 0.5
    other.write_text("sequence,label\n" + "".join(f"{decode(row)},{int(v)}\n" for row, v in zip(rows, high)))
    out, _ = run("regzoo", "transfer", MODEL, "-d", f"ap1={path}", "-d", f"gc={other}", "-t", "tf3", "-t", "tf0", "-q",
                 "-o", tmp_path / "o.tsv", "-o", tmp_path / "o.png")  # fmt: skip
    scores = load_model(MODEL, device="cpu").predict(rows)
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert list(zip(table.tested, table.trained)) == [(s, t) for s in ("ap1", "gc") for t in ("tf3", "tf0")]
    for row in table.itertuples():
        truth = labels if row.tested == "ap1" else high
        assert row.value == pytest.approx(roc_auc_score(truth, scores[:, int(row.trained[2])]), abs=1e-4)
        assert row.low <= row.value <= row.high
        assert f"{row.value:.3f}" in out
    assert (tmp_path / "o.png").stat().st_size > 5_000
    with pytest.raises(OutputError, match="unknown suffix"):
        transfer_matrix([MODEL], [f"ap1={path}"], ["o.pdf"])
