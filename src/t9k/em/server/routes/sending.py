"""Answer with the bytes of files: as many large ones at once as there is room for, however slowly they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
from attrs import field, frozen
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from t9k.em.records import CHUNK_BYTES
from t9k.em.server.authentication import RequestUser
from t9k.em.server.http.room import Holding

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "application/octet-stream"
HELD_BYTES = 2 * CHUNK_BYTES
"""What one answer holds at most: a chunk that is sent, and the one that its store reads meanwhile."""

PIECE_BYTES = 64 << 10
"""So much is handed to a connection at once, and so much may wait there for a client that does not read."""


@frozen(kw_only=True)
class Content:
    """What an answer consists of.

    Attributes:
        read: Gives the bytes in chunks, and raises what is wrong with them before the first one.
        size_bytes: Number of bytes; None if it is known only at the end.
        status: Of the answer.
        headers: Of the answer.
    """

    read: Callable[[], Iterator[bytes]]
    size_bytes: int | None = None
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)


async def content_response(caller: RequestUser, look_up: Callable[[], Content]) -> Response:
    """Make an answer of what was looked up, when there is room for its chunks; what fits a connection needs none.

    Args:
        caller: Who asks.
        look_up: Finds out what is sent; called in a thread, as all that it gives is.
    """
    content, whole = await run_in_threadpool(_begin, look_up)
    headers = dict(content.headers)
    if whole is not None:
        return Response(whole, content.status, headers, MEDIA_TYPE)
    size = HELD_BYTES if content.size_bytes is None else min(HELD_BYTES, content.size_bytes)
    async with AsyncExitStack() as stack:
        holding = await stack.enter_async_context(caller.service.sending.holding(caller.user, size))
        chunks = await run_in_threadpool(content.read)
        response = StreamingResponse(_in_pieces(chunks), content.status, headers, MEDIA_TYPE)
        return _Held(response, holding, stack.pop_all())
    raise AssertionError  # the stack suppresses nothing


def _begin(look_up: Callable[[], Content]) -> tuple[Content, bytes | None]:
    content = look_up()
    is_small = content.size_bytes is not None and content.size_bytes <= PIECE_BYTES
    return content, b"".join(content.read()) if is_small else None


async def _in_pieces(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    try:
        while (chunk := await run_in_threadpool(next, chunks, None)) is not None:
            view = memoryview(chunk)
            for start in range(0, len(view), PIECE_BYTES):
                yield bytes(view[start : start + PIECE_BYTES])  # a view that waits would keep the whole chunk
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            with anyio.CancelScope(shield=True):  # also when the client is gone
                await run_in_threadpool(close)


class _Held(Response):
    """An answer that gives its room back when it was sent, and is broken off when it is read too slowly while others wait."""

    def __init__(self, response: Response, holding: Holding, stack: AsyncExitStack) -> None:
        self._response = response
        self._holding = holding
        self._stack = stack
        self.status_code, self.background, self.body = response.status_code, None, b""
        self.raw_headers = response.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Any) -> None:
            await send(message)
            self._holding.came(len(message.get("body", b"")))

        async with self._stack:
            with anyio.CancelScope() as cancelling:
                self._holding.give_way = cancelling.cancel
                await self._response(scope, receive, counted)
            self._holding.give_way = None
