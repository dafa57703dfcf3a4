"""How often a run that goes on may write to its backend."""

from __future__ import annotations

import math

from attrs import define

FIRST_S, LAST_S = 1.0, 60.0
"""Between two writes, of a new run and of an old one."""

SLOW_FROM_S = 60.0
"""Age from which on the pace grows with the age."""

SPARE = 40


def interval_s(age_s: float) -> float:
    """How long one write has to last.

    A second for a run of a minute, a minute for a run of an hour, and in between a sixtieth of its age: about 300 writes
    in the first hour, and 60 in each hour after it.

    Args:
        age_s: Of the run, in seconds.
    """
    return min(LAST_S, max(FIRST_S, age_s / SLOW_FROM_S))


def allowance(age_s: float) -> float:
    """How many writes the intervals up to an age allow, and some to spare for what is urgent."""
    steady = SLOW_FROM_S * (1 + math.log(max(1.0, min(age_s, LAST_S * SLOW_FROM_S) / SLOW_FROM_S)))
    return SPARE + min(age_s, steady) + max(0.0, age_s - LAST_S * SLOW_FROM_S) / LAST_S


@define
class Pace:
    """Counts what a run writes, and says when it may write again.

    Attributes:
        began: When the run began to be uploaded, in seconds of some clock.
        writes: How many objects were written since.
        next: When to write again.
    """

    began: float
    writes: int = 0
    next: float = 0.0

    def wrote(self, now: float, writes: int) -> None:
        """Takes note of a round; where there is nothing to spare any more, more writes make a longer pause.

        Args:
            now: The present, in seconds of the clock.
            writes: How many objects it wrote.
        """
        self.writes += writes
        self.next = now + (1 if self.may_hurry(now) else max(1, writes)) * interval_s(now - self.began)

    def may_hurry(self, now: float) -> bool:
        """Whether there is something to spare."""
        return self.writes < allowance(now - self.began)
