"""How often, and for how long, a request is repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from attrs import define, field, frozen

TOTAL_S = 60.0
MOST_TRIES = 16
ASKED_S = 30.0


@frozen(kw_only=True)
class Retries:
    """How patient a client is. Every request of the contract may be repeated.

    Attributes:
        total_s: For how long a request is repeated, in seconds.
        most: How often it is sent.
        first_s: The longest pause before it is sent a second time, in seconds; each later one is up to twice as long.
        longest_s: No pause is longer, in seconds.
        asked_s: How much of a `Retry-After` is honoured, in seconds.
        sleep: Waits so many seconds.
        clock: The time in seconds.
        chance: A number in [0, 1).
    """

    total_s: float = TOTAL_S
    most: int = MOST_TRIES
    first_s: float = 0.25
    longest_s: float = 8.0
    asked_s: float = ASKED_S
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    def begin(self) -> Patience:
        """Return the patience for one request, from now on."""
        return Patience(self, self.clock() + self.total_s)


@define
class Patience:
    """What is left of the patience for one request.

    Attributes:
        maybe_executed: Whether the server may have executed an earlier try, whose answer was lost.
    """

    _retries: Retries
    _until: float
    _tries: int = 1
    _dropped: bool = False
    maybe_executed: bool = field(default=False, init=False)

    def wait(self, asked_s: float | None = None) -> bool:
        """Wait before the next try; return at once when no try is left.

        Args:
            asked_s: How long the server asks to wait.
        """
        rules = self._retries
        if self._tries >= rules.most:
            return False
        # Full jitter: clients that failed together do not come back together.
        pause = rules.chance() * min(rules.longest_s, rules.first_s * 2 ** (self._tries - 1))
        if asked_s is not None:
            pause += min(asked_s, rules.asked_s)
        if rules.clock() + pause > self._until:
            return False
        self._tries += 1
        rules.sleep(pause)
        return True

    def at_once(self) -> bool:
        """Return whether a try whose connection was dropped is repeated without a pause.

        The first one is: a server may end an idle connection at the moment when it is used.
        """
        first, self._dropped = not self._dropped, True
        return first
