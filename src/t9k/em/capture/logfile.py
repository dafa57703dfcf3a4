"""The file with the output of a run: the rows that are finished, then those that may still change."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from pathlib import Path

from t9k.em.capture.terminal import MOST_ROWS, Screen
from t9k.em.local.below import open_file

STREAMS = ("stdout", "stderr")

_FLAGS = os.O_RDWR


class LogFile:
    """A file that shows what two streams would finally look like on a terminal; current after every `keep`.

    Rows that may still change are written anew whenever they do. Where a cursor goes back up, the rows that were finished last are
    taken back, unless the other stream finished one after them or `finished` has promised that they stay. Not thread safe.

    Attributes:
        fd: The descriptor; negative while the file is closed.
        written: When something was written last, by `time.monotonic`.

    Args:
        path: The file (0600), appended to if it exists; its directory must exist.

    Raises:
        LocalError: The path is a link, or no regular file.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._screens = {stream: Screen(lambda stream=stream: self._take_back(stream)) for stream in STREAMS}  # type: ignore[misc]
        self._past: deque[tuple[str, bytes]] = deque(maxlen=MOST_ROWS)  # stream, row with its newline
        self._path = path
        self.written = time.monotonic()
        self.fd = open_file(path, _FLAGS | os.O_CREAT)
        self._end = self._committed = os.fstat(self.fd).st_size
        try:
            if self._end and os.pread(self.fd, 1, self._end - 1) != b"\n":
                self._rewrite(b"\n", "")
        except OSError:
            self.close()
            raise

    def reopen(self) -> None:
        """Open the file again after `close`.

        Raises:
            LocalError: A link is in its place.
            OSError: The file is gone, or cannot be opened.
        """
        self.fd = open_file(self._path, _FLAGS)

    def keep(self, stream: str, text: str) -> None:
        """Take text that was printed.

        Args:
            stream: 'stdout' or 'stderr'.
            text: Any piece of it.

        Raises:
            OSError: The file cannot be written.
        """
        committed = self._screens[stream].feed(text).encode("utf-8", "backslashreplace")
        if committed:
            for name, screen in self._screens.items():
                if name != stream and (rows := screen.settle()):
                    above = rows.encode("utf-8", "backslashreplace")
                    self._note(name, above)
                    self._note(stream, committed)
                    committed = above + committed
                    break
            else:
                self._note(stream, committed)
        pending = ""
        for screen in self._screens.values():
            if shown := screen.text:
                pending = f"{pending}\n{shown}" if pending and pending[-1] != "\n" else pending + shown
        self._rewrite(committed, pending)

    def finished(self) -> int:
        """Return the number of bytes of the file that will not change any more."""
        self._past.clear()
        return self._committed

    def close(self) -> None:
        """Close the file, with unfinished rows as they are; again is fine."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):  # closed by somebody else; everything is written already
                os.close(fd)

    def _note(self, stream: str, finished: bytes) -> None:
        """Remember the rows that were finished last."""
        *rows, rest = finished.rsplit(b"\n", MOST_ROWS + 1)[-MOST_ROWS - 1 :]
        if rest:
            self._past.clear()  # a part of a row, which its other part continues
        else:
            self._past.extend((stream, row + b"\n") for row in rows)

    def _take_back(self, stream: str) -> str | None:
        if not self._past or self._past[-1][0] != stream:
            return None
        _, row = self._past.pop()
        self._committed -= len(row)
        return row.decode()

    def _rewrite(self, committed: bytes, pending: str) -> None:
        """Put bytes after those that are committed, and unfinished text after them; the first are committed as well."""
        data = committed + pending.encode("utf-8", "backslashreplace")
        end = self._committed + len(data)
        view, offset = memoryview(data), self._committed
        while view:
            written = os.pwrite(self.fd, view, offset)
            view, offset = view[written:], offset + written
        if end < self._end:
            os.ftruncate(self.fd, end)
        self.written = time.monotonic()
        self._end = end
        self._committed += len(committed)
