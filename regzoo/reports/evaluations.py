"""Report on evaluations: benchmarks, comparisons of models, transfer between data sets, metrics of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from regzoo.evaluate.calibration import reliability_curve
from regzoo.evaluate.metrics import has_both_classes
from regzoo.reports.charts import curves, intervals, matrix
from regzoo.reports.inputs import Input
from regzoo.reports.page import render
from regzoo.reports.svg import Figure
from regzoo.reports.tables import Column, Table

_TITLES = {
    "benchmark": "Benchmark",
    "comparison": "Comparison of models",
    "transfer": "Transfer",
    "evaluation": "Evaluation",
}
_WITH_INTERVAL = ("auroc", "average_precision", "mcc", "pearson", "spearman")
_MOST = 60  # rows in a figure
_MIDDLE = {"auroc": 0.5}
_COST = (
    Column("model", "Model"),
    Column("sequences_per_second", "Sequences per second", 0),
    Column("memory_mb", "Peak memory, MB", 0),
    Column("parameters", "Parameters", 0),
    Column("operations", "Operations per window", 0),
)
_WHOLE = {"examples", "positive", "cut", "padded", "n", "rank"}


def evaluation_page(given: Input) -> str:
    """HTML of a report on an evaluation.

    Parameters
    ----------
    given : Input
        Of kind 'benchmark', 'comparison', 'transfer', 'evaluation' or 'result'.

    Returns
    -------
    str
    """
    kind, table = given.kind, given.value
    drawn: list[Figure] = []
    cost: list[dict] = []
    if kind == "result":
        kind, table, drawn, cost = _of_result(given.value)
    draw = {"benchmark": _benchmark, "comparison": _comparison, "transfer": _transfer, "evaluation": _evaluation}[kind]
    figures = [*drawn, *draw(table)]
    suite = str(table.attrs.get("suite", "")) or (str(table["suite"].iloc[0]) if "suite" in table else "")
    return render(
        "evaluation.html",
        title=f"{_TITLES[kind]}{f': {suite}' if suite else ''}",
        kind="Evaluation report",
        source=given.source,
        command=table.attrs.get("command", ""),
        lead=_lead(kind, table),
        figures=figures,
        table=_table(table, _TITLES[kind]),
        cost_columns=_COST,
        cost=cost,
        contents=[
            ("figures", "Figures"),
            *([("cost", "Run time and memory")] if cost else []),
            ("numbers", "All numbers"),
        ],
    )


def _of_result(value: Any) -> tuple[str, pd.DataFrame, list[Figure], list[dict]]:
    """Kind, table, curves and costs of what `regzoo.compare`, `transfer` or `benchmark` returned."""
    if hasattr(value, "matrix"):
        return "transfer", value.table, [], []
    if hasattr(value, "runs"):
        return "comparison", value.metrics, _curves(value), value.cost.to_dict("records")
    return "benchmark", value.table, [], []


def _lead(kind, table):
    sizes = [
        (table[name].nunique(), word)
        for name, word in (("model", "model"), ("trained", "target"), ("target", "target"), ("data_set", "data set"))
        if name in table and kind != "evaluation"
    ]
    words = [f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in sizes]
    if kind == "evaluation":
        words = [f"{int((~table['target'].str.startswith(('macro', 'median'))).sum()):,} targets"]
    return f"{', '.join(words)}. Intervals are 95% bootstrap intervals."


def _curves(found) -> list[Figure]:
    """ROC, precision-recall and reliability curves of each two-class data set of a comparison."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    figures = []
    for number, (target, labelled) in enumerate(found.sets.items(), 1):
        labels = labelled.labels
        if labelled.regression or not has_both_classes(labels):
            continue
        roc, precise, reliable = {}, {}, {}
        for name, run in found.runs.items():
            scores = np.asarray(run.scores[target], dtype=float)
            roc[name] = roc_curve(labels, scores)[:2]
            precision, recall, _ = precision_recall_curve(labels, scores)
            precise[name] = recall[::-1], precision[::-1]
            if scores.min() >= 0 and scores.max() <= 1:
                reliable[name] = reliability_curve(labels, scores)[:2]
        figures += [
            curves(f"roc-{number}", f"{target}: ROC", roc, ("false positive rate", "true positive rate"), True),
            curves(f"pr-{number}", f"{target}: precision and recall", precise, ("recall", "precision")),
        ]
        if reliable:
            axes = ("mean prediction", "fraction of positives")
            figures.append(curves(f"reliability-{number}", f"{target}: reliability", reliable, axes, True, True))
    return figures


def _points(name, title, table, names, label) -> list[Figure]:
    """A figure of intervals of rows with columns value, low and high."""
    rows = pd.DataFrame(
        {"name": list(names), **{key: pd.to_numeric(table[key]).to_numpy(float) for key in ("value", "low", "high")}}
    )
    rows = rows[np.isfinite(rows["value"])].sort_values("value", ascending=False)
    if rows.empty:
        return []
    caption = f"The first {_MOST} of {len(rows)} by value." if len(rows) > _MOST else ""
    return [intervals(name, title, rows.head(_MOST), label, caption)]


def _benchmark(table):
    figures = []
    table = table.assign(
        **{name: table[name].fillna("").astype(str) for name in ("model", "target", "data_set", "metric")}
    )
    groups = table[~table["metric"].str.endswith("_p")].groupby(["data_set", "metric"], sort=False)
    for number, ((data_set, metric), part) in enumerate(groups, 1):
        plain = part["target"].isin(["", "score"])
        names = part["model"].where(plain, part["model"] + ", " + part["target"])
        figures += _points(
            f"metric-{number}", f"{data_set}: {metric.replace('_', ' ')}", part, names, metric.replace("_", " ")
        )
    return figures


def _comparison(table):
    figures = []
    for number, (target, part) in enumerate(table.groupby("target", sort=False), 1):
        for metric in _WITH_INTERVAL:
            if metric in part and part[metric].notna().any():
                rows = part.assign(value=part[metric], low=part.get(f"{metric}_low"), high=part.get(f"{metric}_high"))
                figures += _points(
                    f"{metric}-{number}", f"{target}: {_said(metric)}", rows, part["model"], _said(metric)
                )
    return figures


def _transfer(table):
    figures = []
    for number, (metric, part) in enumerate(table.groupby("metric", sort=False), 1):
        several = part["model"].nunique() > 1
        label = part["model"] + ": " + part["trained"] if several else part["trained"]
        values = part.assign(row=label).pivot_table(index="row", columns="tested", values="value", sort=False)
        name = _said(str(metric))
        figures.append(
            matrix(
                f"transfer-{number}",
                f"{name} of each target on each data set",
                values,
                name,
                _MIDDLE.get(str(metric), 0.0),
            )
        )
    return figures


def _evaluation(table):
    figures = []
    targets = table[~table["target"].astype(str).str.startswith(("macro mean", "median of"))]
    for metric in _WITH_INTERVAL:
        if metric in targets and targets[metric].notna().any():
            bounds = {end: targets.get(f"{metric}_{end}", pd.Series(np.nan, targets.index)) for end in ("low", "high")}
            figures += _points(
                metric, _said(metric), targets.assign(value=targets[metric], **bounds), targets["target"], _said(metric)
            )
    return figures


def _said(metric):
    """Name of a metric as it is written."""
    return {"auroc": "AUROC", "mcc": "MCC", "pearson": "Pearson's r", "spearman": "Spearman's ρ"}.get(
        metric, metric.replace("_", " ")
    )


def _table(table, title):
    """All rows and columns."""
    rows = table.reset_index(drop=True)
    columns = []
    for name in map(str, rows.columns):
        if pd.api.types.is_numeric_dtype(rows[name]):
            rows[name] = rows[name].astype(float)
            columns.append(Column(name, name.replace("_", " "), 0 if name in _WHOLE else 3))
        else:
            rows[name] = rows[name].fillna("").astype(str)
            columns.append(Column(name, name.replace("_", " ")))
    names = [one.name for one in columns if one.digits is None]
    filters = [name for name in names if 1 < rows[name].nunique() <= 60][:4]
    return Table("numbers-table", title, columns, rows, filters, (), [""] * len(rows))
