"""The documents in answers, read as far as one may have to be: neither without end, nor compressed, nor of more values than memory holds."""

from __future__ import annotations

import json
from typing import Any

import requests

from t9k.em.errors import EMError
from t9k_em_backends.aistore.connection_errors import DRIVER_ERRORS, broken_off, of_connection
from t9k_em_backends.aistore.failures import AnswerTooLarge, Failed, failure, stranger

MOST_BYTES = 64 << 20
"""The longest document that is read."""

MOST_VALUES = 2_000_000
"""The most values that a document may hold: an empty list takes 2 bytes in it and 60 in memory."""

_PIECE_BYTES = 256 << 10


def read_document(response: requests.Response, where: str) -> Any:
    """Read the JSON of an answer, which is closed.

    Args:
        response: The answer.
        where: The address of the server.

    Raises:
        Failed: The body broke off.
        AnswerTooLarge: The document is larger than any of the API.
        BackendError: The body is no JSON document.
    """
    kind = response.headers.get("Content-Type", "")
    if "json" not in kind:
        response.close()
        what = "a web page" if "html" in kind else "something that is no JSON"
        raise stranger(where, response.status_code, what)
    data = _read(response, where)
    # The counts cost a thousandth of what the values themselves would.
    if sum(map(data.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise _too_large(where, f"more than {MOST_VALUES:,} values", response)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise stranger(where, response.status_code, "broken JSON") from None


def _read(response: requests.Response, where: str) -> bytes:
    announced = response.headers.get("Content-Length", "")
    size = int(announced) if announced.isdecimal() else 0
    data = bytearray()
    try:
        while size <= MOST_BYTES and len(data) <= MOST_BYTES:
            piece = response.raw.read(_PIECE_BYTES, decode_content=False)
            if not piece:
                break
            data += piece
    except DRIVER_ERRORS as error:
        response.close()
        raise Failed(of_connection(error, where)) from None
    if max(size, len(data)) > MOST_BYTES:
        response.close()
        raise _too_large(where, f"more than {MOST_BYTES >> 20} MiB", response)
    if len(data) < size:  # which urllib3 before 2 does not compare
        raise Failed(broken_off(where))
    return bytes(data)


def _too_large(where: str, what: str, response: requests.Response) -> EMError:
    return failure(
        AnswerTooLarge,
        f"{where} answers with {what}, which no AIStore does; is that the server you mean?",
        response.status_code,
    )
