"""Large files in parts: over a store that assembles them, or as objects of their own over any other.

A part of the file `key` of an upload is then the object::

    F/<name>/<op>/.em/parts/<first 32 digits of the SHA-256 of key>/<start:016d>-<size>

and assembling puts the file anew, reading the parts in order. To the collector parts are files of their upload.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from t9k.em.backend import AssemblesParts, ObjectStore
from t9k.em.chunks import ChunkStream, sha256_of
from t9k.em.errors import InvalidInput, NotFound, SourceChanged
from t9k.em.records import CHUNK_BYTES, Body, FileSpec, ObjectInfo, Part

UNANNOUNCED_BYTES = 8 << 20
"""What comes without a checksum is kept in pieces of so many bytes, which are in memory one at a time."""

MAX_FILE_BYTES = 10**16 - 1
"""What the key of a part has digits for."""

_NAME = re.compile(r"(\d{16})-(\d{1,16})")


def assembler(store: ObjectStore, prefix: str) -> AssemblesParts:
    """Return the receiver of the parts of files of one upload.

    Args:
        store: Where the files lie.
        prefix: Of the upload, below which all the keys are.
    """
    return store if isinstance(store, AssemblesParts) else PartObjects(store, prefix)


def check_part(file: FileSpec, start: int, body: Body) -> None:
    """Refuse bytes that do not lie within their file, or so far behind its start that no key of a part tells of them.

    Raises:
        InvalidInput: The bytes do not lie within the file.
    """
    if file.size > MAX_FILE_BYTES:
        raise InvalidInput(f"{file.key!r} has {file.size} bytes, and in parts there can be {MAX_FILE_BYTES}; split it")
    if not 0 <= start <= start + body.size <= file.size:
        raise InvalidInput(
            f"a part from {start} to {start + body.size} does not lie within {file.key!r}, which has {file.size} bytes"
        )


class PartObjects:
    """`t9k.em.backend.AssemblesParts` over a store that knows nothing of parts.

    Args:
        store: Where the files lie.
        prefix: Of one upload.
    """

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def put_part(self, key: str, start: int, body: Body) -> None:
        """See the port."""
        if body.sha256:
            self._put(key, start, body)
            return
        put: list[str] = []
        try:
            for piece in body.chunks(UNANNOUNCED_BYTES):
                put.append(self._put(key, start, Body.of(piece)))
                start += len(piece)
        except SourceChanged:
            self._store.delete(put)
            raise

    def parts(self, key: str) -> Sequence[Part]:
        """See the port."""
        return [part for part, _ in self._listed(key)]

    def assemble(self, key: str, size: int, sha256: str) -> ObjectInfo:
        """See the port; the bytes pass through this process."""
        listed = self._listed(key)
        try:
            info = self._put_whole(key, listed, size, sha256)
        except NotFound:  # or another process was faster
            info = self._there(key, size, sha256)
        except SourceChanged as error:
            self.drop_parts(key)
            raise SourceChanged(
                f"the parts of {key!r} are not what was announced, and were dropped; send them again"
            ) from error
        self._store.delete([there for _, there in listed])
        return info

    def drop_parts(self, key: str) -> None:
        """See the port."""
        self._store.delete([there for _, there in self._listed(key)])

    def _put_whole(self, key: str, listed: Sequence[tuple[Part, str]], size: int, sha256: str) -> ObjectInfo:
        pieces = _cover(listed, size)
        if pieces is None:
            raise NotFound
        if any(part.start + part.size > size for part, _ in listed):
            raise SourceChanged

        def stream() -> BinaryIO:
            return io.BufferedReader(ChunkStream(self._read(pieces)), CHUNK_BYTES)

        return self._store.put(key, Body(size=size, sha256=sha256, open=stream))

    def _there(self, key: str, size: int, sha256: str) -> ObjectInfo:
        """Return the object, if it is what was to be assembled."""
        directory = key[: key.rfind("/") + 1]
        info = next((info for info in self._store.list(directory) if info.key == key and info.size == size), None)
        if info is None or (info.sha256 or sha256_of(self._store.get(key))) != sha256:
            raise NotFound(f"some of the {size} bytes of {key!r} are in no part; send them, then join them again")
        return info

    def _put(self, key: str, start: int, body: Body) -> str:
        there = f"{self._directory(key)}{start:016d}-{body.size}"
        if body.size:
            self._store.put(there, body)
        else:
            body.read()  # which compares the checksum
        return there

    def _directory(self, key: str) -> str:
        digest = hashlib.sha256(key.removeprefix(self._prefix).encode()).hexdigest()
        return f"{self._prefix}.em/parts/{digest[:32]}/"

    def _listed(self, key: str) -> list[tuple[Part, str]]:
        """Return the parts by start, each with the key of its object."""
        directory = self._directory(key)
        found = []
        for info in self._store.list(directory):
            name = _NAME.fullmatch(info.key.removeprefix(directory))
            if name is not None and info.size == int(name[2]):
                found.append((Part(start=int(name[1]), size=info.size), info.key))
        return sorted(found, key=lambda item: (item[0].start, item[0].size))

    def _read(self, pieces: Sequence[tuple[str, int]]) -> Iterator[bytes]:
        for there, start in pieces:
            # To its end, which is not said: a store that is told how much comes waits for room in memory, and several
            # that put what they read from each other's room would wait for ever.
            yield from self._store.get(there, start)


def _cover(listed: Sequence[tuple[Part, str]], size: int) -> list[tuple[str, int]] | None:
    """From where on which objects hold the bytes [0, size) in order; None if some are in none."""
    at = 0
    pieces = []
    for part, there in listed:
        if part.start <= at < part.start + part.size:
            pieces.append((there, at - part.start))
            at = part.start + part.size
    return pieces if at >= size else None
