"""Keep what a run prints: `sys.stdout` and `sys.stderr` go on as before, and into a file as well.

Each piece of text belongs to one run: the newest that goes on in the context that writes it (see `contextvars`; a thread has a context of
its own, and so has a task of asyncio). Where none was made in that context, as in a thread that a library started, it is the newest one that
was made in the main thread, else the only one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from t9k.em.capture import streams
from t9k.em.capture.logfile import LogFile
from t9k.em.errors import InvalidInput, LocalError
from t9k.em.local import forks, openfiles
from t9k.em.warn import warn_incomplete

if TYPE_CHECKING:
    from t9k.em.capture.descriptors import Descriptors

Output = Literal["stream", "fd", "off"]
OUTPUTS: tuple[Output, ...] = ("stream", "fd", "off")

REST_S = 1.0
"""After so long without a word, the file may be closed until the next one; see `openfiles`."""

_mine: ContextVar[tuple[OutputLog, ...]] = ContextVar("t9k-em-output", default=())
"""The logs that were started in this context, the newest first."""

_going: tuple[OutputLog, ...] = ()
"""All that go on, the oldest first; replaced as a whole."""

_changing = threading.RLock()


class OutputLog:
    r"""A file with what the process prints, as a terminal would finally show it; see `logfile.LogFile`.

    Printing never fails because of the log: the first failure, such as a full disk, is reported by one `IncompleteWarning`, and
    from then on nothing more is kept. Several logs may be open at once and stop in any order. Thread safe. What a child made by
    `os.fork` prints is kept with `through="fd"` only.

    Args:
        path: The file (0600), appended to if it exists; its directory must exist.
        through: 'stream' takes what Python writes; 'fd' also what child processes and C libraries write to the descriptors 1 and 2,
            see `descriptors.Descriptors`.
    """

    def __init__(self, path: Path, through: Output = "stream") -> None:
        self.path = path
        self._through = through
        self._file: LogFile | None = None
        self._descriptors: Descriptors | None = None
        self._stop_listening: Callable[[], None] = _nothing
        self._is_of_main_thread = False
        self._committed = 0
        self._unlock()

    def _unlock(self) -> None:
        # Reentrant, because a signal handler or a finalizer may print while a line is being written.
        self._lock = threading.RLock()
        self._writing = False
        self._is_ending = False
        self._queue: deque[tuple[str, str]] = deque()

    @property
    def is_going(self) -> bool:
        """Whether it takes what is printed."""
        return self._file is not None or self._descriptors is not None

    @property
    def finished(self) -> int:
        """How many bytes of the file are finished lines, which stay as they are."""
        with self._lock:
            if self._descriptors is not None:
                return self._descriptors.finished()
            if self._file is not None:
                self._committed = self._file.finished()
            return self._committed

    def start(self) -> None:
        """Open the file and begin to take what is printed; again is fine.

        If the file cannot be opened, an `IncompleteWarning` says so, and nothing is kept.
        """
        with self._lock:
            if self.is_going:
                return
            self._committed = 0
            self._is_ending = False
            self._is_of_main_thread = threading.current_thread() is threading.main_thread()
            try:
                if self._through == "fd":
                    from t9k.em.capture.descriptors import Descriptors  # noqa: PLC0415 - few runs need it

                    self._descriptors = Descriptors.take(self.path)
                if self._descriptors is None:
                    openfiles.make_room()
                    self._file = LogFile(self.path)
                    openfiles.opened(self._file.fd, self)
            except (LocalError, OSError) as error:
                self._give_up(error)
                return
            forks.watch(self)
            if self._file is not None:
                self._stop_listening = streams.listen(self)
        _add(self)

    def stop(self) -> None:
        """Take no more and close the file, with unfinished lines as they are; again is fine."""
        _remove(self)
        self._stop_listening()
        with self._lock:
            self._stop_listening = _nothing
            descriptors, self._descriptors = self._descriptors, None
            if self._writing:  # this is a signal handler, and its thread is in the middle of a line
                self._is_ending = True
            else:
                self._close()
        if descriptors is not None:
            descriptors.give_back()

    def hear(self, stream: str, text: str) -> bool:
        """See `streams.Listener`."""
        if _receiver() is not self:
            return False
        self._take(stream, text)
        return True

    @property
    def has_rested(self) -> bool:
        """See `openfiles.Closable`."""
        file = self._file
        return file is None or time.monotonic() - file.written > REST_S

    def rest(self) -> bool:
        """See `openfiles.Closable`."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._writing or self._file is None:
                return False
            self._let_go(self._file)
        finally:
            self._lock.release()
        return True

    def is_in_use_here(self) -> bool:
        """See `openfiles.Closable`; what is printed within a print waits for that here, and for nothing else."""
        return False

    def _let_go(self, file: LogFile) -> None:
        if file.fd >= 0:
            openfiles.closed(file.fd)
        file.close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._committed = file.finished()
            self._let_go(file)

    def _keep(self, stream: str, text: str) -> None:
        file = self._file
        if file is None:
            return
        if file.fd < 0:
            openfiles.make_room()
            file.reopen()
            openfiles.opened(file.fd, self)
        file.keep(stream, text)

    def _take(self, stream: str, text: str) -> None:
        """Keep a piece of text that was printed."""
        with self._lock:
            self._queue.append((stream, text))
            if self._writing:
                return  # printed while printing, by this very thread
            self._writing = True
            try:
                while self._queue:
                    self._keep(*self._queue.popleft())
            except (LocalError, OSError) as error:
                self._give_up(error)
            finally:
                self._writing = False
                if self._is_ending:
                    self._close()

    def _give_up(self, error: LocalError | OSError) -> None:
        self._close()
        self._queue.clear()
        reason = f"{self.path}: {error.strerror}" if isinstance(error, OSError) else error
        warn_incomplete(f"the output of the run is not kept any more, and the run goes on: {reason}", 7)

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`: the parent goes on writing this file, at offsets that only it knows."""
        global _changing  # noqa: PLW0603 - there is one for the process
        _changing = threading.RLock()
        streams.unlock()
        self._unlock()
        self._stop_listening()
        self._stop_listening = _nothing
        self._descriptors = None  # what is printed here goes the same way as what the parent prints
        self._close()
        _remove(self)


def check_output(output: str) -> Output:
    """Return how the output is taken, if that is a way.

    Raises:
        InvalidInput: The value is no such setting.
    """
    if output not in OUTPUTS:
        raise InvalidInput(f"output {output!r} is unknown; use one of {', '.join(map(repr, OUTPUTS))}")
    return output


def _nothing() -> None:
    """Nothing is to be ended."""


def _add(log: OutputLog) -> None:
    global _going  # noqa: PLW0603 - the state of the process
    _mine.set((log, *(other for other in _mine.get() if other.is_going and other is not log)))
    with _changing:
        _going = (*(other for other in _going if other is not log), log)


def _remove(log: OutputLog) -> None:
    global _going  # noqa: PLW0603 - the state of the process
    with _changing:
        _going = tuple(other for other in _going if other is not log)


def _receiver() -> OutputLog | None:
    """Return the log to which the text belongs that this context writes."""
    for log in _mine.get():
        if log.is_going:
            return log
    going = _going
    for log in reversed(going):
        if log._is_of_main_thread:  # noqa: SLF001 - of this class
            return log
    return going[0] if len(going) == 1 else None
