"""What happens to runs that are uploaded while they go on when the process leaves: what was logged is sent first."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import threading
from functools import cache
from types import FrameType

from t9k.em.errors import InvalidInput
from t9k.em.live.uploading import flush_all

VARIABLE = "EM_FINISH_TIMEOUT"
"""How many seconds the end of a process, or of a run, may wait for uploads."""

DEFAULT_S = 10.0


def timeout_s() -> float | None:
    """The seconds that the environment allows; None when it says nothing usable."""
    try:
        seconds = float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def check_timeout(value: object) -> float:
    """Returns how many seconds to wait, if it is a number.

    Raises:
        InvalidInput: It is none.
    """
    try:
        seconds = float(value)  # type: ignore[arg-type]  # found out here
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise InvalidInput(f"timeout must be a number of seconds, not {value!r}")
    return seconds


def install() -> None:
    """Flushes at the end of the interpreter, and on SIGTERM where nobody else handles that; again is fine."""
    _install_once()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # an interpreter inside of another
            signal.signal(signal.SIGTERM, _terminate)


@cache
def _install_once() -> None:
    # When handlers of atexit run, the pools of concurrent.futures have ended, and Python 3.12 starts no thread any more: a
    # backend may need both. What is registered here runs before; the last one first, so that the pools come before.
    import concurrent.futures.thread  # noqa: F401, PLC0415 - for what it registers

    register = getattr(threading, "_register_atexit", atexit.register)
    try:
        register(_flush)
    except RuntimeError:  # the end has begun
        atexit.register(_flush)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_parent)


def _forget_parent() -> None:
    """A child has nothing to flush, and must end at once even where it never comes back to the interpreter."""
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _flush() -> None:
    seconds = timeout_s()
    flush_all(DEFAULT_S if seconds is None else seconds)


def _terminate(number: int, _: FrameType | None) -> None:
    """Flushes in a thread, then lets the signal do what it does; the next one does it at once.

    Not here, where a lock may be held that the flush needs: the handler runs between two steps of any code.
    """
    signal.signal(number, signal.SIG_DFL)

    def leave() -> None:
        try:
            _flush()
        finally:
            os.kill(os.getpid(), number)

    try:
        threading.Thread(target=leave, name="em-leave", daemon=True).start()
    except RuntimeError:  # the system allows no new thread
        os.kill(os.getpid(), number)
