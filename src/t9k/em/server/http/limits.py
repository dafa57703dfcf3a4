"""What keeps one client from taking all: requests a second for each user, and time for a body."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from t9k.em.errors import RateLimited
from t9k.em.server.http.error_responses import Refused

if TYPE_CHECKING:
    from starlette.types import Message, Receive

MOST_USERS = 10_000
BURST_S = 2.0
STALLED_S = 30.0
"""How long the next piece of a body may take."""

SLOWEST_BYTES_S = 8 << 10
"""How fast a whole body has to come."""


class Rates:
    """A token bucket for each user, in this process.

    Args:
        rate: Tokens a second; 0 for no limit.
        clock: Seconds from any beginning.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # user -> tokens, at which time
        self._lock = threading.Lock()

    def take(self, user: str) -> None:
        """Take one token.

        Raises:
            RateLimited: No token is left.
        """
        if not self._rate:
            return
        now, most = self._clock(), max(1.0, self._rate * BURST_S)
        with self._lock:
            tokens, then = self._buckets.pop(user, (most, now))
            tokens = min(most, tokens + (now - then) * self._rate)
            self._buckets[user] = (max(tokens - 1, 0.0) if tokens >= 1 else tokens, now)
            if len(self._buckets) > MOST_USERS:
                self._buckets.popitem(last=False)
        if tokens < 1:
            raise RateLimited(
                f"a user may make {self._rate:g} requests a second; come back later", (1 - tokens) / self._rate
            )


class TooSlow(Refused):
    """A body comes so slowly that others wait for its room in vain."""


def timely(receive: Receive, size_bytes: int) -> Receive:
    """Receives a body, as long as it comes; afterwards waits for the end of the connection, however long that takes.

    Args:
        receive: Of ASGI.
        size_bytes: What the client announced.

    Returns:
        What raises `TooSlow` instead of waiting any longer.
    """
    until: float | None = None
    whole = False

    async def receive_timely() -> Message:
        nonlocal until, whole
        if whole:
            return await receive()
        now = time.monotonic()
        until = now + STALLED_S + size_bytes / SLOWEST_BYTES_S if until is None else until
        try:
            with anyio.fail_after(max(0.0, min(STALLED_S, until - now))):
                message = await receive()
        except TimeoutError as error:
            raise TooSlow(
                "unavailable", "the body came too slowly; send it again, over a slow network in smaller pieces"
            ) from error
        whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return receive_timely
