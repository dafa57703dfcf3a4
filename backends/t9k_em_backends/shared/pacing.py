"""What one store has in progress: how many requests pay off, and how many bytes may be in memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from t9k.em.memory.budget import Budget

__all__ = ["FEWEST", "MOST", "Budget", "Pace"]

FEWEST, MOST = 64, 160
REQUESTS_PER_SECOND = 3000


class Pace:
    """How many small requests at a time pay off, from how long the quickest of the last ones took.

    By Little's law so many have to be in progress that some thousand a second are answered, over a long way more than over
    a short one. The quickest answer tells how long the way is; slower ones tell that the store is busy, and more
    requests would only wait longer.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._quickest_s: float | None = None

    @property
    def parallelism(self) -> int:
        """Between 64 and 160."""
        if self._quickest_s is None:
            return FEWEST
        return min(MOST, FEWEST + int(self._quickest_s * REQUESTS_PER_SECOND))

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Take the time of one small request that succeeds."""
        before = self._clock()
        yield
        self.note(self._clock() - before)

    def note(self, seconds: float) -> None:
        """Take note of how many seconds one small request took that succeeded."""
        # The way may become longer: what is remembered grows little by little. A lost race between threads costs nothing.
        remembered_s = self._quickest_s
        self._quickest_s = seconds if remembered_s is None else min(seconds, remembered_s * 1.001)
