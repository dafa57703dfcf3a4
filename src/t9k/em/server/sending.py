"""Answers with the bytes of files: as many at once as there is room for, however slowly they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from t9k.em.records import CHUNK_BYTES
from t9k.em.server.caller import authenticate
from t9k.em.server.room import Holding

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

HELD_BYTES = 2 * CHUNK_BYTES
"""What one answer holds: a chunk that is sent, and the one that its store reads meanwhile."""

PIECE_BYTES = 64 << 10
"""So much is handed to a connection at once, and so much may wait there for a client that does not read."""


class ContentRoute(APIRoute):
    """A route whose answer is an iterator of chunks; it waits for room before the store is asked for the first one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See the base class."""
        handle = super().get_route_handler()

        async def handle_content(request: Request) -> Response:
            caller = await authenticate(request)
            async with AsyncExitStack() as stack:
                holding = await stack.enter_async_context(caller.service.sending.holding(caller.user, HELD_BYTES))
                response = await handle(request)
                return _Held(response, holding, stack.pop_all())
            raise AssertionError  # the stack suppresses nothing

        return handle_content


def content_response(
    chunks: Iterator[bytes], status: int = 200, headers: dict[str, str] | None = None
) -> StreamingResponse:
    """Make an answer of chunks.

    Args:
        chunks: What to send; read and closed in threads.
        status: Of the answer.
        headers: Of the answer.
    """
    return StreamingResponse(_in_pieces(chunks), status, headers, "application/octet-stream")


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
            self._holding.came_bytes += len(message.get("body", b""))

        async with self._stack:
            with anyio.CancelScope() as cancelling:
                self._holding.give_way = cancelling.cancel
                await self._response(scope, receive, counted)
            self._holding.give_way = None
