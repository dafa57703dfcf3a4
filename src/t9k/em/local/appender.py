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
import weakref
from _thread import start_new_thread
from collections.abc import Iterator
from queue import Empty, SimpleQueue

from t9k.em.errors import LocalError, RecoveredDataWarning
from t9k.em.local import forks, openfiles, reentry
from t9k.em.local.below import AnyPath, open_file, status, sync_parent
from t9k.em.local.disk import explain, explained
from t9k.em.local.shortwrite import LONGEST_BYTES, short_write
from t9k.em.warn import warn_incomplete

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_SYNC_PERIOD_S = 1.0
_BLOCK_BYTES = 1 << 16
_flush_to_disk = getattr(os, "fdatasync", os.fsync)


class InUse(Exception):
    """A signal handler or finalizer wants a file that its own thread is in the middle of using: see `reentry`."""


class LineAppender:
    """A file that lines are appended to.

    All methods are thread safe. Several processes may append to one file, children made by `os.fork` among them, since a line
    is one write at the end of the file. One that is killed, or meets a full disk, in the middle of a line may leave a piece of
    it; as long as others are writing it stays, before a line of theirs, and readers find the line (see `metrics`).

    The first append opens the file (0600) and repairs it: what follows the last complete line, left by a power cut or a full
    disk, is cut off with a `RecoveredDataWarning`, unless another process has the file open. When too many are open, the file is
    closed meanwhile (see `openfiles`).

    No method waits for a lock that its own thread holds: a signal handler or finalizer that comes in the middle of one meets
    `InUse`, and nothing else of ours, nor any code of others, runs while the lock is held.

    Args:
        path: The file; its directory must exist, the file need not.
    """

    def __init__(self, path: AnyPath) -> None:
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
        self._syncing = 0
        # Reentrant, so that a handler can find out that its own thread has it: then `_busy` is set.
        self._lock = threading.RLock()
        self._busy = False

    @property
    def has_rested(self) -> bool:
        """See `openfiles.Closable`."""
        return not self._dirty

    def append(self, line: bytes) -> None:
        r"""Append a line; it survives the process from now on, and a power cut a second later.

        Args:
            line: One line, or several, the last one ending in ``\n``.

        Raises:
            ValueError: `line` is not a complete line, or the appender is closed.
            InUse: This thread is in the middle of an append already; nothing was done.
            LocalError: Disk full, over quota, no permission or read-only; nothing of the line stays in the file.
            OSError: Any other failure, also one that the last background sync met.
        """
        if not line.endswith(b"\n"):
            raise ValueError(f"not a complete line for {self.path}: {line[:80]!r}")
        size = len(line)
        dropped_bytes = 0
        try:
            with self._lock:
                if self._busy:
                    raise InUse
                self._busy = True
                try:
                    if self._fd < 0:
                        dropped_bytes = self._open()
                    if self._failure is not None:
                        self._raise_failure()
                    try:
                        written = self._write(self._fd, line, size) if size <= LONGEST_BYTES else -1
                        if written != size:
                            self._write_rest(line, written)
                    except OSError as error:
                        raise explain(error, "append to", self.path) from error
                    if not self._dirty:
                        _SYNCER.watch(self)
                        self._dirty = True
                finally:
                    self._busy = False
        finally:
            if reentry.waiting:
                reentry.do_waiting()
        if dropped_bytes:
            message = f"{self.path}: dropped an incomplete last line of {dropped_bytes} bytes, left by a crash"
            warn_incomplete(message, 4, RecoveredDataWarning)

    def rest(self) -> bool:
        """See `openfiles.Closable`; the next append opens the file again."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._busy:
                return False
            self._drop()
            return True
        finally:
            self._lock.release()

    def is_in_use_here(self) -> bool:
        """See `openfiles.Closable`."""
        if not (self._busy and self._lock.acquire(blocking=False)):
            return False
        try:
            return self._busy
        finally:
            self._lock.release()

    def sync(self) -> None:
        """Wait until everything appended so far would survive a power cut.

        Raises:
            InUse: This thread is in the middle of an append.
            LocalError: Disk full or over quota.
            OSError: The disk failed, now or in the background.
        """
        self._sync()
        self._raise_failure()

    def close(self) -> None:
        """Sync and close; again is fine.

        Raises:
            InUse: This thread is in the middle of an append; nothing was done.
            LocalError: Disk full or over quota; the file is closed all the same.
            OSError: The disk failed, now or in the background; the file is closed all the same.
        """
        self._sync()
        with self._using():
            self._closed = True
            self._drop()
        self._raise_failure()

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """For what is no append."""
        with self._lock:
            if self._busy:
                raise InUse
            self._busy = True
            try:
                yield
            finally:
                self._busy = False
        if reentry.waiting:
            reentry.do_waiting()

    def _drop(self) -> None:
        release, self._release = self._release, None
        self._fd = -1
        if release is not None:
            release()

    def _sync_in_background(self) -> None:
        with contextlib.suppress(InUse):  # a finalizer in the thread that syncs: it syncs again
            self._sync()

    def _sync(self) -> None:
        """Carry everything to the disk and keep the error, if any, for the next caller.

        Appends go on while the disk works, and the file may be closed: a descriptor of its own keeps it open.
        """
        with self._using():
            if not (self._dirty or self._syncing):
                return
            self._dirty = False
            self._syncing += 1
            fd = self._duplicate()
        try:
            if fd >= 0:
                self._flush(fd)
        except OSError as error:
            self._failure = error
        finally:
            if fd >= 0:
                os.close(fd)
            with self._lock:
                self._syncing -= 1

    def _duplicate(self) -> int:
        try:
            return os.dup(self._fd) if self._fd >= 0 else open_file(self.path, os.O_RDWR)
        except LocalError as error:
            self._failure = OSError(errno.EIO, str(error))
            return -1
        except OSError as error:
            self._failure = _deleted(self.path) if isinstance(error, FileNotFoundError) else error
            return -1

    def _flush(self, fd: int) -> None:
        _flush_to_disk(fd)
        if not os.fstat(fd).st_nlink:
            self.rest()
            raise _deleted(self.path)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise explain(failure, "sync", self.path) from failure

    def _open(self) -> int:
        """Open the file; returns how many bytes of an incomplete last line were cut off."""
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        openfiles.make_room()
        with explained("open", self.path):
            created = status(self.path) is None
            fd = open_file(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                dropped_bytes = _repair(fd)
                if created:
                    sync_parent(self.path)
            except BaseException:
                os.close(fd)
                raise
        openfiles.opened(fd, self)
        self._release = weakref.finalize(self, _close, fd)
        self._fd = fd
        forks.watch(_SYNCER)
        forks.watch(self)
        return dropped_bytes

    def _write_rest(self, line: bytes, written: int) -> None:
        """Finish a line that the system took nothing or only a part of, or take the part back."""
        if written < 0:
            written = os.write(self._fd, line)  # which tells what is wrong, if it still is
            if written == len(line):
                return
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


def _deleted(path: AnyPath) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "it was deleted while it was written to", str(path))


def _close(fd: int) -> None:
    openfiles.closed(fd)
    os.close(fd)


class _Syncer:
    """The thread that syncs what was appended, at most once a second, while there is something to sync.

    The second counts from the first append that waits, not from the end of the last sync: a slow disk adds nothing to it.
    """

    def __init__(self) -> None:
        self.forget_parent()

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`."""
        self._waiting: SimpleQueue[tuple[float, LineAppender]] = SimpleQueue()  # which a handler may always put into
        self._starting = threading.Lock()
        self._has_thread = False

    def watch(self, appender: LineAppender) -> None:
        """Sync `appender` within about a second; waits for nothing."""
        self._waiting.put((time.monotonic() + _SYNC_PERIOD_S, appender))
        if not self._has_thread and self._starting.acquire(blocking=False):  # else somebody is starting it
            try:
                if not self._has_thread:
                    # Not `threading.Thread`, whose `start` waits for the new thread, and that for locks which may be held here.
                    start_new_thread(self._loop, (self._waiting,))
                    self._has_thread = True
            except RuntimeError:  # no new threads while the interpreter shuts down
                pass
            finally:
                self._starting.release()

    def _loop(self, waiting: SimpleQueue[tuple[float, LineAppender]]) -> None:
        while True:
            due_s, appender = waiting.get()
            time.sleep(max(0.0, due_s - time.monotonic()))
            appenders = {appender}
            with contextlib.suppress(Empty):
                while True:
                    appenders.add(waiting.get_nowait()[1])
            del appender  # one that nobody else has is gone before the next comes
            while appenders:
                appenders.pop()._sync_in_background()  # noqa: SLF001 - one unit with it


_SYNCER = _Syncer()
