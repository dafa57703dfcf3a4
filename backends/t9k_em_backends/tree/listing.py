"""The children of a folder, from their newest heads, what is remembered of them, and a cache of what the heads say, see `index`.

Whoever lists and finds many heads missing in the cache writes it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from urllib.parse import unquote

from attrs import frozen

from t9k.em.backend import ObjectStore
from t9k.em.errors import CorruptManifest
from t9k.em.names import join
from t9k.em.records import Node
from t9k_em_backends.tree.generations import Generations
from t9k_em_backends.tree.heads import heads_prefix
from t9k_em_backends.tree.index import Row, index_rows, row_key, to_row, write_index
from t9k_em_backends.tree.known import KnownFolder, KnownRows
from t9k_em_backends.tree.order import Newest, newest_heads

REWRITE_AT = 16
MOST_HIDDEN = 1000
"""How many deleted or damaged nodes a page passes over."""

_FIELDS = ("kind", "id", "generation", "modified", "writer", "metadata", "file_count", "size", "deleted")

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Children:
    """The children of one folder; its own existence is the caller's business.

    Attributes:
        store: Where they lie.
        folder: Absolute path.
        sleep: Waits so many seconds.
        known: What this process remembers of folders.
        damaged: Where to put those whose record is damaged, by folded name, with what is wrong; a warning in the log
            tells of each.
    """

    store: ObjectStore
    folder: str
    sleep: Callable[[float], object]
    known: KnownRows
    damaged: dict[str, str]

    def whole(self) -> list[Node]:
        """All nodes, by name, without deleted ones."""
        known = self.known.folder(self.folder)
        rows = self._rows(known, newest_heads(self.store, self.folder), is_whole=True)
        self._renew_index(known, rows)
        return sorted(self._nodes(rows), key=lambda node: node.name)

    def page(self, after: str, limit: int) -> tuple[list[Node], str]:
        """Return some of the nodes, in the order of the keys of their records.

        Args:
            after: What the page before gave; '' for the first one.
            limit: How many at most. There are fewer, and perhaps none, where many were deleted.

        Returns:
            The nodes, and what `after` is for the next page; '' after the last one.
        """
        known = self.known.folder(self.folder)
        nodes: list[Node] = []
        looked = 0
        heads = newest_heads(self.store, self.folder, after)
        following = next(heads, None)
        while following is not None and len(nodes) < limit and looked < limit + MOST_HIDDEN:
            taken = [following, *islice(heads, limit - len(nodes) - 1)]
            looked += len(taken)
            after, following = taken[-1].c, next(heads, None)
            nodes += self._nodes(self._rows(known, taken))
        if following is not None:
            return nodes, after
        if not known.is_cut:
            self._renew_index(known)
        return nodes, ""

    def _rows(self, known: KnownFolder, heads: Iterable[Newest], *, is_whole: bool = False) -> dict[str, Row]:
        """Return the rows of some heads by their keys: remembered, from the cache, or from the heads themselves."""
        wanted = {row_key(head.c, head.generation, head.info): head for head in heads}
        found = {of_row: known.row(head.c, of_row) for of_row, head in wanted.items()}
        lacking = {of_row for of_row, row in found.items() if row is None}
        is_worth_it = len(lacking) >= REWRITE_AT and (is_whole or not known.is_cut)
        if lacking and (is_worth_it or not known.is_cache_read):
            for of_row, row in index_rows(self.store, self.folder):
                self.known.add(self.folder, known, of_row, row)
                if of_row in lacking:
                    found[of_row] = row
            known.is_cache_read = True
            lacking = {of_row for of_row in lacking if found[of_row] is None}
        for of_row in lacking:
            found[of_row] = read = self._read(wanted[of_row])
            if read is not None:
                self.known.add(self.folder, known, of_row, read)
        known.lacking += len(lacking)
        return {of_row: row for of_row, row in found.items() if row is not None}

    def _read(self, head: Newest) -> Row | None:
        """Return the row of a head; None of a damaged one that does not hide the others."""
        generations = Generations(store=self.store, prefix=f"{heads_prefix(self.folder)}{head.c}/", sleep=self.sleep)
        try:
            return to_row(*generations.at_least(head.generation))
        except CorruptManifest as error:
            self.damaged[unquote(head.c)] = str(error)
            _log.warning("left out of the listing of %s: %s", self.folder, error)
            return None

    def _nodes(self, rows: Mapping[str, Row]) -> list[Node]:
        return [
            Node(path=join(self.folder, row["name"]), **{name: row[name] for name in _FIELDS})
            for row in rows.values()
            if not row["deleted"]
        ]

    def _renew_index(self, known: KnownFolder, rows: Mapping[str, Row] | None = None) -> None:
        """Write the cache anew where many rows are missing in it.

        Args:
            known: What is remembered of the folder.
            rows: All rows of the folder; None for those that are remembered.
        """
        if known.lacking >= REWRITE_AT:
            known.lacking = 0
            write_index(self.store, self.folder, known.by_key() if rows is None else rows)
