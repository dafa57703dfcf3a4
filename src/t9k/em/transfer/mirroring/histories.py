"""The versions of one node on both sides, and which of them the target lacks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen

from t9k.em.errors import CorruptData, NotFound
from t9k.em.records import FOLDER, Node
from t9k.em.transfer.mirroring.report import digest_of

if TYPE_CHECKING:
    from t9k.em.backend import Backend

DELETED = "deleted"


@frozen(kw_only=True)
class Version:
    """One generation of a run or artifact, or that there was none.

    Attributes:
        node: As the backend has it.
        content: Equal for versions that say the same, whatever their generation; `DELETED`, or None when the list of
            files is damaged.
        digest: Of its files; '' when there are none to be known.
    """

    node: Node = field(eq=False)
    content: str | None
    digest: str = ""

    @property
    def is_node(self) -> bool:
        """Whether there is a run or artifact, be it damaged."""
        return self.content != DELETED


def version_of(backend: Backend, node: Node) -> Version | None:
    """Return the content of one generation; None for a collected one."""
    if node.deleted or node.kind == FOLDER:
        return Version(node=node, content=DELETED)
    try:
        digest = digest_of(backend.files(node))
    except NotFound:
        return None
    except CorruptData:
        return Version(node=node, content=None)
    metadata = json.dumps(node.metadata, sort_keys=True)
    content = hashlib.sha256(f"{node.kind}\0{node.id}\0{digest}\0{metadata}".encode()).hexdigest()
    return Version(node=node, content=content, digest=digest)


def newest(backend: Backend, path: str) -> list[Version]:
    """Return the newest version under a name, alone; nothing when the name was never used."""
    try:
        node = backend.stat(path)
    except NotFound:
        try:
            node = backend.versions(path)[0]  # a deletion
        except NotFound:
            return []
    return _joined([version_of(backend, node)])


def history(backend: Backend, path: str) -> list[Version]:
    """All versions under a name, the oldest first, without those that repeat the one below, as a collector's do.

    What was collected, and deletions before the first version, are left out.
    """
    try:
        nodes = backend.versions(path)
    except NotFound:
        return []
    return _joined(version_of(backend, node) for node in reversed(nodes) if node.kind or node.deleted)


def lacking(wanted: Sequence[Version], there: Sequence[Version]) -> Sequence[Version]:
    """Return the versions that have to be published on top of what the target has, the oldest first.

    Args:
        wanted: Of the source, the oldest first, not empty.
        there: Of the target, the oldest first.

    Returns:
        All versions after the last one that the target has; a hole below that stays, for history is only added to.
        At least the newest when the target has something else now.
    """
    at = 0
    for version in there:
        found = (number for number in range(at, len(wanted)) if _is_same(wanted[number], version))
        at = next(found, at - 1) + 1
    if at == len(wanted) and not _is_same(wanted[-1], there[-1]):
        at -= 1
    return wanted[at:]


def _is_same(one: Version, other: Version) -> bool:
    return one.content is not None and one.content == other.content


def _joined(versions: Iterable[Version | None]) -> list[Version]:
    kept: list[Version] = []
    for version in versions:
        if version is None:
            continue
        if kept and _is_same(kept[-1], version):
            kept.pop()  # the later one is what the next upload comes on top of
        kept.append(version)
    return kept
