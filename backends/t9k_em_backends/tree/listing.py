"""The children of a folder, from their newest heads and a cache of what the heads say.

The cache is keyed by head, and a head never changes, so an entry is right or missing; it is never believed to be
complete. Whoever lists and finds many heads missing in it writes it anew.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from t9k.em.backend import ObjectStore
from t9k.em.errors import BackendError, CorruptManifest, NotFound
from t9k.em.names import encode_component, fold, is_name, join
from t9k.em.records import Body, Node
from t9k_em_backends.tree.foreign import nameable
from t9k_em_backends.tree.generations import Generations
from t9k_em_backends.tree.heads import FORMAT, Head, folder_prefix, heads_prefix, index_key, split_head_key
from t9k_em_backends.tree.values import dump_json

REWRITE_AT = 16
LARGEST_METADATA_BYTES = 2048

Row = dict[str, Any]
_TYPES = {
    "name": str,
    "kind": str,
    "id": str,
    "generation": int,
    "modified": str,
    "writer": str,
    "metadata": dict,
    "file_count": int,
    "size": int,
    "deleted": bool,
}
_FIELDS = [name for name in _TYPES if name != "name"]

_CUT = re.compile(r"[^/]{160}%-[0-9a-f]{32}")
"""What a name that is too long becomes; see `encode_component`."""

_log = logging.getLogger(__name__)


def children(
    store: ObjectStore, folder: str, sleep: Callable[[float], object], *, damaged: dict[str, str] | None = None
) -> list[Node]:
    """The nodes in a folder, by name, without deleted ones; the folder's own existence is the caller's business.

    Args:
        store: Where they lie.
        folder: Absolute path.
        sleep: Waits so many seconds.
        damaged: Where to put those whose record is damaged, by folded name, with what is wrong; a warning in the log
            tells of each.

    Raises:
        CorruptManifest: A record is damaged, and `damaged` is None.
    """
    newest: dict[str, int] = {}
    for info in nameable(store.list(heads_prefix(folder))):
        parts = split_head_key(info.key)
        if parts is not None and parts[0] == folder_prefix(folder) and _is_name_in_key(parts[1]) and parts[2]:
            newest[parts[1]] = max(newest.get(parts[1], 0), parts[2])
    cached = _read_index(store, folder) if newest else {}
    rows: dict[str, Row] = {}
    nodes: list[Node] = []
    lacking = 0
    for c, generation in newest.items():
        row_key = f"{c}/{generation:08d}"
        row = cached.get(row_key)
        if row is None:
            lacking += 1
            generations = Generations(store=store, prefix=f"{heads_prefix(folder)}{c}/", sleep=sleep)
            try:
                row = _to_row(*generations.at_least(generation))
            except CorruptManifest as error:
                if damaged is None:
                    raise
                damaged[unquote(c)] = str(error)
                _log.warning("left out of the listing of %s: %s", folder, error)
                continue
        rows[row_key] = row
        if not row["deleted"]:
            nodes.append(Node(path=join(folder, row["name"]), **{name: row[name] for name in _FIELDS}))
    if lacking >= REWRITE_AT:
        _write_index(store, folder, rows)
    return sorted(nodes, key=lambda node: node.name)


def _is_name_in_key(c: str) -> bool:
    """Whether a component of a key is what a name becomes there; whatever else stands beside the records is not ours."""
    name = unquote(c)
    return _CUT.fullmatch(c) is not None or (is_name(name) and encode_component(fold(name)) == c)


def _to_row(generation: int, head: Head) -> Row:
    metadata = dict(head.metadata)
    for name in sorted(metadata, key=lambda name: len(dump_json(metadata[name])), reverse=True):
        if len(dump_json(metadata)) <= LARGEST_METADATA_BYTES:
            break
        del metadata[name]
    return {
        "name": head.name,
        "kind": head.kind,
        "id": head.id,
        "generation": generation,
        "modified": head.time,
        "writer": head.writer,
        "metadata": metadata,
        "file_count": head.file_count,
        "size": head.size,
        "deleted": not head.ready,
    }


def _read_index(store: ObjectStore, folder: str) -> dict[str, Row]:
    """The cache; an empty one when it is missing or damaged, for then the heads are read."""
    key = index_key(folder)
    try:
        record = json.loads(b"".join(store.get(key)))
        rows = record["rows"] if record["v"] == FORMAT else {}
        return {row_key: row for row_key, row in rows.items() if _is_row(row_key, row)}
    except NotFound:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _log.warning("the listing cache %s is damaged (%s); reading the records instead", key, error)
        return {}


def _is_row(row_key: str, row: Row) -> bool:
    """Whether an entry of the cache has the right form and stands under the head that it belongs to."""
    return (
        {name: type(value) for name, value in row.items()} == _TYPES
        and row_key == f"{encode_component(fold(row['name']))}/{row['generation']:08d}"
        and is_name(row["name"])
    )


def _write_index(store: ObjectStore, folder: str, rows: Mapping[str, Row]) -> None:
    """Renews the cache; who may only read, or finds the store full, lists without it."""
    try:
        store.put(index_key(folder), Body.of(dump_json({"v": FORMAT, "rows": rows})))
    except BackendError as error:
        _log.info("the listing cache of %s was not renewed: %s", folder, error)
