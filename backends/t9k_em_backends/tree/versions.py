"""The versions of one node: all generations of its name, or a page of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t9k.em.errors import CorruptManifest, NotFound
from t9k.em.names import check_path, parent_and_name
from t9k_em_backends.tree.heads import MAX_GENERATION, to_node
from t9k_em_backends.tree.listing import MOST_HIDDEN

if TYPE_CHECKING:
    from t9k.em.records import Node
    from t9k_em_backends.tree.tree import Tree

_log = logging.getLogger(__name__)


def versions(tree: Tree, path: str, limit: int | None, before: int) -> tuple[Sequence[Node], int]:
    """Return versions of a node, newest first, without damaged ones.

    Args:
        tree: The tree.
        path: Path of the node.
        limit: Number of versions at most; None for all.
        before: Generation below which to begin; 0 for the newest.

    Returns:
        The versions, and the last generation that was looked at if there may be more below, else 0.

    Raises:
        NotFound: No node ever had this path.
        CorruptManifest: All versions are damaged.
    """
    folder, name = parent_and_name(check_path(path))
    generations = tree.generations(folder, name)
    most = MAX_GENERATION if limit is None else limit
    damaged: CorruptManifest | None = None
    found: list[Node] = []
    number = 0
    for looked, number in enumerate(generations.descending(before) if name else (), 1):
        try:
            head = generations.read(number)
        except CorruptManifest as error:
            _log.warning("left out of the versions of %s: %s", path, error)
            damaged, head = damaged or error, None
        if head is not None and head.name == name:
            found.append(to_node(folder, number, head))
        if len(found) == most or looked == most + MOST_HIDDEN:
            break
    else:
        number = 0
    following = number if number > 1 else 0
    if not (before or following) and damaged is not None and not found:
        raise damaged
    if not (before or following or any(node.kind for node in found)):
        tree.mark.check_reading(tree.store)
        raise NotFound(f"there was never a {path} in {tree.uri}")
    return found, following
