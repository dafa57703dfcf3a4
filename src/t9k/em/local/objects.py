"""The index of an artifact's objects: `index.yaml`, a mapping whose one list has a JSON object in every line.

::

    objects:
    - {"key":"weights/model.pt","size":12,"sha256":"..."}
    - {"key":"corpus","uri":"https://host/corpus.tar","size":34,"etag":"...","last_modified":"..."}

It is valid YAML for any reader and one append for us. Of two lines with one key the later counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from t9k.em.errors import CorruptLocalData, InvalidInput, InvalidKey
from t9k.em.local.appender import LineAppender
from t9k.em.local.below import AnyPath
from t9k.em.local.files import write_atomic
from t9k.em.names import check_collisions, check_key
from t9k.em.patterns import lazily
from t9k.em.records import FileSpec
from t9k.em.uris import check_reference

HEADER = b"objects:\n"

_FILE_FIELDS = {"size", "sha256"}
# In JSON they may stand as they are, in YAML not: C1 controls, line separators, byte order marks, non-characters.
_NOT_YAML = lazily("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

Objects = dict[str, dict[str, Any]]


def encode(objects: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Write an index."""
    return HEADER + b"".join(line(key, data) for key, data in objects.items())


def line(key: str, data: Mapping[str, Any]) -> bytes:
    """Write one line of an index."""
    text = _JSON.encode({"key": key, **data})
    return b"- " + _NOT_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode() + b"\n"


def append(path: AnyPath, objects: Mapping[str, Mapping[str, Any]]) -> None:
    """Add lines to an index, durably."""
    with LineAppender(path) as appender:
        for key, data in objects.items():
            appender.append(line(key, data))


def write(path: AnyPath, objects: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace an index, durably."""
    write_atomic(path, encode(objects))


def decode(data: bytes, what: str) -> Objects:
    """Read an index, ours or one that another YAML tool wrote; believe nothing.

    A torn last line is that of an object that was never completely added, and left out.

    Raises:
        CorruptLocalData: The text is no index, or a key, size, checksum or URI in it cannot be.
    """
    records = _fast(data)
    if records is None:
        from t9k.em.local import yamlfile  # noqa: PLC0415 - slow to import, and rarely needed

        loaded = yamlfile.load(data, what=what)
        records = (loaded["objects"] or []) if isinstance(loaded, dict) and "objects" in loaded else None
    if not isinstance(records, list):
        raise CorruptLocalData(f"{what} has no list of objects; put a good copy in its place")
    try:
        return checked(records)
    except InvalidInput as error:
        raise CorruptLocalData(
            f"{what} holds an object that cannot be: {error}; put a good copy in its place"
        ) from error


def checked(records: Iterable[Any]) -> Objects:
    """Objects by key, from records that hold it beside the data.

    Raises:
        InvalidInput: A record has another form, or a key, size, checksum or URI in it cannot be.
        KeyCollision: Some file system cannot keep two keys apart.
    """
    objects = dict(map(_checked, records))
    check_collisions(objects)
    return objects


def _fast(data: bytes) -> list[Any] | None:
    """Read the form that `encode` and `append` write; None for any other."""
    if not data.startswith(HEADER):
        return None
    body = data[len(HEADER) : data.rfind(b"\n") + 1].rstrip(b"\n")
    lines = body.split(b"\n") if body else []
    if not all(text.startswith(b"- {") for text in lines):
        return None
    try:
        loaded: list[Any] = json.loads(b"[" + b",".join(text[2:] for text in lines) + b"]")
    except (ValueError, RecursionError):
        return None
    return loaded


def _checked(record: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(record, Mapping):
        raise InvalidInput(f"{record!r} is no record of an object; one has 'key', and 'size' and 'sha256', or 'uri'")
    data = {name: value for name, value in record.items() if name != "key"}
    key: Any = record.get("key")
    try:
        if "uri" in data:
            check_key(key)
            check_reference(data["uri"])
        else:
            FileSpec(key=key, size=data.get("size"), sha256=data.get("sha256"))  # type: ignore[arg-type]  # checks them
        if data.keys() != _FILE_FIELDS:
            line(key, data)
    except InvalidKey:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the data of object {key!r} cannot be: {error}") from error
    return key, data
