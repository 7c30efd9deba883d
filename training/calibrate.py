"""Thresholds and temperatures of a classifier, fitted on dev, and what they change on test."""

from pathlib import Path
from typing import Any

import numpy as np

from regzoo.calibration import FILE, Calibration, OfTarget
from regzoo.errors import InputError
from regzoo.evaluate.calibration import expected_calibration_error, scaled, temperature
from regzoo.evaluate.metrics import best_threshold, mcc
from regzoo.evaluate.tables import two_class_targets
from regzoo.zoo import catalogue, load_model, zoo_folder
from training.card import calibration_section, with_calibration
from training.data import Examples, load_examples
from training.data.sources import Source
from training.index import update_index
from training.recipe import load_recipe
from training.run import HOME, write_text


def calibrate(model: str) -> dict[str, Any]:
    """Fit thresholds and temperatures of a model of the zoo, and write them to its directory, card and index entry.

    Dev and test are read again, as the model's recipe says, and predicted with the exported weights.

    Parameters
    ----------
    model : str
        GROUP/MODEL of a binary classifier whose recipe is in the checkout's training/recipes.

    Returns
    -------
    dict
        As of `fit_calibration`.

    Raises
    ------
    InputError
        If no recipe makes the model, it is not a binary classifier, or its data is missing or not valid.
    ModelError
        If the zoo does not have the model.
    """
    recipe = load_recipe(_recipe_of(model))
    if recipe.kind == "language_model" or recipe.data.task != "binary":
        raise InputError(f"{model}: not a binary classifier; only these have thresholds and temperatures")
    loaded, folder = load_model(model, device="cpu"), zoo_folder() / "models" / model
    if loaded.targets != recipe.data.targets:
        raise InputError(f"{model}: the targets of the recipe are not those of the exported model; export it again")
    splits, _ = load_examples(recipe.data)
    splits.pop("train")
    found = fit_calibration(recipe.data, splits, {split: loaded.predict(part.codes) for split, part in splits.items()})
    if found is None:
        raise InputError(f"{model}: no target has both classes in dev")
    write_calibration(folder, found)
    card = folder / "README.md"
    write_text(card, with_calibration(card.read_text(), calibration_section(found)))
    update_index(model, catalogue()[model] | {"calibration": calibration_entry(found)})
    return found


def _recipe_of(model: str) -> Path:
    """The recipe in the checkout that makes a model."""
    paths = [path for path in sorted((HOME / "training" / "recipes").glob("*/*.yaml")) if path.name != "data.yaml"]
    found = [path for path in paths if load_recipe(path).model == model]
    if not found:
        raise InputError(f"{model}: no recipe under {HOME / 'training' / 'recipes'} makes this model")
    return found[0]


def fit_calibration(
    data: Source, splits: dict[str, Examples], predictions: dict[str, np.ndarray]
) -> dict[str, Any] | None:
    """Fit the threshold of the largest MCC and the temperature of each target on dev, and evaluate them on test.

    Parameters
    ----------
    data : training.data.sources.Source
    splits : dict of str to Examples
        'dev' and, if there is one, 'test'.
    predictions : dict of str to numpy.ndarray, float, shape (N, targets)
        Probabilities, by split.

    Returns
    -------
    dict or None
        'fitted': `regzoo.calibration.Calibration` as a dict. 'test': for each target with both classes in test, rows,
        mcc (at 0.5), mcc_at_threshold, ece and ece_calibrated. None if no target has both classes in dev.
    """
    fitted = {
        name: OfTarget(
            threshold=float(f"{best_threshold(y, p):.6g}"),
            temperature=float(f"{temperature(y, p):.4g}"),
            examples=len(y),
            positive=int(y.sum()),
        )
        for name, y, p in two_class_targets(data.targets, splits["dev"].labels, predictions["dev"])
    }
    if not fitted:
        return None
    test = {}
    if "test" in splits:
        for name, y, p in two_class_targets(data.targets, splits["test"].labels, predictions["test"]):
            if name in fitted:
                test[name] = _on_test(y, p, fitted[name])
    return {"fitted": Calibration(targets=fitted).model_dump(), "test": test}


def _on_test(labels, scores, fitted):
    return {
        "rows": len(labels),
        "mcc": mcc(labels, scores),
        "mcc_at_threshold": mcc(labels, scores, None, fitted.threshold),
        "ece": expected_calibration_error(labels, scores),
        "ece_calibrated": expected_calibration_error(labels, scaled(scores, fitted.temperature)),
    }


def write_calibration(folder: Path, found: dict[str, Any] | None) -> None:
    """Write calibration.yaml into a model directory; without a calibration, remove an older one."""
    if found is None:
        (folder / FILE).unlink(missing_ok=True)
    else:
        Calibration(**found["fitted"]).save(folder)


def calibration_entry(found: dict[str, Any]) -> dict[str, Any]:
    """Entry of the index: the number of targets, and their mean expected calibration error on test before and after."""
    entry: dict[str, Any] = {"targets": len(found["fitted"]["targets"])}
    if found["test"]:
        for name in ("ece", "ece_calibrated"):
            entry[name] = round(float(np.mean([values[name] for values in found["test"].values()])), 4)
    return entry
