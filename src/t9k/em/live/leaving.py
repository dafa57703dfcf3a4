"""What happens to runs that are uploaded while they go on when the process leaves: what was logged is sent first."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from types import FrameType

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


def install() -> None:
    """Flushes at the end of the interpreter, and on SIGTERM where nobody else handles that."""
    atexit.register(_flush)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _flush() -> None:
    seconds = timeout_s()
    flush_all(DEFAULT_S if seconds is None else seconds)


def _terminate(number: int, _: FrameType | None) -> None:
    """Flushes in a thread, then lets the signal do what it does; the next one does it at once.

    Not here, where a lock may be held that the flush needs: the handler runs between two steps of any code.
    """
    signal.signal(number, signal.SIG_DFL)

    def leave() -> None:
        _flush()
        os.kill(os.getpid(), number)

    threading.Thread(target=leave, name="em-leave", daemon=True).start()
