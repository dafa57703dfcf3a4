"""The children of a folder, from their newest heads and a cache of what the heads say, see `index`.

Whoever lists and finds many heads missing in the cache writes it anew.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from urllib.parse import unquote

from t9k.em.backend import ObjectStore
from t9k.em.errors import CorruptManifest
from t9k.em.names import encode_component, fold, is_name, join
from t9k.em.records import Node, ObjectInfo
from t9k_em_backends.tree.foreign import nameable
from t9k_em_backends.tree.generations import Generations
from t9k_em_backends.tree.heads import folder_prefix, heads_prefix, split_head_key
from t9k_em_backends.tree.index import Row, read_index, row_key, to_row, write_index

REWRITE_AT = 16

_FIELDS = ("kind", "id", "generation", "modified", "writer", "metadata", "file_count", "size", "deleted")

_CUT = re.compile(r"[^/]{160}%-[0-9a-f]{32}")
"""What a name that is too long becomes; see `encode_component`."""

_log = logging.getLogger(__name__)


def children(
    store: ObjectStore, folder: str, sleep: Callable[[float], object], *, damaged: dict[str, str]
) -> list[Node]:
    """The nodes in a folder, by name, without deleted ones; the folder's own existence is the caller's business.

    Args:
        store: Where they lie.
        folder: Absolute path.
        sleep: Waits so many seconds.
        damaged: Where to put those whose record is damaged, by folded name, with what is wrong; a warning in the log
            tells of each.
    """
    newest: dict[str, tuple[int, ObjectInfo]] = {}
    for info in nameable(store.list(heads_prefix(folder))):
        parts = split_head_key(info.key)
        if parts is not None and parts[0] == folder_prefix(folder) and _is_name_in_key(parts[1]) and parts[2]:
            newest[parts[1]] = max(newest.get(parts[1], (0, info)), (parts[2], info), key=lambda head: head[0])
    heads = {row_key(c, *head): (c, head[0]) for c, head in newest.items()}
    cached = read_index(store, folder, heads) if heads else {}
    rows: dict[str, Row] = {}
    nodes: list[Node] = []
    lacking = 0
    for of_row, (c, generation) in heads.items():
        row = cached.get(of_row)
        if row is None:
            lacking += 1
            generations = Generations(store=store, prefix=f"{heads_prefix(folder)}{c}/", sleep=sleep)
            try:
                row = to_row(*generations.at_least(generation))
            except CorruptManifest as error:
                damaged[unquote(c)] = str(error)
                _log.warning("left out of the listing of %s: %s", folder, error)
                continue
        rows[of_row] = row
        if not row["deleted"]:
            nodes.append(Node(path=join(folder, row["name"]), **{name: row[name] for name in _FIELDS}))
    if lacking >= REWRITE_AT:
        write_index(store, folder, rows)
    return sorted(nodes, key=lambda node: node.name)


def _is_name_in_key(c: str) -> bool:
    """Whether a component of a key is what a name becomes there; whatever else stands beside the records is not ours."""
    name = unquote(c)
    return _CUT.fullmatch(c) is not None or (is_name(name) and encode_component(fold(name)) == c)
