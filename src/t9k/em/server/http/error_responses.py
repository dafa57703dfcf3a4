"""Errors as answers: every one has the form of `wire.error_json`, whoever found it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from t9k.em import wire
from t9k.em.errors import EMError, NotAuthenticated, RateLimited, StoreGone
from t9k.em.server.access import Forbidden

_log = logging.getLogger(__name__)

_OF_STATUS = {
    400: ("bad_request", "the request cannot be understood"),
    404: (
        "not_found",
        "there is nothing at this address; is the path before /apis right? docs/aistore-http.md lists all addresses",
    ),
    405: ("method_not_allowed", "this address does not take this method"),
    413: ("too_large", "the request is too large"),
    415: ("unsupported_encoding", "the body has a form that is not taken here"),
}
_MOST_FLAWS = 5
_OURS = ("store_refused", "internal", "corrupt_data", "corrupt_manifest", "unsafe_store", "newer_store", "store_gone")
_BEHIND = {
    "corrupt_data": "the stored data are damaged",
    "corrupt_manifest": "the record of the node is damaged; upload it again",
    "unsafe_store": "the store behind this server cannot keep records safely",
    "newer_store": "the store behind this server was written by a newer version of t9k-em; the server has to be upgraded",
    "store_gone": (
        "the store behind this server is not there, or another one is: its mark is missing or another's, as where a file "
        "system is not mounted; nothing is written until it is back"
    ),
    "store_refused": "the store or database behind this server refuses it",
    "unavailable": "the store or database behind this server does not answer; try again",
    "commit_unknown": "whether it was published is not known, for the store does not answer; commit again",
    "full": "no space is left behind this server",
}
"""Messages for failures of the server itself; their details go to its log only."""


class Refused(EMError):
    """A request that is answered with a certain code.

    Attributes:
        code: One of `wire.CODES`.
        headers: What the answer says besides.
    """

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str, Mapping[str, str]]]:
        return type(self), (self.code, str(self), self.headers)


def failure(code: str, message: str, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response that reports an error."""
    return JSONResponse(wire.error_json(code, message, request_id), wire.CODES[code].status, dict(headers or {}))


def code_of(error: EMError) -> str:
    """Return the code for an error that a request met."""
    if isinstance(error, Refused):
        return error.code
    if isinstance(error, Forbidden):
        return "forbidden"
    if isinstance(error, NotAuthenticated) and error.reason in wire.CODES:
        return error.reason
    return wire.code_of(error)


def of_error(error: EMError, request_id: str, places: Sequence[str] = ()) -> JSONResponse:
    """Return the answer to a request that met an error of this library.

    Args:
        error: What was raised.
        request_id: Of the request.
        places: Locations of store and database, which no client may learn.
    """
    code = code_of(error)
    message = str(error)
    if wire.CODES[code].status >= 500 and not isinstance(error, Refused):  # noqa: PLR2004 - the server is to blame
        level = logging.ERROR if code in _OURS else logging.WARNING
        _log.log(level, "request %s: %s: %s", request_id, type(error).__name__, error)
        known = _BEHIND.get(code)
        message = unforeseen(request_id) if known is None else f"{known}; its log has the details under {request_id}"
    for place in places:
        message = message.replace(f" in {place}", "")
        if "://" in place:
            message = message.replace(place, "the server")
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, Refused) and error.code == "unavailable":
        headers["Connection"] = "close"  # the rest of a body is on its way, and is not waited for
    if wire.CODES[code].status == 401:  # noqa: PLR2004 - Unauthorized, which has to say how to be authorized
        headers["WWW-Authenticate"] = "Bearer"
    return failure(code, message, request_id, headers)


def unforeseen(request_id: str) -> str:
    """Return the message for what only the log can tell."""
    return f"something went wrong in the server; its log has the details under {request_id}"


def install(app: FastAPI) -> None:
    """Make an app answer every error in the one form."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EMError)  # noqa: S101 - see add_exception_handler
        if isinstance(error, StoreGone):
            await run_in_threadpool(request.app.state.service.look_again)
        return of_error(error, request.state.id, request.app.state.service.secrets_to_hide)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
        return failure("bad_request", _flaws(error.errors()), request.state.id)

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - likewise
        code, message = _OF_STATUS.get(error.status_code, ("bad_request", str(error.detail)))
        return failure(code, message, request.state.id, error.headers)

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        del error  # raised again when it was told, for the log
        return failure("internal", unforeseen(request.state.id), request.state.id, {"Connection": "close"})

    async def gone(request: Request, error: Exception) -> JSONResponse:
        del error  # nobody is there to read the answer, and the log is not to complain of it
        return failure("bad_request", "the body ended before its end", request.state.id)

    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(EMError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _flaws(errors: Any) -> str:
    """Return the flaws of the fields of a request, without their values."""
    found = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in list(errors)[:_MOST_FLAWS]]
    return f"the request has wrong fields: {'; '.join(found)}"
