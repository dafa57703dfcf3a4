"""How much a mirror may delete: a wrong source, or one that is half empty, must not take a copy with it."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, frozen

from t9k.em.backend import TellsLeftOut
from t9k.em.errors import InvalidInput, NotFound
from t9k.em.parallel import in_parallel
from t9k.em.records import FOLDER, Listing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from t9k.em.backend import Backend

DEFAULT_NODES = 10
DEFAULT_SHARE = Fraction(1, 4)
"""Whichever is more, of the runs and artifacts in the target."""

_LIMIT = re.compile(r"(?P<number>\d{1,12})(?P<decimals>\.\d{1,6})?(?P<percent>\s*%)?", re.ASCII)


@frozen(kw_only=True)
class MaxDelete:
    """How many runs and artifacts may be deleted: so many, or so much of those that are there, whichever is more.

    Attributes:
        nodes: So many.
        share: So much, from 0 to 1.
    """

    nodes: int = DEFAULT_NODES
    share: Fraction = DEFAULT_SHARE

    @classmethod
    def of(cls, value: int | str | None) -> MaxDelete:
        """Read what a caller gives.

        Args:
            value: A number, `'50%'`, or None for the default.

        Raises:
            InvalidInput: The value is neither a number nor a share.
        """
        if value is None:
            return cls()
        found = None if isinstance(value, bool) else _LIMIT.fullmatch(str(value).strip())
        if found is None or bool(found["decimals"]) > bool(found["percent"]):
            raise InvalidInput(
                f"max_delete={value!r} is no number of runs and artifacts; give one like 40, or a share like '50%'"
            )
        number = Fraction(found["number"] + (found["decimals"] or ""))
        if not found["percent"]:
            return cls(nodes=int(number), share=Fraction(0))
        if number > 100:  # noqa: PLR2004 - percent
            raise InvalidInput(f"max_delete={value!r} is more than all; the most is '100%'")
        return cls(nodes=0, share=number / 100)

    def of_nodes(self, total: int) -> int:
        """Return how many of so many may be deleted."""
        return max(self.nodes, int(total * self.share))


@define(kw_only=True)
class Toll:
    """What a plan would delete.

    Attributes:
        doomed: Runs and artifacts that would be deleted.
        total: Runs and artifacts in the target.
    """

    doomed: int = 0
    total: int = 0

    def count(self, listing: Listing) -> None:
        """Add what one folder of the target holds."""
        self.total += sum(node.kind != FOLDER for node in listing.nodes) + len(listing.damaged)

    def add_below(self, target: Backend, folders: Sequence[str]) -> None:
        """Add what lies in folders of the target that would be deleted with all below them, and that nobody has counted yet."""
        while folders:
            found = in_parallel(lambda path: _below(target, path), folders, "count", lambda: target.parallelism)
            before = self.total
            for listing in found:
                self.count(listing)
            self.doomed += self.total - before
            folders = [node.path for listing in found for node in listing.nodes if node.kind == FOLDER]

    def excess(self, limit: MaxDelete, source: str, target: str) -> str:
        """Return why so much may not be deleted; '' where it may.

        Args:
            limit: How much may be.
            source: URI of what is mirrored.
            target: URI of what it is mirrored to.
        """
        most = limit.of_nodes(self.total)
        if self.doomed <= most:
            return ""
        return (
            f"{self.doomed:,} of the {self.total:,} runs and artifacts in {target} would be deleted, and {most:,} may be; "
            f"look whether {source} is what you mean, and whether all of it is there. If so, mirror with "
            f"max_delete={self.doomed}"
        )


def _below(target: Backend, path: str) -> Listing:
    try:
        return listing_of(target, path)
    except NotFound:  # somebody else deletes it
        return Listing(nodes=())


def listing_of(backend: Backend, path: str) -> Listing:
    """Return the children of a folder with what is left out of them, as far as the backend tells.

    Raises:
        NotFound: No such folder exists.
    """
    if isinstance(backend, TellsLeftOut):
        return backend.list_all(path)
    return Listing(nodes=backend.list(path))
