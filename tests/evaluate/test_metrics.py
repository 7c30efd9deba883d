"""Metrics against scikit-learn, with resamples as weights."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn import metrics as peer
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from regzoo.errors import InputError
from regzoo.evaluate import (
    accuracy,
    auroc,
    average_precision,
    best_threshold,
    bootstrap,
    f1,
    mcc,
    precision,
    recall,
)
from regzoo.evaluate.metrics import resamples

PEERS = {
    auroc: roc_auc_score,
    average_precision: average_precision_score,
    mcc: lambda y, s, sample_weight: matthews_corrcoef(y, s >= 0.5, sample_weight=sample_weight),
    accuracy: lambda y, s, sample_weight: peer.accuracy_score(y, s >= 0.5, sample_weight=sample_weight),
    precision: lambda y, s, sample_weight: peer.precision_score(y, s >= 0.5, sample_weight=sample_weight),
    recall: lambda y, s, sample_weight: peer.recall_score(y, s >= 0.5, sample_weight=sample_weight),
    f1: lambda y, s, sample_weight: peer.f1_score(y, s >= 0.5, sample_weight=sample_weight),
}


@pytest.mark.parametrize("metric", PEERS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_scikit_learn_for_each_resample(metric, ties):
    rng = np.random.default_rng(2)
    labels = (rng.random(200) < 0.4).astype(float)
    scores = np.clip(labels * 0.3 + rng.normal(0.4, 0.3, 200), 0, 1)
    if ties:
        scores = scores.round(1)
    weights = rng.multinomial(200, np.full(200, 1 / 200), size=5).astype(float)
    expected = [PEERS[metric](labels, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(metric(labels, scores, weights), expected, rtol=1e-10)


def test_auroc_interval_equals_that_of_other_resamples():
    rng = np.random.default_rng(4)
    labels = (rng.random(300) < 0.5).astype(float)
    scores = labels + rng.normal(0, 1, 300)
    result = bootstrap(labels, scores, {"auroc": auroc}, samples=2000)["auroc"]
    assert result["value"] == pytest.approx(roc_auc_score(labels, scores))
    drawn = rng.integers(0, 300, (2000, 300))
    positive = labels[drawn]
    m, n = positive.sum(axis=1), (1 - positive).sum(axis=1)
    ranks = rankdata(scores[drawn], axis=1)  # the AUROC is Mann and Whitney's U / (m n)
    low, high = np.percentile(((ranks * positive).sum(axis=1) - m * (m + 1) / 2) / (m * n), [2.5, 97.5])
    assert result["low"] == pytest.approx(low, abs=0.008) and result["high"] == pytest.approx(high, abs=0.008)


def test_one_class_or_unequal_lengths_are_rejected():
    with pytest.raises(InputError, match="only one class"):
        bootstrap(np.ones(5), np.ones(5))
    with pytest.raises(InputError, match=r"of one shape \(N,\); got \(5,\) and \(4,\)"):
        bootstrap(np.ones(5), np.ones(4))


@pytest.mark.parametrize("metric", [mcc, f1, accuracy])
def test_best_threshold_is_optimal(metric):
    rng = np.random.default_rng(5)
    labels = (rng.random(150) < 0.3).astype(float)
    scores = np.clip(labels * 0.2 + rng.normal(0.3, 0.2, 150), 0, 1)
    best, ones = best_threshold(labels, scores, metric), np.ones((1, 150))
    value = metric(labels, scores, ones, best)[0]
    assert value >= max(metric(labels, scores, ones, t)[0] for t in np.linspace(0, 1, 2001)) - 1e-12
    assert value > metric(labels, scores, ones, 0.5)[0] or best == pytest.approx(0.5, abs=0.05)


def test_whole_groups_are_resampled():
    groups = np.array(["chr1"] * 3 + ["chr2"] * 2 + ["chr3"])
    drawn = np.concatenate(list(resamples(6, 50, groups=groups)))
    assert (drawn[:, 0] == drawn[:, 2]).all() and (drawn[:, 3] == drawn[:, 4]).all()
    assert (drawn[:, [0, 3, 5]].sum(axis=1) == 3).all()
