"""Runs in a backend that say Running, but that nobody has heard of for long."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from t9k.em.ending.status import RUNNING
from t9k.em.errors import EMError
from t9k.em.parallel import in_parallel
from t9k.em.records import RUN
from t9k.em.transfer.growing import last_sign

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import Node

SILENT_S = 600.0
"""A run that goes on shows its backend at least every minute that it does, when the network allows it."""

WHAT_TO_DO = "see on its machine whether it goes on, or em upload it from there"


def is_silent(heard: float | None) -> bool:
    """Return whether a run has not been heard of for long.

    Args:
        heard: When it was last heard of, POSIX time in seconds; None where that is not known.
    """
    return heard is not None and time.time() - heard > SILENT_S


def silent(backend: Backend, nodes: Iterable[Node]) -> set[str]:
    """Return the paths of the runs that have not been heard of for long; what cannot be asked is left out.

    Args:
        backend: Where they are.
        nodes: Any nodes.
    """
    running = [node for node in nodes if node.kind == RUN and node.metadata.get("status") == RUNNING]

    def heard(node: Node) -> float | None:
        with suppress(EMError):
            return last_sign(backend, node)
        return None

    found = in_parallel(heard, running, "signs of life") if running else []
    return {node.path for node, sign in zip(running, found, strict=True) if is_silent(sign)}
