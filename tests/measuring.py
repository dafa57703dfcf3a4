"""Measured runs that cannot hang in what measures them."""

from __future__ import annotations

import contextlib
import sys
import threading

PATIENCE_S = 20.0


class PatientLock:
    """A lock that gives up waiting.

    coverage takes one plain lock around each call of a measured function. A signal handler, or a finalizer that the garbage
    collector calls just then, runs while its thread holds the lock; if it waits for another thread of ours, which waits for
    the lock, both would wait for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Take the lock, or go on without after a while."""
        self._lock.acquire(timeout=PATIENCE_S)

    def release(self) -> None:
        """Give the lock back, if nobody has done that who gave up waiting."""
        with contextlib.suppress(RuntimeError):
            self._lock.release()


def be_patient() -> None:
    """Let coverage, if it measures this process, use such a lock."""
    coverage = sys.modules.get("coverage")
    measuring = coverage.Coverage.current() if coverage else None
    if measuring is not None and getattr(measuring._collector, "data_lock", None) is not None:
        measuring._collector.data_lock = PatientLock()
