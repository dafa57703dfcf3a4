"""What one store has under way: how many requests pay off, and how many bytes may be in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

FEWEST, MOST = 64, 160
REQUESTS_PER_SECOND = 3000
MIB = 1 << 20


class Pace:
    """How many small requests at a time pay off, from how long the quickest of the last ones took.

    By Little's law so many have to be under way that some thousand a second are answered, over a long way more than over
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
        """Takes the time of one small request that succeeds."""
        before = self._clock()
        yield
        took_s = self._clock() - before
        # The way may become longer: what is remembered grows little by little. A lost race between threads costs nothing.
        remembered_s = self._quickest_s
        self._quickest_s = took_s if remembered_s is None else min(took_s, remembered_s * 1.001)


class Budget:
    """Bytes that the transfers of one store may hold in memory at once.

    A thread that holds some already never waits for more, so that no two can wait for each other.

    Args:
        size_bytes: How many; a single larger piece is let through when nothing else is there.
    """

    def __init__(self, size_bytes: int = 64 * MIB) -> None:
        self._size_bytes = size_bytes
        self._taken = 0
        self._changed = threading.Condition()
        self._mine = threading.local()

    def take(self, size_bytes: int) -> None:
        """Waits for room, unless this thread is `holding` some, and takes it; `give` it back from any thread."""
        with self._changed:
            if not getattr(self._mine, "holds", False):
                self._changed.wait_for(lambda: self._has_room(size_bytes))
            self._taken += size_bytes

    def try_take(self, size_bytes: int) -> bool:
        """Takes room if there is some."""
        with self._changed:
            if not self._has_room(size_bytes):
                return False
            self._taken += size_bytes
            return True

    def give(self, size_bytes: int) -> None:
        """Gives room back."""
        with self._changed:
            self._taken -= size_bytes
            self._changed.notify_all()

    @contextlib.contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Holds room for the block; what the same thread holds within is not counted."""
        if getattr(self._mine, "holds", False):
            yield
            return
        self.take(size_bytes)
        self._mine.holds = True
        try:
            yield
        finally:
            self._mine.holds = False
            self.give(size_bytes)

    def _has_room(self, size_bytes: int) -> bool:
        return self._taken == 0 or self._taken + size_bytes <= self._size_bytes
