"""How often a run that goes on may write to its backend."""

from __future__ import annotations

import math
from collections import deque

from attrs import define, field

FIRST_S, LAST_S = 1.0, 66.0
"""Between two writes, of a new run and of an old one."""

SLOW_FROM_S = 60.0
"""Age from which on the pace grows with the age."""

SPARE = 40

HOUR_S = 3600.0
FIRST_HOUR, EACH_HOUR = 360, 54
"""The most writes of a run in its first hour, and in any hour after it; what is left to 400 and 60 is for its end."""


def interval_s(age_s: float) -> float:
    """Return the time between two writes in seconds.

    A second for a run of a minute, about a minute for a run of an hour, and in between a sixtieth of its age: about 300 writes
    in the first hour, and 54 in each hour after it.

    Args:
        age_s: Of the run, in seconds.
    """
    return min(LAST_S, max(FIRST_S, age_s / SLOW_FROM_S))


def allowance(age_s: float) -> float:
    """Return the number of writes that the intervals up to an age of at most an hour allow, and some to spare for what is urgent."""
    return SPARE + min(age_s, SLOW_FROM_S * (1 + math.log(max(1.0, age_s / SLOW_FROM_S))))


@define
class WriteQuota:
    """The writes of a run so far, and when it may write again.

    Attributes:
        began: When the run began to be uploaded, in seconds of some clock.
        writes: How many objects were written since.
        next: When to write again.
    """

    began: float
    writes: int = 0
    next: float = 0.0
    _later: deque[tuple[float, int]] = field(factory=deque, init=False)

    def wrote(self, now: float, writes: int) -> None:
        """Take note of a round; where there is nothing to spare any more, more writes make a longer pause.

        Args:
            now: The present, in seconds of the clock.
            writes: How many objects it wrote.
        """
        self.writes += writes
        if writes and now - self.began >= HOUR_S:
            self._later.append((now, writes))
        self.next = now + (1 if self.may_hurry(now) else max(1, writes)) * interval_s(now - self.began)

    def may_hurry(self, now: float) -> bool:
        """Return whether there is something to spare; never after the first hour."""
        return now - self.began < HOUR_S and self.writes < allowance(now - self.began)

    def room(self, now: float) -> int:
        """Return the number of objects that may be written now, whatever the pace.

        Args:
            now: The present, in seconds of the clock.
        """
        if now - self.began < HOUR_S:
            return max(0, FIRST_HOUR - self.writes)
        while self._later and self._later[0][0] <= now - HOUR_S:
            self._later.popleft()
        return max(0, EACH_HOUR - sum(writes for _, writes in self._later))
