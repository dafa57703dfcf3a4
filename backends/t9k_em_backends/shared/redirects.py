"""No redirects for drivers on aiohttp: that drops `Authorization` on the way to another host, and sends session tokens and bodies along."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import aiohttp

from t9k.em.errors import BackendError


def no_redirects() -> aiohttp.TraceConfig:
    """Return what ends a request of a session that is redirected, before anything is sent elsewhere."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    return trace


async def _refuse(_: aiohttp.ClientSession, __: object, redirected: aiohttp.TraceRequestRedirectParams) -> None:
    if not {"Location", "URI"} & redirected.response.headers.keys():
        return  # aiohttp goes nowhere then: Google says by 308 how much of a large object has come
    await redirected.response.release()
    raise BackendError(
        f"{redirected.url.host} redirects, which no store does with a request for an object; correct the endpoint"
    )


class Straight:
    """A session of aiohttp for which a redirect is an answer.

    Args:
        session: The session.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, *args: Any, **options: Any) -> aiohttp.ClientResponse:
        """See aiohttp."""
        return await self._session.request(*args, **{**options, "allow_redirects": False})


def is_same_host(one: str, other: str) -> bool:
    """Return whether two URLs lead to the same host and port, by the same scheme."""
    try:
        ours, theirs = [(parts.scheme, parts.hostname, parts.port) for parts in map(urlsplit, (one, other))]
    except ValueError:
        return False
    return ours == theirs
