"""Evaluation: metrics with bootstrap intervals, paired tests and calibration."""

from regzoo.evaluate.calibration import expected_calibration_error, reliability_curve, temperature
from regzoo.evaluate.metrics import (
    accuracy,
    auroc,
    average_precision,
    best_threshold,
    bootstrap,
    evaluate_predictions,
    f1,
    mcc,
    pearson,
    precision,
    recall,
    spearman,
)
from regzoo.evaluate.paired import delong, paired_bootstrap

__all__ = [
    "accuracy",
    "auroc",
    "average_precision",
    "best_threshold",
    "bootstrap",
    "delong",
    "evaluate_predictions",
    "expected_calibration_error",
    "f1",
    "mcc",
    "paired_bootstrap",
    "pearson",
    "precision",
    "recall",
    "reliability_curve",
    "spearman",
    "temperature",
]
