"""Bytes that requests may hold in memory: taken as they come, shared between users, and taken back from bodies that come too slowly."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

SHARE = 0.5
"""The part of a room that one user may hold while others may need it."""

GRACE_S = 10.0
"""How long a body may be slow before it gives way."""

SLOW_BYTES_S = 64 << 10
"""A body that comes more slowly than this gives way when others wait."""

LOOK_S = 1.0


class Holding:
    """The bytes that one request holds.

    Args:
        room: Where.
        user: Whose request it is.
    """

    def __init__(self, room: Room, user: str) -> None:
        self._room = room
        self.user = user
        self.size_bytes = 0
        self.give_way: Callable[[], object] | None = None
        """Called once when the request is to be given up; None while it is not receiving anything."""
        self.came_bytes = 0
        self._began = time.monotonic()
        self._waited_s = 0.0

    async def grow(self, size_bytes: int) -> None:
        """Wait until the request may hold so much in all, and hold it.

        Args:
            size_bytes: In all; less than before changes nothing.
        """
        began = time.monotonic()
        await self._room.take(self, size_bytes - self.size_bytes)
        self._waited_s += time.monotonic() - began

    def is_slow(self) -> bool:
        """Whether what comes comes too slowly; the time in which the request waited for room does not count."""
        receiving_s = time.monotonic() - self._began - self._waited_s
        return receiving_s > GRACE_S and self.came_bytes < receiving_s * SLOW_BYTES_S


class Room:
    """A number of bytes for all requests of a process.

    Of those who wait, the user who holds the least goes first. One user gets at most `SHARE` of the room, but the oldest request of
    each may always go on as far as there is room, and the oldest of all `spare_bytes` further, so that nobody waits for ever. While
    somebody waits, bodies that come too slowly give way.

    Args:
        size_bytes: How many.
        spare_bytes: How much further the oldest request may go; the most that a request which grows takes. A larger piece is let
            through when nobody else holds anything.
    """

    def __init__(self, size_bytes: int, spare_bytes: int = 0) -> None:
        self._size_bytes = size_bytes
        self._spare_bytes = spare_bytes
        self._taken = 0
        self._by_user: Counter[str] = Counter()
        self._holdings: dict[Holding, None] = {}  # in the order in which they began
        self._waiting: dict[asyncio.Future[None], tuple[Holding, int]] = {}
        self._looking: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def holding(self, user: str, size_bytes: int = 0) -> AsyncIterator[Holding]:
        """Wait for room and hold it for the block.

        Args:
            user: Whose request it is.
            size_bytes: How much to begin with.
        """
        holding = Holding(self, user)
        self._holdings[holding] = None
        try:
            await holding.grow(size_bytes)
            yield holding
        finally:
            del self._holdings[holding]
            self._add(holding, -holding.size_bytes)
            self._let_in()

    async def take(self, holding: Holding, size_bytes: int) -> None:
        """See `Holding.grow`.

        Args:
            holding: Whose.
            size_bytes: How much more.
        """
        if size_bytes <= 0:
            return
        if not self._waiting and self._fits(holding, size_bytes):
            self._add(holding, size_bytes)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = holding, size_bytes
        self._let_in()
        self._look()
        try:
            await turn
        finally:
            self._waiting.pop(turn, None)

    def _fits(self, holding: Holding, size_bytes: int) -> bool:
        others = self._taken - holding.size_bytes
        if not others:
            return True
        is_oldest = next(iter(self._holdings)) is holding
        if self._taken + size_bytes > self._size_bytes + (self._spare_bytes if is_oldest else 0):
            return False
        if is_oldest or self._by_user[holding.user] + size_bytes <= self._size_bytes * SHARE:
            return True
        return next(other for other in self._holdings if other.user == holding.user) is holding

    def _add(self, holding: Holding, size_bytes: int) -> None:
        holding.size_bytes += size_bytes
        self._taken += size_bytes
        self._by_user[holding.user] += size_bytes
        if not self._by_user[holding.user]:
            del self._by_user[holding.user]

    def _let_in(self) -> None:
        """Let in those who wait, the user who holds the least first, as long as somebody fits."""
        found = True
        while found:
            found = False
            for turn, (holding, size_bytes) in sorted(self._waiting.items(), key=self._rank):
                if not turn.done() and self._fits(holding, size_bytes):
                    del self._waiting[turn]
                    self._add(holding, size_bytes)
                    turn.set_result(None)
                    found = True
                    break

    def _rank(self, waiting: tuple[asyncio.Future[None], tuple[Holding, int]]) -> int:
        return self._by_user[waiting[1][0].user]

    def _look(self) -> None:
        """While somebody waits, have slow bodies give way."""
        if self._looking is None and self._waiting:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._hurry)

    def _hurry(self) -> None:
        self._looking = None
        if not self._waiting:
            return
        for holding in list(self._holdings):
            give_way = holding.give_way
            if give_way is not None and holding.size_bytes and holding.is_slow():
                holding.give_way = None
                give_way()
        self._look()
