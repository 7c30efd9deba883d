"""What `regzoo ls` and `regzoo info` show."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from regzoo.description import read_description
from regzoo.zoo import catalogue, model_folder, read_targets

if TYPE_CHECKING:
    import pandas as pd

_WIDE = 110  # columns of a terminal from which on titles are shown


def show_models(table: "pd.DataFrame", terminal: bool, width: int) -> None:
    """Print the models of `regzoo.list_models`.

    Parameters
    ----------
    table : pandas.DataFrame
    terminal : bool
        Print a table that fits the terminal; otherwise tab-separated lines with a header, nothing cut.
    width : int
        Columns of the terminal.
    """
    if not terminal:
        print(table.reset_index().drop(columns="data").to_csv(sep="\t", index=False), end="")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows = [
        (name, row.status, f"{row.input_length:,}", f"{row.targets:,}", f"{row.parameters / 1e6:,.1f} M", row.title)
        for name, row in zip(table.index, table.itertuples())
    ]
    heads = ("model", "status", "length", "targets", "weights", "title")
    with_title = width >= _WIDE
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=with_title)
    for i, head in enumerate(heads[: 6 if with_title else 5]):
        size = max(len(row[i]) for row in [heads, *rows])
        if head == "title":
            shown.add_column(head, no_wrap=True, ratio=1)
        else:
            justify: Literal["left", "right"] = "right" if 2 <= i <= 4 else "left"
            shown.add_column(head, no_wrap=True, justify=justify, min_width=size, max_width=size)
    for row in rows:
        shown.add_row(*row[: len(shown.columns)])
    Console(width=width).print(shown)


def model_info(model: str | Path) -> dict[str, Any]:
    """What is known about a model.

    Parameters
    ----------
    model : str or pathlib.Path
        GROUP/MODEL, or the path of a model directory.

    Returns
    -------
    dict
        name, folder, status, title, input_length, parameters, stranded, targets (names), mean_metrics (by split),
        commands (that use the model) and card (Markdown); None where it is not known.

    Raises
    ------
    ModelError
        If there is no such model, or it is a recipe that has no files yet.
    """
    folder, entry = model_folder(model), catalogue().get(str(model), {})
    description, card = read_description(folder), folder / "README.md"
    args = description.args
    language_model = args.architecture == "language_model" and "n_targets" not in args.arguments
    return {
        "name": str(model),
        "folder": str(folder),
        "status": entry.get("status"),
        "title": entry.get("title"),
        "input_length": args.arguments.get("input_length"),
        "parameters": entry.get("parameters"),
        "stranded": description.use_strand,
        "targets": read_targets(folder / args.targets),
        "mean_metrics": entry.get("mean_metrics"),
        "commands": _commands(str(model), language_model),
        "card": card.read_text(encoding="utf-8") if card.is_file() else None,
    }


def _commands(name, language_model):
    if language_model:
        return [
            f"regzoo embed peaks.bed --genome hg38.fa --model {name} -o peaks.h5",
            f"regzoo zero-shot variants.vcf --genome hg38.fa --model {name} -o scores.tsv",
        ]
    return [
        f"regzoo predict peaks.bed --genome hg38.fa --model {name} -o predictions.tsv",
        f"regzoo score variants.vcf --genome hg38.fa --model {name} -o scores.tsv",
        f"regzoo mutate chr1:1,550-1,650 --genome hg38.fa --model {name} -o locus.tsv",
        f'python -c \'import kipoi; model = kipoi.get_model("{name}", source="regzoo")\'',
    ]


def show_info(found: dict[str, Any], terminal: bool) -> None:
    """Print what `model_info` returns; in a terminal the card is rendered."""
    targets = found["targets"]
    some = ", ".join(targets[:20]) + (f", … (`regzoo ls {found['name']}` lists all)" if len(targets) > 20 else "")
    lines = [
        f"{found['name']}: {found['title'] or 'a model directory'}",
        "",
        f"folder      {found['folder']}",
        f"window      {found['input_length']:,} bases, {'the strand given' if found['stranded'] else 'either strand'}",
        f"targets     {len(targets):,}: {some}",
    ]
    for split, metrics in (found["mean_metrics"] or {}).items():
        values = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if name != "targets")
        lines.append(f"{split:<11} {values} (mean of {metrics.get('targets', len(targets))} targets)")
    lines += ["", "Use it:", *(f"  {command}" for command in found["commands"])]
    print("\n".join(lines))
    if not found["card"]:
        return
    if terminal:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print("", Markdown(found["card"]))
    else:
        print("\n" + found["card"].rstrip())
