"""What a child made by `os.fork` has to forget: threads that it does not have, and locks that they held."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgets(Protocol):
    """Something with threads, locks or descriptors that a child must not share."""

    def forget_parent(self) -> None:
        """Forget the state of the parent; called in a child before anything else runs there, and must not raise."""


_known: weakref.WeakSet[Forgets] = weakref.WeakSet()
_registered = False


def watch(subject: Forgets) -> None:
    """Have `subject.forget_parent` called in every child made by fork, for as long as it is alive."""
    global _registered  # noqa: PLW0603 - a handler cannot be taken back, so there is one
    _known.add(subject)
    if not _registered and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)
    _registered = True


def _forget() -> None:
    for subject in list(_known):
        subject.forget_parent()
