"""Connections of requests and urllib3 that keep to an `Allowance`, and that look where they lead before anything is sent."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from t9k_em_backends.shared.allowance import Allowance

PIECE_BYTES = 64 << 10
"""How much is sent before the time is looked at again."""

Check = Callable[[str], None]
"""Raises `OSError` for an address that must not be connected to."""


class _OfThread(threading.local):
    """What the request that a thread makes may take."""

    allowance: Allowance | None = None
    check: Check | None = None


_of_thread = _OfThread()


@contextmanager
def within(allowance: Allowance, check: Check | None = None) -> Iterator[None]:
    """Have the request that this thread makes in the block, and the answer to it, keep to an allowance.

    Args:
        allowance: What it may take.
        check: Of the addresses that a new connection would lead to, but for one to a proxy.
    """
    before = _of_thread.allowance, _of_thread.check
    _of_thread.allowance, _of_thread.check = allowance, check
    try:
        yield
    finally:
        _of_thread.allowance, _of_thread.check = before


class _Incoming(io.RawIOBase):
    """The bytes of one answer."""

    def __init__(self, raw: io.RawIOBase, connected: socket.socket, allowance: Allowance) -> None:
        self._raw = raw
        self._socket = connected
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._allowance.wait_s())
        since = self._allowance.begin()
        count: int | None = self._raw.readinto(buffer)
        self._allowance.came(since, count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        allowance = _of_thread.allowance
        if allowance is not None:
            self.fp = io.BufferedReader(_Incoming(self.fp.detach(), sock, allowance))


class _Paced:
    """What both kinds of connections have in common."""

    sock: socket.socket | None
    auto_open: int
    host: str
    port: int

    def _new_conn(self) -> socket.socket:
        """Connect; see urllib3. A name may mean another address a moment later, so the one that it led to counts."""
        check = _of_thread.check if getattr(self, "proxy", None) is None else None
        if check is not None:
            for *_, place in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
                check(str(place[0]))
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]  # of the connection that this is mixed into
        try:
            if check is not None:
                check(str(connected.getpeername()[0]))
        except BaseException:
            connected.close()
            raise
        return connected

    def send(self, data: Any) -> None:
        """Send bytes in pieces; see http.client."""
        allowance = _of_thread.allowance
        if allowance is None or not isinstance(data, bytes):
            super().send(data)  # type: ignore[misc]  # of the connection that this is mixed into
            return
        if self.sock is None and self.auto_open:
            self.connect()  # type: ignore[attr-defined]  # likewise
        view = memoryview(data)
        for start in range(0, max(len(view), 1), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            if self.sock is not None:
                self.sock.settimeout(allowance.wait_s())
            since = allowance.begin()
            super().send(piece)  # type: ignore[misc]  # likewise
            allowance.sent(since, len(piece))


class _HTTP(_Paced, HTTPConnection):
    response_class = _Answer


class _HTTPS(_Paced, HTTPSConnection):
    response_class = _Answer


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPS


class PacedAdapter(HTTPAdapter):
    """Connect by these, through a proxy of HTTP too."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See requests."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """See requests."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager
