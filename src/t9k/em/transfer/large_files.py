"""Fetch large objects in large pieces, several at a time, into memory that is used again for the next one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from t9k.em.local.files import write_all
from t9k.em.memory import buffers
from t9k.em.memory.buffers import BUFFER_BYTES, anonymous
from t9k.em.transfer.damage import damaged

if TYPE_CHECKING:
    from t9k.em.backend import FillsBuffers
    from t9k.em.records import FileEntry

PIECE_BYTES = 16 << 20
MOST_PIECES = 6
"""How many are in memory at once, 96 MiB of them."""

MOST_SMALL = 16
"""How many objects at once that fit into a buffer, of 64 MiB together."""


class _Wanted(NamedTuple):
    store: FillsBuffers
    key: str
    size: int
    what: str


class Pieces:
    """Memory for pieces, and threads for objects of several; shared by all files of a download."""

    def __init__(self) -> None:
        self._memory = _Memory()
        self._few = threading.Semaphore(MOST_SMALL)
        self._threads = _Threads()

    def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def fetch(self, store: FillsBuffers, key: str, file: FileEntry, fd: int, what: str) -> Iterator[int]:
        """Write an object to a new file; yield how many bytes, each time some were written.

        Args:
            store: Where it is.
            key: Its key there.
            file: What it has to hold.
            fd: Descriptor of the new file.
            what: Name of the object in error messages.

        Raises:
            CorruptData: The object does not hold the expected bytes; nor does the file then.
            NotFound: The object does not exist.
        """
        wanted = _Wanted(store, key, file.size, what)
        digest = hashlib.sha256()
        pieces = self._small(wanted, fd) if wanted.size <= BUFFER_BYTES else self._several(wanted, fd)
        with contextlib.closing(pieces):  # an error here must not leave threads behind that go on writing
            for piece in pieces:
                digest.update(piece)
                yield len(piece)
        if digest.hexdigest() != file.sha256:
            raise damaged(what)

    def _small(self, wanted: _Wanted, fd: int) -> Generator[memoryview]:
        with self._few:
            piece = buffers.take()[: wanted.size]
            _bring(wanted, 0, piece, fd)
            yield piece

    def _several(self, wanted: _Wanted, fd: int) -> Generator[memoryview]:
        """Yield the pieces in their order; those that follow are fetched meanwhile, as far as there is room."""
        begun = 0
        # What is still written after a second Ctrl-C goes into this file, and not into one that has its number then.
        fd = os.dup(fd)
        running: deque[tuple[memoryview, Future[memoryview]]] = deque()
        try:
            while begun < wanted.size or running:
                while begun < wanted.size:
                    # Who waits for room has none that others may wait for.
                    buffer = self._memory.try_take() if running else self._memory.take()
                    if buffer is None:
                        break
                    piece = buffer[: wanted.size - begun]
                    running.append((buffer, self._threads.start(_bring, wanted, begun, piece, fd)))
                    begun += len(piece)
                yield running[0][1].result()
                self._memory.give(running.popleft()[0])
        finally:
            for _, bringing in running:
                bringing.cancel()
            for buffer, bringing in running:
                if not bringing.cancelled():
                    bringing.exception()
                self._memory.give(buffer)
            os.close(fd)


class _Threads:
    """Threads that are all there before the first of them has anything to do, or none where the system allows no more.

    An executor that cannot start a thread has put the work into its queue before, and may do it later.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._is_there = False

    def start(self, work: Callable[..., memoryview], *arguments: object) -> Future[memoryview]:
        """Do some work in a thread, or here."""
        with self._starting:
            if not self._is_there:
                self._pool, self._is_there = _make_pool(), True
        if self._pool is not None:
            return self._pool.submit(work, *arguments)
        done: Future[memoryview] = Future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            done.set_exception(error)
        return done

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _make_pool() -> ThreadPoolExecutor | None:
    pool, all_there = ThreadPoolExecutor(MOST_PIECES, thread_name_prefix="em-piece"), threading.Event()
    try:
        for _ in range(MOST_PIECES):
            pool.submit(all_there.wait)
    except RuntimeError:  # the system allows no more threads
        all_there.set()
        pool.shutdown()
        return None
    all_there.set()
    return pool


class _Memory:
    """Buffers that are given back for the next one: to get new memory of the system costs more than to fill it."""

    def __init__(self) -> None:
        self._room = threading.Semaphore(MOST_PIECES)
        self._free: deque[memoryview] = deque()

    def take(self) -> memoryview:
        """Wait for a buffer of `PIECE_BYTES`."""
        self._room.acquire()
        return self._buffer()

    def try_take(self) -> memoryview | None:
        """Return a buffer, unless one would have to wait for it."""
        return self._buffer() if self._room.acquire(blocking=False) else None

    def give(self, buffer: memoryview) -> None:
        """Give a buffer back."""
        self._free.append(buffer)
        self._room.release()

    def _buffer(self) -> memoryview:
        with contextlib.suppress(IndexError):
            return self._free.pop()
        return memoryview(anonymous(PIECE_BYTES))


def _bring(wanted: _Wanted, start: int, piece: memoryview, fd: int) -> memoryview:
    """Read a piece of an object and write it to a file."""
    if wanted.store.read_into(wanted.key, start, piece) != wanted.size:
        raise damaged(wanted.what)
    write_all(fd, piece, start)
    return piece
