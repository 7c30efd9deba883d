"""Pages of models, and the accuracy that was measured for each target."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from regzoo.errors import ModelError
from regzoo.listing import model_info
from regzoo.reports.charts import intervals
from regzoo.reports.page import render
from regzoo.reports.tables import Column

_METRICS = ("AUROC", "Pearson", "Spearman", "MCC × 100")
_CELL = re.compile(r"(-?[\d.]+)(?: \((-?[\d.]+) to (-?[\d.]+)\))?")
_MOST = 40  # targets in a figure
_COLUMNS = ["target", "metric", "value", "low", "high", "split"]


@lru_cache(maxsize=64)
def measured(model: str | Path) -> pd.DataFrame:
    """Accuracy of each target of a model on held-out data, from its card.

    Parameters
    ----------
    model : str or pathlib.Path
        GROUP/MODEL, or the path of a model directory.

    Returns
    -------
    pandas.DataFrame
        Columns target, metric (AUROC, or Pearson's correlation for measured values), value, low and high (ends of the
        95% interval), and split ('test', or 'dev' for a target that has no test data). Empty where there is no such
        model, or its card has no table of metrics.
    """
    try:
        card = model_info(model)["card"]
    except ModelError:
        card = None
    return metrics_of(card or "")


def metrics_of(card: str) -> pd.DataFrame:
    """Accuracies in the text of a card, as of `measured`."""
    test, dev = (_metrics_of_split(card, split) for split in ("test", "dev"))
    return pd.concat([test, dev[~dev["target"].isin(test["target"])]], ignore_index=True)


def _metrics_of_split(card, split):
    section = re.search(rf"^### {split}\s*$(.*?)(?=^#|\Z)", card, re.M | re.S)
    lines = [line for line in (section[1] if section else "").splitlines() if line.startswith("|")]
    heads, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines] or [[]]
    metric = next((name for name in _METRICS if name in heads), None)
    found = []
    for cells in rows[1:] if metric is not None and heads[0] == "target" else ():
        match = _CELL.match(cells[heads.index(metric)]) if len(cells) == len(heads) else None
        if match:
            found.append((cells[0], metric, *(float(part or "nan") for part in match.groups()), split))
    return pd.DataFrame(found, columns=_COLUMNS).astype({"value": float, "low": float, "high": float})


def card_page(model: str | Path) -> str:
    """HTML of the page of a model.

    Parameters
    ----------
    model : str or pathlib.Path
        GROUP/MODEL, or the path of a model directory.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    info, accuracy = model_info(model), measured(model)
    figures = []
    if len(accuracy):
        metric = accuracy["metric"].iloc[0]
        shown = accuracy.sort_values("value", ascending=False)
        caption = "" if len(shown) <= _MOST else f"The best {_MOST} of {len(shown)} targets; the card has all."
        rows = shown.head(_MOST).rename(columns={"target": "name"})[["name", "value", "low", "high", "split"]]
        split = " and ".join(sorted(set(rows["split"]), reverse=True))
        figures.append(intervals("accuracy", f"Measured on {split}", rows, f"{metric}, with 95% intervals", caption))
    means = [{"split": split} | values for split, values in (info["mean_metrics"] or {}).items()]
    names = dict.fromkeys(key for row in means for key in row)
    columns = [
        Column(name, name.replace("_", " "), None if name == "split" else 0 if name == "targets" else 3)
        for name in names
    ]
    contents = [("use", "Use it"), *([("metrics", "Accuracy")] if figures or means else []), ("targets", "Targets")]
    return render(
        "card.html",
        title=info["name"],
        kind="Model card",
        source=None,
        info=info,
        facts=_facts(info),
        figures=figures,
        means=[{name: row.get(name) for name in names} for row in means],
        columns=columns,
        text=markdown(info["card"] or ""),
        contents=[*contents, *([("card", "Card")] if info["card"] else [])],
    )


def _facts(info: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("Status", info["status"] or "model directory"), ("Targets", f"{len(info['targets']):,}")]
    if info["input_length"]:
        facts.append(("Window", f"{info['input_length']:,} bases"))
    if info["parameters"]:
        facts.append(("Parameters", f"{info['parameters']:,}"))
    return [*facts, ("Strand", "the one given" if info["stranded"] else "either")]


def markdown(text: str) -> Markup:
    """A card's Markdown as HTML, without its title. HTML and pictures in it are shown as text."""
    text = re.sub(r"\A\s*# .*\n", "", text)
    found = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(text)
    opened = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
    return Markup(found.replace("<table>", opened).replace("</table>", "</table></div>"))
