"""Metrics with bootstrap intervals."""

from regzoo.evaluate.metrics import auroc, average_precision, bootstrap, mcc

__all__ = ["auroc", "average_precision", "bootstrap", "mcc"]
