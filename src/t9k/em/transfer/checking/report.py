"""What a check found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import asdict, frozen

from t9k.em.records import Flaw

__all__ = ["UNREAD", "Found", "Report", "Unreferenced"]

UNREAD = "unread"


@frozen(kw_only=True)
class Found:
    """A flaw, and what became of it.

    Attributes:
        flaw: What is wrong.
        repaired: What was done about it; '' when nothing was.
    """

    flaw: Flaw
    repaired: str = ""

    @property
    def is_damage(self) -> bool:
        """Whether something is damaged, and not only out of reach."""
        return self.flaw.kind != UNREAD

    def to_dict(self) -> dict[str, Any]:
        """All of it, in JSON types."""
        told = asdict(self.flaw, filter=lambda attribute, _: attribute.name != "handle")
        return {**told, "repaired": self.repaired}


@frozen(kw_only=True)
class Unreferenced:
    """Files that nothing refers to any more: no damage, `em gc` takes them.

    Attributes:
        count: How many there are.
        size: Of them, in bytes.
    """

    count: int
    size: int


@frozen(kw_only=True)
class Report:
    """A check.

    Attributes:
        place: URI of what was checked.
        nodes: Runs and artifacts that were looked at.
        versions: Of these, with the newest ones.
        files: Files that these versions have, each once where several share it.
        size: Of these files, in bytes.
        read_files: Files of which every byte was read and compared.
        read: Of these, in bytes.
        found: All that is wrong, by path.
        unreferenced: What `em gc` would take; None where only the server knows.
        partial: Folders of which the reader sees only a part.
    """

    place: str
    nodes: int = 0
    versions: int = 0
    files: int = 0
    size: int = 0
    read_files: int = 0
    read: int = 0
    found: tuple[Found, ...] = ()
    unreferenced: Unreferenced | None = None
    partial: tuple[str, ...] = ()

    @property
    def damage(self) -> Sequence[Found]:
        """What is damaged, fixed or not."""
        return [found for found in self.found if found.is_damage]

    @property
    def left(self) -> Sequence[Found]:
        """What is damaged still."""
        return [found for found in self.damage if not found.repaired]

    @property
    def unread(self) -> Sequence[Found]:
        """What could not be looked at."""
        return [found for found in self.found if not found.is_damage]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found wrong, and all that was asked for was looked at."""
        return not self.found

    def to_dict(self) -> dict[str, Any]:
        """All of it, in JSON types."""
        return {
            "place": self.place,
            "whole": self.is_whole,
            "nodes": self.nodes,
            "versions": self.versions,
            "files": self.files,
            "size": self.size,
            "read_files": self.read_files,
            "read": self.read,
            "counts": dict(sorted(Counter(found.flaw.kind for found in self.found).items())),
            "damaged": len(self.damage),
            "repaired": len(self.damage) - len(self.left),
            "found": [found.to_dict() for found in self.found],
            "unreferenced": None if self.unreferenced is None else asdict(self.unreferenced),
            "partial": list(self.partial),
        }
