"""Tell the user where a run goes, and what could not be done where nothing may be raised."""

from __future__ import annotations

import contextlib
import sys
import warnings

from t9k.em.errors import IncompleteWarning
from t9k.em.settings import is_silent


def warn_incomplete(message: str, stacklevel: int = 2, category: type[Warning] = IncompleteWarning) -> None:
    """Warn, from any thread and never raising: where warnings are errors, or cannot be shown, the message is logged.

    Args:
        message: What could not be done, and what to do.
        stacklevel: Whose line the warning names: 2 is the caller's, 3 that of the caller's caller, and so on.
        category: Of the warning.
    """
    try:
        warnings.warn(message, category, stacklevel=stacklevel)
    except Exception:  # noqa: BLE001 - a warning that is an error, or what shows warnings may be closed or be the user's code
        import logging  # noqa: PLC0415 - slow to import, and seldom needed

        logging.getLogger(__name__).warning("%s", message)


def outside() -> int:
    """Return the `stacklevel` that makes the caller's warning name the line that called this library."""
    frame = sys._getframe(1)  # noqa: SLF001 - what `warnings` itself looks at
    level = 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("t9k."):
        frame = frame.f_back
        level += 1
    return level


def announce(message: str) -> None:
    """Print one line to stderr, unless `EM_SILENT=1` is set or another process of a distributed training has printed it.

    Args:
        message: What the user may want to know, and what to do with it.
    """
    if sys.stderr is None or is_silent():  # a program without a console has none
        return
    with contextlib.suppress(Exception):  # closed, nobody reads any more, or an object of the user that cannot do it
        sys.stderr.write(f"t9k.em: {message}\n")
        sys.stderr.flush()
