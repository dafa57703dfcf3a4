"""Measured runs that cannot hang in what measures them."""

from __future__ import annotations

import os
import sys
import threading
from functools import partial

PATIENCE_S = 20.0


class PatientLock:
    """A lock that gives up waiting.

    coverage takes one plain lock around each call of a measured function. A signal handler, or a finalizer that the garbage
    collector calls just then, runs while its thread holds the lock; if it waits for another thread of ours, which waits for
    the lock, both would wait for ever. Nearly every call of the tests goes through here, so `acquire` is no Python function.
    """

    def __init__(self) -> None:
        lock = threading.Lock()
        self.acquire = partial(lock.acquire, timeout=PATIENCE_S)
        self._release = lock.release

    def release(self) -> None:
        """Give the lock back, if nobody has done that who gave up waiting."""
        try:
            self._release()
        except RuntimeError:
            return


def be_patient() -> None:
    """Let coverage, if it measures this process, use such a lock."""
    coverage = sys.modules.get("coverage")
    measuring = coverage.Coverage.current() if coverage else None
    if measuring is not None and getattr(measuring._collector, "data_lock", None) is not None:
        measuring._collector.data_lock = PatientLock()


def unmeasured() -> dict[str, str]:
    """Return an environment for a program that gets signals: a measured one may hang, or lose what a handler raises."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS_")}
