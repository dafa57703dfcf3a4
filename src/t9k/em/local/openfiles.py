"""The files that this process holds open to append to: a few of them, however many runs go on."""

from __future__ import annotations

import weakref
from typing import Protocol

MOST = 64
"""So many are open at once; the one that was opened first and has rested for a second is closed for the next."""


class Closable(Protocol):
    """A file that opens itself again when it is needed."""

    @property
    def has_rested(self) -> bool:
        """Whether nothing was written in the last second."""

    def rest(self) -> bool:
        """Close the file unless it is being used; says whether that was done. Must not wait."""

    def is_in_use_here(self) -> bool:
        """Return whether this thread is in the middle of using the file."""


_open: dict[int, weakref.ref[Closable]] = {}  # by descriptor, in the order of opening


def opened(fd: int, file: Closable) -> None:
    """Note a file that was opened.

    Args:
        fd: Its descriptor.
        file: What has it.
    """
    _open[fd] = weakref.ref(file)


def closed(fd: int) -> None:
    """Note that a file is closed; to be called before it is."""
    _open.pop(fd, None)


def make_room() -> None:
    """Close files until there is room for one more; those that are all in use stay."""
    if len(_open) < MOST:
        return
    known = [file for reference in list(_open.values()) if (file := reference()) is not None]
    known.sort(key=lambda file: not file.has_rested)
    for file in known:
        if len(_open) < MOST:
            return
        file.rest()


def is_one_in_use_here() -> bool:
    """Return whether this thread is in the middle of using one of them."""
    return any(file.is_in_use_here() for reference in list(_open.values()) if (file := reference()) is not None)
