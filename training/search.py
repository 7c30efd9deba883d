"""Search of hyperparameters: Optuna over a recipe's values, poor trials stopped early, the study kept on disk."""

import math
from pathlib import Path
from typing import Literal

import optuna
import torch
import yaml
from pydantic import Field

from regzoo.errors import InputError
from training.data import load_examples
from training.fit import fit_network
from training.loop import write_text
from training.recipe import Recipe, load_recipe
from training.scores import check_dev
from training.section import Section, read_section, validated


class Range(Section):
    """Numbers from low to high."""

    low: float
    high: float
    log: bool = False


class Search(Section):
    """What is searched. `space` and `fixed` name a recipe's values by dots, as optimiser.learning_rate."""

    recipe: str = Field(description="relative to this file")
    space: dict[str, Range | list[float | int | str]] = Field(min_length=1, description="a range, or a list of choices")
    fixed: dict[str, float | int | str] = Field({}, description="values in place of the recipe's for every trial")
    sampler: Literal["tpe", "grid"] = Field("tpe", description="grid tries every combination of lists")
    trials: int | None = Field(None, gt=0, description="in all, those of a stopped search counted; of a grid all of it")
    seed: int = 1


def search(path, threads=None):
    """Search, or go on where a stopped search was; study, trials and the best recipe go to runs/searches/NAME.

    Trials are judged by dev's score after each epoch; the worse half at the same epoch is stopped (after five trials).

    Parameters
    ----------
    path : str or pathlib.Path
        YAML of a `Search`.
    threads : int, optional

    Returns
    -------
    dict
        'score', 'values', 'trials' (finished, stopped early) and 'recipe', the best one's path.

    Raises
    ------
    InputError
        If the file, its recipe or a name in it is not usable.
    """
    path = Path(path)
    options = read_section(path, Search)
    base = load_recipe(path.parent / options.recipe)
    _check(options, base, path)
    if threads:
        torch.set_num_threads(threads)
    folder = Path("runs") / "searches" / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    splits, _ = load_examples(base.data)
    check_dev(base.data, splits["dev"])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder.resolve()}/study.db", study_name=path.stem, direction="maximize",
        pruner=optuna.pruners.MedianPruner(), load_if_exists=True,
    )  # fmt: skip
    done = [t for t in study.trials if t.state in (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)]
    if options.sampler == "grid":
        study.sampler = optuna.samplers.GridSampler(dict(options.space), seed=options.seed)
        total = options.trials or math.prod(len(choices) for choices in options.space.values())
    else:
        study.sampler = optuna.samplers.TPESampler(
            seed=options.seed + len(done)
        )  # or it would begin with the same draws
        total = options.trials or 50

    def objective(trial):
        values = options.fixed | {name: _suggest(trial, name, kind) for name, kind in options.space.items()}
        recipe = changed(base, values)
        own, scores = folder / f"trial-{trial.number}", []
        own.mkdir(exist_ok=True)

        def look(score):
            scores.append(score)
            trial.report(score, len(scores))
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            fit_network(recipe, splits, own, look=look)[1].run()
        finally:
            (own / "checkpoint.pt").unlink(missing_ok=True)  # which nothing goes on from
        return max(scores)

    study.optimize(objective, n_trials=max(0, total - len(done)), show_progress_bar=True)
    finished = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    best = folder / "best.yaml"
    content = changed(base, options.fixed | study.best_params).model_dump(mode="json", exclude_defaults=True)
    write_text(best, yaml.safe_dump(content, sort_keys=False))
    stopped = sum(t.state == optuna.trial.TrialState.PRUNED for t in study.trials)
    return {"score": study.best_value, "values": study.best_params,
            "trials": {"finished": len(finished), "stopped early": stopped}, "recipe": str(best)}  # fmt: skip


def changed(recipe, values, where="values"):
    """A recipe with other values, named by dots; an InputError if one is none of a recipe's or impossible."""
    content = recipe.model_dump(mode="json")
    for name, value in values.items():
        *parents, last = name.split(".")
        at = content
        for key in parents:
            at = at.get(key) if isinstance(at, dict) else None
        if not isinstance(at, dict):
            raise InputError(f"{where}: {name!r} is no value of a recipe")
        at[last] = value
    return validated(Recipe, content, where)


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
