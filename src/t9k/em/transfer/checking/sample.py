"""Of which files a check reads the bytes: all, a share of them, a number, or one of several parts that are all in the end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import TypeVar

from attrs import frozen

from t9k.em.errors import InvalidInput

_FORM = re.compile(r"(?P<percent>\d{1,3}(?:\.\d+)?)%|(?P<part>\d{1,6})/(?P<parts>\d{1,6})|(?P<count>\d{1,12})")
_ALL_PERCENT = 100.0

_Item = TypeVar("_Item")


@frozen(kw_only=True)
class Sample:
    """Which files are read.

    Attributes:
        percent: So many of a hundred, chosen at random each time.
        count: So many, likewise.
        part: This one of `parts`, counted from 1: the same files each time, and all of them in all parts together.
        parts: See `part`.
    """

    percent: float = _ALL_PERCENT
    count: int | None = None
    part: int = 1
    parts: int = 1

    @classmethod
    def of(cls, given: str | int | None) -> Sample:
        """Make a sample of what a caller gave: '5%', '3/20', 1000, or None for all.

        Raises:
            InvalidInput: The value has another form.
        """
        if given is None:
            return cls()
        match = _FORM.fullmatch(str(given))
        if match is None:
            raise InvalidInput(f"{given!r} is no sample; give a share like 5%, a part like 3/20, or a number of files")
        if match["percent"]:
            percent = float(match["percent"])
            if percent > _ALL_PERCENT:
                raise InvalidInput(f"{given!r} is more than all; give at most 100%")
            return cls(percent=percent)
        if match["part"]:
            part, parts = int(match["part"]), int(match["parts"])
            if not 1 <= part <= parts:
                raise InvalidInput(f"{given!r} is no part: the parts of {parts} are 1/{parts} to {parts}/{parts}")
            return cls(part=part, parts=parts)
        return cls(count=int(match["count"]))

    def choose(self, items: Sequence[_Item], name: Callable[[_Item], str]) -> list[_Item]:
        """Return the items to be read, in their order.

        Args:
            items: All.
            name: Gives each the text by which it is known at the next check.
        """
        if self.parts > 1:
            return [item for item in items if _number(name(item)) % self.parts == self.part - 1]
        wanted = round(len(items) * self.percent / _ALL_PERCENT) if self.count is None else self.count
        if self.percent and self.count is None:
            wanted = max(1, wanted)
        if wanted >= len(items):
            return list(items)
        return [items[at] for at in sorted(SystemRandom().sample(range(len(items)), wanted))]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
