"""Keep what a run prints: `sys.stdout` and `sys.stderr` go on as before, and into a file as well.

The text is taken where Python writes it, so what a child process or a C library prints to the descriptor is not kept.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from pathlib import Path

from t9k.em.capture import tee
from t9k.em.capture.terminal import Line
from t9k.em.local import forks
from t9k.em.telling import tell

_STREAMS = ("stdout", "stderr")
_MAX_PENDING_CHARS = 4096


class OutputLog:
    r"""A file with what the process prints, as a terminal would finally show it.

    The file is current after every write: the lines that are finished, then those that are not, one for each stream,
    which are written anew whenever they change. So progress bars (``\r``) take one line. A line longer than
    4,096 characters counts as finished.

    Printing never fails because of the log: the first failure, such as a full disk, is told by one `IncompleteWarning`, and
    from then on nothing more is kept. Several logs may be open at once, also of one stream, and stop in any order.
    Thread safe. What a child made by `os.fork` prints is not kept.

    Args:
        path: The file (0600), appended to if it exists; its directory must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._committed = 0
        self._taps: list[tee.Tap] = []
        self._unlock()

    def _unlock(self) -> None:
        # Reentrant, because a signal handler or a finalizer may print while a line is being written.
        self._lock = threading.RLock()
        self._writing = False
        self._queue: deque[tuple[str, str]] = deque()

    @property
    def finished(self) -> int:
        """How many bytes of the file are finished lines, which stay as they are."""
        with self._lock:
            return self._committed

    def start(self) -> None:
        """Open the file and begin to take what is printed; again is fine.

        A file that cannot be opened is told by an `IncompleteWarning`, and nothing is kept.
        """
        with self._lock:
            if self._fd >= 0:
                return
            self._lines = {stream: Line() for stream in _STREAMS}
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
                self._fd = fd
                self._end = self._committed = os.fstat(fd).st_size
                if self._end and os.pread(fd, 1, self._end - 1) != b"\n":
                    self._rewrite("\n", "")
            except OSError as error:
                self._give_up(error)
                return
            forks.watch(self)
            self._taps = [tee.tap(stream, self._take) for stream in _STREAMS]

    def stop(self) -> None:
        """Take no more and close the file, with unfinished lines as they are; again is fine."""
        for tap in self._taps:
            tap.remove()
        with self._lock:
            self._taps = []
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):  # closed by somebody else; everything is written already
                os.close(fd)

    def _take(self, stream: str, text: str) -> None:
        """Keep a piece of text that was printed."""
        with self._lock:
            if self._fd < 0:
                return
            self._queue.append((stream, text))
            if self._writing:
                return  # printed while printing, by this very thread
            self._writing = True
            try:
                while self._queue and self._fd >= 0:
                    self._keep(*self._queue.popleft())
            except OSError as error:
                self._give_up(error)
            finally:
                self._writing = False

    def _keep(self, stream: str, text: str) -> None:
        line = self._lines[stream]
        finished = line.feed(text)
        if len(line.text) > _MAX_PENDING_CHARS:
            finished += line.cut()
        self._rewrite(finished, "\n".join(line.text for line in self._lines.values() if line.text))

    def _rewrite(self, finished: str, pending: str) -> None:
        """Put text after what is committed; the first part of it is committed as well."""
        committed = finished.encode("utf-8", "backslashreplace")
        data = committed + pending.encode("utf-8", "backslashreplace")
        end = self._committed + len(data)
        view, offset = memoryview(data), self._committed
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written
        if end < self._end:
            os.ftruncate(self._fd, end)
        self._end = end
        self._committed += len(committed)

    def _give_up(self, error: OSError) -> None:
        self._close()
        self._queue.clear()
        tell(f"{self.path}: the output of the run is not kept any more: {error.strerror}; the run goes on", 7)

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`: the parent goes on writing this file, at offsets that only it knows."""
        tee.unlock()
        self._unlock()
        for tap in self._taps:
            tap.remove()
        self._taps = []
        self._close()
