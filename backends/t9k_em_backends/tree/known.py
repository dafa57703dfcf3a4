"""What a process remembers of the records that it has read, so that a page of a listing costs what it shows.

A record never changes, so that what is remembered of it stays right for as long as the record is there.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict

from attrs import define, field

from t9k_em_backends.tree.index import Row
from t9k_em_backends.tree.values import dump_json

MOST_BYTES = 32 << 20
_OVERHEAD_BYTES = 300  # of an entry, beside its text


@define
class KnownFolder:
    """What is remembered of one folder.

    Attributes:
        rows: By name as in the keys of records: the key of the newest row that is known, and the row as JSON.
        size_bytes: About how much memory they take.
        is_cache_read: Whether the listing cache was read since this is remembered.
        is_cut: Whether some rows were not kept, because there are too many.
        lacking: How many rows were made of records, and not found in the listing cache, since that was last written.
    """

    rows: dict[str, tuple[str, bytes]] = field(factory=dict)
    size_bytes: int = 0
    is_cache_read: bool = False
    is_cut: bool = False
    lacking: int = 0

    def row(self, c: str, row_key: str) -> Row | None:
        """Return the row of a record, if it is remembered.

        Args:
            c: The name as in the keys of records.
            row_key: The key of the row.
        """
        found = self.rows.get(c)
        if found is None or found[0] != row_key:
            return None
        row: Row = json.loads(found[1])
        return row

    def by_key(self) -> dict[str, Row]:
        """All rows by their keys."""
        return {row_key: json.loads(text) for row_key, text in list(self.rows.values())}


class KnownRows:
    """The rows of the folders that were listed last, as text, so that their size is known.

    Args:
        most_bytes: How much memory they may take.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._size_bytes = 0
        self._folders: OrderedDict[str, KnownFolder] = OrderedDict()
        self._lock = threading.Lock()

    def folder(self, folder: str) -> KnownFolder:
        """Return the remembered rows of a folder; none of a new folder."""
        with self._lock:
            known = self._folders.get(folder)
            if known is None:
                known = self._folders[folder] = KnownFolder(size_bytes=_OVERHEAD_BYTES)
                self._size_bytes += known.size_bytes
            self._folders.move_to_end(folder)
            self._make_room(0)
            return known

    def add(self, folder: str, known: KnownFolder, row_key: str, row: Row) -> None:
        """Remember a row, as far as there is room, unless a newer one of its name is remembered.

        Args:
            folder: The folder.
            known: What is remembered of it.
            row_key: The key of the row, `<name>/<generation>/<object>`.
            row: The row.
        """
        c, generation, _ = row_key.split("/", 2)
        before = known.rows.get(c)
        if before is not None and (before[0] == row_key or before[0].split("/", 2)[1] > generation):
            return
        text = dump_json(row)
        with self._lock:
            size = _size(row_key, text) - (0 if before is None else _size(*before))
            if self._folders.get(folder) is not known or not self._make_room(size):
                known.is_cut = True
                return
            known.rows[c] = row_key, text
            known.size_bytes += size
            self._size_bytes += size

    def forget(self, folder: str) -> None:
        """Forget what is remembered of a folder, because some of that was wrong."""
        with self._lock:
            forgotten = self._folders.pop(folder, None)
            self._size_bytes -= forgotten.size_bytes if forgotten is not None else 0

    def _make_room(self, size: int) -> bool:
        """Forget the folders that were not listed for the longest time; False where the last one has no more room."""
        while self._size_bytes + size > self._most_bytes and len(self._folders) > 1:
            _, forgotten = self._folders.popitem(last=False)
            self._size_bytes -= forgotten.size_bytes
        return self._size_bytes + size <= self._most_bytes


def _size(row_key: str, text: bytes) -> int:
    return len(row_key) + len(text) + _OVERHEAD_BYTES
