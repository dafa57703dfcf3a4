"""What an answer means that is no success: by its code if an AIStore gives it, else by its status."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests

from t9k.em import errors, wire
from t9k.em.errors import EMError
from t9k_em_backends.aistore.connection_errors import DRIVER_ERRORS, of_connection
from t9k_em_backends.aistore.failures import WRONG_PLACE, RequestFailure, failure

BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""When a request is repeated."""

_FINAL = ("store_refused", "store_gone")
"""Codes with such a status that say the same when asked again."""

_MOST_TEXT = 2000
_MOST_BYTES = 64 << 10
_LONGEST_NUMBER = 9
_HTTP_1_1 = 11


def of_answer(response: requests.Response, where: str) -> RequestFailure:
    """Return what an answer means that is no success.

    Args:
        response: The answer; it is closed.
        where: The address of the server.
    """
    status, after_s = response.status_code, _after(response)
    try:
        told = _told(response.raw.read(_MOST_BYTES, decode_content=False))
    except DRIVER_ERRORS as error:
        return of_connection(error, where)
    finally:
        response.close()
    kind, message, details = _of_others(response, where) if told is None else _of_ours(*told, status, where)
    if kind is errors.RateLimited:
        details = {"retry_after_s": 1.0 if after_s is None else after_s}
    return RequestFailure(
        error=failure(kind, message, status, details=details),
        # What the server says of the store behind it may have a status of this kind too.
        again=status in BUSY and (told is None or told[0] not in _FINAL),
        maybe_executed=told is None and status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT),
        after_s=after_s,
    )


_Meaning = tuple[type[EMError], str, dict[str, Any]]


def _of_ours(code: str, message: str, status: int, where: str) -> _Meaning:
    kind = wire.CODES[code].error if code in wire.CODES else _of_status(status)
    if kind is errors.NotAuthenticated:
        return kind, f"{where}: {message}; log in with: em login {where}", {"reason": code}
    return kind, f"{where}: {message}", {}


def is_cut(response: requests.Response) -> bool:
    """Return whether the head of an answer ends before its end, which http.client takes for the whole.

    An AIStore says how long its answers are.
    """
    headers = response.headers
    is_framed = "Content-Length" in headers or "Transfer-Encoding" in headers
    is_closing = headers.get("Connection", "").lower() == "close" or response.raw.version < _HTTP_1_1
    return not is_framed and not is_closing and response.status_code != HTTPStatus.NO_CONTENT


def is_encoded(response: requests.Response) -> bool:
    """Return whether the body of an answer is compressed, which nobody asked for: a few bytes may stand for any number."""
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


def _told(body: bytes) -> tuple[str, str] | None:
    """Return code and message of an error of the contract; None for any other response."""
    try:
        told = json.loads(body)["error"]
        code, message = told["code"], told["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(code, str) or not isinstance(message, str):
        return None
    return code, "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in message[:_MOST_TEXT]
    )


def _of_status(status: int) -> type[EMError]:
    """Return the error for a code that this version does not know."""
    if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        return errors.BackendUnavailable
    found: dict[int, type[EMError]] = {
        HTTPStatus.UNAUTHORIZED: errors.NotAuthenticated,
        HTTPStatus.FORBIDDEN: errors.BackendPermissionError,
        HTTPStatus.NOT_FOUND: errors.NotFound,
        HTTPStatus.TOO_MANY_REQUESTS: errors.RateLimited,
    }
    is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return found.get(status, errors.BackendError if is_ours else errors.RequestRefused)


def _of_others(response: requests.Response, where: str) -> _Meaning:
    """Return the error for an answer that no AIStore gives, but a proxy before it or another program."""
    status = response.status_code
    said = f"{where} answers {status}"
    if response.is_redirect or HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return (
            errors.BackendError,
            f"{where} answers with a redirect to {_target(response)}; log in with that address",
            {},
        )
    if status in _OF_PROXIES:
        kind, advice = _OF_PROXIES[status]
        return kind, f"{said}: {advice}", {}
    if status == HTTPStatus.BAD_REQUEST and where.startswith("http://"):
        return errors.BackendError, f"{said}, and not as an AIStore does: does it speak TLS? Then use https://", {}
    is_refusal = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in (404, 405)
    kind = errors.RequestRefused if is_refusal else errors.BackendError
    return kind, f"{said}, and not as an AIStore does: {WRONG_PLACE}", {}


_LOGIN: tuple[type[EMError], str] = (
    errors.BackendPermissionError,
    "a proxy on the way, and no AIStore, wants another login; ask its operator, or name the server in NO_PROXY",
)
_DOWN: tuple[type[EMError], str] = (
    errors.BackendUnavailable,
    "the server behind that proxy is not there; run the same command again later, it goes on where it stopped",
)
_OF_PROXIES: dict[int, tuple[type[EMError], str]] = {
    401: _LOGIN,
    403: _LOGIN,
    407: _LOGIN,
    413: (
        errors.RequestRefused,
        "a proxy on the way takes no body of that size; ask its operator to raise the limit (nginx: client_max_body_size)",
    ),
    429: (errors.RateLimited, "too many requests; try again later"),
    502: _DOWN,
    503: _DOWN,
    504: _DOWN,
}


def _target(response: requests.Response) -> str:
    """Return the target of a redirect, without parts that may be secret and without the path of the API."""
    try:
        parts = urlsplit(response.headers.get("Location", ""))
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "somewhere else"
    if not parts.hostname:
        return "another path"
    return f"{parts.scheme or 'https'}://{parts.hostname}{port}{parts.path.partition(wire.PREFIX)[0]}"


def _after(response: requests.Response) -> float | None:
    """Return the seconds to wait; a date is ignored, for clocks differ."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() and len(value) <= _LONGEST_NUMBER else None
