"""The one way into this folder: what the store of S3 may ask of it, each of which may be refused without harm.

Delete the folder, the import and the attribute in `clients`, and the uses of that attribute in `obstore_store`, and everything
goes by obstore; the suites of the store pass without it (`?plain_http=false`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from t9k_em_backends.s3.plain_http.client import Sockets, sockets_for
from t9k_em_backends.s3.plain_http.connection import Refused
from t9k_em_backends.s3.plain_http.writes import Copy, Small, Write

if TYPE_CHECKING:
    from t9k.em.records import Body
    from t9k_em_backends.s3.access import Access


def plain_http_for(bucket: str, access: Access, timeout_s: float) -> PlainHTTP | None:
    """Return the short way to a bucket; None for a service that is reached by TLS, through a proxy, unsigned, ...

    Args:
        bucket: Name of the bucket.
        access: Endpoint and credentials.
        timeout_s: Seconds without any progress after which a request has failed.
    """
    sockets = sockets_for(bucket, access, timeout_s)
    return None if sockets is None else PlainHTTP(sockets)


class PlainHTTP:
    """A service without TLS, asked over sockets of our own; see ADR 0009.

    Args:
        sockets: The connections to the bucket.
    """

    def __init__(self, sockets: Sockets) -> None:
        self.sockets = sockets

    @property
    def is_paused(self) -> bool:
        """Whether everything is left to obstore for a while, after trouble."""
        return self.sockets.is_paused

    def close(self) -> None:
        """Close idle connections; the next use makes new ones."""
        self.sockets.close()

    def read_into(self, path: str, start: int, buffer: memoryview) -> int | None:
        """Fill a buffer with the bytes of an object from `start` on, as far as the object goes.

        Args:
            path: Key in the bucket.
            start: The first byte.
            buffer: Memory for the bytes; its content is undefined where nothing is returned.

        Returns:
            The size of the whole object; None to ask again by another way.
        """
        with contextlib.suppress(Refused, OSError):
            return self.sockets.read_into(path, start, buffer)
        return None

    def put_small(
        self, items: Sequence[tuple[str, Body]], parallelism: int, on_latency: Callable[[float], None]
    ) -> Sequence[str | None]:
        """Write small objects, many at a time in this thread.

        Args:
            items: Keys in the bucket, and bytes with a known SHA-256.
            parallelism: Number of connections.
            on_latency: Called with the seconds that each request took.

        Returns:
            The ETag of each object; None for an object that may not be written, to be written in another way.

        Raises:
            SourceChanged: The bytes of an item are not those that were announced.
        """
        return self._put_many([Small(path=path, body=body) for path, body in items], parallelism, on_latency)

    def copy_small(self, items: Sequence[tuple[str, str, str]], parallelism: int) -> Sequence[str | None]:
        """Have the service copy small objects, many at a time.

        Args:
            items: Key in the bucket of each copy, bucket and key of its source, and the ETag of that, an MD5.
            parallelism: Number of connections.

        Returns:
            See `put_small`.
        """
        copies = [Copy(path=path, source=source, source_etag=etag) for path, source, etag in items]
        return self._put_many(copies, parallelism, _untimed)  # their time does not tell how far away the service is

    def _put_many(
        self, writes: Sequence[Write], parallelism: int, on_latency: Callable[[float], None]
    ) -> Sequence[str | None]:
        with contextlib.suppress(Refused, OSError):
            return self.sockets.put_many(writes, parallelism, on_latency)
        return [None] * len(writes)


def _untimed(_: float) -> None:
    """Ignore a time."""
