"""What a process knows of the parts of one object: what their ledger says, and the checksum of those that it wrote itself.

`local_parts` writes the ledger and the bytes; here its lines are read, and what is still in memory is hashed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from attrs import define, field

from t9k.em.names import random_text
from t9k.em.records import CHUNK_BYTES

_LINE = re.compile(
    r"(?:begin (?P<begun>[0-9a-z]{10}) (?P<start>\d{1,19}) (?P<end>\d{1,19})|end (?P<ended>[0-9a-z]{10}))"
)

Span = tuple[int, int]

_log = logging.getLogger(__name__)


@define(eq=False)
class ComingPart:
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
    chunks: list[memoryview] = field(factory=list)

    def watched(self, chunks: Iterable[memoryview]) -> Iterator[memoryview]:
        """Yield the same chunks, which are kept if the part is."""
        for chunk in chunks:
            if self.is_kept:
                self.chunks.append(chunk)
            yield chunk


class KnownParts:
    """What a ledger says, as far as it was read, and the checksum of the first bytes.

    Bytes are there when a part with them has ended and none with them that began later is still open. The checksum is
    made of parts that this process alone has written, each once; whenever that is not so, it is not used.

    Attributes:
        spans: The bytes that are there, [start, end) in the pieces that they came in, by start; no two overlap.
        writing: Held while a chunk is written: the kernel lets one thread write to a file, and lets the others spin.
        is_gone: Whether the parts were assembled or dropped, or this was forgotten: no checksum is needed any more.

    Args:
        hashed: Called, by the thread that hashes, each time some bytes need not be kept any more.
    """

    def __init__(self, hashed: Callable[[], None]) -> None:
        self._hashed_more = hashed
        self.writing = threading.Lock()
        self.spans: list[Span] = []
        self._open: dict[str, Span] = {}
        self._mine: set[str] = set()
        self._coming: dict[str, ComingPart] = {}
        self._read_bytes = 0
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._hashes_memory = False  # and not what has to be read from the disk
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._taken = 0  # how far it is hashed, or being hashed
        self._usable = True
        self._fresh: dict[int, Sequence[memoryview]] = {}  # by where they begin; what is in the file too
        self.is_gone = False

    def new_part(self, span: Span, *, is_kept: bool) -> ComingPart:
        """Return a part that this process is about to write."""
        part = ComingPart(random_text(10), span, is_kept)
        with self._lock:
            self._mine.add(part.id)
            self._coming[part.id] = part
        return part

    def forget(self, part: ComingPart) -> None:
        """End the part: the bytes were written, or could not be."""
        with self._lock:
            del self._coming[part.id]

    def catch_up(self, ledger: int) -> None:
        """Read what was appended since."""
        with self._lock:
            while data := os.pread(ledger, CHUNK_BYTES, self._read_bytes):
                whole = data[: data.rfind(b"\n") + 1]
                if not whole:
                    break
                self._read_bytes += len(whole)
                for line in whole.decode("ascii", "replace").splitlines():
                    self._take(line)

    def holds(self, start: int, end: int) -> bool:
        """Return whether all bytes [start, end) are there."""
        with self._lock:
            return self._reach(start) >= end

    def furthest(self, size: int) -> int:
        """Up to where parts that began may write, at least to `size`."""
        with self._lock:
            return max([size, *(end for _, end in self._open.values())])

    def kept_bytes(self) -> int:
        """Return the number of bytes that are kept in memory, or will be."""
        with self._lock:
            coming = [part.span for part in self._coming.values() if part.is_kept]
            return self._fresh_bytes() + sum(end - start for start, end in coming)

    def let_go(self) -> int:
        """Keep nothing in memory any more that was written, for it can be read from the file; return how much it was."""
        with self._lock:
            size = self._fresh_bytes()
            self._fresh.clear()
        return size

    def keep(self, part: ComingPart) -> None:
        """Keep the bytes of a part until they are hashed; its end was read already."""
        with self._lock:
            if part.is_kept and self._usable and part.span[0] >= self._taken:
                self._fresh[part.span[0]] = part.chunks
                part.is_kept = False  # it counts as what is there now

    def _fresh_bytes(self) -> int:
        return sum(len(chunk) for chunks in self._fresh.values() for chunk in chunks)

    def is_ahead(self, start: int) -> bool:
        """Return whether a part that begins there would only wait in memory until others, which are there, are hashed."""
        with self._lock:
            return self._hashes_memory and bool(self._fresh) and start > min(self._fresh)

    def hash_ahead(self, path: Path) -> None:
        """Go on with the checksum, as far as parts are there, in a thread of its own: whoever sent a part need not wait."""
        if not self._hashing.acquire(blocking=False):
            return
        try:
            threading.Thread(target=self._hash_there, args=(path,), name="em-hash", daemon=True).start()
        except RuntimeError:  # the system allows no more; it is made when the parts are joined
            self._hashing.release()
        except BaseException:
            self._hashing.release()
            raise

    def _hash_there(self, path: Path) -> None:
        try:
            with path.open("rb", buffering=0) as file:
                while not self.is_gone and (end := self._next_to_hash()) > self._hashed:
                    chunks = self._take_fresh(end)
                    self._hashes_memory = chunks is not None
                    self._hashed_more()
                    if chunks is None:
                        read = os.pread(file.fileno(), min(end - self._hashed, CHUNK_BYTES), self._hashed)
                        chunks = [memoryview(read)]
                    if not chunks[0]:
                        break
                    for chunk in chunks:
                        self._digest.update(chunk)
                        self._hashed += len(chunk)
        except OSError as error:  # assembled or dropped meanwhile, or the disk fails: then the join meets it again
            _log.debug("a checksum is not made ahead: %s", error)
        finally:
            self._hashes_memory = False
            self._hashing.release()
            self._hashed_more()

    def _take_fresh(self, end: int) -> Sequence[memoryview] | None:
        """Return the next bytes to be hashed, if they were kept, and nothing behind `end`."""
        with self._lock:
            chunks = self._fresh.pop(self._hashed, None)
            for start in [start for start in self._fresh if start < self._hashed]:
                del self._fresh[start]
        return chunks if chunks and self._hashed + sum(map(len, chunks)) <= end else None

    def sha256(self, fd: int, size: int) -> str:
        """Return the checksum of the first `size` bytes, which nobody writes meanwhile."""
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
        """Take note that a part begins, which may change what is kept of others, or will be.

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
    """Return whether two spans have a byte in common."""
    return one[0] < other[1] and other[0] < one[1]


def _without(spans: Sequence[Span], other: Span) -> list[Span]:
    """Return the parts of some spans that lie outside of another span."""
    cut = (piece for span in spans for piece in ((span[0], min(span[1], other[0])), (max(span[0], other[1]), span[1])))
    return [(start, end) for start, end in cut if start < end]


def _hash_into(digest: hashlib._Hash, fd: int, start: int, end: int) -> None:
    while start < end and (chunk := os.pread(fd, min(CHUNK_BYTES, end - start), start)):
        digest.update(chunk)
        start += len(chunk)
