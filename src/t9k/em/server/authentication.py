"""Who makes a request, and what the routes do it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import anyio
from attrs import frozen
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State

from t9k.em.backend import Backend
from t9k.em.errors import NotAuthenticated
from t9k.em.memory.buffers import BUFFER_BYTES
from t9k.em.names import check_path, split_version
from t9k.em.server import audit
from t9k.em.server.access import Access, owner_of
from t9k.em.server.accounts import Principal
from t9k.em.server.http.bodies import Received
from t9k.em.server.http.large_bodies import LARGE_BYTES
from t9k.em.server.http.limits import TooSlow
from t9k.em.server.http.room import Holding
from t9k.em.server.service import Service
from t9k.em.wire import KEY_PARAMETER, VIEW

_Result = TypeVar("_Result")
_bearer = HTTPBearer(auto_error=False, description="An API key, a UUID.")


@frozen
class RequestUser:
    """Somebody with a valid key, in the course of one request.

    Attributes:
        service: What the process has.
        principal: Who asks.
        access: What they may do.
        state: Of the request.
    """

    service: Service
    principal: Principal
    access: Access
    state: State

    def about(self, **fields: Any) -> None:
        """Add to the audit log what the request is about where its address does not say so; see `t9k.em.server.audit`."""
        audit.about(self.state, **fields)

    @property
    def user(self) -> str:
        """Their name."""
        return self.principal.user

    @property
    def tree(self) -> Backend:
        """The backend as they write to it."""
        return self.service.tree(self.user)

    def make_home(self, path: str) -> None:
        """Make the home or default folder of another user, which exist for that user even when nobody made them.

        Args:
            path: Where something is about to be written; nothing happens for any other.
        """
        owner = owner_of(path)
        if owner != self.user and path in (f"/{owner}", f"/{owner}/default") and owner:
            self.service.tree(owner).make_folder(path)

    def reading(self, path: str, wanted: str = VIEW) -> Backend:
        """Return the backend for a path that they may see.

        Args:
            path: Absolute, perhaps with a generation.
            wanted: What they have to be allowed, see `Access.require`.

        Raises:
            InvalidName: The path cannot be one.
            NotFound, Forbidden: See `Access.require`.
        """
        bare = split_version(check_path(path, version=True))[0]
        self.access.require(bare, wanted)
        return self.service.tree_at(bare, self.user)


async def authenticate(request: Request) -> RequestUser:
    """Find out who makes a request, once.

    Raises:
        NotAuthenticated: See `t9k.em.server.accounts.keys.Keys.authenticate`.
        RateLimited: The user sends too many requests.
    """
    known: RequestUser | None = getattr(request.state, "caller", None)
    if known is not None:
        return known
    service: Service = request.app.state.service
    key = _key(request, allow_query=service.settings.allow_query_keys)
    principal = await run_in_threadpool(service.accounts.authenticate, key)
    request.state.user, request.state.key_id = principal.user, principal.key_id
    service.rates.take(principal.user)
    caller = request.state.caller = RequestUser(service, principal, Access(service.accounts, principal), request.state)
    return caller


async def _authenticated(request: Request, _: Annotated[object, Security(_bearer)]) -> RequestUser:
    return await authenticate(request)


def _key(request: Request, *, allow_query: bool) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if allow_query and KEY_PARAMETER in request.query_params:
        return request.query_params[KEY_PARAMETER]
    missing = NotAuthenticated("an API key is needed; send it as 'Authorization: Bearer <key>'", reason="key_missing")
    raise missing


Authenticated = Annotated[RequestUser, Depends(_authenticated)]
"""The caller, for a route that nobody uses without a key."""


async def with_body(request: Request, work: Callable[[Received], _Result], caller: RequestUser) -> _Result:
    """Read the whole body, which the guard has bounded, as there is room for it, and work on it in a thread.

    Args:
        request: The request.
        work: What to do with the body.
        caller: Who sends it.

    Raises:
        TooSlow: The body came so slowly that it had to give way to others.
    """
    size = int(request.headers.get("content-length", "0"))
    service = caller.service
    room = service.room if size >= LARGE_BYTES else service.small_room
    async with room.holding(caller.user) as holding:
        return await run_in_threadpool(work, Received(await receive(request, holding, size)))


async def receive(request: Request, holding: Holding, size: int) -> list[bytes]:
    """Read the whole body, with room for what comes.

    Args:
        request: The request.
        holding: Its room, which grows.
        size: Of the body, in bytes.

    Raises:
        TooSlow: The body came so slowly that it had to give way to others.
    """
    pieces: list[bytes] = []
    with anyio.CancelScope() as scope:
        holding.give_way = scope.cancel
        await holding.grow(min(size, BUFFER_BYTES))
        async for piece in request.stream():
            pieces.append(piece)
            holding.came(len(piece))
            await holding.grow(min(size, holding.came_bytes + BUFFER_BYTES))
    holding.give_way = None
    if scope.cancelled_caught:
        raise TooSlow(
            "unavailable", "others wait for the room of a body that comes too slowly; send it again, in smaller pieces"
        )
    return pieces
