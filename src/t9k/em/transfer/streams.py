"""Seekable streams over an object of which any range can be read.

Read in order, from the first byte to the last, an object is checked against its size and SHA-256. Ranges are only
checked for their number of bytes: nobody recorded what a part hashes to.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

from attrs import field, frozen

from t9k.em.errors import CorruptData, InvalidInput
from t9k.em.local.below import AnyPath, stream
from t9k.em.local.disk import explained
from t9k.em.records import CHUNK_BYTES
from t9k.em.transfer.damage import damaged

BLOCK_BYTES = 256 << 10
"""What is fetched for a small read; an object that is not larger is always fetched whole, and checked."""

AHEAD_BLOCKS = 32
"""How many blocks are fetched at once when reading goes on where the last fetch ended; a larger read is one fetch."""

KEPT_BLOCKS = 64
"""How many blocks a stream keeps, those that were used last."""

_BUFFER_BYTES = 64 << 10


@frozen(kw_only=True)
class Ranges:
    """An object, and how to read any part of it.

    Attributes:
        size: In bytes.
        sha256: Of all bytes, hexadecimal.
        what: Name of the object in error messages.
        read: Yields the bytes [start, end), to the end for None; like `Backend.read`.
        close: Releases what `read` needs.
        note: Writes down that it is damaged, see `t9k.em.transfer.damage.note_damage`.
    """

    size: int
    sha256: str
    what: str
    read: Callable[[int, int | None], Iterator[bytes]] = field(repr=False)
    close: Callable[[], None] = field(default=lambda: None, repr=False)
    note: Callable[[], None] = field(default=lambda: None, repr=False)

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes [start, stop) as they arrive.

        Args:
            start: The first one.
            stop: The one after the last, at most `size`.

        Raises:
            CorruptData: Fewer bytes arrive, or where `stop` is the end of the object, more.
        """
        left = stop - start
        chunks = self.read(start, None if stop == self.size else stop)
        try:
            for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
        finally:
            if isinstance(chunks, Generator):
                chunks.close()  # a connection may wait for the rest
        if left:
            raise self.corrupt()

    def get(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop); the whole object is checked.

        Raises:
            CorruptData: The bytes are not those that were uploaded, or some are missing.
        """
        buffer = io.BytesIO()
        for piece in self.pieces(start, stop):
            buffer.write(piece)
        if stop - start == self.size and hashlib.sha256(buffer.getbuffer()).hexdigest() != self.sha256:
            raise self.corrupt()
        return buffer.getvalue()

    def corrupt(self) -> CorruptData:
        """Return the error that says so, after that was noted.

        Raises:
            CorruptData: The damage could not be noted.
        """
        self.note()
        return damaged(self.what)


def local_ranges(path: AnyPath, size: int, sha256: str, what: str) -> Ranges:
    """Yield a local file, which stays open until `Ranges.close`.

    Raises:
        LocalError: The file cannot be read.
    """
    with explained("read", path):
        file = stream(path)

    def read(start: int, end: int | None) -> Iterator[bytes]:
        # Not `seek` and `read`: threads and forked processes share the position.
        while chunk := os.pread(file.fileno(), CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - start), start):
            start += len(chunk)
            yield chunk

    return Ranges(size=size, sha256=sha256, what=what, read=read, close=file.close)


def open_ranges(ranges: Ranges) -> BinaryIO:
    """Make a buffered, seekable stream.

    What is read from the first byte to the last without a seek in between is checked, and the last bytes come only
    after that. Elsewhere blocks are fetched, more at a time while reading goes on in order, and some are kept. Closing
    the stream closes the ranges. Several threads may use it, like any file.

    Args:
        ranges: The object.
    """
    return io.BufferedReader(_RangeFile(ranges), _BUFFER_BYTES)


class _RangeFile(io.RawIOBase):
    """Ranges as a raw stream; the buffered one above it lets one thread in at a time."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._at = 0
        self._blocks: dict[int, bytes] = {}  # the one used last is the last
        self._next_block = -1
        self._ahead = 1
        self._restart()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._blocks.clear()
            self._ranges.close()
        super().close()

    def tell(self) -> int:
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ranges.size}
        if whence not in bases:
            raise InvalidInput(f"whence must be 0, 1 or 2, not {whence!r}")
        if bases[whence] + offset < 0:
            raise InvalidInput(f"{self._ranges.what} has nothing before its first byte; seek to 0 or after")
        self._at = bases[whence] + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed wants Buffer, 3.12
        view = memoryview(buffer)[: self._begin()]
        if not view:
            return 0
        count = 0
        for piece in self._pieces(len(view)):
            view[count : count + len(piece)] = piece
            count += len(piece)
        self._at += count
        return count

    def readall(self) -> bytes:
        buffer = io.BytesIO()
        while left := self._begin():
            before = buffer.tell()
            for piece in self._pieces(left):
                buffer.write(piece)
            self._at += buffer.tell() - before
        return buffer.getvalue()

    def _begin(self) -> int:
        """Get ready to read.

        Returns:
            How many bytes there are from here.
        """
        self._check_open()
        if self._at == 0 and self._ranges.size:
            self._restart()
        elif self._is_corrupt:
            raise self._ranges.corrupt()
        if not self._ranges.size and not self._is_checked:
            self._pass(0, b"".join(self._ranges.pieces(0, 0)))
        return max(0, self._ranges.size - self._at)

    def _restart(self) -> None:
        """Begin to check, from the first byte."""
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._is_checked = False
        self._is_corrupt = False

    def _pass(self, start: int, data: bytes | memoryview) -> None:
        """Sees all bytes that are about to be handed out, and checks them if none was left out."""
        stop = start + len(data)
        if self._is_checked or not start <= self._hashed <= stop:
            return
        self._digest.update(memoryview(data)[self._hashed - start :])
        self._hashed = stop
        if stop == self._ranges.size:
            if self._digest.hexdigest() != self._ranges.sha256:
                self._blocks.clear()
                self._is_corrupt = True
                raise self._ranges.corrupt()
            self._is_checked = True

    def _pieces(self, want: int) -> Iterator[bytes | memoryview]:
        """Yield bytes from here: those of one block, or all that are wanted where they are too many to be kept."""
        start = self._at
        index, skip = divmod(start, BLOCK_BYTES)
        if index not in self._blocks and want >= AHEAD_BLOCKS * BLOCK_BYTES:
            self._next_block = (start + want) // BLOCK_BYTES
            for piece in self._ranges.pieces(start, start + want):
                self._pass(start, piece)
                start += len(piece)
                yield piece
            return
        if index in self._blocks:
            self._blocks[index] = self._blocks.pop(index)
        else:
            # The buffer above reads whole multiples of its size, and then once more.
            self._load(index, start + want + (_BUFFER_BYTES if want > _BUFFER_BYTES else 0))
        block = self._blocks[index]
        self._pass(index * BLOCK_BYTES, block)
        yield memoryview(block)[skip : skip + want]

    def _load(self, index: int, stop: int) -> None:
        """Fetch a block, and those after it that are wanted, or likely to be."""
        self._ahead = min(2 * self._ahead, AHEAD_BLOCKS) if index == self._next_block else 1
        last = min(max(-(-stop // BLOCK_BYTES), index + self._ahead), index + AHEAD_BLOCKS)
        last = next((known for known in range(index, last) if known in self._blocks), last)
        start, stop = index * BLOCK_BYTES, min(last * BLOCK_BYTES, self._ranges.size)
        data = memoryview(b"".join(self._ranges.pieces(start, stop)))
        for at in range(0, len(data), BLOCK_BYTES):
            self._blocks[index + at // BLOCK_BYTES] = bytes(data[at : at + BLOCK_BYTES])
        while len(self._blocks) > KEPT_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._next_block = last

    def _check_open(self) -> None:
        if self.closed:
            raise InvalidInput(f"{self._ranges.what} was closed; open it again")
