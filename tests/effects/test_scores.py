"""Scores against kipoi-veff's own functions."""

import numpy as np
import pytest

import regzoo.kipoi  # noqa: F401 - makes kipoi_veff importable
from regzoo.effects import SCORES, score
from regzoo.effects.scores import CLIP


@pytest.mark.parametrize("merge", [False, True], ids=["one strand", "both strands"])
@pytest.mark.parametrize("name", SCORES)
def test_scores_equal_kipoi_veff(name, merge):
    from kipoi_veff.scores import scoring_options

    rng = np.random.default_rng(3)
    predictions = rng.uniform(0.01, 0.99, (4, 20, 7))
    arguments = dict(zip(("ref", "alt", "ref_rc", "alt_rc"), predictions if merge else predictions[:2]))
    expected = scoring_options[name](rc_merging="mean")(**arguments)
    np.testing.assert_allclose(score(name, **arguments), expected, rtol=1e-5, atol=1e-6)


def test_certain_predictions_give_finite_logits():
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    value = score("logit", zero, one)
    assert np.isfinite(value).all()
    assert value[0, 0] == pytest.approx(2 * np.log((1 - CLIP) / CLIP))
