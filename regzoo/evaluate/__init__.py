"""Evaluation: metrics with bootstrap intervals, paired tests, calibration."""

from regzoo.evaluate.calibration import expected_calibration_error, reliability_curve, temperature
from regzoo.evaluate.metrics import (
    accuracy,
    auroc,
    average_precision,
    best_threshold,
    bootstrap,
    f1,
    mcc,
    precision,
    recall,
)
from regzoo.evaluate.paired import delong, paired_bootstrap

__all__ = [
    "accuracy", "auroc", "average_precision", "best_threshold", "bootstrap", "delong", "expected_calibration_error", "f1",
    "mcc", "paired_bootstrap", "precision", "recall", "reliability_curve", "temperature",
]  # fmt: skip
