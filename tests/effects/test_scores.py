"""Scores against kipoi-veff's own functions, SciPy, and their definitions."""

import numpy as np
import pytest
from scipy.spatial import distance

import regzoo.kipoi  # noqa: F401 - makes kipoi_veff importable
from regzoo.effects.scores import CLIP, score, summarise
from regzoo.errors import InputError
from regzoo.options import SCORES, Scoring
from training.export import SCORES as KIPOI_SCORES


@pytest.mark.parametrize("strands", [None, "mean", "max"])
@pytest.mark.parametrize("name", KIPOI_SCORES)
def test_scores_equal_kipoi_veff(name, strands):
    from kipoi_veff.scores import scoring_options

    rng = np.random.default_rng(3)
    predictions = rng.uniform(0.01, 0.99, (4, 20, 7))
    arguments = dict(zip(("ref", "alt", "ref_rc", "alt_rc"), predictions if strands else predictions[:2]))
    expected = scoring_options[name](rc_merging={"max": "absmax"}.get(strands, "mean"))(**arguments)
    got = score(name, **arguments, strands=strands or "mean")
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_scores_that_kipoi_veff_has_not():
    rng = np.random.default_rng(4)
    ref, alt = rng.uniform(0, 9, (2, 20, 3, 8))
    assert set(SCORES) - set(KIPOI_SCORES) == {"log2fc", "l2", "js"}
    np.testing.assert_allclose(score("log2fc", ref[..., 0], alt[..., 0]), np.log2(alt[..., 0] / ref[..., 0]), rtol=1e-4)
    for row in range(20):
        for target in range(3):
            pair = ref[row, target], alt[row, target]
            one = ref[row : row + 1, target : target + 1], alt[row : row + 1, target : target + 1]
            assert score("l2", *one)[0, 0] == pytest.approx(distance.euclidean(*pair), rel=1e-5)
            assert score("js", *one)[0, 0] == pytest.approx(distance.jensenshannon(*pair, base=2) ** 2, rel=1e-4)


def test_js_of_profiles_with_empty_bins_is_between_zero_and_one():
    one, other = np.array([[[1.0, 0, 0]]]), np.array([[[0, 0, 5.0]]])
    assert score("js", one, one)[0, 0] == 0
    assert score("js", one, other)[0, 0] == pytest.approx(1)


def test_other_scores_of_a_profile_take_its_mean():
    ref, alt = np.random.default_rng(5).uniform(0, 1, (2, 6, 3, 8))
    np.testing.assert_allclose(score("diff", ref, alt), alt.mean(2) - ref.mean(2), atol=1e-6)


def test_certain_predictions_give_finite_logits():
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    value = score("logit", zero, one)
    assert np.isfinite(value).all()
    assert value[0, 0] == pytest.approx(2 * np.log((1 - CLIP) / CLIP))


def test_summaries_by_their_definitions():
    values = np.array([[0.5, -2.0, 1.0], [0, 0, 0.25]], dtype=np.float32)
    np.testing.assert_allclose(summarise("absmax", values), [-2, 0.25])
    np.testing.assert_allclose(summarise("mean", values), [-0.5 / 3, 0.25 / 3], rtol=1e-6)
    np.testing.assert_allclose(summarise("l2", values), np.linalg.norm(values, axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ("dif",)}, "no score 'dif'; there are diff, logit"),
        ({"summaries": ("sum",)}, "no summary 'sum'; there are absmax"),
        ({"strands": "backward"}, "no choice of strands 'backward'"),
        ({"precision": "float16"}, "no precision 'float16'"),
    ],
)
def test_unknown_choices_are_named(options, message):
    with pytest.raises(InputError, match=message):
        Scoring(**options)
