"""Collect something while the run goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from t9k.em.warn import warn_incomplete

_HEAD_START_S = 0.05


class Background:
    """A collector that runs in a thread, soon after its construction, or at once where somebody waits for it.

    The thread is a daemon: a process that ends does not wait for it. It lets its maker go first, whom it would take the interpreter from
    for as long as its first imports take.

    Args:
        fn: The collector; called once.
        then: What takes longer and is asked for less; called after it in the same thread, with what it returned, {} where it failed.
    """

    def __init__(
        self, fn: Callable[[], dict[str, Any]], then: Callable[[dict[str, Any]], object] | None = None
    ) -> None:
        self._collect, self._then = fn, then
        self._lock = threading.Lock()
        self._known, self._wanted = threading.Event(), threading.Event()
        self._result: dict[str, Any] = {}
        self._failures: list[Exception] = []
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="t9k-em-collect", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads: a limit of the system, or the interpreter shuts down
            self._thread = None
            self._failures.append(error)
            self._known.set()

    def _run(self) -> None:
        self._wanted.wait(_HEAD_START_S)
        try:
            self._result = self._collect()
        except Exception as error:  # noqa: BLE001 - told by result(), in the thread of the caller
            self._failures.append(error)
        self._known.set()
        if self._then is not None:
            try:
                self._then(self._result)
            except Exception as error:  # noqa: BLE001 - likewise
                self._failures.append(error)

    def result(self, timeout_s: float) -> dict[str, Any]:
        """Return what was collected.

        A failed collector is reported by one `IncompleteWarning`.

        Args:
            timeout_s: How long to wait for it, in seconds.

        Returns:
            What the collector returned, or ``{}`` if it failed or is not done yet.
        """
        self._wanted.set()
        if not self._is_known(timeout_s):
            return {}
        with self._lock:
            failures, self._failures = self._failures, []
        for failure in failures:
            warn_incomplete(
                f"something about this run could not be recorded: {type(failure).__name__}: {failure}; the run goes on",
                3,
            )
        return self._result

    def join(self, timeout_s: float) -> dict[str, Any]:
        """Wait until `then` is done as well, and return what was collected; see `result`.

        Args:
            timeout_s: How long to wait for both, in seconds.
        """
        self._wanted.set()
        deadline = time.monotonic() + timeout_s
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.result(max(0.0, deadline - time.monotonic()))

    def _is_known(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not self._known.is_set():
            # A child made by fork has no such thread, and would wait for nothing.
            left_s = deadline - time.monotonic()
            if self._thread is None or not self._thread.is_alive() or left_s <= 0:
                return self._known.is_set()
            self._known.wait(min(left_s, 0.1))
        return True
