"""Append whole lines to a file: none that was acknowledged is lost to a crash, none is left torn.

A line is in the hands of the kernel when `LineAppender.append` returns, so that killing the process loses nothing.
One thread a process carries what was appended to the disk within a second, so that a power cut loses at most that and
what comes while the disk works.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path

from t9k.em.errors import RecoveredDataWarning
from t9k.em.local import forks
from t9k.em.local.disk import explain, explained, sync_dir
from t9k.em.local.shortwrite import LONGEST_BYTES, short_write

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_SYNC_PERIOD_S = 1.0
_BLOCK_BYTES = 1 << 16
_flush_to_disk = getattr(os, "fdatasync", os.fsync)


class LineAppender:
    """A file that lines are appended to.

    All methods are thread safe. Several processes may append to one file, children made by `os.fork` among them, since a line
    is one write at the end of the file. One that is killed, or meets a full disk, in the middle of a line may leave a piece of
    it; as long as others are writing it stays, before a line of theirs, and readers find the line (see `metrics`).

    The first append opens the file (0600) and repairs it: what follows the last complete line, left by a power cut or a full
    disk, is cut off with a `RecoveredDataWarning`, unless another process has the file open.

    Args:
        path: The file; its directory must exist, the file need not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False
        self._fd = -1
        self._write = short_write()
        self._release: weakref.finalize[[int], LineAppender] | None = None
        self._reset()

    def __enter__(self) -> LineAppender:  # noqa: PYI034 - `Self` needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`: a child opens the file for itself, so that by its lock it counts as another process."""
        self._reset()
        self._drop()

    def _reset(self) -> None:
        self._failure: OSError | None = None
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
        if line[-1:] != b"\n":
            raise ValueError(f"not a complete line for {self.path}: {line[:80]!r}")
        size = len(line)
        with self._lock:
            if self._fd < 0:
                self._open()
            if self._failure is not None:
                self._raise_failure()
            try:
                written = self._write(self._fd, line, size) if size <= LONGEST_BYTES else os.write(self._fd, line)
                if written < 0:
                    written = os.write(self._fd, line)  # which tells what is wrong, if it still is
                if written != size:
                    self._write_rest(line, written)
            except OSError as error:
                raise explain(error, "append to", self.path) from error
            if self._dirty:
                return
            self._dirty = True
        _SYNCER.watch(self)

    def reopen(self) -> None:
        """Open the file anew at the next append: it may have been deleted, or its disk taken away and put back."""
        if self._sync_lock.acquire(blocking=False):  # the disk works on it: another time
            try:
                with self._lock:
                    self._drop()
            finally:
                self._sync_lock.release()

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
                self._drop()
                self._raise_failure()

    def _drop(self) -> None:
        self._fd = -1
        if self._release is not None:
            self._release()

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
            if os.fstat(fd).st_nlink:
                return
            with self._lock:
                self._drop()
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
        forks.watch(_SYNCER)
        forks.watch(self)
        if dropped_bytes:
            msg = f"{self.path}: dropped an incomplete last line of {dropped_bytes} bytes, left by a crash"
            warnings.warn(msg, RecoveredDataWarning, stacklevel=4)

    def _write_rest(self, line: bytes, written: int) -> None:
        """Finish a line that the system took only a part of, or take the part back."""
        with _alone(self._fd) as is_alone:
            if not is_alone:
                # Others may have written after the part. It stays; the line follows as a whole.
                if os.write(self._fd, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                return
            try:
                while written < len(line):
                    written += os.write(self._fd, line[written:])
            except OSError:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                raise


@contextlib.contextmanager
def _alone(fd: int) -> Iterator[bool]:
    """Keep other processes from opening a file to append to it, and tell whether none had it open already.

    Whoever has it open holds a shared lock; a file system without locks tells nothing about others.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(fd, fcntl.LOCK_SH)  # before anything is appended: who has the other lock may cut
        yield False
        return
    except (AttributeError, OSError):  # Windows, or a file system without locks
        yield True
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_SH)


def _repair(fd: int) -> int:
    """Cut off what follows the last complete line, unless another process is appending; return how much.

    What looks torn may be a line that the other process is about to finish. It repaired the file before.
    """
    with _alone(fd) as is_alone:
        if not is_alone:
            return 0
        size_bytes = os.fstat(fd).st_size
        whole_bytes = _end_of_lines(fd, size_bytes)
        if whole_bytes != size_bytes:
            os.ftruncate(fd, whole_bytes)
        return size_bytes - whole_bytes


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
    """The thread that syncs what was appended, at most once a second, while there is something to sync.

    The second counts from the first append that waits, not from the end of the last sync: a slow disk adds nothing to it.
    """

    def __init__(self) -> None:
        self.forget_parent()

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`."""
        self._lock = threading.Lock()
        self._waiting: list[LineAppender] = []
        self._due_s = 0.0
        self._work = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, appender: LineAppender) -> None:
        """Sync `appender` within about a second."""
        with self._lock:
            if not self._waiting:
                self._due_s = time.monotonic() + _SYNC_PERIOD_S
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
            with self._lock:
                left_s = self._due_s - time.monotonic()
            time.sleep(max(0.0, left_s))
            self._sync_waiting()

    def _sync_waiting(self) -> None:
        with self._lock:
            self._work.clear()
            appenders, self._waiting = self._waiting, []
        for appender in appenders:
            appender._sync_in_background()  # noqa: SLF001 - one unit with it


_SYNCER = _Syncer()
