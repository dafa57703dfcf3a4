"""The requests that most of a transfer consists of, over sockets of our own: large reads, many small writes and copies.

For an endpoint without TLS only. There the system copies what arrives straight to where it is wanted, in calls of
whole pieces, and one thread keeps many small requests in progress. Whatever is not as it should be, a status, a header, a
connection, is `Refused` or an `OSError`, and who asked asks again by obstore, which repeats and explains; nothing of that
is here. ADR 0009 has the figures.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from t9k_em_backends.s3.plain_http.connection import DECLINING, IS_POSSIBLE, Declined, Refused, number
from t9k_em_backends.s3.plain_http.pipeline import RequestPipeline
from t9k_em_backends.s3.plain_http.pool import MOST_KEPT, Pool

if TYPE_CHECKING:
    from t9k_em_backends.s3.access import Access
    from t9k_em_backends.s3.plain_http.writes import Write

PIPELINES = 2
"""Number of `put_many` at once: while one waits the other works, and more would only wait for each other."""

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
    pool = Pool(
        address=(endpoint.hostname, port),
        host=endpoint.netloc,
        root=f"{endpoint.path}/{bucket}/",
        region=access.region,
        credentials=access.credentials,
        timeout_s=timeout_s,
    )
    return Sockets(pool, timeout_s)


class Sockets:
    """Read, write and copy in one bucket; may be used from any thread, not after a fork.

    Args:
        pool: Connections to the bucket.
        timeout_s: Seconds without any progress after which a request has failed.
    """

    def __init__(self, pool: Pool, timeout_s: float) -> None:
        self.pool = pool
        self._timeout_s = timeout_s
        self._pipelines = threading.Semaphore(PIPELINES)

    def close(self) -> None:
        """Close what nobody uses, and have the rest closed after use."""
        self.pool.close()

    @property
    def is_paused(self) -> bool:
        """Whether all is left to obstore."""
        return self.pool.is_paused

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
            OSError: The service did not answer, or its answer broke off.
        """
        if self.pool.is_paused:
            raise Refused("later")
        try:
            return self._read_into(path, start, buffer)
        except (Refused, OSError) as error:
            if not isinstance(error, Declined):
                self.pool.pause()
            raise

    def _read_into(self, path: str, start: int, buffer: memoryview) -> int:
        end = start + len(buffer)
        connection, answer = self.pool.ask(self.pool.request("GET", path, {"range": f"bytes={start}-{end - 1}"}))
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
        self.pool.keep(connection, answer)
        return whole

    def put_many(
        self, writes: Sequence[Write], width: int, on_latency: Callable[[float], None]
    ) -> Sequence[str | None]:
        """Write objects, whatever is there.

        Args:
            writes: What to write, each of some 64 KiB at most, or a copy of some MiB.
            width: How many requests to have in progress.
            on_latency: Called with the seconds that each request took.

        Returns:
            The ETag of each; None for those of which nothing is known. After the first of these no more are tried, and
            whoever tries again is told what is wrong.

        Raises:
            SourceChanged: A body is not what was announced.
            OSError: This system has no room for it.
        """
        if not writes:
            return []
        with self._pipelines:
            if self.pool.is_paused:
                return [None] * len(writes)
            with RequestPipeline(self.pool, writes, on_latency) as pipeline:
                return pipeline.write(min(width, _most_open() // PIPELINES), self._timeout_s)


def _most_open() -> int:
    """Return the largest number of open connections: a quarter of the files that this process may have open."""
    import resource  # noqa: PLC0415 - Unix only

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(PIPELINES, soft // 4) if soft != resource.RLIM_INFINITY else MOST_KEPT * 4


def _content_range(text: str) -> tuple[int, int, int]:
    """First and last byte and the size of the whole, from `bytes 0-9/100`."""
    unit, _, rest = text.partition(" ")
    span, _, whole = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes":
        raise Refused(f"no range of bytes: {text[:40]!r}")
    return number(first), number(last), number(whole)
