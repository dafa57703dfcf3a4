"""The two requests that most bytes take, over sockets of our own: an object read into memory of the caller, and a small one written.

For an endpoint without TLS only. There the system copies what arrives straight to where it is wanted, in calls of
whole pieces, and the service is spared the many small writes that follow from small reads. Whatever is not as it
should be, a status, a header, a connection, makes `Refused` of it, and who asked asks again by obstore, which repeats and
explains; nothing of that is here. ADR 0009 has the figures.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import frozen

from t9k_em_backends.s3.signature import encoded_path, sign

if TYPE_CHECKING:
    from t9k_em_backends.s3.access import Access

HEAD_BYTES = 16 << 10
CONNECT_TIMEOUT_S = 10.0
KEPT = 64
"""How many connections that nobody uses stay open."""

_NEEDED = ("MSG_WAITALL", "SO_RCVTIMEO", "SO_SNDTIMEO")
_PROXIES = ("http_proxy", "all_proxy")
_PARTIAL = 206
_OK = 200


class Refused(Exception):  # noqa: N818 - nobody sees it
    """The service did not answer as was hoped."""


def sockets_for(bucket: str, access: Access, timeout_s: float) -> Sockets | None:
    """What asks a service directly; None when it is not reached that way: by TLS, through a proxy, or unsigned."""
    endpoint = urlsplit(access.endpoint)
    if access.credentials is None or endpoint.scheme != "http" or not endpoint.hostname:
        return None
    if os.name != "posix" or not all(hasattr(socket, name) for name in _NEEDED):
        return None
    if any(name.lower() in _PROXIES and proxy for name, proxy in os.environ.items()):
        return None
    host = endpoint.netloc.rpartition("@")[2]
    return Sockets(
        address=(endpoint.hostname if access.path_style else f"{bucket}.{endpoint.hostname}", endpoint.port or 80),
        host=host if access.path_style else f"{bucket}.{host}",
        root=f"{endpoint.path}/{bucket}/" if access.path_style else f"{endpoint.path}/",
        region=access.region,
        credentials=access.credentials,
        timeout_s=timeout_s,
    )


class Sockets:
    """Connections to one bucket of a service; may be used from any thread, not after a fork.

    Args:
        address: Host name and port.
        host: What the header of this name says.
        root: What stands before each key in a path.
        region: Of the bucket.
        credentials: As `Access` has them.
        timeout_s: How long nothing may move.
    """

    def __init__(
        self,
        *,
        address: tuple[str, int],
        host: str,
        root: str,
        region: str,
        credentials: Callable[[], Mapping[str, Any]],
        timeout_s: float,
    ) -> None:
        self._address = address
        self._host = host
        self._root = root
        self._region = region
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._idle: deque[_Connection] = deque()

    def close(self) -> None:
        """Closes what nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def read_into(self, key: str, start: int, buffer: memoryview) -> int:
        """Fills a buffer with the bytes of an object from `start` on.

        Returns:
            The size of the object; the buffer is filled as far as that goes.

        Raises:
            Refused: The service answered something else.
            OSError: It did not answer.
        """
        end = start + len(buffer)
        request = self._request("GET", key, {"range": f"bytes={start}-{end - 1}"})
        with self._answering(request) as (connection, answer):
            if answer.status != _PARTIAL:
                raise Refused(f"status {answer.status}")
            first, last, whole = _content_range(answer.headers.get("content-range", ""))
            if first != start or last != min(end, whole) - 1 or answer.length != last - first + 1:
                raise Refused(f"other bytes than asked for: {first}-{last}")
            connection.fill(buffer[: answer.length])
        return whole

    def _request(self, method: str, key: str, headers: Mapping[str, str]) -> bytes:
        path = encoded_path(self._root + key)
        signed = sign(method, path, {"host": self._host, **headers}, self._credentials(), self._region)
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")

    @contextlib.contextmanager
    def _answering(self, request: bytes) -> Iterator[tuple[_Connection, _Answer]]:
        """Sends a request, and gives the connection and the head of its answer, whose body the block reads."""
        connection, answer = self._ask(request)
        try:
            yield connection, answer
        except BaseException:
            connection.close()
            raise
        if answer.keeps and len(self._idle) < KEPT:
            self._idle.append(connection)
        else:
            connection.close()

    def _ask(self, request: bytes) -> tuple[_Connection, _Answer]:
        """A connection that was kept may have been closed by the service meanwhile: then another one is asked."""
        while True:
            try:
                connection, kept = self._idle.pop(), True
            except IndexError:
                connection, kept = _Connection(self._address, self._timeout_s), False
            try:
                return connection, connection.ask(request)
            except ConnectionError:
                connection.close()
                if not kept:
                    raise
            except BaseException:
                connection.close()
                raise


@frozen
class _Answer:
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


class _Connection:
    """One connection, with one request under way at most."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self._socket = socket.create_connection(address, timeout=min(CONNECT_TIMEOUT_S, timeout_s))
        # Python's own timeouts make a socket one that does not wait, and such a one ends a read with what is there.
        self._socket.settimeout(None)
        waits = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, waits)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, waits)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> _Answer:
        """Sends a request and reads the head of its answer.

        Raises:
            Refused: It is none that can be made use of.
            OSError: There is none.
        """
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            if len(received) > HEAD_BYTES:
                raise Refused("an endless head")
            piece = self._socket.recv(HEAD_BYTES)
            if not piece:
                raise ConnectionResetError("closed before an answer")
            received += piece
        head, _, self._rest = received.partition(b"\r\n\r\n")
        return _parsed(head)

    def fill(self, buffer: memoryview) -> None:
        """Reads as many bytes of the body as a buffer takes.

        Raises:
            OSError: They do not come.
        """
        there = len(self._rest)
        if there > len(buffer):
            raise Refused("more than was announced")
        buffer[:there], self._rest = self._rest, b""
        while there < len(buffer):
            count = self._socket.recv_into(buffer[there:], 0, socket.MSG_WAITALL)
            if not count:
                raise ConnectionResetError("closed within an answer")
            there += count


def _parsed(head: bytes) -> _Answer:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "")
    if version != "HTTP/1.1" or not status[:3].isdecimal() or not length.isdecimal() or "transfer-encoding" in headers:
        raise Refused(f"an answer of another kind: {first[:40]}")
    keeps = headers.get("connection", "").lower() != "close"
    return _Answer(int(status[:3]), headers, int(length), keeps)


def _content_range(text: str) -> tuple[int, int, int]:
    """First and last byte and size of the whole, from `bytes 0-9/100`."""
    unit, _, rest = text.partition(" ")
    span, _, whole = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes" or not (first.isdecimal() and last.isdecimal() and whole.isdecimal()):
        raise Refused(f"no range: {text[:40]!r}")
    return int(first), int(last), int(whole)
