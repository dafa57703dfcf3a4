"""The lock for what is read, changed and written in the directory of a run or artifact: `<directory>/.em/lock`.

It keeps processes, threads and objects apart by `flock`, which the system takes back from a process that ends, however it ends. So a file that
was left is no lock. Nobody waits for ever: after `MOST_S` seconds the work is done without the lock, with a warning, for what holds it is
stopped or hangs. Where there are no such locks (some network file systems, Windows) only the threads of this process are kept apart.

Reading needs no lock, for files are replaced as a whole.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import get_ident
from weakref import WeakValueDictionary

from t9k.em.errors import LocalError
from t9k.em.local import below, forks, reentry
from t9k.em.local.below import Below
from t9k.em.warn import outside, warn_incomplete

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

NAME = "lock"
MOST_S = 30.0
"""How long somebody else's work on a directory is waited for; it takes milliseconds."""

_STUCK_MOST_S = 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.02
_FLAGS = os.O_RDWR | os.O_CREAT


class DirectoryLock:
    """The lock of one directory; see `lock_of`, which gives all objects of a process the same one.

    Args:
        directory: Of the run or artifact, absolute.
        private: The name of the directory in it that the file of the lock lies in. It is made when it is missing.
    """

    def __init__(self, directory: Path, private: str) -> None:
        self._private = Below(directory, private)
        self._is_stuck = False
        self._fd = -1
        self._reset()
        forks.watch(self)

    def _reset(self) -> None:
        self._between_threads = threading.Lock()
        self._owner = 0

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`: what the parent holds goes with the parent, if no child has the file open."""
        fd, self._fd = self._fd, -1
        self._reset()
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep everybody else from changing the files; what a handler asks for meanwhile is put off, see `reentry`.

        To be held for short, and never while the network or another lock of ours is waited for. Within the block the same thread may
        ask for it again.
        """
        with reentry.busy():
            if self._owner == get_ident():
                yield
                return
            end_s = time.monotonic() + (_STUCK_MOST_S if self._is_stuck else MOST_S)
            is_mine = self._between_threads.acquire(timeout=max(0.0, end_s - time.monotonic()))
            try:
                if is_mine:
                    self._owner = get_ident()
                    self._fd = self._open()
                if is_mine and self._is_given(end_s):
                    self._is_stuck = False
                else:
                    self._warn()
                yield
            finally:
                if is_mine:
                    self._give_back()
                    self._owner = 0
                    self._between_threads.release()

    def _open(self) -> int:
        """Open the file of the lock; negative where there can be none, as in a directory that is read-only."""
        path = self._private / NAME
        with contextlib.suppress(LocalError, OSError):  # what is to be written says why
            try:
                return below.open_file(path, _FLAGS)
            except FileNotFoundError:
                below.make_dirs(self._private, durable=False)
                return below.open_file(path, _FLAGS)
        return -1

    def _is_given(self, end_s: float) -> bool:
        """Wait for other processes.

        Returns:
            Whether none of them is in the way any more; False when that took too long.
        """
        pause_s = _FIRST_PAUSE_S
        while self._fd >= 0:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end_s:
                    return False
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            except (AttributeError, OSError):  # Windows, or a file system without locks
                return True
            if os.fstat(self._fd).st_nlink:
                return True
            self._give_back()  # the file was deleted, and others hold the one that is there now
            self._fd = self._open()
        return True

    def _give_back(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(
            AttributeError, OSError
        ):  # closing alone would not do: a child that was just forked has it open too
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)

    def _warn(self) -> None:
        if self._is_stuck:
            return
        self._is_stuck = True
        path = self._private / NAME
        warn_incomplete(
            f"{path} was held by somebody else for {MOST_S:.0f} s, so this goes on without it, and what both change may be lost; look for a "
            f"process that is stopped or hangs: fuser {path}",
            outside(),
        )


_known: WeakValueDictionary[str, DirectoryLock] = WeakValueDictionary()


def lock_of(directory: Path, private: str) -> DirectoryLock:
    """Return the lock that all of this process use for a directory.

    Args:
        directory: See `DirectoryLock`.
        private: Likewise.
    """
    return _known.setdefault(str(directory), DirectoryLock(directory, private))
