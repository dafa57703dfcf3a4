"""The connections of one process: how many there may be, in all and from one address, and which one goes when there are too many."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from typing import Protocol

RESERVED_DESCRIPTORS = 256
"""For files, the store and the database."""

if sys.platform != "win32":
    import resource


class Closes(Protocol):
    """A connection."""

    def give_up(self) -> None:
        """Close it at once."""


class Connections:
    """Counts connections, and closes one that rests when there is no room for another.

    Args:
        most: How many there may be in all.
        most_from_address: How many from one address.
    """

    def __init__(self, most: int, most_from_address: int) -> None:
        self._most = most
        self._most_from_address = most_from_address
        self._addresses: dict[Closes, str] = {}
        self._counts: Counter[str] = Counter()
        self._resting: dict[str, OrderedDict[Closes, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def admit(self, connection: Closes, address: str) -> bool:
        """Count a new connection, which rests; one that has rested longest may have to go for it.

        Args:
            connection: The new one.
            address: Of the client; of a proxy, where there is one.

        Returns:
            Whether there is room.
        """
        if self._counts[address] >= self._most_from_address and not self._make_room(address):
            return False
        if len(self) >= self._most and not self._make_room(self._most_resting()):
            return False
        self._addresses[connection] = address
        self._counts[address] += 1
        self.rest(connection)
        return True

    def leave(self, connection: Closes) -> None:
        """Forget a connection that is gone; again is fine."""
        self.work(connection)
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def rest(self, connection: Closes) -> None:
        """Note that a connection waits for a request, or for the rest of its head."""
        address = self._addresses.get(connection)
        if address is not None:
            self._resting.setdefault(address, OrderedDict())[connection] = None

    def work(self, connection: Closes) -> None:
        """Note that a connection has a request."""
        address = self._addresses.get(connection, "")
        resting = self._resting.get(address)
        if resting is not None:
            resting.pop(connection, None)
            if not resting:
                del self._resting[address]

    def _most_resting(self) -> str:
        return max(self._resting, key=lambda address: len(self._resting[address]), default="")

    def _make_room(self, address: str) -> bool:
        resting = self._resting.get(address)
        if not resting:
            return False
        oldest = next(iter(resting))
        self.leave(oldest)
        oldest.give_up()
        return True


def raise_descriptors() -> int:
    """Let this process open as many files as the system allows.

    Returns:
        How many connections fit into that.
    """
    if sys.platform == "win32":
        return 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(1, hard - RESERVED_DESCRIPTORS)
