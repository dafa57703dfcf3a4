"""`Pool`: signed requests to one bucket, and connections that are used again."""

from __future__ import annotations

import contextlib
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from t9k_em_backends.s3.plain_http.connection import Answer, Connection, Refused
from t9k_em_backends.s3.plain_http.signature import encoded_path, sign
from t9k_em_backends.shared.timeouts import CONNECT_TIMEOUT_S

MOST_KEPT = 256
"""Largest number of idle connections that stay open."""

IDLE_S = 60.0
"""Seconds for which an idle connection stays open."""

PAUSE_S = 10.0
"""Seconds for which everything is left to obstore after an unexpected answer."""

CREDENTIALS_S = 10.0
"""Seconds for which credentials are used before they are asked for again; their source renews them minutes before they end."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Keys with these are left to obstore, which may refuse them."""


class Pool:
    """Connections to one bucket of a service; may be used from any thread, not after a fork.

    Args:
        address: Host name and port.
        host: Value of the header `Host`.
        root: Escaped path before each key.
        region: Region of the bucket.
        credentials: As `Access` has them.
        timeout_s: Seconds without any progress after which a request has failed.
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
        self._ask_credentials = credentials
        self._credentials: tuple[float, Mapping[str, Any]] = (0.0, {})
        self._timeout_s = timeout_s
        self._idle: deque[tuple[float, Connection]] = deque()  # since when, the oldest first
        self._is_closed = False
        self._paused_until = 0.0

    def close(self) -> None:
        """Close what nobody uses, and have the rest closed after use."""
        self._is_closed = True
        while self._idle:
            self._idle.pop()[1].close()

    def __del__(self) -> None:
        """Close what is left of a store that nobody closed."""
        self.close()

    def pause(self) -> None:
        """Leave all to obstore for a while: the service has trouble, or is of another kind."""
        self._paused_until = time.monotonic() + PAUSE_S

    @property
    def is_paused(self) -> bool:
        """Whether all is left to obstore."""
        return time.monotonic() < self._paused_until

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Return a signed request, up to where its body begins.

        Args:
            method: Of HTTP.
            path: The key in the bucket.
            headers: By lower-case name, without those that are always there.

        Raises:
            Refused: The request cannot be signed, or not be sent.
        """
        now = time.monotonic()
        until, credentials = self._credentials
        if now >= until:
            try:
                credentials = self._ask_credentials()
            except KeyError as error:  # of the environment, which somebody has changed
                raise Refused("no credentials") from error
            self._credentials = now + CREDENTIALS_S, credentials
        try:
            encoded = self._root + encoded_path(path)
            signed = sign(method, encoded, {"host": self._host, **headers}, credentials, self._region)
        except UnicodeError as error:
            raise Refused("nothing that can be signed") from error
        if _CONTROL.search(path) or not all(value.isascii() and value.isprintable() for value in signed.values()):
            raise Refused("nothing that can be sent")
        lines = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
        return f"{method} {encoded} HTTP/1.1\r\n{lines}\r\n".encode("ascii")

    def kept(self) -> Connection | None:
        """Return a connection that nobody uses and that the service has left as it was."""
        while True:
            try:
                since, connection = self._idle.pop()
            except IndexError:
                return None
            if since > time.monotonic() - IDLE_S and connection.is_quiet():
                return connection
            connection.close()

    def connect(self) -> Connection:
        """Return a new connection.

        Raises:
            OSError: The connection cannot be made.
        """
        connect_timeout_s = min(CONNECT_TIMEOUT_S, self._timeout_s)
        return Connection.to(self._address, connect_timeout_s=connect_timeout_s, timeout_s=self._timeout_s)

    def keep(self, connection: Connection, answer: Answer) -> None:
        """Keep a connection for the next request, as far as it may be kept."""
        now = time.monotonic()
        if answer.keeps and len(self._idle) < MOST_KEPT and not self._is_closed:
            connection.is_used = True
            self._idle.append((now, connection))
        else:
            connection.close()
        with contextlib.suppress(IndexError):  # others take from it too
            while self._idle[0][0] < now - IDLE_S:
                self._idle.popleft()[1].close()

    def ask(self, request: bytes) -> tuple[Connection, Answer]:
        """Send a request and return the head of its answer, with the connection for the body.

        Raises:
            Refused: The head of the answer is not understood.
            OSError: No answer arrived.
        """
        while True:
            connection = self.kept() or self.connect()
            try:
                return connection, connection.ask(request)
            except ConnectionError:
                connection.close()
                if not connection.is_used:  # else the service closed it while nobody used it
                    raise
            except BaseException:
                connection.close()
                raise
