"""A server whose every byte a test decides, spoken to by plain sockets."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen
from typing_extensions import Self

from t9k_em_backends.s3.access import Access

PATIENCE_S = 30.0
"""How long a test waits for what must happen; only one that fails waits so long."""

SHORT_S = 0.2


@frozen(kw_only=True)
class Request:
    """What came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@define(eq=False)
class Peer:
    """The server's end of one connection.

    Attributes:
        server: The server.
        number: Of the connection, from 0 on.
        socket: Goes to the client.
    """

    server: Server
    number: int
    socket: socket.socket
    _rest: bytes = b""

    def request(self) -> Request | None:
        """The next request; None once the client has closed the connection."""
        while b"\r\n\r\n" not in self._rest:
            if not self._receive():
                return None
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, version = first.split(" ")
        assert version == "HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("content-length", 0))
        while len(self._rest) < size:
            if not self._receive():
                return None
        body, self._rest = self._rest[:size], self._rest[size:]
        return Request(method=method, path=path, headers=headers, body=body)

    def send(self, data: bytes) -> None:
        with suppress(OSError):
            self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def ended(self) -> bool:
        """Waits until the client has closed the connection."""
        while self._receive():
            pass
        return True

    def _receive(self) -> bytes:
        try:
            piece = self.socket.recv(1 << 16)
        except OSError:
            return b""
        self._rest += piece
        return piece


@define(eq=False)
class Server:
    """A server whose every byte a test decides, on a free port; `talk` has each connection, in a thread of its own.

    Attributes:
        talk: Speaks; a connection that it does not close stays open until the client closes it.
        address: Of the server.
        over: Set when the test is over, for a `talk` that waits.
        peers: All connections that there were.
    """

    talk: Callable[[Peer], Any]
    host: str = "127.0.0.1"
    buffer_bytes: int | None = None
    address: Any = field(init=False)
    over: threading.Event = field(factory=threading.Event)
    peers: list[Peer] = field(factory=list)
    errors: list[BaseException] = field(factory=list)
    _threads: list[threading.Thread] = field(factory=list)
    _is_open: bool = True

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        if self.buffer_bytes is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)
        self._listener.bind((self.host, 0))
        self._listener.listen(256)
        self.address = self._listener.getsockname()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends; all clients must have closed their connections."""
        self.stop_listening()
        self.over.set()
        self._join()
        assert not self.errors, self.errors

    def stop_listening(self) -> None:
        """From now on nobody can connect."""
        if self._is_open:
            self._is_open = False
            socket.create_connection(self.address[:2]).close()  # wakes the thread
            self._accepting.join(PATIENCE_S)
            self._listener.close()

    def hang_up(self) -> None:
        """Closes all connections that there are."""
        for peer in self.peers:
            with suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
        self._join()

    _listener: socket.socket = field(init=False)
    _accepting: threading.Thread = field(init=False)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a client left a connection open"

    def _accept(self) -> None:
        while True:
            connected, _ = self._listener.accept()
            if not self._is_open:
                connected.close()
                return
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(self, len(self.peers), connected)
            self.peers.append(peer)
            self._threads.append(threading.Thread(target=self._speak, args=(peer,), daemon=True))
            self._threads[-1].start()

    def _speak(self, peer: Peer) -> None:
        try:
            self.talk(peer)
            peer.ended()
        except BaseException as error:  # noqa: BLE001 - the test tells of it
            self.errors.append(error)
        finally:
            peer.close()


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def keys_of(secret="very-secret", token=None):
    return {"access_key_id": "id", "secret_access_key": secret, "token": token, "expires_at": None}


def an_access(endpoint, *, path_style=True, credentials=keys_of):
    return Access(endpoint=endpoint, region="lab", path_style=path_style, credentials=credentials)
