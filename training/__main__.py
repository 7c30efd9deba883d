"""`python -m training`: train, evaluate and export models from recipes."""

import json
import sys
from pathlib import Path
from typing import Literal

import torch
import typer

from regzoo.errors import InputError, RegzooError
from regzoo.tokenizers import train_bpe
from training.baseline import fit_baseline
from training.calibrate import calibrate
from training.card import calibration_section
from training.data.build import build
from training.data.records import cut_windows
from training.evaluate import evaluate_run, predict_sequences
from training.export import announce, export, rewrite_texts
from training.export_lm import export_language_model
from training.fit import fit
from training.pretrain import pretrain
from training.probe import export_probe, fit_probe
from training.queue import run_queue
from training.recipe import load_recipe
from training.run import HOME
from training.scores import metrics_table
from training.search import search as run_search

THREADS = typer.Option(None, help="CPU threads (default: all)")
TRACK = typer.Option(
    None, help="Log to TensorBoard or to Weights & Biases (offline without WANDB_API_KEY), in the run's folder"
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
    dry_run: bool = typer.Option(False, help="Train a few batches only, and estimate time and memory of the whole run"),
) -> None:
    """Train a recipe of kind `fit` or `probe`, or resume its run. Weights and metrics go to runs/GROUP/MODEL.

    Prints the metrics on dev; `evaluate` computes those on test. On several GPUs: accelerate launch -m training fit
    RECIPE
    """
    probe = load_recipe(recipe, "fit", "probe").kind == "probe"
    if probe and (track or dry_run):
        raise InputError(f"{recipe}: a probe has no training steps; leave out --track and --dry-run")
    metrics = (
        fit_probe(recipe, threads=threads) if probe else fit(recipe, threads=threads, track=track, dry_run=dry_run)
    )
    if not metrics:  # not the main process
        return
    if dry_run:
        found = metrics["dry run"]
        print(
            f"{found['steps']:,} steps, about {found['hours']} hours, peak memory {found['peak_memory_mb']:,} MB. "
            "Metrics on dev after these few batches:\n"
        )
    print(metrics_table(metrics["dev"]))


@app.command("pretrain")
def pretrain_command(
    recipe: str = typer.Argument(..., help="A language model's recipe, e.g. training/recipes/lm/nt-mini.yaml"),
    threads: int = THREADS,
    track: Tracker = TRACK,
) -> None:
    """Pretrain a language model on masked tokens, or resume its run."""
    print(json.dumps(pretrain(recipe, threads=threads, track=track), indent=1))


@app.command("build")
def build_command(
    options: str = typer.Argument(
        ..., help="YAML: genome, tracks, windows, negatives, blacklist, split; see docs/training.md"
    ),
    output: str = typer.Option(..., "--output", "-o", help="The data set to write, .h5"),
) -> None:
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
    merges: int = typer.Option(
        None, help="Number of merges, instead of --vocabulary; e.g. 600 for the hybrid of BPE and 6-mers"
    ),
    piece: int = typer.Option(1000, help="Longer sequences are cut into pieces of this length"),
) -> None:
    """Train a BPE tokenizer in DNABERT-2's layout."""
    windows = cut_windows([Path(fasta)], piece)
    tokenizer = train_bpe((row for rows in windows.values() for row in rows), output, vocabulary, merges)
    print(f"{len(tokenizer)} tokens -> {output}")


@app.command("baseline")
def baseline_command(recipe: str = typer.Argument(..., help="A recipe")) -> None:
    """Fit the k-mer models that the card compares the model with. Their metrics go to runs/baselines."""
    print(json.dumps(fit_baseline(recipe), indent=1))


@app.command("search")
def search_command(
    search: str = typer.Argument(..., help="YAML: recipe, space, trials; e.g. training/searches/dnabert_enhancer.yaml"),
    threads: int = THREADS,
) -> None:
    """Search hyperparameters of a recipe with Optuna, or resume a search. Results go to runs/searches/NAME."""
    print(json.dumps(run_search(search, threads=threads), indent=1))


@app.command("evaluate")
def evaluate_command(recipe: str = typer.Argument(..., help="A recipe whose run has finished")) -> None:
    """Evaluate a run on dev and test, and write tables and figures to its folder.

    Thresholds are chosen on dev. The metrics on test are added to the run; `export` needs them.
    """
    print(evaluate_run(recipe))


@app.command("predict")
def predict_command(
    recipe: str = typer.Argument(..., help="A recipe whose run has finished"),
    sequences: str = typer.Argument(..., help="FASTA, or a table with a column `sequence`, plain or gzipped"),
    output: str = typer.Option(
        ..., "--output", "-o", help="The .tsv to write: a row for each sequence, a column for each target"
    ),
) -> None:
    """Predict sequences with a run's network before it is exported. For exported models use `regzoo predict`."""
    print(f"{predict_sequences(recipe, sequences, output)} sequences -> {output}")


@app.command("export")
def export_command(recipe: str = typer.Argument(..., help="A recipe whose run has finished")) -> None:
    """Write the Kipoi model directory of an evaluated run to models/, and its entry to zoo_index.yaml."""
    writers = {"fit": export, "probe": export_probe, "language_model": export_language_model}
    print(writers[load_recipe(recipe).kind](recipe))


@app.command("cards")
def cards_command(
    recipes: list[str] = typer.Argument(None, help="Recipes (default: all of the checkout's training/recipes)"),
) -> None:
    """Rewrite the texts of exported models from their recipes: `info` in model.yaml, and data and limits in the card.

    Weights and metrics are not touched, and no run is needed.
    """
    files = recipes or sorted(
        str(path) for path in (HOME / "training" / "recipes").glob("*/*.yaml") if path.name != "data.yaml"
    )
    written = [recipe for recipe in files if rewrite_texts(recipe)]
    print(f"{len(written)} of {len(files)} recipes have a model in the zoo; their texts were rewritten")


@app.command("calibrate")
def calibrate_command(
    models: list[str] = typer.Argument(..., help="Binary classifiers of the zoo, e.g. MotifResNet/tf-human"),
    threads: int = THREADS,
) -> None:
    """Fit thresholds and temperatures of exported models on dev, and write them to their directories and cards.

    No run is needed: dev and test are predicted with the exported weights. Models exported after `evaluate` have them.
    """
    if threads:
        torch.set_num_threads(threads)
    for model in models:
        print(f"## {model}\n\n{calibration_section(calibrate(model))}\n")


@app.command("queue")
def queue_command(
    queue: str = typer.Argument(..., help="YAML: recipes, threads, nice; e.g. training/queue.yaml"),
) -> None:
    """Train and evaluate recipes one after the other at low priority; finished ones are skipped, stopped ones resumed.

    A recipe that fails does not stop the others; the exit status is 1 then.
    """
    results = run_queue(queue)
    for recipe, result in results.items():
        print(f"{recipe}: {result}")
    if any(result.startswith("failed") for result in results.values()):
        raise typer.Exit(1)


@app.command("announce")
def announce_command(recipe: str = typer.Argument(..., help="A recipe whose model is not trained here")) -> None:
    """Enter a recipe in zoo_index.yaml as one without weights in the zoo."""
    print(announce(recipe))


if __name__ == "__main__":
    try:
        app()
    except RegzooError as error:
        sys.exit(f"error: {error}")
