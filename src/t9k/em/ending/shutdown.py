"""What happens to runs that go on when the process leaves: each ends with a status that says how, and is uploaded if it was before.

The interpreter tells nobody why it ends. So what `sys.exit` was asked for and what `sys.excepthook` was told is kept, and the signal
SIGTERM handled where nobody else does that. In a notebook or at a prompt an exception ends nothing, so there it counts for nothing.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import math
import os
import signal
import sys
import threading
import time
from _sitebuiltins import Quitter
from _thread import start_new_thread
from collections.abc import Callable
from functools import cache
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol

from t9k.em.ending.failure import status_of
from t9k.em.ending.status import COMPLETE, PREEMPTED
from t9k.em.errors import InvalidInput

VARIABLE = "EM_FINISH_TIMEOUT"
"""How many seconds the end of a process, or of a run, may wait for uploads."""

DEFAULT_S = 10.0


class GoesOn(Protocol):
    """A run that has not ended."""

    def _leave(self, status: str, error: BaseException | None) -> None:
        """End here; no upload is waited for, and nothing raised."""

    def _leave_backend(self, timeout_s: float) -> None:
        """End in the backend; nothing is raised.

        Args:
            timeout_s: How long to wait, in seconds; 0 only asks for it.
        """


_going_on: dict[int, GoesOn] = {}
_flushes: list[Callable[[float], None]] = []
_terminated = False
_uncaught: BaseException | None = None


def timeout_s() -> float | None:
    """Return the seconds that the environment allows; None when it says nothing usable."""
    try:
        seconds = float(os.environ.get(VARIABLE, ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def check_timeout(value: object) -> float:
    """Return how many seconds to wait, if it is a number.

    Raises:
        InvalidInput: The value is no time.
    """
    try:
        seconds = float(value)  # type: ignore[arg-type]  # found out here
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise InvalidInput(f"timeout must be a number of seconds, not {value!r}")
    return seconds


def expect(run: GoesOn) -> None:
    """Have a run end when the process leaves, unless it is done by then; the run is kept until then."""
    _going_on[id(run)] = run
    _install()


def done(run: GoesOn) -> None:
    """Note that a run has ended; may be called again."""
    _going_on.pop(id(run), None)


def forget_all() -> None:
    """Let every run that goes on stay as it is when the process leaves, as between two tests."""
    _going_on.clear()


def flush_by(flush: Callable[[float], None]) -> None:
    """Have a function send what was logged when the process leaves.

    Args:
        flush: Takes the seconds that it may last.
    """
    # When handlers of atexit run, the pools of concurrent.futures have ended, and Python 3.12 starts no thread any more: a
    # backend may need both. What is registered here runs before; the last one first, so that the pools come before.
    import concurrent.futures.thread  # noqa: F401, PLC0415 - for what it registers

    if flush not in _flushes:
        _flushes.append(flush)
        _register_early()
    _install()


def _install() -> None:
    _install_once()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # an interpreter inside of another
            signal.signal(signal.SIGTERM, _terminate)


@cache
def _install_once() -> None:
    _register_early()
    atexit.register(_leave)
    _watch_exceptions()
    _watch_exits()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_parent)


def _register_early() -> None:
    """Have `_leave_early` called before the threads of the interpreter's pools are ended."""
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the end has begun; atexit comes
            register(_leave_early)


def _forget_parent() -> None:
    """Forget the runs of the parent in a child, which must end at once even where it never comes back to the interpreter."""
    global _uncaught  # noqa: PLW0603 - the reason of this process
    _going_on.clear()
    _flushes.clear()
    _uncaught = None
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# Why the process ends.


def _is_interactive() -> bool:
    """Return whether this is a prompt or notebook, where an exception or `sys.exit` ends what was typed and nothing else."""
    return hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__") or bool(sys.flags.interactive)


def _watch_exceptions() -> None:
    before = sys.excepthook

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        global _uncaught  # noqa: PLW0603 - the last one of this process
        _uncaught = error
        return before(kind, error, trace)

    note.em_is_ours = True  # type: ignore[attr-defined]  # by which it is known again
    sys.excepthook = note


class _Exit:
    """A `SystemExit` that `sys.exit`, `exit` or `quit` raised: nobody knows whether it ends the process before it is gone.

    Attributes:
        was_caught: Whether it was dropped by code of Python, which goes on after that.
    """

    def __init__(self, error: SystemExit) -> None:
        self.code = error.code
        self.was_caught = False


class _Mark:
    """Companion of a `SystemExit`."""

    def __init__(self, seen: _Exit) -> None:
        self._seen = seen

    def __del__(self) -> None:
        self._seen.was_caught = sys._getframe().f_back is not None  # noqa: SLF001 - the interpreter itself has no frame


_last_exit: _Exit | None = None


def _watch_exits() -> None:
    leave, quit_by_name = sys.exit, Quitter.__call__

    def noted_exit(status: Any = None, /) -> NoReturn:
        """Exit the interpreter by raising SystemExit(status)."""
        with _noting():
            leave(status)

    def noted_quit(self: Quitter, code: Any = None) -> NoReturn:
        with _noting():
            quit_by_name(self, code)

    sys.exit = noted_exit
    Quitter.__call__ = noted_quit  # type: ignore[method-assign]  # `exit` and `quit`


class _noting:  # noqa: N801 - a frame less in tracebacks than by a generator
    """Note a `SystemExit` that the main thread raises."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        global _last_exit  # noqa: PLW0603 - the last one of this process
        if isinstance(error, SystemExit) and threading.current_thread() is threading.main_thread():
            _last_exit = _Exit(error)
            error.em_mark = _Mark(_last_exit)  # type: ignore[attr-defined]  # tells when the exception is gone


def _reason() -> tuple[str, BaseException | None]:
    """Return the status that unfinished runs get, and the exception that made it."""
    if _terminated:
        return PREEMPTED, None
    if _is_interactive():
        return COMPLETE, None
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    # What was not shown by ours may have been shown by what replaced it.
    if isinstance(error, BaseException) and (error is _uncaught or not hasattr(sys.excepthook, "em_is_ours")):
        return status_of(error), error
    if _last_exit is not None and not _last_exit.was_caught:
        exit_error = SystemExit(_last_exit.code)
        return status_of(exit_error), exit_error
    return COMPLETE, None


# The end.


def _leave_early() -> None:
    """While uploads are still possible; but where other threads go on, so do the runs."""
    if _others_go_on():
        _flush(time.monotonic() + _allowed_s())
    else:
        _leave()


def _others_go_on() -> bool:
    """Return whether the interpreter will wait for threads of the program; those of its own pools wait to be told."""
    pools = [sys.modules.get(f"concurrent.futures.{name}") for name in ("thread", "process")]
    told = {
        thread
        for pool in pools
        for name in ("_threads_queues", "_threads_wakeups")
        for thread in getattr(pool, name, ())
    }
    return any(
        thread is not threading.main_thread()
        and thread is not threading.current_thread()
        and not thread.daemon
        and thread not in told
        for thread in threading.enumerate()
    )


def _leave() -> None:
    status, error = _reason()
    _end_all(status, error)


def _end_all(status: str, error: BaseException | None) -> None:
    runs = list(_going_on.values())
    end = time.monotonic() + _allowed_s()
    for run in runs:
        run._leave(status, error)
    for run in runs:
        run._leave_backend(0.0)  # so that none has to wait for the time that another needs
    for run in runs:
        run._leave_backend(max(0.0, end - time.monotonic()))
    _flush(end)


def _allowed_s() -> float:
    seconds = timeout_s()
    return DEFAULT_S if seconds is None else seconds


def _flush(end: float) -> None:
    for flush in _flushes:
        flush(max(0.0, end - time.monotonic()))


def _terminate(number: int, _: FrameType | None) -> None:
    """End all runs in a thread, then let the signal do what it does; the next one does it at once.

    Not here, where something may be half done: the handler runs between two steps of any code. A handler that was set later and
    calls this one has taken over: whether the process ends is decided there.
    """
    global _terminated  # noqa: PLW0603 - a fact about this process
    _terminated = True
    if signal.getsignal(number) is not _terminate:
        return
    signal.signal(number, signal.SIG_DFL)

    def leave() -> None:
        try:
            _end_all(PREEMPTED, None)
        finally:
            os.kill(os.getpid(), number)

    try:
        start_new_thread(leave, ())  # not `threading.Thread`, whose `start` waits for locks that may be held here
    except RuntimeError:  # the system allows no new thread
        os.kill(os.getpid(), number)
