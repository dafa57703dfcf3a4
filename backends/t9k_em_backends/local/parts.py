"""Large objects that a directory takes in parts: each is written at its place in one staging file, by any process.

Two files in the temporary directory stand for an object in progress, and the first is found by the key alone::

    parts-<first 32 digits of the SHA-256 of the key>     the ledger: names the staging file, then says what happened
    parts-<the same>-<20 random characters>               the staging file: the bytes, each where it belongs

The ledger is only appended to. `begin <id> <start> <end>` comes before the first byte of a part is written and
`end <id>` after all of them are on the disk, so that a process or machine that dies in between leaves a part that does
not claim to be there. The lines themselves are not synced: a machine that crashes may forget a part. A ledger whose
staging file is gone says nothing.

Who writes holds a shared lock on the staging file, for one chunk at a time, and sees whether it still has its name;
who assembles or drops it holds the lock alone: a repeated request that comes late never reaches the object.

The bytes go to the disk past the system's cache where it can be done: a part is synced before it counts, so that the
cache would only cost processor time, and on a server it would drive out what is read. The checksum of the whole is made of
parts that are still in memory.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from t9k.em.errors import BackendUnavailable, NotFound, SourceChanged
from t9k.em.local.files import write_all
from t9k.em.memory import buffers
from t9k.em.memory.buffers import BUFFER_BYTES, starts_page
from t9k.em.names import random_text
from t9k.em.records import Body, Part
from t9k_em_backends.local.ledger import ComingPart, KnownParts

MOST_KNOWN = 48
"""Objects in progress that a process remembers something of."""

FRESH_BYTES = 72 << 20
"""The most that objects in progress keep in memory until their checksums are made."""

PATIENCE_S = 5.0
"""How long a part waits for room there."""

STEP_BYTES = BUFFER_BYTES
"""How much of a part is read and written at once."""

DIRECT_BYTES = 4 << 20
"""From which size on a part is written past the system's cache."""

_O_DIRECT = getattr(os, "O_DIRECT", 0)
_BLOCK_BYTES = 4096
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_HEADER_BYTES = 128
_HEADER = re.compile(rb"t9k-em-parts 1 (parts-[0-9a-f]{32}-[0-9a-z]{20})\n")
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_sync_data = getattr(os, "fdatasync", os.fsync)


class PartsDropped(BackendUnavailable):
    """The parts of an object were assembled or dropped while one more was written."""


class LocalParts:
    """The objects in progress in one directory.

    Args:
        directory: Where the files lie; made on the first write.
        make_directory: Makes it, durably.
    """

    def __init__(self, directory: Path, make_directory: Callable[[Path], None]) -> None:
        self._directory = directory
        self._make_directory = make_directory
        self._forget_all()

    def __reduce__(self) -> tuple[type[LocalParts], tuple[Path, Callable[[Path], None]]]:
        return type(self), (self._directory, self._make_directory)

    def put(self, key: str, start: int, body: Body) -> None:
        """Write a part; see `t9k.em.backend.AssemblesParts.put_part`.

        Raises:
            PartsDropped: Another process assembled or dropped the parts meanwhile.
        """
        with self._opened(key, make=True) as (ledger, path):
            known = self._known(path.name)
            with self._new_part(known, start, start + body.size) as part:
                known.catch_up(ledger)
                if known.holds(start, start + body.size):
                    for _ in body.chunks():
                        pass
                    return
                _append(ledger, f"begin {part.id} {start} {start + body.size}")
                self._write(key, path, start, body, part)
                _append(ledger, f"end {part.id}")
                if not path.exists():
                    raise _dropped(key)
                known.catch_up(ledger)
                known.keep(part)
            known.hash_ahead(path)

    def present(self, key: str) -> Sequence[Part]:
        """Return the parts that are there whole, by `start`."""
        try:
            with self._opened(key, make=False) as (ledger, path):
                known = self._known(path.name)
                known.catch_up(ledger)
                return [Part(start=start, size=end - start) for start, end in known.spans]
        except NotFound:
            return []

    @contextlib.contextmanager
    def whole(self, key: str, size: int, sha256: str) -> Iterator[tuple[Path, int]]:
        """Give the staging file and its descriptor, complete, compared and synced; the caller renames it at once.

        Raises:
            NotFound: Bytes are missing, or no part is there.
            SourceChanged: The bytes are not those that were announced; they are gone.
        """
        with self._alone(key) as (ledger, path, fd):
            known = self._known(path.name)
            known.catch_up(ledger)
            if not known.holds(0, size):
                raise NotFound(f"some of the {size} bytes of {key!r} are in no part; send them, then join them again")
            if known.spans[-1][1] > size or known.sha256(fd, size) != sha256:
                self._remove(path)
                raise SourceChanged(
                    f"the parts of {key!r} are not what was announced, and were dropped; send them again"
                )
            if os.fstat(fd).st_size > size:  # a part that was never finished, or that is being written
                write_all(ledger, f"\nbegin {random_text(10)} {size} {known.furthest(os.fstat(fd).st_size)}\n".encode())
                os.ftruncate(fd, size)
            os.utime(fd)  # its parts may be old, and the object is not
            os.fsync(fd)
            yield path, fd
            self._remove(path)

    def drop(self, key: str) -> None:
        """Remove what is there of an object."""
        with contextlib.suppress(NotFound), self._alone(key) as (_, path, _):
            self._remove(path)

    def _write(self, key: str, path: Path, start: int, body: Body, part: ComingPart) -> None:
        """Write a part and sync it."""
        try:
            fd = os.open(path, _FLAGS)
        except FileNotFoundError as error:
            raise _dropped(key) from error
        try:
            writing = self._known(path.name).writing
            chunks = part.watched(body.views(STEP_BYTES))
            with _direct(path, start, body.size) as direct:
                for at, data in _gathered(chunks, start) if direct is not None else _placed(chunks, start):
                    with writing, _locked(fd, alone=False):
                        if not path.exists():
                            raise _dropped(key)
                        _write_at(fd, direct, data, at)
            _sync_data(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _opened(self, key: str, *, make: bool) -> Iterator[tuple[int, Path]]:
        """Provide the descriptor of a ledger and the path of its staging file.

        Raises:
            NotFound: No upload in parts exists, without `make`.
        """
        name = f"parts-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        found: Path | None = None
        while found is None:
            try:
                ledger = os.open(self._directory / name, _FLAGS | os.O_APPEND | (os.O_CREAT if make else 0), 0o666)
            except FileNotFoundError:
                if not make:
                    raise NotFound(f"no part of {key!r} is there") from None
                self._make_directory(self._directory)
                continue
            try:
                found = self._staged(ledger) or (self._stage(ledger, name) if make else None)
                if found is not None:
                    yield ledger, found
                elif not make:
                    raise NotFound(f"no part of {key!r} is there")
            finally:
                os.close(ledger)

    def _staged(self, ledger: int) -> Path | None:
        """Return the staging file that a ledger names, if it is there."""
        header = _HEADER.match(os.pread(ledger, _HEADER_BYTES, 0))
        path = self._directory / header[1].decode() if header else None
        return path if path is not None and path.exists() else None

    def _stage(self, ledger: int, name: str) -> Path | None:
        """Make the staging file of a new ledger; None when the ledger is an old one, which goes."""
        with _locked(ledger, alone=True):
            if os.fstat(ledger).st_nlink == 0:
                return None
            found = self._staged(ledger)
            if found is None and os.fstat(ledger).st_size:  # another process assembled it and died
                (self._directory / name).unlink(missing_ok=True)
            elif found is None:
                found = self._directory / f"{name}-{random_text(20)}"
                os.close(os.open(found, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666))
                write_all(ledger, f"t9k-em-parts 1 {found.name}\n".encode())
            return found

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[tuple[int, Path, int]]:
        """Provide the ledger, and the staging file with its descriptor, which nobody else writes meanwhile.

        Raises:
            NotFound: The upload in parts does not exist (any more).
        """
        with self._opened(key, make=False) as (ledger, path):
            try:
                fd = os.open(path, _FLAGS)
            except FileNotFoundError as error:
                raise NotFound(f"no part of {key!r} is there") from error
            try:
                with _locked(fd, alone=True), _locked(ledger, alone=True):
                    if not path.exists():
                        raise NotFound(f"no part of {key!r} is there any more")
                    yield ledger, path, fd
            finally:
                os.close(fd)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        path.with_name(path.name[: -len("-") - 20]).unlink(missing_ok=True)
        self._notice_fork()
        with self._lock:
            known = self._all_known.pop(path.name, None)
            if known is not None:
                known.is_gone = True

    def _known(self, staging: str) -> KnownParts:
        self._notice_fork()
        with self._lock:
            known = self._all_known.pop(staging, None) or KnownParts(self._tell)
            self._all_known[staging] = known
            while len(self._all_known) > MOST_KNOWN:
                self._all_known.popitem(last=False)[1].is_gone = True
            return known

    @contextlib.contextmanager
    def _new_part(self, known: KnownParts, start: int, end: int) -> Iterator[ComingPart]:
        """Provide a part that this process writes; it is kept in memory if the others that are kept, or will be, leave room.

        It waits for room while parts before it are hashed: what is not kept has to be read from the disk, and then
        hashing falls behind for good. Nothing is lost by that, for who joins the parts waits for all of the checksum.
        After that, parts of objects that nobody sent anything of for longer go for it.
        """
        with self._room:
            if end - start <= FRESH_BYTES:
                self._room.wait_for(lambda: self._has_room(end - start) or not known.is_ahead(start), PATIENCE_S)
            others = [other for other in self._all_known.values() if other is not known]
            left = FRESH_BYTES - (end - start) - known.kept_bytes() - sum(other.kept_bytes() for other in others)
            for other in others:
                if left >= 0:
                    break
                left += other.let_go()
            part = known.new_part((start, end), is_kept=left >= 0)
        try:
            yield part
        finally:
            known.forget(part)
            self._tell()

    def _has_room(self, size: int) -> bool:
        return sum(known.kept_bytes() for known in self._all_known.values()) + size <= FRESH_BYTES

    def _tell(self) -> None:
        """Let those look again that wait for room."""
        with self._room:
            self._room.notify_all()

    def _notice_fork(self) -> None:
        if self._process != os.getpid():  # a lock may have been held
            self._forget_all()

    def _forget_all(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._all_known: OrderedDict[str, KnownParts] = OrderedDict()
        self._process = os.getpid()


def _dropped(key: str) -> PartsDropped:
    return PartsDropped(f"the parts of {key!r} were joined or dropped while one more came; look at them and try again")


def _append(ledger: int, line: str) -> None:
    with _locked(ledger, alone=True):  # for network file systems, on which appending is not atomic
        write_all(ledger, f"\n{line}\n".encode())  # the last line there may have been cut


@contextlib.contextmanager
def _direct(path: Path, start: int, size: int) -> Iterator[int | None]:
    """Provide a descriptor that writes past the system's cache; None where that cannot be, or is not worth it."""
    fd = None
    if _O_DIRECT and size >= DIRECT_BYTES and start % _BLOCK_BYTES == 0:
        with contextlib.suppress(OSError):  # some file systems refuse it, and a file that is gone is noticed later
            fd = os.open(path, _FLAGS | _O_DIRECT)
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _placed(chunks: Iterable[memoryview], start: int) -> Iterator[tuple[int, memoryview]]:
    """Chunks, each with where it belongs."""
    for chunk in chunks:
        yield start, chunk
        start += len(chunk)


def _gathered(chunks: Iterable[memoryview], start: int) -> Iterator[tuple[int, memoryview]]:
    """Yield the same in memory that begins where a page does, as writing past the cache needs it; what does already, as it is."""
    buffer, filled = memoryview(b""), 0
    for chunk in chunks:
        left = chunk
        while left:
            if not filled and len(left) >= _BLOCK_BYTES and starts_page(left):
                yield start, left
                start += len(left)
                break
            buffer = buffer or buffers.take()
            taken = min(len(left), len(buffer) - filled)
            buffer[filled : filled + taken] = left[:taken]
            left, filled = left[taken:], filled + taken
            if filled == len(buffer):
                yield start, buffer
                start, buffer, filled = start + filled, memoryview(b""), 0
    if filled:
        yield start, buffer[:filled]


def _write_at(fd: int, direct: int | None, data: memoryview, start: int) -> None:
    """Write whole blocks past the system's cache as long as the file system lets it, and the rest through it."""
    while direct is not None and (whole := len(data) // _BLOCK_BYTES * _BLOCK_BYTES):
        try:
            written = os.pwrite(direct, data[:whole], start)
        except OSError as error:
            if error.errno != errno.EINVAL:  # what the file system has against it
                raise
            break
        data, start = data[written:], start + written
        if written % _BLOCK_BYTES:
            break
    write_all(fd, data, start)


@contextlib.contextmanager
def _locked(fd: int, *, alone: bool) -> Iterator[None]:
    """Hold a lock on an open file, against other descriptors of any thread and process; on file systems without, none."""
    import fcntl  # noqa: PLC0415 - Unix only

    try:
        fcntl.flock(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
