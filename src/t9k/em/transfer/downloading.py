"""Fetch files of a node: into temporary files, checked, then renamed; a file that is there already is not fetched."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t9k.em.backend import FillsBuffers, KnowsOrigins
from t9k.em.errors import CorruptData, LocalError, NotFound
from t9k.em.local import below
from t9k.em.local.below import Below
from t9k.em.local.disk import explained
from t9k.em.local.files import replacing, sha256_of_file, write_all
from t9k.em.memory.budget import Budget
from t9k.em.parallel import in_parallel
from t9k.em.records import FileEntry, FileSpec, Node
from t9k.em.transfer.damage import noting_damage
from t9k.em.transfer.progress import Progress, Silent
from t9k.em.transfer.sources import fetch, named

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.transfer.large_files import Pieces

CHUNKS_BYTES = 8 << 20
"""What a store may bring at once of a large file."""

PIECES_FROM_BYTES = 2 << 20
"""From which size on a file is fetched into memory of our own, where the store can do that."""

CAN_PLACE = hasattr(os, "pwrite")
"""Whether this system writes to any place of a file; Windows does not."""


def download_files(
    backend: Backend,
    node: Node,
    target: Path,
    *,
    keys: Collection[str] | Callable[[str], bool] | None = None,
    expected: Collection[FileSpec] | None = None,
    or_newest: bool = True,
    durable: bool = True,
    progress: Progress | None = None,
) -> Node:
    """Fetch files of a node into a directory, each to the path that its key says.

    Args:
        backend: Where from.
        node: The node, from `stat` or a listing.
        target: The directory, which exists.
        keys: Which files, or whether a file is wanted; None for all.
        expected: Which files, instead of `keys`, when it is known what they have to hold.
        or_newest: Whether to read the newest generation, once, when this one was collected meanwhile or is damaged.
        durable: Whether what was fetched has to survive a power cut. Files whose checksum is looked at before every use
            need not: they would be fetched again.
        progress: Receives the progress.

    Returns:
        The generation that was read.

    Raises:
        NotFound: A key or its bytes are not there.
        CorruptData: The bytes there are not those that were uploaded; nothing was written for that file.
        NodeSymlinkError: A link stands in the way.
    """

    def read(at: Node) -> None:
        files = backend.files(at)
        chosen = select(files, keys, at.path) if expected is None else select_exact(files, expected, at.path)
        _Download(backend, at, target, durable=durable, progress=progress or Silent()).run(chosen)

    if or_newest:
        return with_newest(backend, node, read)
    read(node)
    return node


def with_newest(backend: Backend, node: Node, read: Callable[[Node], None]) -> Node:
    """Read from a node; when bytes are missing or wrong, once more from its newest generation if there is another."""
    try:
        read(node)
    except (NotFound, CorruptData):
        newest = backend.stat(node.path)
        if newest.generation == node.generation:
            raise
        read(newest)
        return newest
    return node


def select(
    files: Sequence[FileEntry], keys: Collection[str] | Callable[[str], bool] | None, where: str
) -> Sequence[FileEntry]:
    """Return the files with these keys, or with keys that are wanted.

    Raises:
        NotFound: No file has one of the keys.
    """
    if keys is None:
        return files
    if callable(keys):
        return [file for file in files if keys(file.key)]
    by_key = {file.key: file for file in files}
    for key in keys:
        if key not in by_key:
            raise NotFound(f"{where} has no file {key!r}")
    return [by_key[key] for key in keys]


def select_exact(files: Sequence[FileEntry], expected: Collection[FileSpec], where: str) -> Sequence[FileEntry]:
    """Return the files that have to hold certain bytes.

    Raises:
        NotFound: No file has one of the keys.
        CorruptData: A file holds other bytes.
    """
    found = select(files, [spec.key for spec in expected], where)
    for spec, file in zip(expected, found, strict=True):
        if file.spec != spec:
            raise CorruptData(f"{file.key!r} of {where} is not what its index says; load {where} again")
    return found


class _Download:
    """Fetch files of one node into one directory."""

    def __init__(self, backend: Backend, node: Node, target: Path, *, durable: bool, progress: Progress) -> None:
        self._backend = backend
        self._node = node
        self._target = target
        self._durable = durable
        self._progress = progress
        self._directories: set[str] = set()
        self._room = Budget()
        self._pieces: Pieces | None = None

    def run(self, files: Sequence[FileEntry]) -> None:
        """Fetch those that are not there."""
        self._progress.start(f"downloading {self._node.name}", len(files), sum(file.size for file in files))
        with contextlib.ExitStack() as stack:
            if CAN_PLACE and any(file.size >= PIECES_FROM_BYTES for file in files):
                from t9k.em.transfer.large_files import Pieces  # noqa: PLC0415 - most who import this package download nothing

                self._pieces = stack.enter_context(contextlib.closing(Pieces()))
            in_parallel(self._one, files, "download", lambda: self._backend.parallelism)

    def _one(self, file: FileEntry) -> None:
        told = 0
        for size in self._fetch(file):
            self._progress.advance(0, size)
            told += size
        self._progress.advance(1, file.size - told)

    def _fetch(self, file: FileEntry) -> Iterator[int]:
        """Fetch a file unless it is there; yield how many bytes arrived, each time some did."""
        path = Below(self._target, file.key)
        try:
            self._make_way(path)
            if _is_there(path, file):
                return
            with explained("write", path), replacing(path, durable=self._durable) as fd:
                yield from self._write(file, fd)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            there = error.filename2 or error.filename
            raise LocalError(f"{there} is in the way of a download of {path}; move it away") from error

    def _write(self, file: FileEntry, fd: int) -> Iterator[int]:
        """Fetch a file into a new one; yield how many bytes were written, each time some were."""
        what = named(self._backend, self._node, file)
        if self._pieces is not None and file.size >= PIECES_FROM_BYTES and isinstance(self._backend, KnowsOrigins):
            origin = self._backend.origin(self._node, file)
            if isinstance(origin.store, FillsBuffers) and origin.store.fills_buffers:
                with noting_damage(self._backend, self._node, file):
                    yield from self._pieces.fetch(origin.store, origin.key, file, fd, what)
                return
        with self._room.holding(min(file.size, CHUNKS_BYTES)):
            for chunk in fetch(self._backend, self._node, file):
                write_all(fd, chunk)
                yield len(chunk)

    def _make_way(self, path: Below) -> None:
        """Make the directory of a file, and refuse links on the way; once for all files in it."""
        directory = path.parent
        if isinstance(directory, Below) and directory.key not in self._directories:
            below.make_dirs(directory)
            self._directories.add(directory.key)


def _is_there(path: Below, file: FileEntry) -> bool:
    """Return whether a file was fetched before.

    Raises:
        NodeSymlinkError: A link is in its place.
    """
    status = below.status(path)
    if status is None or status.st_size != file.size or not stat.S_ISREG(status.st_mode):
        return False
    return sha256_of_file(path) == file.sha256
