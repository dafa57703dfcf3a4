"""Bytes that come in chunks: read them as a file, or hash them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class ChunkStream(io.RawIOBase):
    """A binary stream of chunks, read once from start to end.

    It is not buffered: reading little at a time pays off behind an `io.BufferedReader`.

    Args:
        chunks: All bytes, in order. What raises while they are iterated comes out of the read that needs them.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes, or all that are left; fewer at the end only."""
        return bytes(self._all() if size < 0 else self.view(size))

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer as far as the present chunk does.

        Returns:
            Number of bytes; 0 at the end.
        """
        target = memoryview(buffer)
        taken = self._next(len(target))
        target[: len(taken)] = taken
        return len(taken)

    def view(self, size: int) -> memoryview:
        """Return the same as `read`, without a copy where the bytes lie in one chunk."""
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
        """Return some bytes of one chunk; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest = memoryview(chunk)
        taken, self._rest = self._rest[:most], self._rest[most:]
        return taken

    def _all(self) -> bytes:
        rest, self._rest = self._rest, memoryview(b"")
        return b"".join([rest, *self._chunks])


def sha256_of(chunks: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of all chunks one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
