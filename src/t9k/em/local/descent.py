"""Which uploads one local copy comes from: `<directory>/.em/ancestors`, lines that are only ever appended.

::

    began 20230817T080524.390002Z-4e48t2a0bc 5f3a...   an upload of this copy, noted before its first request
    there 20230817T080524.390002Z-4e48t2a0bc 5f3a...   the copy was loaded from it, or it is known to be published

The last word stands for the backend and folder. Several processes may use a directory: each line is one write at the end.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.disk import explained
from t9k.em.local.files import make_private_dirs_below
from t9k.em.local.layout import PRIVATE
from t9k.em.names import is_op
from t9k.em.patterns import lazily

BEGAN, THERE = "began", "there"

_PUBLISHED = 20
"""So many that are known to be published are named, for processes that share a directory note theirs in any order."""

_MOST = 1000
_ELSEWHERE = 2
_MOST_ELSEWHERE = 200
_LINE = lazily(r"(began|there) (\S{1,64}) ([0-9a-f]{32})")


class Descent:
    """The ancestors of one copy; nothing is read or written before it is needed.

    Args:
        directory: Of the run or artifact.
    """

    def __init__(self, directory: Path) -> None:
        self._private = Below(directory, PRIVATE)
        self._path = self._private / "ancestors"

    def is_kept_for(self, target: str) -> bool:
        """Return whether anything was noted of a place.

        Args:
            target: See `note`.
        """
        place = _short(target)
        return any(where == place for _, _, where in self._newest_first())

    def note(self, what: str, op: str, target: str) -> None:
        """Add one upload; durable on return.

        Args:
            what: `BEGAN` or `THERE`.
            op: The upload.
            target: URI of the backend, '#', and the folder.
        """
        if not is_op(op):
            return
        is_new = below.status(self._path) is None
        make_private_dirs_below(self._private)
        with explained("write", self._path):
            fd = below.open_file(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                size = os.fstat(fd).st_size
                torn = b"\n" if size and os.pread(fd, 1, size - 1) != b"\n" else b""
                os.write(fd, torn + f"{what} {op} {_short(target)}\n".encode())
                os.fsync(fd)
            finally:
                os.close(fd)
        if is_new:
            below.sync_parent(self._path)

    def ancestors(self, target: str) -> tuple[str, ...]:
        """Return the ops from which the copy comes, as far as the newest version in a place can be one of them.

        Args:
            target: See `note`.
        """
        place = _short(target)
        here: list[str] = []
        elsewhere: dict[str, list[str]] = {}
        published = 0
        for what, op, where in self._newest_first():
            if where == place:
                if published < _PUBLISHED and len(here) < _MOST:
                    here.append(op)
                    published += what == THERE
            elif what == THERE and len(known := elsewhere.setdefault(where, [])) < _ELSEWHERE:
                known.append(op)
        others = islice((op for known in elsewhere.values() for op in known), _MOST_ELSEWHERE)
        return tuple(dict.fromkeys([*here, *others]))

    def _newest_first(self) -> Iterator[tuple[str, str, str]]:
        try:
            text = below.read(self._path).decode("utf-8", "replace")
        except FileNotFoundError:
            return
        for line in reversed(text.splitlines()):
            match = _LINE.fullmatch(line)
            if match and is_op(match[2]):
                yield match[1], match[2], match[3]


def _short(target: str) -> str:
    return hashlib.sha256(target.encode()).hexdigest()[:32]
