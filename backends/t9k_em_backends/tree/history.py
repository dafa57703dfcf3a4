"""What a process remembers of the generations of names, so that an upload costs what was published since it last looked.

A head never changes, so that what was read of one need not be read again; what is found by memory is read once more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from attrs import define, field

MOST_GENERATIONS = 100_000
_OVERHEAD = 10  # what a name takes, in generations


@define
class KnownName:
    """What is remembered of one name.

    Attributes:
        newest: The newest generation that was listed; 0 for none.
        low: The lowest of those that were read one after the other, up to `high`.
        high: The highest of them; below `low` for none.
        write_id: Of `high`.
        ops: The uploads that they were published by -> the generation.
        unread: Those of them that could not be read.
    """

    newest: int = 0
    low: int = 1
    high: int = 0
    write_id: str = ""
    ops: dict[str, int] = field(factory=dict)
    unread: set[int] = field(factory=set)

    @property
    def size(self) -> int:
        """How much room it takes, in generations."""
        return _OVERHEAD + len(self.ops) + len(self.unread)

    def to_read(self, op: str, newest: int, seen: int) -> Iterator[int]:
        """Yield the generations that have to be read to learn whether an upload published one.

        Args:
            op: The upload.
            newest: The newest generation.
            seen: A generation; all publications of the upload come after it.
        """
        known = self.ops.get(op, 0)
        if seen < known <= newest:
            yield known
        yield from range(newest, max(seen, self.high), -1)
        yield from sorted((number for number in self.unread if seen < number <= self.high), reverse=True)
        yield from range(min(self.low - 1, newest), seen, -1)

    def note(self, generation: int, op: str | None, *, is_read: bool) -> None:
        """Remember one generation.

        Args:
            generation: Its number.
            op: The upload that it was published by; None for none.
            is_read: Whether it could be read.
        """
        if not is_read:
            self.unread.add(generation)
            return
        self.unread.discard(generation)
        if op is not None:
            self.ops[op] = generation

    def cover(self, newest: int, seen: int, write_id: str) -> None:
        """Remember that all generations from behind `seen` up to the newest were read."""
        is_gap = not self.low <= self.high or self.high < seen
        self.low = seen + 1 if is_gap else min(self.low, seen + 1)
        self.high, self.write_id = newest, write_id


class KnownNames:
    """The names that were used last.

    Args:
        most: How many generations of all of them together.
    """

    def __init__(self, most: int = MOST_GENERATIONS) -> None:
        self._most = most
        self._names: OrderedDict[str, KnownName] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._lock = threading.Lock()

    def of(self, prefix: str) -> KnownName:
        """Return the memory of the name whose heads lie below a prefix."""
        with self._lock:
            known = self._names.setdefault(prefix, KnownName())
            self._names.move_to_end(prefix)
            self._size += known.size - self._sizes.get(prefix, 0)
            self._sizes[prefix] = known.size
            while len(self._names) > 1 and self._size > self._most:
                self._size -= self._sizes.pop(self._names.popitem(last=False)[0])
            return known

    def forget(self, prefix: str) -> KnownName:
        """Begin anew with a name, for another has taken its place in the store."""
        with self._lock:
            self._names.pop(prefix, None)
            self._size -= self._sizes.pop(prefix, 0)
        return self.of(prefix)
