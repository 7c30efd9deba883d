"""The model card, from a run's own figures."""

from regzoo.evaluate.metrics import CORRELATIONS, METRICS

_TITLES = {"mcc": "MCC × 100", "auroc": "AUROC", "average_precision": "average precision", "pearson": "Pearson", "spearman": "Spearman"}  # fmt: skip
_BASELINES = {
    "binary": "logistic regression on 6-mer presence", "multiclass": "logistic regression on 6-mer presence",
    "regression": "ridge regression and a support vector machine (radial kernel, at most 6,000 rows) on square roots of 5-mer "
    "counts",
}  # fmt: skip


def mean_metrics(metrics):
    """split -> number of targets and the mean of each metric over them, for the index."""
    return {
        split: {"targets": len(metrics[split])}
        | {name: round(_mean(metrics[split], name), 3) for name in next(iter(metrics[split].values()))}
        for split in ("dev", "test")
        if metrics.get(split)
    }


def _mean(targets, metric):
    return sum(values[metric]["value"] for values in targets.values()) / len(targets)


def model_card(recipe, metrics, baselines, how):
    """The model card.

    Parameters
    ----------
    recipe : training.recipe.Recipe or training.probe.ProbeRecipe
    metrics : dict
        Of its run.
    baselines : dict
        As of `training.baseline.fit_baseline`.
    how : str
        How it was trained.

    Returns
    -------
    str
        Markdown.
    """
    data = recipe.data
    strands = "the output is " + ("for the strand given" if data.stranded else "the mean of both strands' predictions")
    lines = [f"# {recipe.model}", "", f"{recipe.title}. {metrics['parameters']:,} parameters, windows of "
             f"{metrics['input_length']} bases, {len(data.targets)} targets; {strands}.", ""]  # fmt: skip
    lines += _data_section(data, metrics["data"])
    others = baselines | ({"SVR on the same embeddings": metrics["svr"]} if "svr" in metrics else {})
    lines += ["## Metrics", "", "With 95% percentile bootstrap intervals (1,000 resamples of the examples, fewer of more than 100,000)"
              + ("" if data.task == "regression" else "; MCC at threshold 0.5")
              + f". Choices were made on dev; test took no part in them. The baseline is {_BASELINES[data.task]} of "
              + ("the strand given" if data.stranded else "both strands")
              + ", its penalty chosen by cross-validation on the same training rows. " + _verdict(metrics, baselines), ""]  # fmt: skip
    lines += _metric_tables(data, metrics, others)
    if recipe.published:
        what = "Pearson's r" if data.task == "regression" else "Test MCC × 100"
        lines += ["### Published, for scale", "", f"{what} of the same benchmark; the authors' training rows are not filtered "
                  "for overlap, and splits may differ.", "", "| model | " + " | ".join(data.targets) + " |",
                  "|---" * (len(data.targets) + 1) + "|"]  # fmt: skip
        lines += [
            f"| {name} | " + " | ".join("–" if v is None else f"{v:.2f}" for v in row) + " |"
            for name, row in recipe.published.items()
        ]
        lines.append("")
    lines += ["## Limits", "", recipe.limits, "", "## Training", "",
              f"{how} Train it again with `python -m training fit`, `evaluate` and `export`.", ""]  # fmt: skip
    return "\n".join(lines)


def _data_section(data, report):
    regression = data.task == "regression"
    label = "mean ± sd" if regression else "positive"
    lines = ["## Data and split", "", data.description, "",
             f"| target | training rows read | dropped for overlap with dev or test | kept | {label} (as read) | dev | test |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for target, counts in report["targets"].items():
        train = counts["train"]
        rest = " | ".join(str(counts.get(split, {}).get("rows", "–")) for split in ("dev", "test"))
        value = f"{train['mean']:.2f} ± {train['sd']:.2f}" if regression else train["positive"]
        lines.append(f"| {target} | {train['rows']} | {train['overlapping']} | {train['kept']} | {value} | {rest} |")
    text = f"A training row is dropped when it shares a {data.overlap_kmer}-mer, on either strand, with any dev or test row of "
    text += "any target. "
    if data.holdout:
        parts = " and ".join(
            f"{share:.0%} for {name}" for name in ("dev", "test") if (share := getattr(data.holdout, name))
        )
        way = {"cluster": f"by clusters of rows that share {data.holdout.kmer} bases", "group": "by the data's own groups",
               "random": "at random"}[data.holdout.by]  # fmt: skip
        text += f"Of the training rows {parts} were held out {way}. "
    text += f"Rows with the same window became one ({report['merged_rows']} merged"
    text += (
        ", labels averaged). "
        if regression
        else f"); {report['contradictory_labels']} contradictory labels were removed. "
    )
    return [*lines, "", text + "A missing label is masked.", ""]


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


def _verdict(metrics, baselines):
    """Where the model is not above the best baseline, and where it is but the intervals overlap, by its first metric."""
    if not baselines:
        return "It was not run."
    below, unsure = [], []
    for split in ("dev", "test"):
        for target, entry in metrics.get(split, {}).items():
            name = next(iter(entry))
            best = max((other[split][target][name] for other in baselines.values()), key=lambda found: found["value"])
            if entry[name]["value"] <= best["value"]:
                below.append(f"{target} ({split})")
            elif entry[name]["low"] <= best["high"]:
                unsure.append(f"{target} ({split})")
    text = (
        f"**The model is not above it for {', '.join(below)}.** "
        if below
        else "The model is above it for every target. "
    )
    return (text + (f"It is above, but intervals overlap, for {', '.join(unsure)}." if unsure else "")).strip()
