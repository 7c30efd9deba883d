"""A queue of recipes: each is trained and evaluated in a process of its own, one after the other."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from regzoo.errors import InputError, RegzooError
from training.run import Run
from training.section import Section, read_section

#: Commands that finish a recipe, by its kind.
COMMANDS = {"fit": ("fit", "evaluate"), "probe": ("fit", "evaluate"), "language_model": ("pretrain",)}


class Queue(Section):
    """Recipes to train, in this order; paths are relative to the file."""

    recipes: list[str] = Field(min_length=1)
    threads: int = Field(1, gt=0, description="CPU threads of each training")
    nice: int = Field(15, ge=0, le=19, description="how far the priority is lowered")


def run_queue(path: str | Path, execute: Callable[[list[str], Path], int] | None = None) -> dict[str, str]:
    """Train and evaluate the recipes of a queue that are not finished, and resume those that were stopped.

    The output of a recipe is appended to queue.log in its run's folder. A recipe that fails does not stop the others.

    Parameters
    ----------
    path : str or pathlib.Path
        YAML of a `Queue`.
    execute : callable, optional
        execute(arguments, log) runs `python -m training` with these arguments and returns its exit status; by default
        in a process of its own, at the queue's priority.

    Returns
    -------
    dict of str to str
        recipe -> 'finished before', 'finished', or what failed.

    Raises
    ------
    InputError
        If the queue's file is not valid.
    """
    queue = read_section(path, Queue)
    execute = execute or _process(queue.nice)
    return {name: _train(Path(path).parent / name, queue, execute) for name in queue.recipes}


def _train(recipe_path, queue, execute):
    try:
        run = Run(recipe_path)
    except RegzooError as error:
        return f"failed: {error}"
    if _finished(run):
        return "finished before"
    run.folder.mkdir(parents=True, exist_ok=True)
    log = run.folder / "queue.log"
    for command in COMMANDS[run.recipe.kind]:
        threads = [] if command == "evaluate" else ["--threads", str(queue.threads)]
        status = execute([command, str(recipe_path), *threads], log)
        if status:
            return f"failed: {command} ended with status {status}; see {log}"
    return "finished"


def _finished(run: Run) -> bool:
    """Whether a run has all metrics; one whose metrics cannot be read has not."""
    try:
        run.metrics() if run.recipe.kind == "language_model" else run.evaluated_metrics()
    except InputError:
        return False
    return True


def _process(nice):
    """A function that runs `python -m training` in a process of lower priority, with its output appended to a log."""

    def execute(arguments, log):
        with open(log, "a") as out:
            command = [sys.executable, "-m", "training", *arguments]
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                os.setpriority(os.PRIO_PROCESS, process.pid, nice)
                return process.wait()
            except BaseException:  # such as a keyboard interrupt: the training is stopped and resumed by the next queue
                process.terminate()
                process.wait()
                raise

    return execute
