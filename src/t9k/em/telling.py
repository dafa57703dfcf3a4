"""Tells the user of what could not be done, where nothing may be raised."""

from __future__ import annotations

import contextlib
import sys
import warnings

from t9k.em.errors import IncompleteWarning


def tell(message: str, stacklevel: int = 2) -> None:
    """Warns with an `IncompleteWarning`, from any thread; where warnings are errors, nothing breaks.

    Args:
        message: What could not be done, and what to do.
        stacklevel: Whose line the warning names: 2 is the caller's, 3 that of the caller's caller, and so on.
    """
    with contextlib.suppress(IncompleteWarning):
        warnings.warn(message, IncompleteWarning, stacklevel=stacklevel)


def outside() -> int:
    """Return the `stacklevel` that makes the caller's warning name the line that called this library."""
    frame = sys._getframe(1)  # noqa: SLF001 - what `warnings` itself looks at
    level = 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("t9k."):
        frame = frame.f_back
        level += 1
    return level
