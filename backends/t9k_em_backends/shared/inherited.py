"""Connections that a child made by `os.fork` has of its parent: it neither uses nor ends them.

Ending them may wait for ever, for a thread that the child does not have, and would end those of the parent as well.
"""

from __future__ import annotations

import os
import weakref

_connections: weakref.WeakSet[object] = weakref.WeakSet()
_inherited: list[object] = []
"""What the parents of this process made; referred to here, so that nothing collects any of it."""


def outlive_forks(connections: object) -> None:
    """Keep an object of this process from being collected in each child that is forked while the object is alive."""
    _connections.add(connections)


def keep(connections: object) -> None:
    """Keep an object that this process has of its parent from being collected."""
    _inherited.append(connections)


def _keep_all() -> None:
    _inherited.extend(_connections)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_all)
