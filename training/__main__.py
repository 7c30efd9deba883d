"""`python -m training`: from a recipe to a model directory."""

import json
import sys
from pathlib import Path
from typing import Literal

import typer

from regzoo.errors import InputError, RegzooError
from regzoo.tokenizers import train_bpe
from training.baseline import fit_baseline
from training.data.build import build
from training.data.corpus import cut_windows
from training.evaluate import evaluate_run, predict_sequences
from training.export import announce, export
from training.export_lm import export_language_model
from training.fit import fit
from training.pretrain import pretrain
from training.probe import export_probe, fit_probe
from training.recipe import recipe_kind
from training.scores import metrics_table
from training.search import search as run_search

THREADS = typer.Option(None, help="CPU threads (default: all)")
TRACK = typer.Option(
    None, help="Log to TensorBoard or Weights & Biases (offline without WANDB_API_KEY), in the run's folder"
)
Tracker = Literal["tensorboard", "wandb"]

app = typer.Typer(
    help="Train the zoo's models from recipes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("fit")
def fit_command(
    recipe: str = typer.Argument(..., help="A recipe, e.g. training/recipes/tf-human/basset.yaml"),
    threads: int = THREADS,
    track: Tracker = TRACK,
    dry_run: bool = typer.Option(False, help="A few batches the whole way, and how long all of it would take"),
):
    """Train a recipe, or go on where a stopped run of it was; weights and metrics go to runs/GROUP/MODEL.

    Metrics are those on dev; `evaluate` gives those on test. On several GPUs: accelerate launch -m training fit RECIPE
    """
    probe = recipe_kind(recipe) == "probe"
    if probe and (track or dry_run):
        raise InputError(f"{recipe}: a probe has no training steps for --track or --dry-run")
    metrics = (
        fit_probe(recipe, threads=threads) if probe else fit(recipe, threads=threads, track=track, dry_run=dry_run)
    )
    if not metrics:  # another process than the main one
        return
    if dry_run:
        found = metrics["dry run"]
        print(f"{found['steps']:,} steps, about {found['hours']} hours, {found['peak_memory_mb']:,} MB at most; dev after "
              "these few batches:\n")  # fmt: skip
    print(metrics_table(metrics["dev"]))


@app.command("pretrain")
def pretrain_command(
    recipe: str = typer.Argument(..., help="A language model's recipe, e.g. training/recipes/lm/nt-mini.yaml"),
    threads: int = THREADS,
    track: Tracker = TRACK,
):
    """Pretrain a language model on masked tokens, or go on where a stopped run of it was."""
    print(json.dumps(pretrain(recipe, threads=threads, track=track), indent=1))


@app.command("build")
def build_command(
    options: str = typer.Argument(
        ..., help="YAML: genome, tracks, windows, negatives, blacklist, split; see docs/training.md"
    ),
    output: str = typer.Option(..., "--output", "-o", help="The data set to write, .h5"),
):
    """Build a data set from peaks and a genome."""
    manifest = build(options, output)
    print(
        json.dumps(
            {key: manifest[key] for key in ("windows", "positive", "negatives", "left out", "leakage")}, indent=1
        )
    )


@app.command("tokenizer")
def tokenizer_command(
    fasta: str = typer.Argument(..., help="Sequences, FASTA or a table with columns of DNA, plain or gzipped"),
    output: str = typer.Option(..., "--output", "-o", help="The tokenizer.json to write"),
    vocabulary: int = typer.Option(None, help="Number of tokens, e.g. 4096"),
    merges: int = typer.Option(None, help="Number of merges instead, e.g. 600 for the hybrid of BPE and 6-mers"),
    piece: int = typer.Option(1000, help="Longer sequences are cut into pieces of so many bases"),
):
    """Train a BPE tokenizer in DNABERT-2's layout."""
    windows = cut_windows([Path(fasta)], piece)
    tokenizer = train_bpe((row for rows in windows.values() for row in rows), output, vocabulary, merges)
    print(f"{len(tokenizer)} tokens -> {output}")


@app.command("baseline")
def baseline_command(recipe: str = typer.Argument(..., help="A recipe")):
    """Fit the k-mer models that the card compares with; their metrics go to runs/baselines."""
    print(json.dumps(fit_baseline(recipe), indent=1))


@app.command("search")
def search_command(
    search: str = typer.Argument(..., help="YAML: recipe, space, trials; e.g. training/searches/dnabert_enhancer.yaml"),
    threads: int = THREADS,
):
    """Search a recipe's hyperparameters with Optuna, or go on where a stopped search was; it goes to runs/searches/NAME."""
    print(json.dumps(run_search(search, threads=threads), indent=1))


@app.command("evaluate")
def evaluate_command(recipe: str = typer.Argument(..., help="A recipe whose run has finished")):
    """Evaluate a run on dev and test: every metric, thresholds of dev, calibration; TSV, Markdown and curves go to its folder.

    `export` needs the metrics on test that this adds to the run.
    """
    print(evaluate_run(recipe))


@app.command("predict")
def predict_command(
    recipe: str = typer.Argument(..., help="A recipe whose run has finished"),
    sequences: str = typer.Argument(..., help="FASTA, or a table with a column `sequence`, plain or gzipped"),
    output: str = typer.Option(..., "--output", "-o", help="The .tsv to write: a row a sequence, a column a target"),
):
    """Predict sequences with a run's network, before it is exported; `regzoo predict` takes intervals and exported models."""
    print(f"{predict_sequences(recipe, sequences, output)} sequences -> {output}")


@app.command("export")
def export_command(recipe: str = typer.Argument(..., help="A recipe whose run has finished")):
    """Write the Kipoi model directory of an evaluated run under models/, and its entry in zoo_index.yaml."""
    kinds = {"language_model": export_language_model, "probe": export_probe, "supervised": export}
    print(kinds[recipe_kind(recipe)](recipe))


@app.command("announce")
def announce_command(recipe: str = typer.Argument(..., help="A recipe that is not trained here")):
    """Enter a recipe in zoo_index.yaml as one whose weights the zoo does not have."""
    print(announce(recipe))


if __name__ == "__main__":
    try:
        app()
    except RegzooError as error:
        sys.exit(f"error: {error}")
