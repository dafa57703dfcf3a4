"""The requests that most of a transfer consists of, over sockets of our own: large reads, many small writes and copies.

For an endpoint without TLS only. There the system copies what arrives straight to where it is wanted, in calls of
whole pieces, and one thread keeps many small requests under way. Whatever is not as it should be, a status, a header, a
connection, is `Refused` or an `OSError`, and who asked asks again by obstore, which repeats and explains; nothing of that
is here. ADR 0009 has the figures.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from t9k_em_backends.s3.plain_http.connection import (
    DECLINING,
    IS_POSSIBLE,
    Answer,
    Connection,
    Declined,
    Refused,
    number,
)
from t9k_em_backends.s3.plain_http.pipeline import Crowd
from t9k_em_backends.s3.plain_http.signature import encoded_path, sign

if TYPE_CHECKING:
    from t9k_em_backends.s3.access import Access
    from t9k_em_backends.s3.plain_http.writes import Write

MOST_KEPT = 256
"""How many connections that nobody uses stay open."""

CROWDS = 2
"""How many `put_many` go on at once: while one waits the other works, and more would only wait for each other."""

IDLE_S = 60.0
"""How long a connection that nobody uses stays open."""

REST_S = 10.0
"""How long all is left to obstore after something was not as hoped."""

CONNECT_TIMEOUT_S = 10.0
CREDENTIALS_S = 10.0
"""How long credentials are used before they are asked for again; who gives them renews them minutes before they end."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Keys with these are left to obstore, which may refuse them."""
_PARTIAL = 206


def sockets_for(bucket: str, access: Access, timeout_s: float) -> Sockets | None:
    """Return the client of a service over plain HTTP; None for a service that is reached by TLS, through a proxy, unsigned, ..."""
    endpoint = urlsplit(access.endpoint)
    if endpoint.scheme != "http" or not access.path_style or access.credentials is None or access.proxy:
        return None
    if (
        not IS_POSSIBLE
        or not access.endpoint.isascii()
        or "@" in endpoint.netloc
        or not endpoint.hostname
        or endpoint.query
    ):
        return None
    try:
        port = endpoint.port or 80
    except ValueError:  # obstore says so
        return None
    return Sockets(
        address=(endpoint.hostname, port),
        host=endpoint.netloc,
        root=f"{endpoint.path}/{bucket}/",
        region=access.region,
        credentials=access.credentials,
        timeout_s=timeout_s,
    )


class Sockets:
    """Connections to one bucket of a service; may be used from any thread, not after a fork.

    Args:
        address: Host name and port.
        host: What the header of this name says.
        root: What stands before each key in a path, escaped.
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
        self._ask_credentials = credentials
        self._credentials: tuple[float, Mapping[str, Any]] = (0.0, {})
        self._timeout_s = timeout_s
        self._idle: deque[tuple[float, Connection]] = deque()  # since when, the oldest first
        self._crowds = threading.Semaphore(CROWDS)
        self._is_closed = False
        self._rests_until = 0.0

    def close(self) -> None:
        """Close what nobody uses, and have the rest closed after use."""
        self._is_closed = True
        while self._idle:
            self._idle.pop()[1].close()

    def __del__(self) -> None:
        """Close what is left of a store that nobody closed."""
        self.close()

    def rest(self) -> None:
        """Leave all to obstore for a while: the service has trouble, or is of another kind."""
        self._rests_until = time.monotonic() + REST_S

    @property
    def rests(self) -> bool:
        """Whether all is left to obstore."""
        return time.monotonic() < self._rests_until

    def read_into(self, path: str, start: int, buffer: memoryview) -> int:
        """Fill a buffer with the bytes of an object from `start` on, as far as it goes.

        Args:
            path: Its key in the bucket.
            start: The first byte.
            buffer: Where they go.

        Returns:
            The size of the object.

        Raises:
            Refused: The service answered something else.
            OSError: It did not answer, or not to the end.
        """
        if self.rests:
            raise Refused("later")
        try:
            return self._read_into(path, start, buffer)
        except (Refused, OSError) as error:
            if not isinstance(error, Declined):
                self.rest()
            raise

    def _read_into(self, path: str, start: int, buffer: memoryview) -> int:
        end = start + len(buffer)
        connection, answer = self._ask(self.request("GET", path, {"range": f"bytes={start}-{end - 1}"}))
        try:
            if answer.status in DECLINING:
                raise Declined(f"status {answer.status}")
            if answer.status != _PARTIAL:
                raise Refused(f"status {answer.status}")
            first, last, whole = _content_range(answer.headers.get("content-range", ""))
            if (first, last) != (start, min(end, whole) - 1) or answer.length != last + 1 - first:
                raise Refused(f"bytes {first} to {last} instead of {start} to {end - 1}")
            connection.fill(buffer[: answer.length])
        except BaseException:
            connection.close()
            raise
        self.keep(connection, answer)
        return whole

    def put_many(self, writes: Sequence[Write], width: int, took: Callable[[float], None]) -> Sequence[str | None]:
        """Write objects, whatever is there.

        Args:
            writes: What to write, each of some 64 KiB at most, or a copy of some MiB.
            width: How many requests to have under way.
            took: Told how many seconds each request took.

        Returns:
            The ETag of each; None for those of which nothing is known. After the first of these no more are tried, and
            whoever tries again is told what is wrong.

        Raises:
            SourceChanged: A body is not what was announced.
            OSError: This system has no room for it.
        """
        if not writes:
            return []
        with self._crowds:
            if self.rests:
                return [None] * len(writes)
            with Crowd(self, writes, took) as crowd:
                return crowd.write(min(width, _most_open() // CROWDS), self._timeout_s)

    # For `Crowd`.

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Return a signed request, up to where its body begins.

        Args:
            method: Of HTTP.
            path: The key in the bucket.
            headers: By lower-case name, without those that are always there.

        Raises:
            Refused: It cannot be signed, or not be sent.
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
            OSError: There is none.
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

    # Inside.

    def _ask(self, request: bytes) -> tuple[Connection, Answer]:
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


def _most_open() -> int:
    """Return the largest number of open connections: a quarter of the files that this process may have open."""
    import resource  # noqa: PLC0415 - Unix only

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(CROWDS, soft // 4) if soft != resource.RLIM_INFINITY else MOST_KEPT * 4


def _content_range(text: str) -> tuple[int, int, int]:
    """First and last byte and the size of the whole, from `bytes 0-9/100`."""
    unit, _, rest = text.partition(" ")
    span, _, whole = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes":
        raise Refused(f"no range of bytes: {text[:40]!r}")
    return number(first), number(last), number(whole)
