"""Collect something while the run goes on."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

from t9k.em.errors import IncompleteWarning


class Background:
    """A collector that runs in a thread, from its construction on.

    The thread is a daemon: a process that ends does not wait for it.

    Args:
        fn: The collector; called once.
    """

    def __init__(self, fn: Callable[[], dict[str, Any]]) -> None:
        self._collect = fn
        self._lock = threading.Lock()
        self._result: dict[str, Any] = {}
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="t9k-em-collect", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads: a limit of the system, or the interpreter shuts down
            self._thread, self._failure = None, error

    def _run(self) -> None:
        try:
            self._result = self._collect()
        except Exception as error:  # noqa: BLE001 - told by result(), in the thread of the caller
            self._failure = error

    def result(self, timeout_s: float) -> dict[str, Any]:
        """Return what was collected.

        A collector that failed is told by an `IncompleteWarning`, once.

        Args:
            timeout_s: How long to wait for it, in seconds.

        Returns:
            What the collector returned, or ``{}`` if it failed or is not done yet.
        """
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return {}
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            warnings.warn(
                f"something about this run could not be recorded: {type(failure).__name__}: {failure}; the run goes on",
                IncompleteWarning,
                stacklevel=2,
            )
        return self._result
