"""Requests with a JSON document as their body."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from t9k.em.server.caller import authenticate, receive

if TYPE_CHECKING:
    from starlette.types import Message

SMALL_BYTES = 64 << 10
GROWTH = 12
"""How many times its size a document takes when it was parsed; a list of files takes the most."""


class DocumentRoute(APIRoute):
    """A route that looks who asks before it reads the body, and reads a large one only when there is room for it.

    FastAPI by itself reads and parses the body first, of anybody and of as many at once as come.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See the base class."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_document(request: Request) -> Response:
            caller = await authenticate(request)
            service = caller.service
            size = int(request.headers.get("content-length", "0"))
            if size <= SMALL_BYTES:
                await request.body()  # which keeps it
                return await handle(request)
            async with service.room.holding(caller.user) as holding:
                body = b"".join(await receive(request, holding, size))
                async with service.parsing.holding(caller.user, size * GROWTH):
                    return await handle(_read(request, body))

        return handle_document


def _read(request: Request, body: bytes) -> Request:
    """A request whose body was read."""

    async def receive_read() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive_read)
