"""The values in a record of a store: JSON that any reader takes, in the right types and within limits.

A bucket may be hostile, so nothing is believed. The same rules hold for what is written: a record is read, as its readers
read it, before it is put.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from t9k.em import json_values
from t9k.em.errors import CorruptManifest
from t9k.em.names import KeySet, is_op
from t9k.em.records import FileEntry

MAX_METADATA_BYTES = 1 << 20
MAX_TEXT_BYTES = 1024
"""Of a text in a record that is neither a name nor a key: an id, a kind, a writer, an ETag."""

MAX_DEPTH = 128
"""Of metadata; 100 is what the library keeps of hyperparameters."""

FLAWS = (CorruptManifest, ValueError, TypeError, KeyError, RecursionError)
"""The errors of reading a malformed record; no store raises any of them."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NewerFormat(CorruptManifest):
    """A record is of a later version of the format: not damaged, and to be left alone."""


def dump_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises:
        ValueError, RecursionError: The text is no JSON.
    """
    return json.loads(data.decode())


def format_of(record: Mapping[str, Any], known: int, key: str) -> None:
    """Refuse a record of another format.

    Raises:
        NewerFormat: The record has a later format.
        ValueError: The record has no format.
    """
    found = record["v"]
    if type(found) is int and found > known:
        raise NewerFormat(f"{key} has format {found!r}, this version reads {known}; upgrade t9k-em")
    if type(found) is not int or found != known:
        raise ValueError(f"format {found!r}")


def text(value: Any) -> str:
    """Return a text that can be written in UTF-8."""
    if len(json_values.text(value).encode()) > MAX_TEXT_BYTES:
        raise ValueError(f"{value!r:.100} is longer than {MAX_TEXT_BYTES} bytes")
    return str(value)


def op(value: Any) -> str:
    """Return the id of an upload."""
    if not is_op(text(value)):
        raise ValueError(f"{value!r} is no upload")
    return str(value)


def sha256(value: Any) -> str:
    """Return a checksum."""
    if not _SHA256.fullmatch(text(value)):
        raise ValueError(f"{value!r} is no SHA-256")
    return str(value)


def time(value: Any) -> str:
    """Return a time as `utc_text` writes it."""
    if not _TIME.fullmatch(text(value)):
        raise ValueError(f"{value!r} is no time")
    datetime.fromisoformat(value[:-1])
    return str(value)


def metadata(value: Any, most_bytes: int = MAX_METADATA_BYTES) -> Mapping[str, Any]:
    """Metadata of a node: an object whose values every reader of JSON takes.

    Raises:
        ValueError, TypeError, RecursionError: The value is no metadata, too large or too deep.
    """
    if not isinstance(value, Mapping):
        raise TypeError("the metadata are no object")
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"the metadata are nested more than {MAX_DEPTH} deep")
        inner: Iterable[Any] = ()
        if isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                raise TypeError("the metadata have a key that is no text")
            inner = item.values()
        elif isinstance(item, (list, tuple)):
            inner = item
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("the metadata hold NaN or an infinity")
        pending.extend((value, depth + 1) for value in inner if isinstance(value, (Mapping, list, tuple, float)))
    try:
        size = len(dump_json(value))
    except UnicodeEncodeError as error:
        raise ValueError("the metadata hold a lone surrogate, which is no valid Unicode") from error
    if size > most_bytes:
        raise ValueError(f"the metadata take {size} bytes of JSON, of at most {most_bytes}")
    return value


def file_record(file: FileEntry) -> dict[str, Any]:
    """Return a file of a node as JSON."""
    record = {"key": file.key, "op": file.op, "size": file.size, "sha256": file.sha256}
    return {**record, "etag": file.etag} if file.etag else record


def file_entry(record: Any) -> FileEntry:
    """Return the reverse of `file_record`."""
    return FileEntry(
        key=record["key"],
        op=op(record["op"]),
        size=json_values.count(record["size"]),
        sha256=record["sha256"],
        etag=text(record.get("etag", "")),
    )


def distinct(files: Iterable[FileEntry], number: int, size: int) -> tuple[FileEntry, ...]:
    """Files of one node, compared with the number and size that are told of them.

    Raises:
        KeyCollision: Some file system cannot keep them apart.
        ValueError: The list holds a value twice.
    """
    keys = KeySet()
    found = []
    for file in files:  # one that comes again is the end, before all are in memory
        keys.add(file.key)
        found.append(file)
    if (len(found), sum(file.size for file in found)) != (number, size):
        raise ValueError("the number or size of its files is another")
    return tuple(found)
