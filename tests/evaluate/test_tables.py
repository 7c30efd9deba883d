"""Evaluation tables and correlations against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef, roc_auc_score

from regzoo.evaluate import bootstrap, pearson, spearman
from regzoo.evaluate.metrics import CORRELATIONS, resamples
from regzoo.evaluate.tables import assay, dev_thresholds, evaluation_figure, evaluation_table, readable


def test_weighted_correlations_equal_scipy_on_repeated_examples():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 60).astype(float)  # with ties
    scores = labels + rng.normal(0, 3, 60)
    (drawn,) = resamples(60, 20)
    for values, reference in ((pearson(labels, scores, drawn), pearsonr), (spearman(labels, scores, drawn), spearmanr)):
        for value, weights in zip(values, drawn):
            rows = np.repeat(np.arange(60), weights.astype(int))
            assert value == pytest.approx(reference(labels[rows], scores[rows])[0], abs=1e-10)
    found = bootstrap(labels, scores, CORRELATIONS)["pearson"]
    assert found["value"] == pytest.approx(pearsonr(labels, scores)[0])
    assert found["low"] < found["value"] < found["high"]
    assert (pearson(labels, np.zeros(60), drawn) == 0).all()


def test_assay_from_target_name():
    names = ["8988T|DNase|None", "GM12878|CTCF|None", "H1-hESC|H3K4me3|None", "K562|H2A.Z|None", "HNF4A", "tf0"]
    assert [assay(name) for name in names] == ["DNase", "TF", "histone", "histone", "TF", "TF"]


def test_table_of_classification():
    rng = np.random.default_rng(1)
    targets = ["A|DNase|None", "B|CTCF|None", "C|CTCF|None"]
    labels = rng.integers(0, 2, (200, 3)).astype(float)
    scores = np.clip(labels * 0.3 + rng.random((200, 3)) * 0.6, 0, 1)
    labels[:50, 1] = np.nan
    thresholds = dev_thresholds(targets, labels, scores)
    table = evaluation_table(targets, labels, scores, thresholds, samples=50).set_index("target")
    assert list(table.index) == [*targets, "macro mean", "median of DNase", "median of TF"]
    known = ~np.isnan(labels[:, 1])
    y, p, row = labels[known, 1], scores[known, 1], table.loc[targets[1]]
    assert row.examples == 150 and row.positive == y.sum()
    assert row.auroc == pytest.approx(roc_auc_score(y, p)) and row.f1 == pytest.approx(f1_score(y, p >= 0.5))
    best = max(matthews_corrcoef(y, p >= t) for t in np.unique(p))
    assert row.mcc_at_threshold == pytest.approx(best) and row.mcc == pytest.approx(matthews_corrcoef(y, p >= 0.5))
    assert table.loc["macro mean", "auroc"] == pytest.approx(table.auroc[:3].mean())
    assert table.loc["median of TF", "auroc"] == pytest.approx(table.auroc[1:3].median())
    assert len(evaluation_figure(targets, labels, scores).axes) == 3


def test_table_of_regression():
    rng = np.random.default_rng(2)
    labels = rng.normal(size=(100, 2))
    scores = labels + rng.normal(size=(100, 2))
    labels[::3, 0] = np.nan
    table = evaluation_table(["a", "b"], labels, scores, samples=50)
    assert {"pearson", "spearman"} <= set(table.columns) and not {"auroc", "positive", "ece"} & set(table.columns)
    assert table.pearson[1] == pytest.approx(pearsonr(labels[:, 1], scores[:, 1])[0])
    assert len(evaluation_figure(["a", "b"], labels, scores).axes) == 2


def test_target_with_one_class_has_counts_only():
    rng = np.random.default_rng(6)
    labels = np.stack([np.arange(40) % 2, np.zeros(40)], axis=1).astype(float)
    labels[:5, 1] = np.nan
    scores = rng.random((40, 2))
    thresholds = dev_thresholds(["a", "b"], labels, scores)
    table = evaluation_table(["a", "b"], labels, scores, thresholds, samples=20).set_index("target")
    assert list(thresholds) == ["a"] and table.loc["b", ["examples", "positive"]].tolist() == [35, 0]
    assert np.isnan(table.loc["b", "auroc"]) and table.loc["macro mean", "auroc"] == table.loc["a", "auroc"]
    row = readable(table.reset_index()).splitlines()[2].split("|")
    assert row[4].strip().startswith(f"{table.loc['a', 'mcc']:.3f} ({table.loc['a', 'mcc_low']:.3f} to ")
    assert readable(table.reset_index()).splitlines()[3].count("–") == len(row) - 5
