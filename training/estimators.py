"""scikit-learn's estimators on features of windows; their penalties are chosen by cross-validation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import SVR

from training.data import Examples

PENALTIES = (0.0003, 0.003, 0.03, 0.3)  # logistic regression's C
ALPHAS = np.logspace(1, 5, 9)  # ridge regression's alpha
FOLDS = 3
SVR_ROWS = 6000  # fitting time grows with the square of the rows
SVR_GRID = {"C": [0.3, 1, 3], "gamma": ["scale"], "epsilon": [0.1]}


def fit_linear(
    features: Any, labels: np.ndarray, regression: bool, groups: np.ndarray | None = None
) -> tuple[np.ndarray, float, float]:
    """Ridge regression, or logistic regression.

    Parameters
    ----------
    features : numpy.ndarray or scipy.sparse matrix, shape (N, F)
    labels : numpy.ndarray, shape (N,)
    regression : bool
    groups : numpy.ndarray, shape (N,), optional
        Rows of one group, such as both strands of a window, are kept in one fold of the cross-validation.

    Returns
    -------
    coefficients : numpy.ndarray, shape (F,)
    intercept : float
    strength : float
        The chosen alpha of ridge regression, or C of logistic regression.
    """
    if regression:
        search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=_folds(groups))
        model = search.fit(features, labels, groups=groups).best_estimator_
        return model.coef_, float(model.intercept_), float(model.alpha)
    folds = (StratifiedKFold if groups is None else StratifiedGroupKFold)(FOLDS, shuffle=True, random_state=1)
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": PENALTIES}, scoring="roc_auc", cv=folds)
    model = search.fit(features, labels, groups=groups).best_estimator_
    return model.coef_[0], float(model.intercept_[0]), float(model.C)


def fit_svr(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None, seed: int = 1
) -> Callable[[np.ndarray], np.ndarray]:
    """Support vector regression with a radial kernel on at most `SVR_ROWS` rows; returns its prediction function.

    C is chosen by the same cross-validation as in `fit_linear`.
    """
    rows = np.random.default_rng(seed).permutation(len(labels))[:SVR_ROWS]
    scale = labels.std()
    search = GridSearchCV(SVR(cache_size=1000), SVR_GRID, cv=_folds(groups))
    search.fit(features[rows], labels[rows] / scale, groups=None if groups is None else groups[rows])
    return lambda x: search.predict(x) * scale


def _folds(groups):
    return KFold(FOLDS) if groups is None else GroupKFold(FOLDS)


def predict_rows(
    splits: dict[str, Examples], features: dict[str, Any], predictors: Sequence[Callable[[Any], np.ndarray]]
) -> dict[str, np.ndarray]:
    """Predictions for the labelled rows of dev and test.

    Parameters
    ----------
    splits : dict of str to training.data.Examples
    features : dict of str to numpy.ndarray, shape (strands, N, F)
        Predictions are averaged over strands.
    predictors : sequence of callable
        One for each target.

    Returns
    -------
    dict of str to numpy.ndarray, float32, shape (N, targets)
        NaN where a row has no label.
    """
    result = {}
    for split, part in splits.items():
        if split == "train":
            continue
        result[split] = np.full(part.labels.shape, np.nan, dtype=np.float32)
        for index, predictor in enumerate(predictors):
            known = np.flatnonzero(~np.isnan(part.labels[:, index]))
            if len(known):
                result[split][known, index] = np.mean([predictor(strand[known]) for strand in features[split]], axis=0)
    return result
