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
        """Reads it from the start; may be called more than once and from any thread."""
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
        found: list[memoryview] = []
        missing = size
        while missing:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                if not found and len(piece) == size:
                    return piece
                self._rest = memoryview(piece)
            taken = self._rest if missing < 0 else self._rest[:missing]
            self._rest = self._rest[len(taken) :]
            if not found and len(taken) == size:
                return taken  # type: ignore[return-value]  # as good as bytes to who hashes and writes it
            found.append(taken)
            missing -= len(taken) if missing > 0 else 0
        return b"".join(found)
