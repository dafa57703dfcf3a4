"""What a mirror did, or would do, and the digests by which both sides can be compared.

The digest of a node is the SHA-256, as 64 lower-case hexadecimal digits, of one line for each of its files, sorted by
key: SHA-256 of the file, size in bytes and key, with a space between, ended by a newline. The digest of a mirror is the SHA-256 of
one line for each node, sorted by path: digest of the node, kind, id, and path relative to the folder that was mirrored. All is
UTF-8, and sorted by code points, which is what `LC_ALL=C sort` does.
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import asdict, frozen

from t9k.em.records import FileEntry, FileSpec

__all__ = ["Action", "Entry", "Report", "digest_of"]


class Action(enum.Enum):
    """What becomes of one path in the target."""

    ADD = "add"
    UPDATE = "update"
    REPLACE = "replace"
    UNCHANGED = "unchanged"
    DELETE = "delete"
    FAILED = "failed"


@frozen(kw_only=True)
class Entry:
    """One path of a mirror.

    Attributes:
        path: Relative to the folder that is mirrored.
        kind: 'Run', 'Artifact' or 'Folder'; '' when it is damaged.
        action: What was done, or would be.
        id: UUID of the run or artifact.
        files: Number of its files.
        size: Of these, in bytes.
        versions: Generations published in the target.
        moved_files: Files that were written there; in a plan, that it lacks.
        moved: Of these, in bytes.
        digest: Of its files, as they were found in the target; '' where they were not compared.
        artifacts: Ids of the artifacts that a run took in or put out.
        problem: What went wrong; with an action other than FAILED, in an older version.
    """

    path: str
    kind: str
    action: Action
    id: str = ""
    files: int = 0
    size: int = 0
    versions: int = 0
    moved_files: int = 0
    moved: int = 0
    digest: str = ""
    artifacts: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_there(self) -> bool:
        """Whether source and target hold the same node."""
        return self.action not in (Action.DELETE, Action.FAILED) and bool(self.digest)


@frozen(kw_only=True)
class Report:
    """A mirror, done or planned.

    Attributes:
        source: URI of what was mirrored.
        target: URI of what it was mirrored to.
        applied: False for a plan.
        entries: Every node, each folder that was made, and whatever was deleted or failed; sorted by path.
        partial: Folders of the source of which only a part is shown to who mirrors, by relative path, sorted; '' stands for
            `source` itself. What is not shown is not in the target, and nothing was deleted in the target for its sake.
    """

    source: str
    target: str
    applied: bool
    entries: tuple[Entry, ...]
    partial: tuple[str, ...] = ()

    @property
    def problems(self) -> Sequence[Entry]:
        """What is not in the target as it is in the source."""
        return [entry for entry in self.entries if entry.problem]

    @property
    def complete(self) -> bool:
        """Whether nothing went wrong."""
        return not self.problems

    @property
    def nodes(self) -> Sequence[Entry]:
        """The runs and artifacts that were compared and are the same on both sides; of a plan, those that are already."""
        return [entry for entry in self.entries if entry.is_there]

    @property
    def digest(self) -> str:
        """One digest over all `nodes`; see the module for how to compute it elsewhere."""
        lines = [f"{entry.digest} {entry.kind} {entry.id} {entry.path}\n" for entry in self.nodes]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def outside(self) -> Sequence[str]:
        """Ids of artifacts that runs refer to and that are not among what was mirrored, sorted."""
        return sorted(
            {found for entry in self.entries for found in entry.artifacts} - {entry.id for entry in self.entries}
        )

    def count(self, action: Action) -> int:
        """Return the number of entries with an action."""
        return Counter(entry.action for entry in self.entries)[action]

    def to_dict(self) -> dict[str, Any]:
        """All of it, in JSON types."""
        return {
            "source": self.source,
            "target": self.target,
            "applied": self.applied,
            "complete": self.complete,
            "counts": {action.value: self.count(action) for action in Action},
            "nodes": len(self.nodes),
            "files": sum(entry.files for entry in self.nodes),
            "size": sum(entry.size for entry in self.nodes),
            "moved_files": sum(entry.moved_files for entry in self.entries),
            "moved": sum(entry.moved for entry in self.entries),
            "digest": self.digest,
            "outside": list(self.outside),
            "partial": list(self.partial),
            "entries": [{**asdict(entry), "action": entry.action.value} for entry in self.entries],
        }


def digest_of(files: Iterable[FileEntry | FileSpec]) -> str:
    """Return the digest of a node with these files."""
    lines = [f"{file.sha256} {file.size} {file.key}\n" for file in sorted(files, key=lambda file: file.key)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
