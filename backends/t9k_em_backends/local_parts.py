"""Large objects that a directory takes in parts: each is written at its place in one staging file, by any process.

Two files in the temporary directory stand for an object under way, and the first is found by the key alone::

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
import logging
import os
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from attrs import define, field

from t9k.em import buffers
from t9k.em.buffers import BUFFER_BYTES, starts_page
from t9k.em.errors import BackendUnavailable, NotFound, SourceChanged
from t9k.em.local.files import write_all
from t9k.em.names import random_text
from t9k.em.records import CHUNK_BYTES, Body, Part

MOST_KNOWN = 48
"""Objects under way that a process remembers something of."""

FRESH_BYTES = 48 << 20
"""The most that objects under way keep in memory until their checksums are made."""

WAITING_BYTES = FRESH_BYTES // 2
"""How much of one object may wait for its turn before the next part is not taken yet."""

PATIENCE_S = 5.0
"""How long a part waits for that."""

STEP_BYTES = BUFFER_BYTES
"""How much of a part is read and written at once."""

DIRECT_BYTES = 4 << 20
"""From which size on a part is written past the system's cache."""

_O_DIRECT = getattr(os, "O_DIRECT", 0)
_BLOCK_BYTES = 4096
_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_HEADER_BYTES = 128
_HEADER = re.compile(rb"t9k-em-parts 1 (parts-[0-9a-f]{32}-[0-9a-z]{20})\n")
_LINE = re.compile(r"(?:begin (?P<begun>[0-9a-z]{10}) (?P<start>\d+) (?P<end>\d+)|end (?P<ended>[0-9a-z]{10}))")
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_sync_data = getattr(os, "fdatasync", os.fsync)

Span = tuple[int, int]

_log = logging.getLogger(__name__)


class PartsDropped(BackendUnavailable):
    """The parts of an object were assembled or dropped while one more was written."""


class LocalParts:
    """The objects under way in one directory.

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
        """Writes a part; see `t9k.em.backend.AssemblesParts.put_part`.

        Raises:
            PartsDropped: Somebody assembled or dropped the parts meanwhile.
        """
        with self._opened(key, make=True) as (ledger, path):
            known = self._known(path.name)
            known.catch_up(ledger)
            if known.holds(start, start + body.size):
                for _ in body.chunks():
                    pass
                return
            known.wait_for_hashing(body.size)
            with self._new_part(known, start, start + body.size) as part:
                _append(ledger, f"begin {part.id} {start} {start + body.size}")
                self._write(key, path, start, body, part)
                _append(ledger, f"end {part.id}")
                if not path.exists():
                    raise _dropped(key)
                known.catch_up(ledger)
                known.keep(part)
            known.hash_ahead(path)

    def present(self, key: str) -> Sequence[Part]:
        """The parts that are there whole, by `start`."""
        try:
            with self._opened(key, make=False) as (ledger, path):
                known = self._known(path.name)
                known.catch_up(ledger)
                return [Part(start=start, size=end - start) for start, end in known.spans]
        except NotFound:
            return []

    @contextlib.contextmanager
    def whole(self, key: str, size: int, sha256: str) -> Iterator[tuple[Path, int]]:
        """Gives the staging file and its descriptor, complete, compared and synced; the caller renames it at once.

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
        """Removes what is there of an object."""
        with contextlib.suppress(NotFound), self._alone(key) as (_, path, _):
            self._remove(path)

    def _write(self, key: str, path: Path, start: int, body: Body, part: _Coming) -> None:
        """Writes a part and syncs it."""
        try:
            fd = os.open(path, _FLAGS)
        except FileNotFoundError as error:
            raise _dropped(key) from error
        try:
            writing = self._known(path.name).writing
            chunks = part.watched(body.chunks(STEP_BYTES))
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
        """The descriptor of a ledger and the path of its staging file.

        Raises:
            NotFound: There is none, without `make`.
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
        """The staging file that a ledger names, if it is there."""
        header = _HEADER.match(os.pread(ledger, _HEADER_BYTES, 0))
        path = self._directory / header[1].decode() if header else None
        return path if path is not None and path.exists() else None

    def _stage(self, ledger: int, name: str) -> Path | None:
        """Makes the staging file of a new ledger; None when the ledger is an old one, which goes."""
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
        """The ledger, and the staging file with its descriptor, which nobody else writes meanwhile.

        Raises:
            NotFound: There is none (any more).
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

    def _known(self, staging: str) -> _Known:
        self._notice_fork()
        with self._lock:
            known = self._all_known.pop(staging, None) or _Known()
            self._all_known[staging] = known
            while len(self._all_known) > MOST_KNOWN:
                self._all_known.popitem(last=False)[1].is_gone = True
            return known

    @contextlib.contextmanager
    def _new_part(self, known: _Known, start: int, end: int) -> Iterator[_Coming]:
        """A part that this process writes; it is kept in memory if the others that are kept, or will be, leave room.

        Those of objects that nobody sent anything of for longer go for it.
        """
        with self._lock:
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

    def _notice_fork(self) -> None:
        if self._process != os.getpid():  # a lock may have been held
            self._forget_all()

    def _forget_all(self) -> None:
        self._lock = threading.Lock()
        self._all_known: OrderedDict[str, _Known] = OrderedDict()
        self._process = os.getpid()


@define(eq=False)
class _Coming:
    """A part that this process writes.

    Attributes:
        id: In the ledger.
        span: Where its bytes belong.
        is_kept: Whether they are kept in memory: there is room, and no other part with some of them began meanwhile.
        chunks: They, as far as they came.
    """

    id: str
    span: Span
    is_kept: bool
    chunks: list[bytes] = field(factory=list)

    def watched(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, which are kept if the part is."""
        for chunk in chunks:
            if self.is_kept:
                self.chunks.append(chunk)
            yield chunk


class _Known:
    """What a ledger says, as far as it was read, and the checksum of the first bytes.

    Bytes are there when a part with them has ended and none with them that began later is still open. The checksum is
    made of parts that this process alone has written, each once; whenever that is not so, it is not used.

    Attributes:
        spans: The bytes that are there, [start, end) in the pieces that they came in, by start; no two overlap.
        writing: Held while a chunk is written: the kernel lets one thread write to a file, and lets the others spin.
        is_gone: Whether the parts were assembled or dropped, or this was forgotten: no checksum is needed any more.
    """

    def __init__(self) -> None:
        self.writing = threading.Lock()
        self.spans: list[Span] = []
        self._open: dict[str, Span] = {}
        self._mine: set[str] = set()
        self._coming: dict[str, _Coming] = {}
        self._read_bytes = 0
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._hashed_more = threading.Condition(self._lock)
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._taken = 0  # how far it is hashed, or being hashed
        self._usable = True
        self._fresh: dict[int, Sequence[bytes]] = {}  # by where they begin; what is in the file too
        self.is_gone = False

    def new_part(self, span: Span, *, is_kept: bool) -> _Coming:
        """A part that this process is about to write."""
        part = _Coming(random_text(10), span, is_kept)
        with self._lock:
            self._mine.add(part.id)
            self._coming[part.id] = part
        return part

    def forget(self, part: _Coming) -> None:
        """The part was written, or could not be."""
        with self._lock:
            del self._coming[part.id]

    def catch_up(self, ledger: int) -> None:
        """Reads what was appended since."""
        with self._lock:
            while data := os.pread(ledger, CHUNK_BYTES, self._read_bytes):
                whole = data[: data.rfind(b"\n") + 1]
                if not whole:
                    break
                self._read_bytes += len(whole)
                for line in whole.decode("ascii", "replace").splitlines():
                    self._take(line)

    def holds(self, start: int, end: int) -> bool:
        """Whether all bytes [start, end) are there."""
        with self._lock:
            return self._reach(start) >= end

    def furthest(self, size: int) -> int:
        """Up to where parts that began may write, at least to `size`."""
        with self._lock:
            return max([size, *(end for _, end in self._open.values())])

    def kept_bytes(self) -> int:
        """How much is kept in memory, or will be."""
        with self._lock:
            coming = [part.span for part in self._coming.values() if part.is_kept]
            return self._fresh_bytes() + sum(end - start for start, end in coming)

    def let_go(self) -> int:
        """Keeps nothing in memory any more that was written, for it can be read from the file; returns how much it was."""
        with self._lock:
            size = self._fresh_bytes()
            self._fresh.clear()
        return size

    def keep(self, part: _Coming) -> None:
        """Keeps the bytes of a part until they are hashed; its end was read already."""
        with self._lock:
            if part.is_kept and self._usable and part.span[0] >= self._taken:
                self._fresh[part.span[0]] = part.chunks
                part.is_kept = False  # it counts as what is there now

    def _fresh_bytes(self) -> int:
        return sum(len(chunk) for chunks in self._fresh.values() for chunk in chunks)

    def wait_for_hashing(self, size: int) -> None:
        """Waits while so much is to be hashed that a part could not be kept until it is its turn.

        What is not kept is read from the disk once more, and then hashing falls behind for good. Nothing is lost by
        waiting, for who joins the parts waits for all of it.
        """
        with self._hashed_more:
            self._hashed_more.wait_for(
                lambda: self._fresh_bytes() + size <= WAITING_BYTES or not self._hashing.locked(), PATIENCE_S
            )

    def hash_ahead(self, path: Path) -> None:
        """Goes on with the checksum, as far as parts are there, in a thread of its own: whoever sent a part need not wait."""
        if not self._hashing.acquire(blocking=False):
            return
        thread = threading.Thread(target=self._hash_there, args=(path,), name="em-hash", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system allows no more; it is made when the parts are joined
            self._hashing.release()

    def _hash_there(self, path: Path) -> None:
        try:
            with path.open("rb", buffering=0) as file:
                while not self.is_gone and (end := self._next_to_hash()) > self._hashed:
                    chunks = self._take_fresh(end)
                    if chunks is None:
                        chunks = [os.pread(file.fileno(), min(end - self._hashed, CHUNK_BYTES), self._hashed)]
                    if not chunks[0]:
                        break
                    for chunk in chunks:
                        self._digest.update(chunk)
                        self._hashed += len(chunk)
                    with self._hashed_more:
                        self._hashed_more.notify_all()
        except OSError as error:  # assembled or dropped meanwhile, or the disk fails: then the join meets it again
            _log.debug("a checksum is not made ahead: %s", error)
        finally:
            self._hashing.release()
            with self._hashed_more:
                self._hashed_more.notify_all()

    def _take_fresh(self, end: int) -> Sequence[bytes] | None:
        """The next bytes to be hashed, if they were kept, and nothing behind `end`."""
        with self._lock:
            chunks = self._fresh.pop(self._hashed, None)
            for start in [start for start in self._fresh if start < self._hashed]:
                del self._fresh[start]
        return chunks if chunks and self._hashed + sum(map(len, chunks)) <= end else None

    def sha256(self, fd: int, size: int) -> str:
        """The checksum of the first `size` bytes, which nobody writes meanwhile."""
        with self._hashing:
            usable = self._usable and self._hashed <= size
            digest, start = (self._digest.copy(), self._hashed) if usable else (hashlib.sha256(), 0)
        _hash_into(digest, fd, start, size)
        return digest.hexdigest()

    def _take(self, line: str) -> None:
        match = _LINE.fullmatch(line)
        if match is None:  # the header, or a line that a full disk cut
            return
        if match["begun"]:
            span = (int(match["start"]), int(match["end"]))
            self._cross(match["begun"], span)
            self._open[match["begun"]] = span
            first, last = self._overlapped(span)
            self.spans[first:last] = _without(self.spans[first:last], span)
            if match["begun"] not in self._mine or span[0] < self._taken:
                self._usable = False
                self._fresh.clear()
        elif match["ended"] in self._open:
            later = [*self._open][[*self._open].index(match["ended"]) + 1 :]
            span = self._open.pop(match["ended"])
            first, last = self._overlapped(span)
            pieces = [span]
            for other in [*(self._open[part] for part in later), *self.spans[first:last]]:
                pieces = _without(pieces, other)
            self.spans[first:last] = sorted([*self.spans[first:last], *pieces])

    def _cross(self, begun: str, span: Span) -> None:
        """Takes note that a part begins, which may change what is kept of others, or will be.

        A part of this process counts as coming until it is kept, whatever the ledger says of its end: that may be read
        together with this.
        """
        for part in self._coming.values():
            if part.id != begun and _share(part.span, span):
                part.is_kept, part.chunks = False, []
        if begun in self._coming and any(_share(other, span) for other in self._open.values()):
            self._coming[begun].is_kept = False
        for start, chunks in list(self._fresh.items()):
            if _share((start, start + sum(map(len, chunks))), span):
                del self._fresh[start]

    def _overlapped(self, span: Span) -> Span:
        """From where to where in `spans` those are that share bytes with one; where it belongs if none does."""
        first = bisect_right(self.spans, span[0], key=lambda other: other[1])
        last = first
        while last < len(self.spans) and self.spans[last][0] < span[1]:
            last += 1
        return first, last

    def _reach(self, start: int) -> int:
        """Up to where all bytes from `start` on are there."""
        at = bisect_right(self.spans, start, key=lambda span: span[1])
        while at < len(self.spans) and self.spans[at][0] <= start:
            start = self.spans[at][1]
            at += 1
        return start

    def _next_to_hash(self) -> int:
        with self._lock:
            if self._usable:
                limit = min((start for start, _ in self._open.values()), default=self._reach(self._hashed))
                self._taken = max(self._hashed, min(limit, self._reach(self._hashed)))
            return self._taken if self._usable else self._hashed


def _share(one: Span, other: Span) -> bool:
    """Whether two spans have a byte in common."""
    return one[0] < other[1] and other[0] < one[1]


def _without(spans: Sequence[Span], other: Span) -> list[Span]:
    """What of some spans lies outside of another."""
    cut = (piece for span in spans for piece in ((span[0], min(span[1], other[0])), (max(span[0], other[1]), span[1])))
    return [(start, end) for start, end in cut if start < end]


def _hash_into(digest: hashlib._Hash, fd: int, start: int, end: int) -> None:
    while start < end and (chunk := os.pread(fd, min(CHUNK_BYTES, end - start), start)):
        digest.update(chunk)
        start += len(chunk)


def _dropped(key: str) -> PartsDropped:
    return PartsDropped(f"the parts of {key!r} were joined or dropped while one more came; look at them and try again")


def _append(ledger: int, line: str) -> None:
    with _locked(ledger, alone=True):  # for network file systems, on which appending is not atomic
        write_all(ledger, f"\n{line}\n".encode())  # the last line there may have been cut


@contextlib.contextmanager
def _direct(path: Path, start: int, size: int) -> Iterator[int | None]:
    """A descriptor that writes past the system's cache; None where that cannot be, or is not worth it."""
    fd = None
    if _O_DIRECT and size >= DIRECT_BYTES and start % _BLOCK_BYTES == 0:
        with contextlib.suppress(OSError):  # some file systems refuse it, and a file that is gone is noticed later
            fd = os.open(path, _FLAGS | _O_DIRECT)
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _placed(chunks: Iterable[bytes], start: int) -> Iterator[tuple[int, memoryview]]:
    """Chunks, each with where it belongs."""
    for chunk in chunks:
        yield start, memoryview(chunk)
        start += len(chunk)


def _gathered(chunks: Iterable[bytes], start: int) -> Iterator[tuple[int, memoryview]]:
    """The same in memory that begins where a page does, as writing past the cache needs it; what does already, as it is."""
    buffer, filled = memoryview(b""), 0
    for chunk in chunks:
        left = memoryview(chunk)
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
    """Writes whole blocks past the system's cache as long as the file system lets it, and the rest through it."""
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
    """Holds a lock on an open file, against other descriptors of any thread and process; on file systems without, none."""
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
