"""Connections as uvicorn serves them, but for large bodies, and for clients that never send a whole head or do not read."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from http import HTTPStatus
from typing import ClassVar
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from t9k.em import wire
from t9k.em.server.http.crowds import Connections, raise_descriptors
from t9k.em.server.http.large_bodies import LARGE_BYTES, LargeBody

MOST_HEAD_BYTES = 64 << 10
WRITE_S = 30.0
WRITE_BYTES = 240 << 10
"""A client that takes less of an answer in `WRITE_S` loses the connection: 8 KiB/s."""

HEAD_S = 30.0
"""How long a request's head may take from its first byte on, and a new connection until its first request."""


class BoundedConnection(HttpToolsProtocol):
    """Close a connection whose client sends a head without end, or too slowly, or nothing at all, or does not read.

    Attributes:
        open: All connections of this process, see `limit`.
    """

    open: ClassVar[Connections] = Connections(1 << 20, 1 << 20)

    _unsent_bytes = 0
    _write_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None
    _large: LargeBody | None = None

    @classmethod
    def limit(cls, most: int, most_from_address: int) -> None:
        """Bound the connections of this process.

        Args:
            most: How many there may be in all; fewer where the system allows fewer files.
            most_from_address: How many from one address.
        """
        cls.open = Connections(min(most, raise_descriptors()), most_from_address)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base has it
        """See the base class."""
        super().connection_made(transport)
        if self.open.admit(self, self.client[0] if self.client else ""):
            self._begin_head()
        else:
            self._refuse(503, "unavailable", "too many connections are open here; close some, or try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        """See the base class."""
        self.open.leave(self)
        self._end_head()
        self._end_write()
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
        self.open.work(self)
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
        """Answer what is no HTTP, in the form of all errors, and close; see the base class.

        Args:
            msg: What is wrong.
        """
        self._refuse(400, "bad_request", msg)

    def on_response_complete(self) -> None:
        """See the base class."""
        self.open.rest(self)
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_write()  # what is not sent yet keeps the connection

    def pause_writing(self) -> None:
        """See the base class."""
        super().pause_writing()
        self._watch_write()

    def resume_writing(self) -> None:
        """See the base class."""
        self._end_write()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """See the base class."""
        self.give_up()

    def give_up(self) -> None:
        """Close at once, whatever is still to be sent; see `crowds.Closes`."""
        if self.transport.get_write_buffer_size():
            self._abort()
        else:
            self.transport.close()

    def _abort(self) -> None:
        """Close with a reset, so that the system does not keep what the client has not read."""
        its_socket = self.transport.get_extra_info("socket")
        if its_socket is not None:
            its_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = json.dumps(wire.error_json(code, message, uuid4().hex)).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        self._watch_write()

    def _watch_write(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        if self._write_timer is None and self._unsent_bytes:
            self._write_timer = self.loop.call_later(WRITE_S, self._look_at_write)

    def _end_write(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _look_at_write(self) -> None:
        """Nothing was taken since writing was paused, or too little."""
        self._write_timer = None
        left = self.transport.get_write_buffer_size()
        if left and self._unsent_bytes - left < WRITE_BYTES:
            self._abort()
        else:
            self._watch_write()

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
            self.give_up()
