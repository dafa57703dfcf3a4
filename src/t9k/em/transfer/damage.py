"""What a read finds damaged is noted where it lies, so that the next upload of the node sends it again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from t9k.em.backend import NotesDamage
from t9k.em.errors import CorruptData, CorruptManifest, EMError

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import FileEntry, Node

_log = logging.getLogger(__name__)


def damaged(what: str) -> CorruptData:
    """Return the error for bytes that are not those which were uploaded.

    Args:
        what: What they should be.
    """
    return CorruptData(f"{what} is not what was uploaded: its size or SHA-256 differs; upload it again")


def note_damage(backend: Backend, node: Node, file: FileEntry) -> None:
    """Note in the backend that a file is damaged.

    Args:
        backend: Where the file is.
        node: The generation that it was read of.
        file: The file.

    Raises:
        CorruptData: The damage could not be noted; how to fix the file all the same is in the message.
    """
    trouble: EMError | None = None
    if isinstance(backend, NotesDamage):
        try:
            backend.note_damage(node, file)
        except EMError as error:
            _log.info("that %r of %s is damaged could not be noted: %s", file.key, node.path, error)
            trouble = error
        else:
            return
    what = damaged(f"{file.key!r} of {node.path} in {backend.uri}")
    raise CorruptData(f"{what} with conflict_strategy='replace', which compares every file there") from trouble


@contextlib.contextmanager
def noting_damage(backend: Backend, node: Node, file: FileEntry) -> Iterator[None]:
    """Note in the backend that a file is damaged when reading it ends with `CorruptData`, which goes on.

    Args:
        backend: Where the file is.
        node: The generation that it was read of.
        file: The file.
    """
    try:
        yield
    except CorruptManifest:
        raise
    except CorruptData:
        note_damage(backend, node, file)
        raise
