"""Requests on fsspec's event loop, asked for from any other thread, and how many of them are in progress."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from fsspec.asyn import get_loop

from t9k_em_backends.shared import inherited
from t9k_em_backends.shared.pacing import Pace

_Result = TypeVar("_Result")

CLOSING_S = 5.0


def submit(request: Coroutine[Any, Any, _Result]) -> Future[_Result]:
    """Start a request."""
    return asyncio.run_coroutine_threadsafe(request, get_loop())


def run(request: Coroutine[Any, Any, _Result]) -> _Result:
    """Make a request and wait for its answer; Ctrl-C ends it."""
    future = submit(request)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class Slots:
    """Admits as many small requests at once as pay off, whichever threads they come from."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._taken = 0
        self._changed = threading.Condition()

    def take(self) -> None:
        """Wait for a slot."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self._pace.parallelism)
            self._taken += 1

    def give(self) -> None:
        """Give a slot back, from any thread."""
        with self._changed:
            self._taken -= 1
            self._changed.notify()


class PerProcess:
    """Something with connections that is made on first use, in each process anew.

    Args:
        make: Makes it, and says how to end it: a function without arguments that returns a coroutine, or None.
    """

    def __init__(self, make: Callable[[], tuple[Any, Callable[[], Coroutine[Any, Any, object]] | None]]) -> None:
        self._make = make
        self._locks: dict[int, threading.Lock] = {}  # by process, for a fork may inherit one that is locked
        self._made: tuple[int, Any, Any] | None = None  # the process, what was made, what ends it

    def get(self) -> Any:
        """Return the value of this process."""
        process = os.getpid()
        made = self._made
        if made is None or made[0] != process:
            with self._locks.setdefault(process, threading.Lock()):
                made = self._made
                if made is None or made[0] != process:
                    inherited.keep(made)
                    value, end = self._make()
                    made = process, value, weakref.finalize(self, _end, process, end) if end else None
                    self._made = made
        return made[1]

    def close(self) -> None:
        """End it, if this process has made it; the next `get` makes another."""
        process = os.getpid()
        if self._made is None or self._made[0] != process:
            return
        with self._locks.setdefault(process, threading.Lock()):
            made, self._made = self._made, None
        if made is not None and made[2] is not None:
            made[2]()


def _end(process: int, end: Callable[[], Coroutine[Any, Any, object]]) -> None:
    if process != os.getpid():
        return
    closing = submit(end())
    try:
        here: object = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is not get_loop():
        wait([closing], CLOSING_S)
