"""What could not be written: told once a fault, and never raised into a training loop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping

from t9k.em.errors import LocalError
from t9k.em.warn import warn_incomplete

_CALM_S = 1.0  # on a disk that is nearly full a short line fits between two long ones; that ends no fault


class LostLines:
    """The lines that the files of one run have lost.

    A fault begins with the first failure and ends when something was written a second after the last one. Either is
    told by an `IncompleteWarning`, which does not raise even where warnings are errors.

    Args:
        directory: Where the files lie, for messages.
    """

    def __init__(self, directory: object) -> None:
        self._directory = directory
        self._in_fault: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._last_failure_s = 0.0
        self.is_faulty = False
        self.forget_parent()

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`."""
        self._lock = threading.Lock()

    def failed(self, error: Exception, lost: str | None = None) -> None:
        """Something could not be written.

        Args:
            error: Why.
            lost: Type of the line that is lost by it; None if none is.
        """
        with self._lock:
            self._last_failure_s = time.monotonic()
            if lost is not None:
                self._in_fault[lost] += 1
                self._total[lost] += 1
            if self.is_faulty:
                return
            self.is_faulty = True
        reason = error if isinstance(error, LocalError) else self._explained(error)
        warn_incomplete(
            f"{reason}. The run goes on, and its metrics are written again when that is over; until then they are lost",
            6,
        )

    def _explained(self, error: Exception) -> str:
        if isinstance(error, OSError) and error.strerror:
            return f"cannot write {error.filename or self._directory}: {error.strerror}"
        return f"cannot write {self._directory}: {type(error).__name__}: {error}"

    def written(self) -> None:
        """Something was written while there was a fault."""
        with self._lock:
            if not self.is_faulty or time.monotonic() - self._last_failure_s < _CALM_S:
                return
            self.is_faulty = False
            lost, self._in_fault = self._in_fault, Counter()
        warn_incomplete(f"{self._directory}: metrics are written again; lost were {_counted(lost)}", 6)

    def ended(self) -> None:
        """Report all that was lost since the last end, when the run ends or is continued later."""
        with self._lock:
            self.is_faulty = False
            self._in_fault = Counter()
            lost, self._total = self._total, Counter()
        if lost:
            warn_incomplete(
                f"{self._directory}: of what was logged, {_counted(lost)} could not be written and are lost", 6
            )


def _counted(lost: Mapping[str, int]) -> str:
    return ", ".join(f"{number} of type {kind!r}" for kind, number in sorted(lost.items())) or "none"
