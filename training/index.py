"""zoo_index.yaml and the files made from it: the README's tables of models, the environment for Kipoi's tests."""

from pathlib import Path
from typing import Any

import yaml

from regzoo.output.files import finished_file
from regzoo.zoo import zoo_folder

START, END = "<!-- models: written by `python -m training export` -->\n", "<!-- end of models -->"


def write_yaml(path: Path, content: Any) -> None:
    """Write YAML with keys in the given order."""
    with finished_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, width=110))


def update_index(name: str, entry: dict[str, Any]) -> None:
    """Set a model's entry in zoo_index.yaml, and rewrite the files made from the index.

    Parameters
    ----------
    name : str
        GROUP/MODEL.
    entry : dict
        status, title, input_length (bases), targets, parameters and optional keys.
    """
    path = zoo_folder() / "zoo_index.yaml"
    index = yaml.safe_load(path.read_text())
    index["models"][name] = entry
    index["models"] = dict(sorted(index["models"].items()))
    write_yaml(path, index)
    # The models with weights, for `kipoi test-source --common_env`.
    shipped = [name for name, entry in index["models"].items() if entry["status"] == "trained"]
    environments = zoo_folder() / "models" / "shared" / "envs"
    environments.mkdir(parents=True, exist_ok=True)
    write_yaml(environments / "models.yaml", {"regzoo": shipped})
    readme = zoo_folder() / "README.md"
    if readme.exists() and START in (text := readme.read_text()):
        before, _, rest = text.partition(START)
        _, _, after = rest.partition(END)
        with finished_file(readme) as temporary:
            temporary.write_text(before + START + model_tables(index["models"]) + END + after)


def model_tables(models: dict[str, dict[str, Any]]) -> str:
    """The README's two tables in Markdown: trained models by data, the best on dev first; then all others.

    Parameters
    ----------
    models : dict of str to dict
        As of `regzoo.zoo.catalogue`.

    Returns
    -------
    str
    """
    by_data: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    others = []
    for name, entry in models.items():
        if "mean_metrics" in entry:
            by_data.setdefault(entry["data"], []).append((name, entry))
        else:
            others.append(_other_row(name, entry))
    lines = ["| data | model | parameters | metric | dev | test |", "|---|---|---|---|---|---|"]
    for data, entries in sorted(by_data.items()):
        first = entries[0][1]
        label = f"**{data}**, {first['input_length']:,} bp, {first['targets']} target{'s' * (first['targets'] > 1)}"
        for name, entry in sorted(entries, key=lambda item: -_mean(item[1], "dev")):
            lines.append(_trained_row(label, name, entry))
            label = ""
    return "\n".join([*lines, "", "| others | status | what |", "|---|---|---|", *others, ""])


def _trained_row(label, name, entry):
    figures = [
        f"{_mean(entry, split):.3f} ({entry['mean_metrics'][split]['targets']})"
        if split in entry["mean_metrics"]
        else "–"
        for split in ("dev", "test")
    ]
    cells = [label, f"[`{name}`](models/{name})", f"{entry['parameters']:,}", TITLES[_metric(entry)], *figures]
    return f"| {' | '.join(cells)} |"


def _other_row(name, entry):
    perplexity = entry.get("perplexity_per_base")
    more = f". Perplexity per base, held out: {perplexity:.3f}" if perplexity else ""
    link = f"[`{name}`]({entry.get('recipe', f'models/{name}')})"
    return f"| {link} | {entry['status']} | {entry['title']}. {_size(entry)}{more} |"


TITLES = {"auroc": "AUROC", "pearson": "Pearson's r"}


def _metric(entry):
    return next(name for name in TITLES if name in entry["mean_metrics"]["dev"])


def _mean(entry, split):
    return entry["mean_metrics"][split][_metric(entry)]


def _size(entry):
    return f"{entry['input_length']:,} bp, {entry['targets']:,} targets, {entry['parameters']:,} parameters"
