"""Append whole lines to a file: none that was acknowledged is lost to a crash, none is left torn.

A line is in the hands of the kernel when `LineAppender.append` returns, so that killing the process loses nothing.
One thread a process carries what was appended to the disk once a second, so that a power cut loses at most that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import warnings
import weakref
from pathlib import Path

from t9k.em.errors import RecoveredDataWarning
from t9k.em.local.disk import explain, explained, sync_dir

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_SYNC_PERIOD_S = 1.0
_BLOCK_BYTES = 1 << 16
_flush_to_disk = getattr(os, "fdatasync", os.fsync)


class LineAppender:
    """A file that lines are appended to.

    All methods are thread safe. A child made by `os.fork` may go on appending; other processes should not append to
    the same file, but do no harm as long as the disk does not fill up.

    The first append opens the file (0600) and repairs it: what follows the last complete line, left by a power cut or a full
    disk, is cut off with a `RecoveredDataWarning`.

    Args:
        path: The file; its directory must exist, the file need not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False
        self._failure: OSError | None = None
        self._forget_threads()
        self._fd = -1
        self._release: weakref.finalize[[int], LineAppender] | None = None

    def __enter__(self) -> LineAppender:  # noqa: PYI034 - `Self` needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget_threads(self) -> None:
        self._dirty = False
        self._lock = threading.Lock()
        # Held while the disk works, which appends do not wait for. Taken before _lock.
        self._sync_lock = threading.Lock()

    def append(self, line: bytes) -> None:
        r"""Append a line; it survives the process from now on, and a power cut a second later.

        Args:
            line: One line, or several, the last one ending in ``\n``.

        Raises:
            ValueError: `line` is not a complete line, or the appender is closed.
            LocalError: Disk full, over quota, no permission or read-only; nothing of the line stays in the file.
            OSError: Any other failure, also one that the last background sync met.
        """
        if not line.endswith(b"\n"):
            raise ValueError(f"not a complete line for {self.path}: {line[:80]!r}")
        with self._lock:
            if self._fd < 0:
                self._open()
            if self._failure is not None:
                self._raise_failure()
            try:
                written = os.write(self._fd, line)
                if written != len(line):
                    self._write_rest(line, written)
            except OSError as error:
                raise explain(error, "append to", self.path) from error
            if self._dirty:
                return
            self._dirty = True
        _SYNCER.watch(self)

    def sync(self) -> None:
        """Wait until everything appended so far would survive a power cut.

        Raises:
            LocalError: Disk full or over quota.
            OSError: The disk failed, now or in the background.
        """
        with self._sync_lock:
            self._sync()
            self._raise_failure()

    def close(self) -> None:
        """Sync and close; again is fine.

        Raises:
            LocalError: Disk full or over quota; the file is closed all the same.
            OSError: The disk failed, now or in the background; the file is closed all the same.
        """
        with self._sync_lock:
            self._sync()
            with self._lock:
                self._closed = True
                self._fd = -1
                if self._release is not None:
                    self._release()
                self._raise_failure()

    def _sync_in_background(self) -> None:
        with self._sync_lock:
            self._sync()

    def _sync(self) -> None:
        """Carry everything to the disk and keep the error, if any, for the next caller."""
        with self._lock:
            fd, dirty, self._dirty = self._fd, self._dirty, False
        if not dirty or fd < 0:
            return
        try:
            _flush_to_disk(fd)
            if os.fstat(fd).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "it was deleted while it was written to", str(self.path))
        except OSError as error:
            self._failure = error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise explain(failure, "sync", self.path) from failure

    def _open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        with explained("open", self.path):
            created = not self.path.exists()
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            try:
                dropped_bytes = _repair(fd)
                if created:
                    sync_dir(self.path.parent)
            except BaseException:
                os.close(fd)
                raise
        self._fd = fd
        self._release = weakref.finalize(self, os.close, fd)
        _SYNCER.remember(self)
        if dropped_bytes:
            msg = f"{self.path}: dropped an incomplete last line of {dropped_bytes} bytes, left by a crash"
            warnings.warn(msg, RecoveredDataWarning, stacklevel=4)

    def _write_rest(self, line: bytes, written: int) -> None:
        """Finish a line that the system took only a part of, or take the part back."""
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise


def _repair(fd: int) -> int:
    """Cut off what follows the last complete line, unless another process is appending; return how much."""
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # What looks torn may be a line that the other process is about to finish. It repaired the file before.
            fcntl.flock(fd, fcntl.LOCK_SH)
            return 0
        except OSError:
            pass  # A file system without locks: nothing can be learned about others.
    try:
        size_bytes = os.fstat(fd).st_size
        whole_bytes = _end_of_lines(fd, size_bytes)
        if whole_bytes != size_bytes:
            os.ftruncate(fd, whole_bytes)
        return size_bytes - whole_bytes
    finally:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_SH)


def _end_of_lines(fd: int, size_bytes: int) -> int:
    """Return the offset after the last newline; NULs after it are what a file system puts in place of lost blocks."""
    end = size_bytes
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        os.lseek(fd, start, os.SEEK_SET)
        newline = os.read(fd, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


class _Syncer:
    """The thread that syncs what was appended, once a second, while there is something to sync."""

    def __init__(self) -> None:
        self._known: weakref.WeakSet[LineAppender] = weakref.WeakSet()
        self._registered = False
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[LineAppender] = []
        self._work = threading.Event()
        self._thread: threading.Thread | None = None

    def remember(self, appender: LineAppender) -> None:
        """Care for an open appender in children made by fork."""
        with self._lock:
            self._known.add(appender)
            if not self._registered and hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._after_fork)
            self._registered = True

    def _after_fork(self) -> None:
        # Threads do not survive a fork, and a lock that one of them held would stay locked for ever.
        self._reset()
        for appender in list(self._known):
            appender._forget_threads()  # noqa: SLF001 - one unit with it

    def watch(self, appender: LineAppender) -> None:
        """Sync `appender` within about a second."""
        with self._lock:
            self._waiting.append(appender)
            if self._thread is None:
                thread = threading.Thread(target=self._loop, name="t9k-em-sync", daemon=True)
                with contextlib.suppress(RuntimeError):  # no new threads while the interpreter shuts down
                    thread.start()
                    self._thread = thread
        self._work.set()

    def _loop(self) -> None:
        while True:
            self._work.wait()
            time.sleep(_SYNC_PERIOD_S)
            self._sync_waiting()

    def _sync_waiting(self) -> None:
        with self._lock:
            self._work.clear()
            appenders, self._waiting = self._waiting, []
        for appender in appenders:
            appender._sync_in_background()  # noqa: SLF001 - one unit with it


_SYNCER = _Syncer()
