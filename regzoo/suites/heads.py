"""Predictors on frozen features, evaluated out of fold with groups kept together."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from regzoo.errors import InputError

_INNER = 5
_TUNED_ROWS = 2000  # rows on which Optuna tunes the support vector regression
_HIDDEN = {"32-16": (32, 16), "64-32": (64, 32), "128-32": (128, 32), "256-64": (256, 64)}


def outer_folds(groups: np.ndarray, folds: int = 10) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds that share no group.

    Parameters
    ----------
    groups : numpy.ndarray, shape (N,)
    folds : int
        At most; fewer if there are fewer groups.

    Returns
    -------
    list of (train, test)
        Row indices.

    Raises
    ------
    InputError
        If there are fewer than two groups.
    """
    count = len(np.unique(groups))
    if count < 2:
        raise InputError("cross-validation needs at least two groups of rows that share no sequence")
    return list(GroupKFold(min(folds, count)).split(groups, groups=groups))


def _nested(groups):
    """Outer folds whose training parts can be divided again."""
    count = len(np.unique(groups))
    if count < 3:
        raise InputError(
            "cross-validation with a choice of parameters within each training part needs at least three groups of "
            f"rows that share no sequence; there {'is' if count == 1 else 'are'} {count}"
        )
    return outer_folds(groups)


def ridge(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Out-of-fold predictions of a ridge regression; the penalty with the smallest squared error in an inner
    cross-validation is chosen within each training part.

    Parameters
    ----------
    features : numpy.ndarray, float, shape (N, D)
        Standardised on each training part.
    labels : numpy.ndarray, float, shape (N,)
    groups : numpy.ndarray, shape (N,)
        Rows of one group are never in both parts, inside and outside.
    alphas : numpy.ndarray, float
        Penalties to choose from.

    Returns
    -------
    numpy.ndarray, float, shape (N,)

    Raises
    ------
    InputError
        If there are fewer than three groups.
    """
    found = np.empty(len(labels))
    for train, test in _nested(groups):
        own, y = features[train], labels[train]
        held_out = np.empty((len(alphas), len(train)))
        for inner, rest in outer_folds(groups[train], _INNER):
            held_out[:, rest] = _ridge_path(own[inner], y[inner], own[rest], alphas)
        best = int(((held_out - y) ** 2).mean(axis=1).argmin())
        found[test] = _ridge_path(own, y, features[test], alphas[best : best + 1])[0]
    return found


def _ridge_path(features, labels, others, alphas):
    """Predictions of other rows for every penalty, shape (penalties, others), from one eigendecomposition.

    It is of the smaller of the two products, between dimensions or between rows.
    """
    scaler = StandardScaler().fit(features)
    x, mean = scaler.transform(features).astype(np.float64), labels.mean()
    new = scaler.transform(others).astype(np.float64)
    by_rows = len(x) < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if by_rows else x.T @ x)
    projected = vectors.T @ ((labels - mean) if by_rows else x.T @ (labels - mean))
    turned = (new @ x.T if by_rows else new) @ vectors
    return (turned @ (projected / (np.maximum(values, 0) + alphas[:, None])).T).T + mean


def support_vectors(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, trials: int, seed: int = 0
) -> np.ndarray:
    """Out-of-fold predictions of a support vector regression with a radial kernel.

    C (1e-2 to 1e2), epsilon (1e-5 to 1) and gamma (1e-5 to 1) are tuned with Optuna once, by R2 in an inner
    grouped cross-validation of the first training part (Vilov & Heinig), of at most 2,000 of its rows.

    Parameters
    ----------
    features, labels, groups
        As of `ridge`.
    trials : int
        Of Optuna.
    seed : int

    Returns
    -------
    numpy.ndarray, float, shape (N,)

    Raises
    ------
    InputError
        If there are fewer than three groups, or Optuna is not installed.
    """
    folds = _nested(groups)
    rows = np.random.default_rng(seed).permutation(folds[0][0])[:_TUNED_ROWS]
    inner = outer_folds(groups[rows], _INNER)

    def value(trial: Any) -> float:
        model = _svr(*(trial.suggest_float(*range_, log=True) for range_ in _SVR_RANGES))
        return float(cross_val_score(model, features[rows], labels[rows], cv=inner, scoring="r2").mean())

    best = _tuned(value, trials, seed)
    found = np.empty(len(labels))
    for train, test in folds:
        model = _svr(*(best[name] for name, _, _ in _SVR_RANGES))
        found[test] = model.fit(features[train], labels[train]).predict(features[test])
    return found


_SVR_RANGES = (("C", 1e-2, 1e2), ("epsilon", 1e-5, 1.0), ("gamma", 1e-5, 1.0))


def _svr(c, epsilon, gamma):
    return make_pipeline(StandardScaler(), SVR(C=c, epsilon=epsilon, gamma=gamma))


def perceptron(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, trials: int, seed: int = 0) -> np.ndarray:
    """Out-of-fold scores of a multilayer perceptron, of ten stratified folds that share no group.

    Hidden layers and weight decay (1e-5 to 5e-2) are tuned with Optuna once, in an inner grouped cross-validation of
    the first training part, by the AUROC of all its out-of-fold scores. Unlike the published one it has no dropout and
    stops early on a tenth of its training rows.

    Parameters
    ----------
    features : numpy.ndarray, float, shape (N, D)
    labels : numpy.ndarray, float, shape (N,)
        0 or 1.
    groups : numpy.ndarray, shape (N,)
        Rows of one group are never in both parts, inside and outside.
    trials, seed
        As of `support_vectors`.

    Returns
    -------
    numpy.ndarray, float, shape (N,)
        Probability of the class 1.

    Raises
    ------
    InputError
        If a class is in fewer groups than there are folds, or Optuna is not installed.
    """
    smallest = min(len(np.unique(groups[labels == one])) for one in (0, 1))
    if smallest < 10:
        raise InputError(
            "ten-fold cross-validation needs rows of each class in at least 10 groups that share no sequence; one "
            f"class is in {smallest}"
        )
    folds = list(StratifiedGroupKFold(10).split(features, labels, groups))
    first = folds[0][0]

    def value(trial: Any) -> float:
        hidden = trial.suggest_categorical("hidden", list(_HIDDEN))
        model = _mlp(hidden, trial.suggest_float("alpha", 1e-5, 5e-2, log=True), seed)
        inner = StratifiedGroupKFold(_INNER)
        held_out = cross_val_predict(
            model, features[first], labels[first], groups=groups[first], cv=inner, method="predict_proba"
        )
        return float(roc_auc_score(labels[first], held_out[:, 1]))

    best = _tuned(value, trials, seed)
    found = np.empty(len(labels))
    for train, test in folds:
        model = _mlp(best["hidden"], best["alpha"], seed).fit(features[train], labels[train])
        found[test] = model.predict_proba(features[test])[:, 1]
    return found


def _mlp(hidden, alpha, seed):
    network = MLPClassifier(_HIDDEN[hidden], alpha=alpha, max_iter=300, early_stopping=True, random_state=seed)
    return make_pipeline(StandardScaler(), network)


def _tuned(value, trials, seed):
    """Best parameters of a study."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise InputError("tuning needs the package optuna; run: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").propagate = False
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(value, n_trials=trials)
    return study.best_params
