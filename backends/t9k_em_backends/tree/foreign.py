"""What lies in a store and is not ours: it is left alone, and one warning tells of it.

Other tools keep things in the same bucket or directory, under keys that none of our files can have: with an empty component,
with '..', or in bytes that are no UTF-8. Nothing that lists may stumble over these, and nothing that collects may take them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence

from t9k.em.errors import InvalidKey
from t9k.em.names import check_stored, is_name, is_op
from t9k.em.records import ObjectInfo

_TEMPORARY = re.compile(r"\.em/(?:tmp/(?:[0-9a-z]{20}|parts-[0-9a-f]{32}(?:-[0-9a-z]{20})?)|signed/[0-9a-f]{64})")

_log = logging.getLogger(__name__)


def nameable(infos: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Objects whose keys could be ours, of those that a store lists; a warning tells of the others."""
    others, example = 0, ""
    for info in infos:
        if _is_key(info.key):
            yield info
        else:
            others, example = others + 1, example or info.key
    if others:
        _log.warning("%d objects have keys that none of ours can have, like %r; they are left alone", others, example)


def is_needed(directory: str) -> bool:
    """Return whether a directory of a store holds records or files of ours: what they name would count as garbage without them."""
    return any(component == ".em" or is_op(component) for component in directory.split("/"))


def closed_directories(place: str, closed: Sequence[str]) -> str:
    """Return the warning about directories that may not be read, like `lost+found`."""
    return f"{place}: {len(closed)} directories may not be read, {closed[0]!r} for one; what is in them is left alone"


def is_temporary(key: str) -> bool:
    """Return whether a key is that of a file which a store of ours writes beside the tree, and forgets when it is killed."""
    return _TEMPORARY.fullmatch(key) is not None


def split_upload(key: str) -> tuple[str, str, str] | None:
    """Return the path of the folder, name and upload in the key of a file, `<folder>/<name>/<op>/<key>`; None for any other key."""
    components = key.split("/")
    depth = op_at(components) if _is_key(key) else 0
    return ("/" + "/".join(components[: depth - 1]), components[depth - 1], components[depth]) if depth else None


def op_at(components: list[str]) -> int:
    """Return the index of the component of a key that is an upload's id, behind names alone; 0 for no such component."""
    depth = next((depth for depth, component in enumerate(components[:-1]) if is_op(component)), 0)
    return depth if depth and all(map(is_name, components[:depth])) else 0


def _is_key(key: str) -> bool:
    try:
        check_stored(key).encode()
    except (InvalidKey, UnicodeEncodeError):
        return False
    return True
