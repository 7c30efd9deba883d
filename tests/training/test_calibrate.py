"""Thresholds and temperatures of exported models, against scikit-learn and a search over every threshold."""

import shutil

import numpy as np
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef

from regzoo.calibration import FILE
from regzoo.errors import InputError
from regzoo.zoo import catalogue
from tests.conftest import MODEL, ROOT
from training import calibrate as module
from training.card import calibration_section, with_calibration
from training.data import Examples


class Data:
    """What is needed of a data section."""

    targets = ["a", "b"]
    task = "binary"
    root = "."


def made(seed, rows=400):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 2)) * 2
    labels = (rng.random((rows, 2)) < 1 / (1 + np.exp(-logits / 2))).astype(np.float32)
    labels[:50, 1] = np.nan
    return Examples(np.zeros((rows, 4), np.uint8), labels), 1 / (1 + np.exp(-logits))


@pytest.fixture(scope="module")
def found():
    splits, predictions = {}, {}
    for seed, split in enumerate(("dev", "test")):
        splits[split], predictions[split] = made(seed)
    return module.fit_calibration(Data, splits, predictions), splits, predictions


def test_thresholds_and_temperatures_are_those_of_dev(found):
    fitted, splits, predictions = found
    for i, name in enumerate(Data.targets):
        known = ~np.isnan(splits["dev"].labels[:, i])
        y, p = splits["dev"].labels[known, i], predictions["dev"][known, i]
        own = fitted["fitted"]["targets"][name]
        best = max(matthews_corrcoef(y, p >= t) for t in p)
        assert matthews_corrcoef(y, p >= own["threshold"]) == pytest.approx(best)
        slope = LogisticRegression(C=1e9, fit_intercept=False).fit(np.log(p / (1 - p))[:, None], y).coef_[0, 0]
        assert own["temperature"] == pytest.approx(1 / slope, rel=1e-3)
        assert (own["examples"], own["positive"]) == (known.sum(), y.sum())
        test = ~np.isnan(splits["test"].labels[:, i])
        y, p = splits["test"].labels[test, i], predictions["test"][test, i]
        assert fitted["test"][name]["mcc_at_threshold"] == pytest.approx(matthews_corrcoef(y, p >= own["threshold"]))
        assert fitted["test"][name]["ece_calibrated"] < fitted["test"][name]["ece"]


def test_no_target_with_both_classes_in_dev(found):
    _, splits, predictions = found
    ones = Examples(splits["dev"].codes, np.ones_like(splits["dev"].labels))
    assert module.fit_calibration(Data, {"dev": ones}, predictions) is None


def test_a_card_has_one_section(found):
    section = calibration_section(found[0])
    card = "# x\n\n### test\n\n| a |\n\n## Limits\n\nSome.\n"
    once = with_calibration(card, section)
    assert with_calibration(once, section) == once and once.count("### Calibration") == 1
    assert once.index("### test") < once.index("### Calibration") < once.index("## Limits")
    assert once.replace(section + "\n\n", "") == card
    with pytest.raises(InputError, match="has not one section"):
        with_calibration("# x\n", section)


def test_the_command_writes_file_card_and_index(tmp_path, monkeypatch):
    """With the exported weights, on made-up examples in the place of the recipe's data."""
    home = tmp_path / "zoo"
    shutil.copytree(ROOT / "models" / MODEL, home / "models" / MODEL)
    (home / "models" / MODEL / FILE).unlink(missing_ok=True)
    (home / "zoo_index.yaml").write_text(yaml.safe_dump({"models": {MODEL: catalogue()[MODEL] | {"calibration": 1}}}))
    monkeypatch.setenv("REGZOO_HOME", str(home))
    rng = np.random.default_rng(0)
    parts = {
        split: Examples(rng.integers(0, 4, (60, 101), dtype=np.uint8), rng.integers(0, 2, (60, 5)).astype(np.float32))
        for split in ("train", "dev", "test")
    }
    monkeypatch.setattr(module, "load_examples", lambda data: (dict(parts), {}))
    fitted = module.calibrate(MODEL)
    assert yaml.safe_load((home / "models" / MODEL / FILE).read_text()) == fitted["fitted"]
    assert set(fitted["fitted"]["targets"]) == {"tf0", "tf1", "tf2", "tf3", "tf4"}
    entry = catalogue()[MODEL]["calibration"]
    assert entry["targets"] == 5 and 0 <= entry["ece_calibrated"] <= 1
    assert (home / "models" / MODEL / "README.md").read_text().count("### Calibration") == 1
    for model, message in (("Own/x", "no recipe under"), ("MotifResNet/utr3-mpra", "not a binary classifier")):
        with pytest.raises(InputError, match=message):
            module.calibrate(model)
