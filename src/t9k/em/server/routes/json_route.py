"""Requests with a JSON document as their body."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from t9k.em.server.authentication import authenticate, receive
from t9k.em.server.http.json_bodies import parse

SMALL_BYTES = 64 << 10
INLINE_BYTES = 4 << 10
"""A document that is not larger is parsed while others wait, which takes less than a thread."""

GROWTH = 12
"""How many times its size a document takes when it was parsed; a list of files takes the most."""


_JSON = re.compile(r"application/([\w.-]+\+)?json\s*(;|$)", re.ASCII | re.IGNORECASE)


class DocumentRoute(APIRoute):
    """A route that looks who asks before it reads the body, and reads a large one only when there is room for it.

    FastAPI by itself reads and parses the body first, of anybody and of as many at once as come, and holds up all other
    requests meanwhile.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See the base class."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        model = self.body_field.field_info.annotation
        assert isinstance(model, type)  # noqa: S101 - each of our documents is one model
        assert issubclass(model, BaseModel)  # noqa: S101 - likewise

        async def handle_document(request: Request) -> Response:
            caller = await authenticate(request)
            service = caller.service
            size = int(request.headers.get("content-length", "0"))
            if size <= SMALL_BYTES:
                return await handle(await _parsed(request, await request.body(), model))
            async with service.room.holding(caller.user) as holding:
                body = b"".join(await receive(request, holding, size))
                async with service.parsing.holding(caller.user, size * GROWTH):
                    return await handle(await _parsed(request, body, model))

        return handle_document


class _Parsed(Request):
    """A request whose body was read and parsed.

    Args:
        request: The request.
        data: Its body, or what stands for it.
        document: What it says; None where its type is not JSON.
    """

    def __init__(self, request: Request, data: bytes, document: BaseModel | None) -> None:
        super().__init__(request.scope)
        self._data = data
        self._document = document

    async def body(self) -> bytes:
        """See the base class."""
        return self._data

    async def json(self) -> Any:
        """See the base class; only asked where the type is JSON."""
        return self._document


async def _parsed(request: Request, body: bytes, model: type[BaseModel]) -> Request:
    if not body or not _JSON.match(request.headers.get("content-type", "")):
        return _Parsed(request, body[:1], None)  # which FastAPI refuses
    if len(body) <= INLINE_BYTES:
        document = parse(body, model)
    else:
        document = await run_in_threadpool(parse, body, model)
    return _Parsed(request, b"{}", document)
