"""Bytes that transfers may hold in memory at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

DEFAULT_BYTES = 64 << 20


class Budget:
    """Room in memory that several threads share.

    A thread that holds some already never waits for more, so that no two can wait for each other.

    Args:
        size_bytes: How many; a single larger piece is let through when nothing else is there.
    """

    def __init__(self, size_bytes: int = DEFAULT_BYTES) -> None:
        self._size_bytes = size_bytes
        self._taken = 0
        self._changed = threading.Condition()
        self._mine = threading.local()

    def take(self, size_bytes: int) -> None:
        """Wait for room, unless this thread is `holding` some, and take it; `give` it back from any thread."""
        with self._changed:
            if not getattr(self._mine, "holds", False):
                self._changed.wait_for(lambda: self._has_room(size_bytes))
            self._taken += size_bytes

    def try_take(self, size_bytes: int) -> bool:
        """Take room if half of it stays free: who reads ahead must not keep others waiting."""
        with self._changed:
            if self._taken + size_bytes > self._size_bytes // 2:
                return False
            self._taken += size_bytes
            return True

    @property
    def taken_bytes(self) -> int:
        """How much is taken now."""
        return self._taken

    def give(self, size_bytes: int) -> None:
        """Give room back."""
        with self._changed:
            self._taken -= size_bytes
            self._changed.notify_all()

    @contextlib.contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Hold room for the block; what the same thread holds within is not counted."""
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
