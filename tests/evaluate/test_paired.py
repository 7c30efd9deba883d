"""Paired tests against loops over pairs and simulated null data; calibration against scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from regzoo.effects.scores import logit
from regzoo.errors import InputError
from regzoo.evaluate import delong, expected_calibration_error, f1, paired_bootstrap, reliability_curve, temperature
from regzoo.evaluate.calibration import scaled


def examples(seed, count=150):
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.4).astype(float)
    shared = rng.normal(0, 1, count)
    return labels, labels + shared + rng.normal(0, 0.5, count), labels + shared + rng.normal(0, 0.5, count)


def test_delong_equals_definition_by_pairs():
    labels, first, second = examples(0, 60)
    first = first.round(1)  # ties
    placements = []
    for scores in (first, second):
        pairs = scores[labels == 1][:, None] - scores[labels == 0]
        placements.append((pairs > 0) + 0.5 * (pairs == 0))
    m, n = placements[0].shape
    between = [np.cov([p.mean(axis=axis) for p in placements]) / size for axis, size in ((1, m), (0, n))]
    covariance = between[0] + between[1]
    difference = placements[0].mean() - placements[1].mean()
    z = difference / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    result = delong(labels, first, second)
    assert result["difference"] == pytest.approx(roc_auc_score(labels, first) - roc_auc_score(labels, second))
    assert result["z"] == pytest.approx(z)


def test_p_values_are_uniform_under_null():
    values = [delong(*examples(seed))["p"] for seed in range(400)]
    assert kstest(values, "uniform").pvalue > 0.01
    labels, first, _ = examples(1)
    assert delong(labels, first, 2 * first + 1) == {"difference": 0.0, "z": 0.0, "p": 1.0}
    assert delong(labels, labels + first / 10, first)["p"] < 1e-4


def test_paired_bootstrap_equals_shared_resamples():
    labels, first, second = examples(3)
    first, second = (1 / (1 + np.exp(-s)) for s in (first, second))
    result = paired_bootstrap(labels, first, second, f1, samples=3000)
    assert result["difference"] == pytest.approx(f1_score(labels, first >= 0.5) - f1_score(labels, second >= 0.5))
    drawn = np.random.default_rng(9).integers(0, len(labels), (1500, len(labels)))
    truth = labels[drawn]
    each = []
    for scores in (first, second):
        called = scores[drawn] >= 0.5  # F1 = 2 TP / (positives + called positive)
        each.append(2 * (truth * called).sum(axis=1) / (truth.sum(axis=1) + called.sum(axis=1)))
    assert (result["low"], result["high"]) == pytest.approx(np.percentile(each[0] - each[1], [2.5, 97.5]), abs=0.015)
    with pytest.raises(InputError, match="only one class"):
        delong(np.ones(5), np.arange(5), np.arange(5))


def test_reliability_curve_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.random(500)
    labels = (rng.random(500) < scores**2).astype(float)
    predicted, observed, counts = reliability_curve(labels, scores)
    expected_observed, expected_predicted = calibration_curve(labels, scores, n_bins=10)
    np.testing.assert_allclose(predicted, expected_predicted)
    np.testing.assert_allclose(observed, expected_observed)
    error = (np.abs(expected_observed - expected_predicted) * counts).sum() / 500
    assert expected_calibration_error(labels, scores) == pytest.approx(error)


def test_temperature_equals_logistic_regression_without_intercept():
    rng = np.random.default_rng(1)
    true = rng.normal(0, 1, 4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-true))).astype(float)
    scores = 1 / (1 + np.exp(-3 * true))  # overconfident by a factor of three
    fit = LogisticRegression(C=np.inf, fit_intercept=False).fit(logit(scores)[:, None], labels)
    found = temperature(labels, scores)
    assert found == pytest.approx(1 / fit.coef_[0, 0], rel=1e-3)
    assert expected_calibration_error(labels, scaled(scores, found)) < expected_calibration_error(labels, scores) / 3
