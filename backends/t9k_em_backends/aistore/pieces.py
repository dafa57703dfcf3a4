"""The bytes of a body in pieces: read once from start to end, and sent by several threads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from t9k.em.errors import SourceChanged
from t9k.em.parallel import in_parallel
from t9k.em.records import CHUNK_BYTES

if TYPE_CHECKING:
    from t9k.em.memory.budget import Budget
    from t9k.em.records import Body

WORKERS = 4

Piece = tuple[int, int]
"""Where it starts, and how many bytes it has."""


def send_pieces(
    body: Body, pieces: Sequence[Piece], send: Callable[[int, bytes], None], budget: Budget, *, check: bool
) -> None:
    """Send pieces of a body, a few at a time.

    Args:
        body: The bytes.
        pieces: Which, by their start; they do not overlap.
        send: Sends one; called by several threads.
        budget: Where the memory comes from.
        check: Whether to read all bytes, those that are not sent too, and compare them with what was planned.

    Raises:
        SourceChanged: The bytes are not those that were planned.
        Exception: The first error of `send`.
    """
    with body.open() as stream:
        reader = _Reader(body, stream, pieces, budget, check=check)
        reading = threading.Lock()

        def send_next(_: Piece) -> None:
            with reading:
                start, data = reader.next()
            try:
                send(start, data)
            finally:
                budget.give(len(data))

        in_parallel(send_next, pieces, "part", lambda: WORKERS)
        if check:
            reader.finish()


class _Reader:
    """Read the pieces in order; used by one thread at a time."""

    def __init__(self, body: Body, stream: BinaryIO, pieces: Sequence[Piece], budget: Budget, *, check: bool) -> None:
        self._body = body
        self._stream = stream
        self._pieces = iter(pieces)
        self._budget = budget
        self._digest = hashlib.sha256() if check else None
        self._at = 0

    def next(self) -> tuple[int, bytes]:
        """Return the next piece with its start, for which memory is taken."""
        start, size = next(self._pieces)
        self._budget.take(size)
        try:
            self._skip_to(start)
            return start, self._read(size)
        except BaseException:
            self._budget.give(size)
            raise

    def finish(self) -> None:
        """Read what is left, and compare the whole.

        Raises:
            SourceChanged: The whole is not what was planned.
        """
        self._skip_to(self._body.size)
        if self._digest is not None and self._digest.hexdigest() != self._body.sha256:
            raise self._changed()

    def _skip_to(self, start: int) -> None:
        if self._digest is None and start > self._at and self._stream.seekable():
            self._stream.seek(start)
            self._at = start
        while self._at < start:
            self._read(min(CHUNK_BYTES, start - self._at))

    def _read(self, size: int) -> bytes:
        chunks, left = [], size
        while left:
            chunk = self._stream.read(left)
            if not chunk:
                raise self._changed()
            chunks.append(chunk)
            left -= len(chunk)
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._at += size
        if self._digest is not None:
            self._digest.update(data)
        return data

    def _changed(self) -> SourceChanged:
        return SourceChanged(f"{self._body.what} changed while it was uploaded; upload again when nothing writes to it")
