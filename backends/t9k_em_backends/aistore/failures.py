"""Errors of this library that are `requests.HTTPError` as well, and why a request failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import requests
from attrs import frozen

from t9k.em.errors import BackendError, EMError

WRONG_PLACE = (
    "is there an AIStore at this address? It often has a path, like https://host/t9k/aistore/server; that of "
    "NVIDIA's AIStore is used as s3://"
)


class OverHTTP(requests.HTTPError):
    """What all errors that came out of HTTP have in common.

    Attributes:
        response: Its status, without request and body; None where no answer came.
    """

    kind: ClassVar[type[EMError]]
    is_connection: ClassVar[bool] = False
    details: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        status = None if self.response is None else self.response.status_code
        return failure, (self.kind, str(self), status, self.is_connection, dict(self.details))


class _Connecting(OverHTTP, requests.ConnectionError):
    is_connection = True


class AnswerTooLarge(BackendError):
    """An answer is longer than any may be; a shorter one may be asked for."""


_made: dict[tuple[type[EMError], bool], type[EMError]] = {}


def failure(
    kind: type[EMError],
    message: str,
    status: int | None = None,
    is_connection: bool = False,
    details: Mapping[str, Any] | None = None,
) -> EMError:
    """Make an error of this library that is a `requests.HTTPError` as well, and can be pickled.

    Args:
        kind: What it is here.
        message: What, where, and what to do next.
        status: Of the answer; None when there was none.
        is_connection: Whether it is a `requests.ConnectionError` too.
        details: More arguments of `kind`.
    """
    if (kind, is_connection) not in _made:  # a second class of that kind, made by another thread, does no harm
        base = _Connecting if is_connection else OverHTTP
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "kind": kind, "__reduce__": base.__reduce__}
        _made[kind, is_connection] = type(kind.__name__, (kind, base), names)
    error = _made[kind, is_connection](message, **(details or {}))
    assert isinstance(error, OverHTTP)  # noqa: S101 - see above
    error.details = details or {}
    error.request = None
    error.response = None
    if status is not None:
        error.response = requests.Response()
        error.response.status_code = status
        error.response._content = b""  # noqa: SLF001 - so that it is complete
    return error


def stranger(where: str, status: int, what: str) -> EMError:
    """Return the error for a success that no AIStore answers so.

    Args:
        where: The address of the server.
        status: Of the answer.
        what: What it answers with.
    """
    return failure(BackendError, f"{where} answers with {what}: {WRONG_PLACE}", status)


@frozen(kw_only=True)
class RequestFailure:
    """Why a request failed.

    Attributes:
        error: The exception that the caller gets in the end.
        again: Whether repeating it may help.
        maybe_executed: Whether the server may have executed it all the same.
        dropped: Whether its connection ended without an answer.
        after_s: When the server asks to come back, in seconds.
    """

    error: EMError
    again: bool = False
    maybe_executed: bool = False
    dropped: bool = False
    after_s: float | None = None


class Failed(Exception):
    """One try did not succeed; never leaves this package.

    Attributes:
        why: Why.
    """

    def __init__(self, why: RequestFailure) -> None:
        super().__init__(str(why.error))
        self.why = why
