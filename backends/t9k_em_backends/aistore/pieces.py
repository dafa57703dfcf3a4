"""The bytes of a body in pieces: read once from start to end, and sent by several threads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from t9k.em.errors import SourceChanged
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
        crew = _Crew(reader, send, budget)
        crew.run(min(WORKERS, len(pieces)))
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

    def next(self) -> tuple[int, bytes] | None:
        """Return the next piece with its start, for which memory is taken; None after the last."""
        piece = next(self._pieces, None)
        if piece is None:
            return None
        start, size = piece
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


class _Crew:
    """The threads that send; the one that calls is among them."""

    def __init__(self, reader: _Reader, send: Callable[[int, bytes], None], budget: Budget) -> None:
        self._reader = reader
        self._send = send
        self._budget = budget
        self._reading = threading.Lock()
        self._error: BaseException | None = None

    def run(self, count: int) -> None:
        threads = [
            threading.Thread(target=self._toil, name=f"em-part-{number}", daemon=True) for number in range(1, count)
        ]
        started = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
        except RuntimeError:  # the system allows no more
            pass
        self._toil()
        try:
            _join(started)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C, raised when what is under way has ended
            self._error = self._error or error
            _join(started)
        if self._error is not None:
            raise self._error

    def _toil(self) -> None:
        try:
            while (piece := self._take()) is not None:
                start, data = piece
                try:
                    self._send(start, data)
                finally:
                    self._budget.give(len(data))
        except BaseException as error:  # noqa: BLE001 - raised where everybody is waited for
            self._error = self._error or error

    def _take(self) -> tuple[int, bytes] | None:
        with self._reading:
            return None if self._error is not None else self._reader.next()


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
