"""The bodies of requests as they came in: in pieces, which are not copied together."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast


class Received:
    """A body that is in memory.

    Args:
        pieces: Its bytes, in order.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self.size = sum(map(len, pieces))

    def open(self) -> BinaryIO:
        """Read it from the start; may be called more than once and from any thread."""
        return cast("BinaryIO", _Stream(iter(self._pieces)))

    def read(self) -> bytes:
        """All of it in one piece, which takes as much memory again."""
        return b"".join(self._pieces)

    def sha256(self) -> bytes:
        """Its checksum."""
        digest = hashlib.sha256()
        for piece in self._pieces:
            digest.update(piece)
        return digest.digest()


class _Stream(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or all that are left; fewer at the end only."""
        return bytes(self._all() if size < 0 else self.view(size))

    def view(self, size: int) -> memoryview:
        """Return the same, without copying what lies in one piece."""
        first = self._next(size)
        if len(first) in (0, size):
            return first
        found = [first]
        missing = size - len(first)
        while missing and (taken := self._next(missing)):
            found.append(taken)
            missing -= len(taken)
        return memoryview(b"".join(found))

    def _next(self, most: int) -> memoryview:
        """Return some bytes of one piece; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest = memoryview(piece)
        taken, self._rest = self._rest[:most], self._rest[most:]
        return taken

    def _all(self) -> bytes:
        rest, self._rest = self._rest, memoryview(b"")
        return b"".join([rest, *self._pieces])
