"""Publications of a name: which upload the files of a generation come from, also where a collector repeated its head."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from t9k_em_backends.tree.heads import Head


def publication(generation: int, head: Head, read: Callable[[int], Head | None]) -> str | None:
    """Return the upload that published a generation; of one that a collector published, that of the one which it repeats.

    Args:
        generation: Its number.
        head: Its head.
        read: Returns the head of a generation, or None.
    """
    while head.op is None and head.ready:
        generation -= 1
        below = read(generation)
        if below is None or not repeats(head, below):
            break
        head = below
    return head.op


def repeats(head: Head, below: Head) -> bool:
    """Return whether a generation is one that a collector published: it says what the one below it says."""
    return _said(head) == _said(below)


def _said(head: Head) -> Head:
    """Return a head without what a collector changes."""
    return evolve(head, write_id="", op=None, fenced=(), fenced_spans=(), collected=0)
