"""Scoring in worker processes, which end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch

from regzoo.effects.scoring import AlleleScorer


@contextmanager
def computing(scorer: AlleleScorer, make_scorer: Callable[[], AlleleScorer], workers: int) -> Iterator[Callable]:
    """A function that takes alleles and returns a function for their scores.

    Parameters
    ----------
    scorer : AlleleScorer
        Used with one worker, when the returned function is called.
    make_scorer : callable
        Makes the scorer of each of several workers, which begin at once; it is pickled.
    workers : int
    """
    if workers == 1:
        yield lambda alleles: partial(scorer, alleles)
        return
    threads = max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")
    # Each worker waits for the end of a pipe that only this process holds open.
    others, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start, (make_scorer, threads, others))
    try:
        yield lambda alleles: pool.submit(_scores, alleles).result
    except BaseException:
        alive.close()  # what is being computed is of no use
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        alive.close()
        others.close()


_scorer: AlleleScorer  # of a worker process


def _start(make_scorer, threads, alive):
    global _scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group; the main process decides
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    torch.set_num_threads(threads)
    _scorer = make_scorer()


def _end_with(alive):
    try:
        alive.recv()
    except (EOFError, OSError):
        os._exit(1)


def _scores(alleles):
    return _scorer(alleles)
