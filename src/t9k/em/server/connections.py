"""Connections as uvicorn serves them, but for large bodies, and for clients that never come to the end of a head."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from t9k.em import wire
from t9k.em.server.receiving import LARGE_BYTES, LargeBody

MOST_HEAD_BYTES = 64 << 10
HEAD_S = 30.0
"""How long a request's head may take from its first byte on, and a new connection until its first request."""


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose client sends a head without end, or too slowly, or nothing at all."""

    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None
    _large: LargeBody | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base has it
        """See the base class."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See the base class."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See the base class."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._large is not None:
            self.transport.set_protocol(self._large)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of the request is longer than {MOST_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """See the base class."""
        if not self._in_head:
            self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See the base class."""
        self._end_head()
        super().on_headers_complete()
        size = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        if size >= LARGE_BYTES and not self.parser.should_upgrade():
            self._large = LargeBody(self, self.cycle, size, self._end_large)

    def on_body(self, body: bytes) -> None:
        """See the base class."""
        if self._large is not None:
            self._large.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See the base class."""
        self._large = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, in the form of all errors, and closes; see the base class.

        Args:
            msg: What is wrong.
        """
        body = json.dumps(wire.error_json("bad_request", msg, uuid4().hex)).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _end_large(self) -> None:
        """After a large body, whose bytes the parser has not seen: it goes on with a new request."""
        self.transport.set_protocol(self)
        self.on_message_complete()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def _begin_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
