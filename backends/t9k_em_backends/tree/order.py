"""The newest records of a folder in the order of their keys, from any name on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from attrs import frozen

from t9k.em.backend import ListsInOrder, ObjectStore
from t9k.em.errors import InvalidInput
from t9k.em.names import encode_component, fold, is_name
from t9k.em.records import ObjectInfo
from t9k_em_backends.tree.foreign import nameable
from t9k_em_backends.tree.heads import folder_prefix, heads_prefix, split_head_key

_CUT = re.compile(r"[^/]{160}%-[0-9a-f]{32}")
"""What a name that is too long becomes; see `encode_component`."""

_LAST = "~"
"""Comes behind every key of a record of a name."""


@frozen(kw_only=True)
class Newest:
    """The newest record of a name that is listed.

    Attributes:
        c: The name as in the keys of records.
        generation: Of the record.
        info: The record as an object.
    """

    c: str
    generation: int
    info: ObjectInfo


def newest_heads(store: ObjectStore, folder: str, after: str = "") -> Iterator[Newest]:
    """Yield the newest record of each name in a folder, in the order of the keys.

    A store that lists in order is asked for what is taken, any other for all.

    Args:
        store: Where they lie.
        folder: Absolute path.
        after: The name, as in the keys of records, behind which to begin; '' for all.

    Raises:
        InvalidInput: `after` is no such name.
    """
    if after and not is_name_in_key(after):
        raise InvalidInput(f"no page of {folder} begins after {after!r}; pass what the page before gave")
    prefix = heads_prefix(folder)
    if isinstance(store, ListsInOrder):
        yield from _grouped(store.list_after(prefix, f"{prefix}{after}/{_LAST}" if after else ""), folder)
    else:
        newest: dict[str, Newest] = {}
        for head in _heads(store.list(prefix), folder):
            if head.c not in newest or newest[head.c].generation < head.generation:
                newest[head.c] = head
        yield from (newest[c] for c in sorted(newest, key=_order) if not after or _order(c) > _order(after))


def is_name_in_key(c: str) -> bool:
    """Return whether a component of a key is what a name becomes there; whatever else stands beside the records is not ours."""
    name = unquote(c)
    return _CUT.fullmatch(c) is not None or (is_name(name) and encode_component(fold(name)) == c)


def _order(c: str) -> str:
    return f"{c}/"


def _grouped(infos: Iterable[ObjectInfo], folder: str) -> Iterator[Newest]:
    """Yield the newest of those with one name, which come one after the other."""
    newest: Newest | None = None
    for head in _heads(infos, folder):
        if newest is not None and head.c != newest.c:
            yield newest
            newest = head
        elif newest is None or head.generation > newest.generation:
            newest = head
    if newest is not None:
        yield newest


def _heads(infos: Iterable[ObjectInfo], folder: str) -> Iterator[Newest]:
    """Yield the records among some objects."""
    for info in nameable(infos):
        parts = split_head_key(info.key)
        if parts is not None and parts[0] == folder_prefix(folder) and is_name_in_key(parts[1]) and parts[2]:
            yield Newest(c=parts[1], generation=parts[2], info=info)
