"""Bytes of files, streamed: a connection that breaks is taken up where it was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import requests

from t9k.em.errors import BackendUnavailable
from t9k.em.records import CHUNK_BYTES
from t9k_em_backends.aistore.connection_errors import DRIVER_ERRORS, of_connection
from t9k_em_backends.aistore.failures import failure
from t9k_em_backends.aistore.retries import Retries

MOST_BREAKS = 4
"""How often in a row a stream may break without `LEAST_BYTES` having come."""

LEAST_BYTES = 64 << 10


def stream(
    begin: Callable[[int], requests.Response], start: int, end: int | None, where: str, retries: Retries
) -> Iterator[bytes]:
    """Yield the bytes [start, end) in chunks of 1 MiB, the first of them fetched already.

    Args:
        begin: Asks for the bytes from an offset on, and has checked the answer.
        start: The first byte.
        end: The one after the last; None for as many as come.
        where: What errors call the server.
        retries: How often to ask again.

    Raises:
        EMError: Any error of `begin`.
        BackendUnavailable: The connection breaks again and again.
    """
    chunks = _chunks(begin, start, end, where, retries)
    first = next(chunks, None)

    def rest() -> Generator[bytes, None, None]:
        try:
            if first is not None:
                yield first
                yield from chunks
        finally:
            chunks.close()

    return rest()


def _chunks(
    begin: Callable[[int], requests.Response], start: int, end: int | None, where: str, retries: Retries
) -> Generator[bytes, None, None]:
    at, breaks, since = start, 0, start
    while True:
        response = begin(at)
        lost = failure(BackendUnavailable, f"{where} ends a file before its end, again and again; try again later")
        try:
            while end is None or at < end:
                chunk = response.raw.read(CHUNK_BYTES, decode_content=False)
                if not chunk:
                    break
                chunk = chunk if end is None else chunk[: end - at]
                at += len(chunk)
                yield chunk
            if end is None or at >= end:
                return
        except DRIVER_ERRORS as error:
            why = of_connection(error, where)
            lost = why.error
            if not why.again:
                raise lost from None
        finally:
            response.close()
        if at - since >= LEAST_BYTES:
            breaks, since = 0, at
        breaks += 1
        if breaks > MOST_BREAKS:
            raise lost
        retries.sleep(retries.chance() * retries.first_s * 2**breaks)
