"""The index of an artifact's objects: `index.yaml`, a mapping whose one list has a JSON object in every line.

::

    objects:
    - {"key":"weights/model.pt","size":12,"sha256":"..."}
    - {"key":"corpus","uri":"https://host/corpus.tar","size":34,"etag":"...","last_modified":"..."}

It is valid YAML for any reader and one append for us. Of two lines with one key the later counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t9k.em.errors import CorruptLocalData, InvalidInput
from t9k.em.local.appender import LineAppender
from t9k.em.local.files import write_atomic
from t9k.em.names import check_collisions, check_key
from t9k.em.records import FileSpec
from t9k.em.uris import check_reference

HEADER = b"objects:\n"

Objects = dict[str, dict[str, Any]]


def encode(objects: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Writes an index."""
    return HEADER + b"".join(line(key, data) for key, data in objects.items())


def line(key: str, data: Mapping[str, Any]) -> bytes:
    """Writes one line of an index."""
    return b"- " + json.dumps({"key": key, **data}, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def append(path: Path, objects: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds lines to an index, durably."""
    with LineAppender(path) as appender:
        for key, data in objects.items():
            appender.append(line(key, data))


def write(path: Path, objects: Mapping[str, Mapping[str, Any]]) -> None:
    """Replaces an index, durably."""
    write_atomic(path, encode(objects))


def decode(data: bytes, what: str) -> Objects:
    """Reads an index, ours or one that another YAML tool wrote; believes nothing.

    A torn last line is that of an object that was never completely added, and left out.

    Raises:
        CorruptLocalData: It is no index, or a key, size, checksum or URI in it cannot be.
    """
    records = _fast(data)
    if records is None:
        from t9k.em.local import yamlfile  # noqa: PLC0415 - slow to import, and rarely needed

        loaded = yamlfile.load(data, what=what)
        records = loaded.get("objects") if isinstance(loaded, dict) else None
    if not isinstance(records, list):
        raise CorruptLocalData(f"{what} has no list of objects; put a good copy in its place")
    try:
        objects = {check_key(record["key"]): _checked(record) for record in records}
        check_collisions(objects)
    except (InvalidInput, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptLocalData(
            f"{what} holds an object that cannot be: {error}; put a good copy in its place"
        ) from error
    return objects


def _fast(data: bytes) -> list[Any] | None:
    """Reads the form that `encode` and `append` write; None for any other."""
    if not data.startswith(HEADER):
        return None
    body = data[len(HEADER) : data.rfind(b"\n") + 1].rstrip(b"\n")
    lines = body.split(b"\n") if body else []
    if not all(text.startswith(b"- {") for text in lines):
        return None
    try:
        loaded: list[Any] = json.loads(b"[" + b",".join(text[2:] for text in lines) + b"]")
    except ValueError:
        return None
    return loaded


def _checked(record: Mapping[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in record.items() if name != "key"}
    if "uri" in data:
        check_reference(data["uri"])
    else:
        FileSpec(key=record["key"], size=data["size"], sha256=data["sha256"])
    return data
