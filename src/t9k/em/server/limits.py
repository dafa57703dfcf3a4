"""What keeps one client from taking all: requests a second for each key, and bytes in memory for all together."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from t9k.em.errors import RateLimited

MOST_KEYS = 10_000
BURST_S = 2.0


class Rates:
    """A token bucket for each key, in this process.

    Args:
        rate: Tokens a second; 0 for no limit.
        clock: Seconds from any beginning.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> tokens, at which time
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        """Takes one token.

        Raises:
            RateLimited: There is none.
        """
        if not self._rate:
            return
        now, most = self._clock(), max(1.0, self._rate * BURST_S)
        with self._lock:
            tokens, then = self._buckets.pop(key, (most, now))
            tokens = min(most, tokens + (now - then) * self._rate)
            self._buckets[key] = (max(tokens - 1, 0.0) if tokens >= 1 else tokens, now)
            if len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
        if tokens < 1:
            raise RateLimited(
                f"this key may make {self._rate:g} requests a second; come back later", (1 - tokens) / self._rate
            )


class Room:
    """Bytes of requests that may be in memory at once; who comes first gets room first.

    Args:
        size_bytes: How many.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._taken = 0
        self._turn = asyncio.Lock()
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def holding(self, size_bytes: int) -> AsyncIterator[None]:
        """Waits for room and holds it for the block; a piece larger than all is let through alone."""
        async with self._turn, self._changed:
            await self._changed.wait_for(lambda: not self._taken or self._taken + size_bytes <= self._size_bytes)
            self._taken += size_bytes
        try:
            yield
        finally:
            async with self._changed:
                self._taken -= size_bytes
                self._changed.notify_all()
