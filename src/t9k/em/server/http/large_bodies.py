"""Large bodies: read from the socket to where they stay, past the HTTP parser, so that no byte is copied twice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from t9k.em.memory import buffers
from t9k.em.memory.buffers import BUFFER_BYTES

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent
    from uvicorn.protocols.http.flow_control import FlowControl
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

LARGE_BYTES = 256 << 10
"""Bodies of at least this size are received here."""

MOST_WAITING = 1
"""Chunks that may wait for the app before nothing more is read."""

PARTIAL_S = 5.0
"""When the app gets what there is of a chunk, so that it sees that a slow client still sends."""

POOLED_BYTES = BUFFER_BYTES // 2
"""From this size on a chunk is put into a buffer of `t9k.em.memory.buffers`."""

_NOTHING = memoryview(b"")
_UNWANTED = bytearray(64 << 10)
"""Takes what comes of a body after its request was answered; all connections write to it, and nobody reads it."""


class LargeBody(asyncio.BufferedProtocol):
    """The protocol of a connection from the head of a request with a large body to the end of that body.

    The length of the body is known, so that nothing behind it is read. The app gets chunks that end at multiples of
    `BUFFER_BYTES`; a large one that begins at one too begins where a page of memory does. None takes memory before the app
    asks for it, nor after the app has answered.

    Args:
        connection: What the connection belongs to before and after.
        cycle: The request; takes its `receive` from here.
        size: Of the body, in bytes.
        done: Called after the last byte.
    """

    def __init__(
        self, connection: HttpToolsProtocol, cycle: RequestResponseCycle, size: int, done: Callable[[], None]
    ) -> None:
        self.left = self._size = size
        self._connection = connection
        self._flow: FlowControl = connection.flow
        self._cycle = cycle
        self._done = done
        self._chunk = _NOTHING
        self._filled = 0
        self._first = b""
        self._ready: deque[memoryview] = deque()
        self._receive_end = cycle.receive
        self._is_told = False
        cycle.receive = self.receive  # type: ignore[method-assign]  # the app is started with what is here then
        self._flow.pause_reading()

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        del sizehint
        if self._cycle.response_complete:
            self._drop()
            return memoryview(_UNWANTED)[: self.left]
        if not self._chunk:
            first, self._first = self._first, b""
            at = self._size - self.left - len(first)
            size = min(BUFFER_BYTES - at % BUFFER_BYTES, self._size - at)
            self._chunk = buffers.take()[:size] if size >= POOLED_BYTES else memoryview(bytearray(size))
            self._chunk[: len(first)], self._filled = first, len(first)
        return self._chunk[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self.left -= nbytes
        if self._chunk:
            self._filled += nbytes
            if self._filled == len(self._chunk):
                self._hand_over()
        if not self.left:
            self._done()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._drop()
        self._connection.connection_lost(exc)

    def eof_received(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._connection.eof_received()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._connection.resume_writing()

    # What the connection and the app call.

    def feed(self, data: bytes) -> None:
        """Take what was read together with the head.

        Args:
            data: The beginning of the body.
        """
        self.left -= len(data)
        self._first += data
        if not self.left:
            self._hand_over()

    async def receive(self) -> ASGIReceiveEvent:
        """Give the next chunk; see ASGI."""
        if self._is_told:
            return await self._receive_end()
        cycle = self._cycle
        if cycle.waiting_for_100_continue and not cycle.transport.is_closing():
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        while not (self._ready or cycle.disconnected or cycle.response_complete):
            self._flow.resume_reading()
            timer = self._connection.loop.call_later(PARTIAL_S, self._look)
            try:
                await cycle.message_event.wait()
            finally:
                timer.cancel()
            cycle.message_event.clear()
        if not self._ready:
            return {"type": "http.disconnect"}
        chunk = self._ready.popleft()
        self._is_told = not (self.left or self._ready)
        return {"type": "http.request", "body": chunk, "more_body": not self._is_told}  # type: ignore[typeddict-item]

    def _drop(self) -> None:
        """Nobody wants what was received."""
        self._chunk, self._filled, self._first = _NOTHING, 0, b""
        self._ready.clear()

    def _look(self) -> None:
        self._hand_over()
        self._cycle.message_event.set()

    def _hand_over(self) -> None:
        """Give the app what there is of the chunk."""
        if not self._chunk:
            chunk, self._first = memoryview(self._first), b""
        elif self._filled == len(self._chunk):
            chunk, self._chunk = self._chunk, _NOTHING  # no view of it stays here, for this may stay
        else:  # a copy, which keeps no more memory than it has bytes
            chunk, self._chunk = memoryview(bytes(self._chunk[: self._filled])), self._chunk[self._filled :]
        if not chunk:
            return
        self._filled = 0
        self._ready.append(chunk)
        if len(self._ready) >= MOST_WAITING:
            self._flow.pause_reading()
        self._cycle.message_event.set()
