"""`python -m training`: fit a recipe."""

import json
import sys

import typer

from regzoo.errors import RegzooError
from training.fit import fit

app = typer.Typer(help="Train the zoo's models from recipes.", no_args_is_help=True, add_completion=False)


@app.callback()
def main():
    """Train the zoo's models from recipes."""


@app.command("fit")
def fit_command(
    recipe: str = typer.Argument(..., help="A recipe, e.g. training/recipes/tf-human/basset.yaml"),
    threads: int = typer.Option(None, help="CPU threads (default: all)"),
):
    """Train a recipe, or go on where a stopped run of it was; weights and metrics go to runs/GROUP/NAME."""
    metrics = fit(recipe, threads=threads)
    print(json.dumps({split: metrics[split] for split in ("dev", "test") if split in metrics}, indent=1))


if __name__ == "__main__":
    try:
        app()
    except RegzooError as error:
        sys.exit(f"error: {error}")
