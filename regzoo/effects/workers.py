"""Scoring and scanning in worker processes, which end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from regzoo.errors import RegzooError


@contextmanager
def computing(
    scorer: Callable[[Any], Any], make_scorer: Callable[[], Callable[[Any], Any]], workers: int
) -> Iterator[Callable]:
    """A function that takes alleles, or other items of work, and returns a function for their scores.

    Parameters
    ----------
    scorer : callable
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


def result_of(compute: Callable[[], Any]) -> Any:
    """What a function for scores returns.

    Raises
    ------
    RegzooError
        If the worker process ended before it had computed them.
    """
    try:
        return compute()
    except BrokenProcessPool as error:
        raise RegzooError(
            "a worker process ended early. It was killed, perhaps for lack of memory: give fewer --workers or a "
            "smaller --batch-size. Or a script has no `if __name__ == '__main__':` around its code, which a worker "
            "runs again"
        ) from error


_scorer: Callable[[Any], Any]  # of a worker process


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
