"""scikit-learn's estimators on features of windows: linear ones with a penalty chosen by cross-validation, and an SVM."""

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import SVR

from regzoo.evaluate import evaluate_predictions

PENALTIES = (0.0003, 0.003, 0.03, 0.3)  # inverse, of logistic regression
ALPHAS = np.logspace(1, 5, 9)  # of ridge regression
FOLDS = 3
MACHINE_ROWS = 6000  # its time grows with the square
MACHINE = {"C": [0.3, 1, 3], "gamma": ["scale"], "epsilon": [0.1]}


def fit_linear(features, labels, regression, groups=None):
    """Ridge or logistic regression.

    Parameters
    ----------
    features : numpy.ndarray or scipy.sparse matrix, shape (N, F)
    labels : numpy.ndarray, shape (N,)
    regression : bool
    groups : numpy.ndarray, shape (N,), optional
        Rows of one group, such as both strands of a window, are in one fold of logistic regression's cross-validation.

    Returns
    -------
    coefficients : numpy.ndarray, shape (F,)
    intercept : float
    strength : float
        Chosen: ridge's alpha, or logistic regression's C.
    """
    if regression:
        model = RidgeCV(ALPHAS).fit(features, labels)
        return model.coef_, float(model.intercept_), float(model.alpha_)
    folds = (StratifiedKFold if groups is None else StratifiedGroupKFold)(FOLDS, shuffle=True, random_state=1)
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": PENALTIES}, scoring="roc_auc", cv=folds)
    model = search.fit(features, labels, groups=groups).best_estimator_
    return model.coef_[0], float(model.intercept_[0]), float(model.C)


def fit_svr(features, labels, seed=1):
    """A support vector regression with a radial kernel on at most `MACHINE_ROWS` rows; its C is chosen by cross-validation."""
    rows = np.random.default_rng(seed).permutation(len(labels))[:MACHINE_ROWS]
    scale = labels.std()
    search = GridSearchCV(SVR(cache_size=1000), MACHINE, cv=FOLDS).fit(features[rows], labels[rows] / scale)
    return lambda x: search.predict(x) * scale


def evaluate_rows(data, splits, features, predictors):
    """Metrics of predictors of features, by split and target.

    Parameters
    ----------
    data : training.data.sources.Source
    splits : dict of str to training.data.Examples
    features : dict of str to numpy.ndarray, shape (strands, N, F)
        Predictions are averaged over strands.
    predictors : dict of str to callable
        By target.

    Returns
    -------
    dict
        As of `training.fit.evaluate_splits`.
    """
    result = {}
    for split in splits.keys() - {"train"}:
        result[split] = {}
        for index, (target, predictor) in enumerate(predictors.items()):
            labels = splits[split].labels[:, index]
            known = np.flatnonzero(~np.isnan(labels))
            if len(known):
                scores = np.mean([predictor(strand[known]) for strand in features[split]], axis=0)
                result[split][target] = evaluate_predictions(labels[known], scores, data.task == "regression")
    return result
