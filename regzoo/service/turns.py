"""One computation at a time, with a short queue and a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Busy(Exception):
    """Too many computations wait."""


class TooSlow(Exception):
    """A computation took, or waited, longer than the limit."""


class Turns:
    """Runs functions one after the other in a thread.

    Parameters
    ----------
    waiting : int
        Most functions that wait for their turn.
    seconds : float
        Most time of one function, with its wait. One that is running when it ends cannot be stopped: it runs to its
        end, and others wait for it.
    """

    def __init__(self, waiting: int = 4, seconds: float = 60.0):
        self._most, self._seconds, self._lock = waiting + 1, seconds, threading.Lock()
        self._count = 0
        self._thread = ThreadPoolExecutor(1, "computation")

    async def take(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns.

        Raises
        ------
        Busy
            If the queue is full.
        TooSlow
            If there is no result in time.
        """
        with self._lock:
            if self._count >= self._most:
                raise Busy
            self._count += 1
        future = self._thread.submit(function, *arguments)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except asyncio.TimeoutError:
            raise TooSlow from None

    def _done(self, _: Future) -> None:
        with self._lock:
            self._count -= 1

    def close(self) -> None:
        """Cancel what waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)
