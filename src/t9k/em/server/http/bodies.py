"""The bodies of requests as they came in: in pieces, which are not copied together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import BinaryIO, cast

from t9k.em.chunks import ChunkStream


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
        return cast("BinaryIO", ChunkStream(self._pieces))

    def read(self) -> bytes:
        """All of it in one piece, which takes as much memory again."""
        return b"".join(self._pieces)

    def sha256(self) -> bytes:
        """Its checksum."""
        digest = hashlib.sha256()
        for piece in self._pieces:
            digest.update(piece)
        return digest.digest()
