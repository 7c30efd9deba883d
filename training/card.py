"""The model card and the description in model.yaml, from a recipe and its run's metrics."""

import re
from typing import Any

from regzoo.errors import InputError
from regzoo.evaluate.metrics import CORRELATIONS, METRICS
from training.recipe import Recipe, Supervised

AUTHORS = [{"name": "The regzoo developers"}]
_TITLES = {
    "mcc": "MCC × 100",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
_BASELINES = {
    "binary": "logistic regression on 6-mer presence",
    "multiclass": "logistic regression on 6-mer presence",
    "regression": "ridge regression and a support vector machine (radial kernel, at most 6,000 rows) on square roots "
    "of 5-mer counts",
}
_KINDS = {"fit": "neural network", "probe": "linear probe", "language_model": "language model"}
_SIGNIFICANT = 0.05


def kipoi_info(recipe: Recipe, doc: str) -> dict[str, Any]:
    """The `info` section of a model.yaml: Kipoi's fields, from the recipe and its data.

    Parameters
    ----------
    recipe : training.recipe.Recipe
    doc : str
        One line for `kipoi info`.
    """
    data = recipe.dataset
    info = {"authors": AUTHORS, "doc": doc, "license": "MIT", "tags": [*data.keywords, _KINDS[recipe.kind]]}
    return info | ({"cite_as": data.cite_as} if data.cite_as else {}) | {"trained_on": data.description}


def with_texts(card: str, recipe: Recipe) -> str:
    """A card with the recipe's current description of the data and its limits, and everything else unchanged.

    Parameters
    ----------
    card : str
        As `model_card` or `training.export_lm` wrote it.
    recipe : training.recipe.Recipe

    Raises
    ------
    ValueError
        If the card has not one section for each of the texts.
    """
    for heading, text in (("Data(?: and split)?", recipe.dataset.description), ("Limits", recipe.limits)):
        sections = list(re.finditer(rf"^## {heading}\n\n(.*)$", card, re.M))
        if len(sections) != 1:
            raise ValueError(f"no section {heading.partition('(')[0]!r}")
        card = card[: sections[0].start(1)] + text + card[sections[0].end(1) :]
    return card


def mean_metrics(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Split -> number of targets and the mean of each metric over them, for the index."""
    return {
        split: {"targets": len(metrics[split])}
        | {name: round(_mean(metrics[split], name), 3) for name in next(iter(metrics[split].values()))}
        for split in ("dev", "test")
        if metrics.get(split)
    }


def _mean(targets, metric):
    return sum(values[metric]["value"] for values in targets.values()) / len(targets)


def model_card(recipe: Supervised, metrics: dict[str, Any], baselines: dict[str, Any], training: str) -> str:
    """The model card.

    Parameters
    ----------
    recipe : training.recipe.FitRecipe or training.recipe.ProbeRecipe
    metrics : dict
        Of its run.
    baselines : dict
        As of `training.baseline.fit_baseline`.
    training : str
        How it was trained.

    Returns
    -------
    str
        Markdown.
    """
    data = recipe.data
    strands = "the output is " + ("for the strand given" if data.stranded else "the mean of both strands' predictions")
    lines = [
        f"# {recipe.model}",
        "",
        f"{recipe.title}. {metrics['parameters']:,} parameters, windows of "
        f"{metrics['input_length']} bases, {len(data.targets)} targets; {strands}.",
        "",
    ]
    lines += _data_section(data, metrics["data"]) + _metrics_section(data, metrics, baselines)
    lines += _source_tables(metrics.get("by_source", {})) + _specificity(metrics.get("specificity", {}))
    lines += _published(recipe) if recipe.published else []
    lines += [calibration_section(metrics["calibration"]), ""] if metrics.get("calibration") else []
    lines += [
        "## Limits",
        "",
        recipe.limits,
        "",
        "## Training",
        "",
        f"{training} Train it again with `python -m training fit`, `evaluate` and `export`.",
        "",
    ]
    return "\n".join(lines)


def _metrics_section(data, metrics, baselines):
    others = baselines | ({"SVR on the same embeddings": metrics["svr"]} if "svr" in metrics else {})
    text = (
        "With 95% percentile bootstrap intervals (1,000 resamples of the rows, fewer for more than 100,000)"
        + ("" if data.task == "regression" else "; MCC at threshold 0.5")
        + ". Models were selected on dev; test was used for evaluation only. "
        + _baseline(data, metrics, baselines)
    )
    return ["## Metrics", "", text, "", *_metric_tables(data, metrics, others)]


def calibration_section(found: dict[str, Any]) -> str:
    """Section of a card: threshold and temperature of each target, and what they change on test.

    Parameters
    ----------
    found : dict
        As of `training.calibrate.fit_calibration`.

    Returns
    -------
    str
        Markdown, from its heading to the end of its table.
    """
    lines = [
        "### Calibration",
        "",
        "The threshold is the one of the largest MCC on dev; `--threshold-from validation` uses it. The temperature, "
        "fitted on dev by maximum likelihood, divides the log odds with `--calibrated`. ECE is the expected "
        "calibration error in 10 bins, before and after. MCC and ECE are those on test.",
        "",
        "| target | threshold | temperature | MCC × 100 at 0.5 | MCC × 100 at threshold | ECE | ECE, calibrated |",
        "|---" * 7 + "|",
    ]
    for name, fitted in found["fitted"]["targets"].items():
        cells = [name, f"{fitted['threshold']:.3f}", f"{fitted['temperature']:.2f}"]
        if test := found["test"].get(name):
            cells += [f"{test[key] * 100:.1f}" for key in ("mcc", "mcc_at_threshold")]
            cells += [f"{test[key]:.3f}" for key in ("ece", "ece_calibrated")]
        else:
            cells += ["–"] * 4
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_calibration(card: str, section: str) -> str:
    """A card with its section on calibration replaced, or with the section before the one on limits.

    Parameters
    ----------
    card, section : str
        As of `model_card` and `calibration_section`.

    Raises
    ------
    InputError
        If the card has not one section on limits.
    """
    card = re.sub(r"^### Calibration\n.*?(?=^##)", "", card, flags=re.M | re.S)
    parts = re.split(r"^(?=## Limits$)", card, flags=re.M)
    if len(parts) != 2:
        raise InputError("this card has not one section `## Limits`, before which the calibration is put; export again")
    return f"{parts[0]}{section}\n\n{parts[1]}"


def _data_section(data, report):
    regression = data.task == "regression"
    label = "mean ± std" if regression else "positive"
    lines = [
        "## Data and split",
        "",
        data.description,
        "",
        f"| target | training rows read | dropped for overlap | kept | {label} (as read) | dev | test |",
        "|---|---|---|---|---|---|---|",
    ]
    for target, counts in report["targets"].items():
        train = counts["train"]
        rest = " | ".join(str(counts.get(split, {}).get("rows", "–")) for split in ("dev", "test"))
        value = f"{train['mean']:.2f} ± {train['sd']:.2f}" if regression else train["positive"]
        lines.append(f"| {target} | {train['rows']} | {train['overlapping']} | {train['kept']} | {value} | {rest} |")
    others = f" or with {', '.join(f'`{name}`' for name in data.evaluation)}" if data.evaluation else ""
    text = f"Training rows that share a {data.overlap_kmer}-mer, on either strand, with a dev or test row{others} "
    text += "are dropped. "
    text += _held_out(data.holdout) if data.holdout else ""
    text += f"Rows with the same window are merged ({report['merged_rows']} were"
    text += (
        "; their labels are averaged). "
        if regression
        else f"); {report['contradictory_labels']} contradictory labels were removed. "
    )
    return [*lines, "", text + "Missing labels are masked.", ""]


def _held_out(holdout):
    parts = [f"{fraction:.0%} for {name}" for name in ("dev", "test") if (fraction := getattr(holdout, name))]
    way = {
        "cluster": f"by clusters of rows that share {holdout.kmer} bases",
        "group": "by groups that the files name",
        "random": "at random",
    }[holdout.by]
    return f"Of the training rows, {' and '.join(parts)} were held out {way}. "


def _published(recipe):
    what = "Pearson's r" if recipe.data.task == "regression" else "Test MCC × 100"
    lines = [
        "### Published, for scale",
        "",
        f"{what} of the same benchmark. The authors' training rows were not filtered for "
        "overlap, and splits may differ.",
        "",
        "| model | " + " | ".join(recipe.data.targets) + " |",
        "|---" * (len(recipe.data.targets) + 1) + "|",
    ]
    for name, row in recipe.published.items():
        lines.append(f"| {name} | " + " | ".join("–" if v is None else f"{v:.2f}" for v in row) + " |")
    return [*lines, ""]


def _source_tables(by_source):
    """Mean metrics within each source, where the data says where its rows come from."""
    lines = []
    for split, sources in by_source.items():
        names = [name for name in next(iter(sources.values()), {}) if name not in ("rows", "targets")]
        head = ["source", "rows", "targets", *(_TITLES.get(name, name) for name in names)]
        lines += [
            f"### Within each source of {split}",
            "",
            "Means over the targets that have both classes in the source; "
            "`positive` is the mean fraction of positives, `predicted` the mean prediction.",
            "",
            "| " + " | ".join(head) + " |",
            "|---" * len(head) + "|",
        ]
        for source, means in sources.items():
            values = [f"{means[n] * 100:.1f}" if n == "mcc" else f"{means[n]:.3f}" for n in names if n in means]
            lines.append("| " + " | ".join([source, str(means["rows"]), str(means["targets"]), *values]) + " |")
        lines.append("")
    return lines


def _specificity(by_split):
    """Whether each target's output is the best one for its own labels, on test if it was evaluated there."""
    split = "test" if by_split.get("test") else "dev"
    targets = by_split.get(split)
    if not targets:
        return []
    own = [name for name, found in targets.items() if found["difference"] > 0]
    significant = [name for name in own if targets[name]["p"] < _SIGNIFICANT]
    text = (
        f"On {split}, the output of {len(own)} of {len(targets)} targets has a larger AUROC on the target's own labels "
        f"than the output of every other target; for {len(significant)} of them the difference is significant "
        f"(DeLong's test, p < {_SIGNIFICANT}, not corrected for the choice of the best other target)."
    )
    if others := [f"{name} ({found['best_other']})" for name, found in targets.items() if name not in own]:
        text += f" Another target's output, in brackets, is as good or better for {', '.join(others)}."
    return ["### Specificity", "", text, ""]


def _metric_tables(data, metrics, others):
    names = CORRELATIONS if data.task == "regression" else METRICS
    first, lines = next(iter(names)), []
    for split in ("dev", "test"):
        if not metrics.get(split):
            continue
        head = [
            "target",
            "rows",
            *(_TITLES[name] for name in names),
            *(f"{other}, {_TITLES[first]}" for other in others),
        ]
        lines += [f"### {split}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for target, entry in metrics[split].items():
            cells = [target, str(metrics["data"]["targets"][target][split]["rows"])]
            cells += [_interval(name, entry[name]) for name in names]
            cells += [_interval(first, other[split][target][first]) for other in others.values()]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def _interval(name, entry):
    scale, digits = (100, 1) if name == "mcc" else (1, 3)
    value, low, high = (f"{entry[k] * scale:.{digits}f}" for k in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _baseline(data, metrics, baselines):
    """What the baseline is, and where the model is not better by its first metric, or with overlapping intervals."""
    if not baselines:
        return "No baseline was fitted."
    strands = "the strand given" if data.stranded else "both strands"
    text = f"The baseline is {_BASELINES[data.task]} of {strands}, its penalty chosen "
    text += "by cross-validation on the same training rows. "
    below, unsure = [], []
    for split in ("dev", "test"):
        for target, entry in metrics.get(split, {}).items():
            name = next(iter(entry))
            best = max((other[split][target][name] for other in baselines.values()), key=lambda found: found["value"])
            if entry[name]["value"] <= best["value"]:
                below.append(f"{target} ({split})")
            elif entry[name]["low"] <= best["high"]:
                unsure.append(f"{target} ({split})")
    text += (
        f"**The model is not better than the baseline for {', '.join(below)}.**"
        if below
        else "The model is better than the baseline for every target."
    )
    return text + (f" It is better, but with overlapping intervals, for {', '.join(unsure)}." if unsure else "")
