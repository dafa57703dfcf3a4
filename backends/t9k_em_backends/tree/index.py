"""The listing cache of a folder, `.em/index.json`: what its heads say, as far as a listing shows it.

A row stands under the head that it was read from: its name, its generation, and what the store says of the object. So a
row is right or not there, also where a head was restored from a copy of another time: a head that is not the object that
was read has no row. The cache is never believed to be complete, and what a row of it cannot be is left aside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from t9k.em import json_values
from t9k.em.backend import ObjectStore
from t9k.em.errors import BackendError, NotFound
from t9k.em.names import check_name, encode_component, fold
from t9k.em.records import Body, ObjectInfo
from t9k_em_backends.tree import values
from t9k_em_backends.tree.heads import FORMAT, MAX_GENERATION, Head, index_key
from t9k_em_backends.tree.json_members import MAX_MEMBER_BYTES, decoded, members
from t9k_em_backends.tree.values import dump_json

MAX_INDEX_BYTES = 256 << 20
LARGEST_METADATA_BYTES = 2048

_FRAME_BYTES = 100  # of the cache, around its rows

Row = dict[str, Any]
_log = logging.getLogger(__name__)


def row_key(c: str, generation: int, info: ObjectInfo) -> str:
    """Return the key of a row: a head, identified by its size and ETag, or without an ETag by its time.

    Args:
        c: The folded, encoded name.
        generation: Of the head.
        info: What a listing says of it.
    """
    return f"{c}/{generation:08d}/{info.size}-{info.etag or repr(info.modified)}"


def to_row(generation: int, head: Head) -> Row:
    """Return the row of a listing for a head: the largest fields of the metadata are left out until the rest is small."""
    sizes = {name: len(dump_json(value)) for name, value in head.metadata.items()}
    size = len(dump_json(head.metadata))
    left_out = set()
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if size <= LARGEST_METADATA_BYTES:
            break
        left_out.add(name)
        size -= len(dump_json(name)) + 1 + sizes[name] + (len(left_out) < len(sizes))  # with a comma, but for the last
    return {
        "name": head.name,
        "kind": head.kind,
        "id": head.id,
        "generation": generation,
        "modified": head.time,
        "writer": head.writer,
        "metadata": {name: value for name, value in head.metadata.items() if name not in left_out},
        "file_count": head.file_count,
        "size": head.size,
        "deleted": not head.ready,
    }


def index_rows(store: ObjectStore, folder: str) -> Iterator[tuple[str, Row]]:
    """Yield the rows of the cache; none when it is missing, those before the flaw when it is damaged: then the heads are read.

    Args:
        store: Where it lies.
        folder: Absolute path.
    """
    key = index_key(folder)
    try:
        for of_row, row in members(
            decoded(store.get(key, 0, MAX_INDEX_BYTES + 1), MAX_INDEX_BYTES), "rows", FORMAT, key
        ):
            if _is_row(of_row, row):
                yield of_row, row
    except NotFound:
        pass
    except values.FLAWS as error:
        _log.warning("the listing cache %s is damaged (%s); reading the records instead", key, error)


def write_index(store: ObjectStore, folder: str, rows: Mapping[str, Row]) -> None:
    """Renew the cache; who may only read, or finds the store full, lists without it."""
    try:
        store.put(index_key(folder), Body.of(b"".join(_encoded(rows))))
    except BackendError as error:
        _log.info("the listing cache of %s was not renewed: %s", folder, error)


def _encoded(rows: Mapping[str, Row]) -> Iterator[bytes]:
    """Yield the cache as JSON, with as many rows as its readers take."""
    before = f'{{"v":{FORMAT},"rows":{{'.encode()
    size = _FRAME_BYTES
    for of_row, row in rows.items():
        data = b"%b:%b" % (dump_json(of_row), dump_json(row))
        size += len(data) + 1
        if size > MAX_INDEX_BYTES:
            break
        if len(data) < MAX_MEMBER_BYTES:
            yield before + data
            before = b","
    yield b"}}" if before == b"," else before + b"}}"


def _is_row(of_row: str, row: Any) -> bool:
    """Return whether a row has the right form and stands under the head that it belongs to."""
    try:
        return (
            isinstance(row, dict)
            and len(row) == len(_FIELDS)
            and all(check(row[name]) is not None for name, check in _FIELDS.items())
            and of_row.startswith(f"{encode_component(fold(row['name']))}/{row['generation']:08d}/")
        )
    except values.FLAWS:
        return False


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.100} is neither true nor false")
    return value


_FIELDS: Mapping[str, Any] = {
    "name": check_name,
    "kind": values.text,
    "id": values.text,
    "generation": lambda value: json_values.count(value, MAX_GENERATION),
    "modified": values.time,
    "writer": values.text,
    "metadata": lambda value: values.metadata(value, LARGEST_METADATA_BYTES),
    "file_count": json_values.count,
    "size": json_values.count,
    "deleted": _flag,
}
