"""Bodies for the files that a node consists of: on the local disk, or in another backend."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from t9k.em.backend import KnowsOrigins
from t9k.em.chunks import ChunkStream
from t9k.em.errors import LocalError, NodeSymlinkError, SourceChanged
from t9k.em.local.below import AnyPath, Below, open_file
from t9k.em.records import CHUNK_BYTES, Body
from t9k.em.transfer.damage import damaged, noting_damage

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import FileEntry, Node


def local_body(path: AnyPath, size: int, sha256: str) -> Body:
    """Return a local file whose size and checksum were recorded before; reading it finds out whether they still hold."""
    return Body(
        size=size,
        sha256=sha256,
        open=partial(_open, path, size),
        path=str(path) if isinstance(path, Below) else path,
        what=str(path),
    )


def growing_body(path: AnyPath, *, whole_lines: bool, end: int | None = None) -> Body:
    """Return the present content of a file that may be appended to meanwhile: what it holds now, and no more.

    Args:
        path: The file.
        whole_lines: Whether to leave out what follows the last newline.
        end: Up to where it counts, in bytes; None for all of it.
    """
    with _open(path, None) as file:
        digest = hashlib.sha256()
        size = 0
        tail = b""
        left = sys.maxsize if end is None else end
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            cut = chunk.rfind(b"\n") + 1 if whole_lines else len(chunk)
            if cut:
                digest.update(tail + chunk[:cut])
                size += len(tail) + cut
                tail = chunk[cut:]
            else:
                tail += chunk
    return Body(size=size, sha256=digest.hexdigest(), open=partial(_open, path, None), what=str(path))


def remote_body(backend: Backend, node: Node, file: FileEntry) -> Body:
    """Return a file of a node in a backend."""
    return Body(
        size=file.size,
        sha256=file.sha256,
        open=lambda: _open_remote(backend, node, file),
        origin=backend.origin(node, file) if isinstance(backend, KnowsOrigins) else None,
        what=f"{file.key!r} of {node.path} in {backend.uri}",
    )


def _open_remote(backend: Backend, node: Node, file: FileEntry) -> BinaryIO:
    return io.BufferedReader(ChunkStream(fetch(backend, node, file)), CHUNK_BYTES)


def open_verified(chunks: Iterator[bytes], size: int, sha256: str, what: str) -> BinaryIO:
    """Make a stream of chunks whose end raises unless all bytes were right.

    Args:
        chunks: All bytes, in order.
        size: How many there must be.
        sha256: What they must hash to, hexadecimal.
        what: Name of the bytes in error messages.

    Returns:
        A buffered binary stream, to be read once from start to end; its last bytes come only after the check.
    """
    return io.BufferedReader(ChunkStream(verified(chunks, size, sha256, what)), CHUNK_BYTES)


def fetch(backend: Backend, node: Node, file: FileEntry, *, note: bool = True) -> Iterator[bytes]:
    """Yield the bytes of one file, the last of them only after all were found right.

    Args:
        backend: Where it is.
        node: The generation that it is read of.
        file: The file.
        note: Whether what is not right is noted there.

    Raises:
        NotFound: The bytes do not exist.
        CorruptData: The bytes are not those that were uploaded.
    """
    with noting_damage(backend, node, file) if note else contextlib.nullcontext():
        yield from verified(backend.read(node, file), file.size, file.sha256, named(backend, node, file))


def named(backend: Backend, node: Node, file: FileEntry) -> str:
    """Return the name of a file in error messages."""
    return f"{file.key!r} of {node.path} in {backend.uri}"


def verified(chunks: Iterator[bytes], size: int, sha256: str, what: str) -> Iterator[bytes]:
    """Pass chunks on, the last one only after all of them were found to have the size and checksum expected.

    Raises:
        CorruptData: The bytes have another size or checksum.
    """
    digest = hashlib.sha256()
    count = 0
    held = b""
    for chunk in chunks:
        if held:
            yield held
        held = chunk
        digest.update(chunk)
        count += len(chunk)
    if count != size or digest.hexdigest() != sha256:
        raise damaged(what)
    if held:
        yield held


def _open(path: AnyPath, size: int | None) -> BinaryIO:
    try:
        fd = open_file(path)
    except NodeSymlinkError:
        raise
    except LocalError as error:
        raise SourceChanged(f"{path} is not a regular file any more; put it back, or add it again") from error
    except OSError as error:
        raise SourceChanged(f"{path} cannot be read any more: {error.strerror}; add it again") from error
    if size is not None and os.fstat(fd).st_size != size:
        os.close(fd)
        raise SourceChanged(
            f"{path} is not the file of {size} bytes that was added any more; put it back, or add it again"
        )
    return cast("BinaryIO", io.FileIO(fd))  # unbuffered: what reads it takes large pieces
