"""Hyperparameter search with Optuna over the values of a recipe."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
import yaml
from optuna.trial import TrialState
from pydantic import Field

from regzoo.errors import InputError
from training.data import Examples, load_examples
from training.fit import fit_network
from training.recipe import FitRecipe, load_recipe
from training.run import write_text
from training.scores import check_dev
from training.section import Section, read_section, validated


class Range(Section):
    """Numbers from low to high."""

    low: float
    high: float
    log: bool = False


class Search(Section):
    """What is searched. `space` and `fixed` name values of the recipe with dots: optimiser.learning_rate."""

    recipe: str = Field(description="relative to this file")
    space: dict[str, Range | list[float | int | str]] = Field(min_length=1, description="a range, or a list of choices")
    fixed: dict[str, float | int | str] = Field({}, description="values that replace the recipe's in every trial")
    sampler: Literal["tpe", "grid"] = Field(
        "tpe", description="grid tries every combination; it needs lists of choices"
    )
    trials: int | None = Field(
        None, gt=0, description="in total, with those of a stopped search; 50, or the whole grid, without it"
    )
    seed: int = 1


def search(path: str | Path, threads: int | None = None) -> dict[str, Any]:
    """Search, or resume a search; study, trials and the best recipe are written to runs/searches/NAME.

    A trial's score is that on dev after each epoch. From the sixth trial on, a trial below the median of the earlier
    ones at the same epoch is stopped.

    Parameters
    ----------
    path : str or pathlib.Path
        YAML of a `Search`.
    threads : int, optional

    Returns
    -------
    dict
        'score', 'values', 'trials' (finished, stopped early) and 'recipe', the path of the best one.

    Raises
    ------
    InputError
        If the file, its recipe or a name in it is not valid.
    """
    path = Path(path)
    options = read_section(path, Search)
    base = load_recipe(path.parent / options.recipe, "fit")
    _check(options, base, path)
    if threads:
        torch.set_num_threads(threads)
    folder = Path("runs") / "searches" / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    splits, _ = load_examples(base.data)
    check_dev(base.data, splits["dev"])
    study, left = _study(options, folder, path.stem)
    study.optimize(_objective(options, base, splits, folder), n_trials=left, show_progress_bar=True)
    best = folder / "best.yaml"
    content = changed(base, options.fixed | study.best_params).model_dump(mode="json", exclude_defaults=True)
    write_text(best, yaml.safe_dump(content, sort_keys=False))
    states = [trial.state for trial in study.trials]
    counts = {"finished": states.count(TrialState.COMPLETE), "stopped early": states.count(TrialState.PRUNED)}
    return {"score": study.best_value, "values": study.best_params, "trials": counts, "recipe": str(best)}


def _study(options, folder, name):
    """The study on disk, and how many trials are left."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder.resolve()}/study.db",
        study_name=name,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )
    done = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in study.trials)
    if options.sampler == "grid":
        study.sampler = optuna.samplers.GridSampler(dict(options.space), seed=options.seed)
        total = options.trials or math.prod(len(choices) for choices in options.space.values())
    else:
        # With the same seed, a resumed search would repeat the first draws.
        study.sampler = optuna.samplers.TPESampler(seed=options.seed + done)
        total = options.trials or 50
    return study, max(0, total - done)


def _objective(
    options: Search, base: FitRecipe, splits: dict[str, Examples], folder: Path
) -> Callable[[optuna.Trial], float]:
    """The function that fits a trial and returns its best score on dev."""

    def objective(trial):
        values = options.fixed | {name: _suggest(trial, name, kind) for name, kind in options.space.items()}
        own, scores = folder / f"trial-{trial.number}", []
        own.mkdir(exist_ok=True)

        def after_epoch(score):
            scores.append(score)
            trial.report(score, len(scores))
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            fit_network(changed(base, values), splits, own, after_epoch=after_epoch)[1].run()
        finally:
            (own / "checkpoint.pt").unlink(missing_ok=True)  # trials are not resumed
        return max(scores)

    return objective


def changed(recipe: FitRecipe, values: dict[str, Any], where: str | Path = "values") -> FitRecipe:
    """A recipe with other values, named with dots; an InputError if a name or a value is not valid."""
    content = recipe.model_dump(mode="json")
    for name, value in values.items():
        *parents, last = name.split(".")
        at: Any = content
        for key in parents:
            at = at.get(key) if isinstance(at, dict) else None
        if not isinstance(at, dict):
            raise InputError(f"{where}: {name}: not a value of a recipe")
        at[last] = value
    return validated(FitRecipe, content, where)


def _check(options, base, path):
    for name, kind in options.space.items():
        if options.sampler == "grid" and isinstance(kind, Range):
            raise InputError(f"{path}: {name} has a range, but a grid needs lists of choices")
        first = kind.low if isinstance(kind, Range) else kind[0]
        changed(base, options.fixed | {name: first}, path)


def _suggest(trial, name, kind):
    if isinstance(kind, Range):
        return trial.suggest_float(name, kind.low, kind.high, log=kind.log)
    return trial.suggest_categorical(name, kind)
