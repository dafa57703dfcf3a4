"""JSON documents in bodies: taken apart piece by piece where they may be long, and only up to their first flaws.

What becomes of a text may take a hundred times its memory, and so may the report of what is wrong with it. The one long
part that a document may have, its list of files, is read record by record; the rest has a limit of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from t9k.em.server.http.error_responses import Refused
from t9k.em.wire import MOST_FIELDS

REST_BYTES = 2 << 20
"""Of a document without its list of files: metadata, paths, and what the upload comes from."""

RECORD_CHARS = 16 << 10

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rf"{_STRING}|[{{}}\[\]]")
_OPENING = re.compile(r"\s*:\s*\[", re.ASCII)
_CLOSING = re.compile(r"\s*\]", re.ASCII)
_RECORD = re.compile(rf'\s*(\{{[^{{}}\[\]"]*(?:{_STRING}[^{{}}\[\]"]*)*\}})\s*([,\]])', re.ASCII)

_Model = TypeVar("_Model", bound=BaseModel)


def parse(body: bytes, model: type[_Model]) -> _Model:
    """Return what a body says.

    Args:
        body: JSON in UTF-8.
        model: What it is to be. Where this has a class attribute `RECORDS`, the field of that name is a long list of records
            without lists or objects in them, and the attribute says what each of them is to be.

    Raises:
        Refused: The body is no JSON, too large, or has too many fields.
        RequestValidationError: The document has another form; the error reports the first flaws.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _no_json(error) from error
    name, record = getattr(model, "RECORDS", ("", BaseModel))
    start = _start_of_list(text, name) if name else 0
    if not start:
        return _validated(model, _value(text))
    records: list[BaseModel] = []
    end = start
    for behind, value in _records(text, start, name):
        records.append(_validated(record, value, name, len(records)))
        end = behind
    found = _validated(model, _value(f"{text[:start]}{text[end:]}"))
    setattr(found, name, records)
    return found


def parse_stored(document: bytes, name: str) -> dict[str, Any]:
    """Return what a document says that was parsed before, its long list read record by record.

    Args:
        document: JSON in UTF-8.
        name: The field that is a long list.

    Raises:
        Refused: The document has another form.
    """
    text = document.decode()
    end = start = _start_of_list(text, name)
    records = []
    for behind, value in _records(text, start, name):
        records.append(value)
        end = behind
    return {**_value(f"{text[:start]}{text[end:]}"), name: records}


def _start_of_list(text: str, name: str) -> int:
    """Return the index of the first element of a list that is a field of the document; 0 without such a list, or for one far behind other fields."""
    depth = 0
    for token in _TOKEN.finditer(text, 0, REST_BYTES):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
        elif depth == 1 and token[0] == f'"{name}"' and (opening := _OPENING.match(text, token.end())):
            return opening.end()
    return 0


def _records(text: str, at: int, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the elements of a list, and where each ends: before the comma that follows, or before the bracket.

    Raises:
        Refused: An element is no record.
    """
    if _CLOSING.match(text, at):
        return
    number = 0
    while True:
        match = _RECORD.match(text, at, at + RECORD_CHARS)
        if match is None:
            raise Refused(
                "bad_request",
                f"the request has wrong fields: body.{name}.{number}: it is no object of texts and numbers",
            )
        is_last = match[2] == "]"
        yield match.end() - is_last, _value(match[1])
        if is_last:
            return
        at, number = match.end(), number + 1


def _value(text: str) -> Any:
    if len(text) > REST_BYTES:
        raise Refused(
            "too_large", f"the document has {len(text)} characters beside its list of files, of at most {REST_BYTES}"
        )
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _no_json(error) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MOST_FIELDS:
        raise Refused("invalid_input", f"an object of the JSON has {len(pairs)} fields, of at most {MOST_FIELDS}")
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused("bad_request", "an object of the JSON has a field twice")
    return found


def _validated(model: type[_Model], value: Any, *place: str | int) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        flaws = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**flaw, "loc": ("body", *place, *flaw["loc"])} for flaw in flaws]) from None


def _no_json(error: Exception) -> Refused:
    return Refused("bad_request", f"the body is no JSON in UTF-8: {error}")
