"""The catalogue: a page that searches and filters all models, and a page for each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regzoo
from regzoo.description import Description, read_description
from regzoo.home import zoo_folder
from regzoo.listing import model_info
from regzoo.nets.checkpoint import file_digest
from regzoo.reports.cards import markdown, measured
from regzoo.reports.charts import intervals
from regzoo.sections import read_yaml
from regzoo.zoo import catalogue, read_targets
from website.text import escaped, fenced, raw, render

_METRICS = {"auroc": "AUROC", "pearson": "Pearson's r"}
_SIZES = ((1_000_000, "below 1 M"), (10_000_000, "1 to 10 M"))
_NAMES = {"Pearson": "Pearson's r", "Spearman": "Spearman's ρ"}
_MOST = 40  # targets in a chart
_STATUS = {
    "trained": "The weights ship with the zoo.",
    "official": "The weights of the authors are downloaded at first use.",
    "recipe": "A recipe without weights: train it first.",
}


@dataclass
class Entry:
    """A model of the catalogue.

    Attributes
    ----------
    name, title, status : str
    task : str
        Name of the data set, 'language modelling', or 'other'.
    architecture : str
        Key of `regzoo.nets`, such as 'motif_resnet'.
    input_length : int
        Bases of a window.
    count : int
        Number of targets.
    parameters : int
    targets : list of str
        Names; none of a recipe, or of a language model, whose outputs are the dimensions of its embedding.
    metric : str
        AUROC, Pearson's r, perplexity, or 'none'.
    dev, test : float or None
        Mean of the metric over targets; for perplexity per base, `test` on held-out sequences.
    backbone : str or None
        The language model it stands on.
    recipe : str or None
        Path of the training recipe of a model without weights.
    """

    name: str
    title: str
    status: str
    task: str
    architecture: str
    input_length: int
    count: int
    parameters: int
    targets: list[str] = field(default_factory=list)
    metric: str = "none"
    dev: float | None = None
    test: float | None = None
    backbone: str | None = None
    recipe: str | None = None
    folder: Path | None = field(default=None, repr=False)

    @property
    def group(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def size(self) -> str:
        """Class of the number of parameters."""
        return next((label for limit, label in _SIZES if self.parameters < limit), "10 M and more")


def entries() -> list[Entry]:
    """An entry for each model of zoo_index.yaml, in the order of names.

    Returns
    -------
    list of Entry
    """
    index, table = catalogue(), regzoo.list_models()
    return [_entry(str(name), row, index[str(name)]) for name, row in table.iterrows()]


def _entry(name: str, row: Any, more: dict[str, Any]) -> Entry:
    data, folder = more.get("data"), zoo_folder() / "models" / name
    found: dict[str, Any] = {}
    if row.status == "recipe":
        path = zoo_folder() / more["recipe"]
        recipe = read_yaml(path)
        data = recipe["data"]
        data = (data if isinstance(data, dict) else read_yaml(path.parent / data)).get("title")
        found = {"architecture": recipe["architecture"]["name"], "recipe": more["recipe"]}
    else:
        args = read_description(folder).args
        if not name.startswith("LM/"):
            found["targets"] = read_targets(folder / args.targets)
        found |= {"architecture": args.architecture, "folder": folder, "backbone": args.arguments.get("backbone")}
    task = data or ("language modelling" if name.startswith("LM/") else "other")
    return Entry(
        name=name,
        title=str(row.title),
        status=row.status,
        task=task,
        input_length=int(row.input_length),
        count=int(row.targets),
        parameters=int(row.parameters),
        **found,
        **_measured(more),
    )


def _measured(more: dict[str, Any]) -> dict[str, Any]:
    if "perplexity_per_base" in more:
        return {"metric": "perplexity", "test": more["perplexity_per_base"]}
    means = more.get("mean_metrics", {})
    for key, label in _METRICS.items():
        if key in means.get("dev", {}):
            return {"metric": label, "dev": means["dev"][key], "test": means.get("test", {}).get(key)}
    return {}


def page_of(name: str) -> str:
    """Path of a model's page in the site's source, without suffix."""
    return f"models/{name}"


def catalogue_page(models: list[Entry]) -> str:
    """MyST source of the catalogue.

    Parameters
    ----------
    models : list of Entry

    Returns
    -------
    str
    """
    filters = [
        ("task", "Task or data", sorted({one.task for one in models})),
        ("group", "Group", sorted({one.group for one in models})),
        ("architecture", "Architecture", sorted({one.architecture for one in models})),
        ("status", "Status", sorted({one.status for one in models})),
        ("size", "Parameters", [label for _, label in _SIZES] + ["10 M and more"]),
        ("metric", "Metric", sorted({one.metric for one in models})),
    ]
    words = {one.name: " ".join([one.name, one.title, one.task, *one.targets]).lower() for one in models}
    html = render("catalogue.html", models=models, filters=filters, words=words, page_of=page_of)
    return "\n".join(
        [
            "---\nhide-toc: true\n---\n",
            "# Catalogue\n",
            f"{len(models)} models. Dev and test are means over targets; a model's page has every target with its "
            "confidence interval. [Results by task](docs/models.md) compares them with baselines.\n",
            raw(html),
        ]
    )


def model_page(one: Entry, models: list[Entry]) -> str:
    """MyST source of a model's page.

    Parameters
    ----------
    one : Entry
    models : list of Entry
        All models, for the links.

    Returns
    -------
    str
    """
    parts = ["---\norphan: true\n---\n", f"# {escaped(one.name)}\n", f"{escaped(one.title)}. {_STATUS[one.status]}\n"]
    parts += [raw(render("facts.html", facts=_facts(one), long=False)), "## Use\n"]
    parts += [f"{title}:\n\n{fenced(kind, code)}" for title, kind, code in usage(one)]
    if one.targets:
        parts += ["## Targets\n", raw(render("targets.html", targets=one.targets))]
    if one.folder:
        description = read_description(one.folder)
        parts += _accuracy(one)
        parts += ["## Files\n", raw(render("files.html", files=files(one.folder), official=description.args.official))]
        parts += ["## Origin\n", raw(render("facts.html", facts=_origin(description), long=True))]
        card = one.folder / "README.md"
        if card.is_file():
            parts += ["## Card\n", raw(f'<div class="card">{markdown(card.read_text(encoding="utf-8"))}</div>')]
    parts += ["## Related models\n", *_related(one, models)]
    return "\n".join(parts)


def _accuracy(one: Entry) -> list[str]:
    """The chart of regzoo's reports: each target's metric with its 95% interval."""
    found = measured(one.name)
    if not len(found):
        return []
    rows = found.sort_values("value", ascending=False).head(_MOST).rename(columns={"target": "name"})
    splits = set(found["split"])
    split = "test (dev for targets without test data)" if len(splits) == 2 else splits.pop()
    metric = _NAMES.get(found["metric"].iloc[0], found["metric"].iloc[0])
    note = f"{metric} on {split}, with 95% intervals"
    note += f"; the best {_MOST} of {len(found)} targets" if len(found) > _MOST else ""
    chart = intervals("accuracy", "Accuracy", rows[["name", "value", "low", "high", "split"]], metric)
    return ["## Accuracy\n", f"{note}.\n", raw(render("chart.html", svg=chart.svg))]


def _facts(one: Entry) -> list[tuple[str, str]]:
    facts = [("Status", one.status), ("Task or data", one.task), ("Architecture", one.architecture)]
    facts += [("Window", f"{one.input_length:,} bases"), ("Targets", f"{one.count:,}")]
    facts.append(("Parameters", f"{one.parameters:,}"))
    facts += [(f"{one.metric}, {split}", f"{value:.3f}") for split, value in _splits(one) if value is not None]
    return facts


def _splits(one: Entry) -> list[tuple[str, float | None]]:
    return [("held out", one.test)] if one.metric == "perplexity" else [("dev", one.dev), ("test", one.test)]


def _origin(description: Description) -> list[tuple[str, str]]:
    info = description.info if isinstance(description.info, dict) else {}
    authors = [str(one.get("name")) for one in info.get("authors") or [] if isinstance(one, dict)]
    found = [("Authors", ", ".join(authors)), ("License", info.get("license")), ("Data", info.get("trained_on"))]
    return [(name, str(value)) for name, value in [*found, ("Citation", info.get("cite_as"))] if value]


def usage(one: Entry) -> list[tuple[str, str, str]]:
    """How to use a model from the command line, from Python and through Kipoi.

    Returns
    -------
    list of (str, str, str)
        Title, language and code.
    """
    if one.recipe:
        return [("Train it", "bash", f"python -m training fit {one.recipe}")]
    language_model = one.task == "language modelling"
    commands = [command for command in model_info(one.name)["commands"] if command.startswith("regzoo")]
    function, call = ("zero_shot", "embed") if language_model else ("score_variants", "predict")
    python = [
        "import regzoo\n",
        f'model = regzoo.load_model("{one.name}")',
        f'regzoo.{call}(model, "peaks.bed", genome="hg38.fa")',
        f'regzoo.{function}(model, "variants.vcf", genome="hg38.fa")',
    ]
    kipoi = [
        "import kipoi\n",
        f'model = kipoi.get_model("{one.name}", source="regzoo")',
        'model.pipeline.predict({"intervals_file": "peaks.bed", "fasta_file": "hg38.fa"})',
    ]
    return [
        ("Command line", "bash", "\n".join(commands)),
        ("Python", "python", "\n".join(python)),
        ("Kipoi", "python", "\n".join(kipoi)),
    ]


def files(folder: Path) -> list[tuple[str, int, str]]:
    """Files of a model directory: name, size in bytes and SHA-256."""
    return [(path.name, path.stat().st_size, file_digest(path)) for path in sorted(folder.iterdir()) if path.is_file()]


def _related(one: Entry, models: list[Entry]) -> list[str]:
    others = [other for other in models if other.name != one.name]
    sections = [
        ("Same data", [other for other in others if other.task == one.task and one.task != "other"]),
        ("Same architecture", [other for other in others if other.architecture == one.architecture]),
        ("Stands on", [other for other in others if other.name == one.backbone]),
        ("Used by", [other for other in others if other.backbone == one.name]),
    ]
    depth = "../" * one.name.count("/")
    lines = []
    for title, found in sections:
        if found:
            links = (f"[{escaped(other.name)}]({depth}{other.name}.md)" for other in found)
            lines.append(f"- {title}: {', '.join(links)}")
    return [*(lines or ["None."]), f"\n[All models]({depth}../catalogue.md)\n"]
