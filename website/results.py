"""docs/models.md: the best model of each task beside its baseline. `python -m website.results` writes it.

Every figure is read from the cards and from zoo_index.yaml.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from regzoo.home import zoo_folder
from regzoo.output.files import finished_file
from website.catalogue import Entry, entries

_METRICS = ("MCC × 100", "Pearson")
_MOST = 20  # targets that are listed one by one
_INTRODUCTION = """# Results by task

<!-- written by `python -m website.results` -->

For each task: the test metrics of the best model, with 95% bootstrap intervals, then all models of the task beside a
*k*-mer baseline, which was fitted on the same training rows. The best model is the one with the largest mean over
targets on dev (AUROC, or Pearson's r for measured values); models are listed in this order. Test data took no part in
any choice. All figures are read from the [cards](../README.md#models).

Means are over the targets that have test data (their number in brackets), and differences are those of means before
rounding. Where a task has two baselines, models are compared with the one that has the larger mean. **below baseline**
marks a model whose mean is not larger than its baseline's. Where the intervals of a target overlap, the difference may
be due to chance. Published figures are for scale only, because training data and splits differ.
"""


@dataclass
class Result:
    """Test figures of a model, from its card.

    Attributes
    ----------
    entry : Entry
    metric : str
        The metric that the baselines share: 'MCC × 100' or 'Pearson'.
    rows : dict of str to dict of str to str
        Cells of the table of test metrics: target -> heading -> text.
    baselines : list of str
        Headings of the k-mer baselines.
    published : dict of str to dict of str to str
        Model -> target -> text.
    note : str
        The sentence above the published figures.
    """

    entry: Entry
    metric: str
    rows: dict[str, dict[str, str]]
    baselines: list[str]
    published: dict[str, dict[str, str]]
    note: str

    def mean(self, heading: str) -> float:
        """Mean over targets of a column's values."""
        return fmean(_number(row[heading]) for row in self.rows.values())

    @property
    def baseline(self) -> str | None:
        """Heading of the baseline with the largest mean."""
        return max(self.baselines, key=self.mean, default=None)

    @property
    def below(self) -> bool:
        """Whether the mean is not larger than the baseline's."""
        return self.baseline is not None and self.mean(self.metric) <= self.mean(self.baseline)


def _number(cell: str) -> float:
    match = re.match(r"-?\d+(\.\d+)?", cell)
    if not match:
        raise ValueError(f"expected a number in a card's table, found {cell!r}")
    return float(match[0])


def tables_of(text: str, heading: str) -> tuple[str, dict[str, dict[str, str]]]:
    """The first table of a card's section.

    Parameters
    ----------
    text : str
        The card.
    heading : str
        Heading of level 3.

    Returns
    -------
    note : str
        What stands above the table.
    rows : dict of str to dict of str to str
        First cell of each row -> heading -> cell. Empty without such a section.
    """
    section = re.search(rf"^### {re.escape(heading)}\s*$(.*?)(?=^#|\Z)", text, re.M | re.S)
    lines = section[1].strip().splitlines() if section else []
    note = " ".join(line for line in lines if not line.startswith("|")).strip()
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("|")]
    return note, {cells[0]: dict(zip(table[0], cells)) for cells in table[2:]}


def read_result(entry: Entry) -> Result | None:
    """Test figures of a model; None where its card has no table of them."""
    path = entry.folder / "README.md" if entry.folder else None
    card = path.read_text(encoding="utf-8") if path and path.is_file() else ""
    _, rows = tables_of(card, "test")
    if not rows:
        return None
    headings = list(next(iter(rows.values())))
    metric = next(name for name in _METRICS if name in headings)
    baselines = [name for name in headings if "-mers" in name and name.endswith(f", {metric}")]
    note, published = tables_of(card, "Published, for scale")
    return Result(entry, metric, rows, baselines, published, note)


def results_page(models: list[Entry]) -> str:
    """Markdown of docs/models.md.

    Parameters
    ----------
    models : list of Entry
        As of `website.catalogue.entries`.

    Returns
    -------
    str
    """
    tasks: dict[str, list[Result]] = {}
    others = []
    for entry in models:
        found = read_result(entry)
        if found:
            tasks.setdefault(entry.task, []).append(found)
        else:
            others.append(entry)
    parts = [_INTRODUCTION]
    for task, results in sorted(tasks.items()):
        parts.append(_task(task, sorted(results, key=lambda one: -(one.entry.dev or 0))))
    parts += ["## Models without test figures\n", _others(others)]
    return "\n".join(parts)


def _link(name: str) -> str:
    return f"[`{name}`](../models/{name})"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _shown(result: Result, value: float) -> str:
    return f"{value:.1f}" if result.metric == _METRICS[0] else f"{value:.3f}"


def _name(metric: str) -> str:
    return "Pearson's r" if metric == "Pearson" else metric


def _task(task: str, results: list[Result]) -> str:
    best = results[0]
    parts = [f"## {task[0].upper()}{task[1:]}\n", f"Best on dev: {_link(best.entry.name)}, {best.entry.title}.\n"]
    if len(best.rows) <= _MOST:
        parts.append(_targets(best))
    else:
        parts.append(f"{len(best.rows)} targets; the card has the figures of each.\n")
    if best.published:
        parts.append(f"Published figures: {best.note}\n")
    missing = best.entry.count - len(best.rows)
    if missing:
        parts.append(f"{missing} of {best.entry.count} targets have no test data; the card has their figures on dev.\n")
    if not best.baselines:
        parts.append("No baseline was fitted for this task.\n")
    parts += ["All models of the task, means over targets:\n", _models(results)]
    return "\n".join(parts)


def _targets(best: Result) -> str:
    first = next(iter(best.rows.values()))
    columns = [best.metric, *[name for name in ("AUROC", "Spearman") if name in first], *best.baselines]
    heads = ["target", *(_name(name.removesuffix(", Pearson")) for name in columns)]
    heads += [f"published: {name}" for name in best.published]
    rows = []
    for target, row in best.rows.items():
        published = [figures.get(target, "–") for figures in best.published.values()]
        rows.append([target, *(row[name] for name in columns), *published])
    return _table(heads, rows)


def _models(results: list[Result]) -> str:
    heads = ["model", f"{_name(results[0].metric)}, test mean", "baseline, test mean", "difference", "mark"]
    rows = []
    for one in results:
        mean = one.mean(one.metric)
        cells = [_link(one.entry.name), f"{_shown(one, mean)} ({len(one.rows)})"]
        if one.baseline is None:
            cells += ["no baseline", "–", ""]
        else:
            other = one.mean(one.baseline)
            name = one.baseline.removesuffix(f", {one.metric}")
            mark = "**below baseline**" if one.below else ""
            cells += [f"{_shown(one, other)} ({name})", f"{'+' * (mean > other)}{_shown(one, mean - other)}", mark]
        rows.append(cells)
    return _table(heads, rows)


def _others(models: list[Entry]) -> str:
    why: dict[str, str] = {
        "official": "weights of the authors; [published benchmarks](benchmarks.md) evaluates some of them",
        "recipe": "not trained",
    }
    rows = []
    for one in models:
        link = f"[`{one.name}`](../{one.recipe})" if one.recipe else _link(one.name)
        perplexity = f"perplexity per base {one.test:.3f}, held out; no *k*-mer baseline" if one.test else None
        rows.append([link, one.status, perplexity or why.get(one.status, "no test figures in its card")])
    return _table(["model", "status", "why"], rows)


def write(path: str | Path | None = None) -> Any:
    """Write docs/models.md."""
    with finished_file(path or zoo_folder() / "docs" / "models.md") as temporary:
        temporary.write_text(results_page(entries()), encoding="utf-8")


if __name__ == "__main__":
    write()
