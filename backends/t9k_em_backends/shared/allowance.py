"""How long, and with how many bytes, the other end of a connection may keep one request: a bound that no trickle outwits.

A timeout of a socket begins anew with every byte, so that a byte now and then keeps a request for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SLOWEST_BYTES_S = 8 << 10
"""A request that moves fewer bytes a second, after a while, is given up; a server gives up slower ones too."""


class TooSlow(TimeoutError):
    """What moved was not worth the wait."""


class TooMuch(OSError):
    """More came than anybody could have asked for."""


class Allowance:
    """What one request may take; each byte that moves allows a little more time. Only waiting counts, not who reads late.

    Args:
        timeout_s: How long nothing may move.
        patience_s: How long may be waited in all, beside the time that the bytes take.
        most_bytes: How much may come; None for any amount.
        clock: Seconds.
    """

    def __init__(
        self,
        timeout_s: float,
        patience_s: float,
        *,
        most_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._left_s = patience_s
        self._left_bytes = most_bytes
        self._clock = clock

    def wait_s(self) -> float:
        """Return how long to wait for the next bytes.

        Raises:
            TooSlow: No longer.
        """
        if self._left_s <= 0:
            raise TooSlow("it goes on, but too slowly")
        return min(self._timeout_s, self._left_s)

    def begin(self) -> float:
        """Return when waiting begins, for `sent` or `came`."""
        return self._clock()

    def sent(self, since: float, size_bytes: int) -> None:
        """Take note of bytes that went out, and of the wait for it."""
        self._left_s += size_bytes / SLOWEST_BYTES_S - (self._clock() - since)

    def came(self, since: float, size_bytes: int) -> None:
        """Take note of bytes that came, and of the wait for it.

        Raises:
            TooMuch: More bytes arrived than are allowed.
        """
        self.sent(since, size_bytes)
        if self._left_bytes is not None:
            self._left_bytes -= size_bytes
            if self._left_bytes < 0:
                raise TooMuch("more comes than was asked for")
