"""One connection of HTTP/1.1 that takes nothing but the plainest of answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from t9k_em_backends.shared.allowance import Allowance

ANSWER_BYTES = 16 << 10
"""The most that is received of an answer, besides what goes into a buffer."""

PATIENCE = 2
"""How many times as long as nothing may move a request may wait in all, beside what its bytes take."""

_STATUS_DIGITS = 3
_ONCE = {"connection", "content-length", "content-range", "etag", "transfer-encoding"}
_MOST_DIGITS = 18
_NEEDED = ("MSG_DONTWAIT", "MSG_PEEK", "MSG_WAITALL", "SO_RCVTIMEO", "SO_SNDTIMEO")
_SHORTEST_S = 1e-3

IS_POSSIBLE = os.name == "posix" and all(hasattr(socket, name) for name in _NEEDED)
"""Whether this system's sockets can do what is needed here."""


class Refused(Exception):
    """The service did not answer as was hoped."""


class Declined(Refused):
    """The service answered as it should, but has no such bytes for us, will not do that, or did something else."""


DECLINING = (403, 404, 412, 416)
"""The statuses of such answers."""


@frozen
class Answer:
    """The head of an answer.

    Attributes:
        status: Its code.
        headers: By lower-case name.
        length: Bytes of the body.
        keeps: Whether the connection stays.
    """

    status: int
    headers: Mapping[str, str]
    length: int
    keeps: bool


class Connection:
    """One connection, with one request in progress at most.

    Args:
        connected: What it goes over; it is closed with this.
        peer: The address to which.
        timeout_s: How long nothing may move.

    Attributes:
        socket: The same.
        is_used: Whether a request was answered on it; then the service may have closed it since.
    """

    def __init__(self, connected: socket.socket, peer: Any, timeout_s: float) -> None:
        self.socket = connected
        self._family, self._peer = connected.family, peer
        self.is_used = False
        self._rest = b""
        self._timeout_s = timeout_s
        self._allowance = self._allow()
        timeout_s = max(timeout_s, _SHORTEST_S)  # 0 would be for ever
        waits = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, waits)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, waits)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def to(cls, address: tuple[str, int], *, connect_timeout_s: float, timeout_s: float) -> Connection:
        """Return a new one to a host and port.

        Raises:
            OSError: The connection cannot be made.
        """
        connected = socket.create_connection(address, timeout=connect_timeout_s)
        try:
            return cls(connected, connected.getpeername(), timeout_s)
        except BaseException:
            connected.close()
            raise

    def another(self, timeout_s: float) -> Connection:
        """Return a new one to the same place, which is not waited for: it is there when its socket can be written to.

        Raises:
            OSError: No further connection can be made.
        """
        connecting = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            code = connecting.connect_ex(self._peer)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            return Connection(connecting, self._peer, timeout_s)
        except BaseException:
            connecting.close()
            raise

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def is_quiet(self) -> bool:
        """Return whether it is open and nothing came that nobody asked for."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def ask(self, request: bytes) -> Answer:
        """Send a request and read the head of its answer.

        Raises:
            Refused: The head of the answer is not understood.
            OSError: No answer arrived.
        """
        # Python's own timeout makes a socket that never waits, and that ends each read with what is there already.
        self.socket.settimeout(None)
        allowance = self._allowance = self._allow()
        self.socket.sendall(request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            allowance.wait_s()
            since = allowance.begin()
            received += (piece := self.receive(received))
            allowance.came(since, len(piece))
        self._rest = received[end + 4 :]
        return parse_head(received[:end])

    def receive(self, received: bytes) -> bytes:
        """Receive more of an answer whose head is incomplete.

        Raises:
            Refused: The head is too long.
            OSError: The connection ended.
        """
        if len(received) > ANSWER_BYTES:
            raise Refused("an endless head")
        piece = self.socket.recv(ANSWER_BYTES)
        if not piece:
            raise ConnectionResetError("closed before the end of an answer")
        return piece

    def fill(self, buffer: memoryview) -> None:
        """Read the body of an answer.

        Raises:
            Refused: The body is longer than the buffer.
            OSError: The bytes do not arrive.
        """
        there = len(self._rest)
        if there > len(buffer):
            raise Refused("more than was announced")
        buffer[:there], self._rest = self._rest, b""
        allowance = self._allowance
        while there < len(buffer):
            allowance.wait_s()
            since = allowance.begin()
            count = self.socket.recv_into(buffer[there:], 0, socket.MSG_WAITALL)
            if not count:
                raise ConnectionResetError("closed before the end of an answer")
            allowance.came(since, count)
            there += count

    def _allow(self) -> Allowance:
        """Return the bound of one request: the system bounds each call for bytes, but not how many calls bring one byte each."""
        return Allowance(self._timeout_s, PATIENCE * self._timeout_s)


def parse_head(head: bytes) -> Answer:
    """Take the head of an answer apart.

    Raises:
        Refused: The head is not HTTP/1.1, or gives no length of the body.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = [*first.split(" "), ""]
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name != name.strip() or (name.lower() in headers and name.lower() in _ONCE):
            raise Refused(f"a header that may mean two things: {line[:40]!r}")
        headers[name.lower()] = value.strip()
    if version != "HTTP/1.1" or len(status) != _STATUS_DIGITS or "transfer-encoding" in headers:
        raise Refused(f"an answer of another kind: {first[:40]}")
    keeps = "close" not in headers.get("connection", "").lower()
    return Answer(number(status), headers, number(headers.get("content-length", "")), keeps)


def number(text: str) -> int:
    """Return a number from a response.

    Raises:
        Refused: The text is no number.
    """
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise Refused(f"no number: {text[:40]!r}")
    return int(text)
