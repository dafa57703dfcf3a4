"""Bytes that requests may hold in memory: taken as they come, shared between users, and taken back from bodies that come too slowly."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable

from attrs import frozen

GRACE_S = 10.0
"""How long a body may be slow before it gives way."""

SLOW_BYTES_S = 64 << 10
"""A body that comes more slowly than this gives way when others wait."""

LOOK_S = 1.0


@frozen(kw_only=True)
class _Turn:
    """What somebody waits for."""

    size_bytes: int
    future: asyncio.Future[None]


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
        self._since = time.monotonic()  # of what is looked at to tell whether it is slow
        self._since_bytes = 0
        self._waited_s = 0.0
        self._was_slow = False

    async def grow(self, size_bytes: int) -> None:
        """Wait until the request may hold so much in all, and hold it.

        Args:
            size_bytes: In all; less than before changes nothing.
        """
        began = time.monotonic()
        await self._room.take(self, size_bytes - self.size_bytes)
        self._waited_s += time.monotonic() - began

    def came(self, size_bytes: int) -> None:
        """Note that bytes came, or went to who reads slowly.

        Args:
            size_bytes: How many.
        """
        if self._receiving_s() > GRACE_S:  # what came at the beginning says nothing of now
            self._was_slow = self._is_slow_now()
            self._since, self._since_bytes, self._waited_s = time.monotonic(), self.came_bytes, 0.0
        self.came_bytes += size_bytes

    def is_slow(self) -> bool:
        """Return whether what comes comes too slowly; the time in which the request waited for room does not count."""
        return self._is_slow_now() if self._receiving_s() > GRACE_S else self._was_slow

    def _receiving_s(self) -> float:
        return time.monotonic() - self._since - self._waited_s

    def _is_slow_now(self) -> bool:
        return self.came_bytes - self._since_bytes < self._receiving_s() * SLOW_BYTES_S


class Room:
    """A number of bytes for all requests of a process.

    Of those who wait, the user who holds the least goes first. One user holds at most as much as is left for others: alone half of
    the room, with another one a third. So there is room for who comes last, however many users take what they can. But the
    oldest request of each may always go on as far as there is room, and the oldest of all `spare_bytes` further, so that nobody
    waits for ever. While somebody waits, bodies that come too slowly give way.

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
        self._of_user: dict[str, dict[Holding, None]] = {}  # likewise
        self._waiting: dict[str, dict[Holding, _Turn]] = {}  # by user, in the order in which they came
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
        self._of_user.setdefault(user, {})[holding] = None
        try:
            await holding.grow(size_bytes)
            yield holding
        finally:
            del self._holdings[holding]
            del self._of_user[user][holding]
            if not self._of_user[user]:
                del self._of_user[user]
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
        turn = _Turn(size_bytes=size_bytes, future=asyncio.get_running_loop().create_future())
        self._waiting.setdefault(holding.user, {})[holding] = turn
        self._let_in()
        self._look()
        try:
            await turn.future
        finally:
            self._leave(holding)

    def _leave(self, holding: Holding) -> None:
        waiting = self._waiting.get(holding.user, {})
        waiting.pop(holding, None)
        if not waiting:
            self._waiting.pop(holding.user, None)

    def _fits(self, holding: Holding, size_bytes: int) -> bool:
        others = self._taken - holding.size_bytes
        if not others:
            return True
        is_oldest = next(iter(self._holdings)) is holding
        left = self._size_bytes - self._taken - size_bytes
        if left < (-self._spare_bytes if is_oldest else 0):
            return False
        first = next(iter(self._of_user[holding.user]))
        return is_oldest or first is holding or self._by_user[holding.user] + size_bytes <= left

    def _add(self, holding: Holding, size_bytes: int) -> None:
        holding.size_bytes += size_bytes
        self._taken += size_bytes
        self._by_user[holding.user] += size_bytes
        if not self._by_user[holding.user]:
            del self._by_user[holding.user]

    def _let_in(self) -> None:
        """Let in those who wait, the user who holds the least first, as long as somebody fits."""
        users = self._in_turn()
        while users:
            user = users.popleft()
            holding = self._next(user)
            if holding is None:
                continue
            turn = self._waiting[user][holding]
            self._leave(holding)
            self._add(holding, turn.size_bytes)
            turn.future.set_result(None)
            users = self._in_turn()

    def _in_turn(self) -> deque[str]:
        return deque(sorted(self._waiting, key=self._by_user.__getitem__))

    def _next(self, user: str) -> Holding | None:
        """Return the request of a user's waiting ones that may go on: the oldest one before the one that waits longest."""
        waiting = self._waiting[user]
        for holding in (next(iter(self._of_user[user])), next(iter(waiting))):
            turn = waiting.get(holding)
            if turn is not None and not turn.future.done() and self._fits(holding, turn.size_bytes):
                return holding
        return None

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
