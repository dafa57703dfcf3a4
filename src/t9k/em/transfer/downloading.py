"""Fetches files of a node: into temporary files, checked, then renamed; a file that is there already is not fetched."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t9k.em.errors import CorruptData, LocalError, NotFound, SymlinkError
from t9k.em.local.disk import explained
from t9k.em.local.files import make_safe_parents, replacing, sha256_of
from t9k.em.records import FileEntry, FileSpec, Node
from t9k.em.transfer.parallel import in_parallel
from t9k.em.transfer.progress import Progress, Silent
from t9k.em.transfer.sources import verified

if TYPE_CHECKING:
    from t9k.em.backend import Backend


def download_files(
    backend: Backend,
    node: Node,
    target: Path,
    *,
    keys: Collection[str] | None = None,
    expected: Collection[FileSpec] | None = None,
    or_newest: bool = True,
    progress: Progress | None = None,
) -> Node:
    """Fetches files of a node into a directory, each to the path that its key says.

    Args:
        backend: Where from.
        node: The node, from `stat` or a listing.
        target: The directory, which exists.
        keys: Which files; None for all.
        expected: Which files, instead of `keys`, when it is known what they have to hold.
        or_newest: Whether to read the newest generation, once, when this one was collected meanwhile or is damaged.
        progress: Told how far it is.

    Returns:
        The generation that was read.

    Raises:
        NotFound: A key or its bytes are not there.
        CorruptData: What is there is not what was uploaded; nothing was written for that file.
        SymlinkError: A link stands in the way.
    """

    def read(at: Node) -> None:
        files = backend.files(at)
        chosen = select(files, keys, at.path) if expected is None else select_exact(files, expected, at.path)
        _download(backend, at, target, chosen, progress or Silent())

    if or_newest:
        return with_newest(backend, node, read)
    read(node)
    return node


def with_newest(backend: Backend, node: Node, read: Callable[[Node], None]) -> Node:
    """Reads from a node; when bytes are missing or wrong, once more from its newest generation if there is another."""
    try:
        read(node)
    except (NotFound, CorruptData):
        newest = backend.stat(node.path)
        if newest.generation == node.generation:
            raise
        read(newest)
        return newest
    return node


def fetch(backend: Backend, node: Node, file: FileEntry) -> Iterator[bytes]:
    """The bytes of one file, the last of them only after all were found right.

    Raises:
        NotFound: They are not there.
        CorruptData: They are not what was uploaded.
    """
    what = f"{file.key!r} of {node.path} in {backend.uri}"
    return verified(backend.read(node, file), file.size, file.sha256, what)


def select(files: Sequence[FileEntry], keys: Collection[str] | None, where: str) -> Sequence[FileEntry]:
    """The files with these keys.

    Raises:
        NotFound: There is none with some key.
    """
    if keys is None:
        return files
    by_key = {file.key: file for file in files}
    for key in keys:
        if key not in by_key:
            raise NotFound(f"{where} has no file {key!r}")
    return [by_key[key] for key in keys]


def select_exact(files: Sequence[FileEntry], expected: Collection[FileSpec], where: str) -> Sequence[FileEntry]:
    """The files that have to hold certain bytes.

    Raises:
        NotFound: There is none with some key.
        CorruptData: One holds other bytes.
    """
    found = select(files, [spec.key for spec in expected], where)
    for spec, file in zip(expected, found, strict=True):
        if file.spec != spec:
            raise CorruptData(f"{file.key!r} of {where} is not what its index says; load {where} again")
    return found


def _download(backend: Backend, node: Node, target: Path, files: Sequence[FileEntry], progress: Progress) -> None:
    progress.start(f"downloading {node.name}", len(files), sum(file.size for file in files))

    def one(file: FileEntry) -> None:
        told = 0
        for size in _download_one(backend, node, file, target):
            progress.advance(0, size)
            told += size
        progress.advance(1, file.size - told)

    in_parallel(one, files, "download", lambda: backend.parallelism)


def _download_one(backend: Backend, node: Node, file: FileEntry, target: Path) -> Iterator[int]:
    """Fetches a file unless it is there; yields how many bytes arrived, each time some did."""
    path = target.joinpath(*file.key.split("/"))
    try:
        make_safe_parents(target, path)
        if path.is_symlink():
            raise SymlinkError(f"{path} is a symbolic link in the way of a download; remove it")
        if _is_there(path, file):
            return
        with explained("write", path), replacing(path) as fd:
            for chunk in fetch(backend, node, file):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]
                yield len(chunk)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        there = error.filename2 or error.filename
        raise LocalError(f"{there} is in the way of a download of {path}; move it away") from error


def _is_there(path: Path, file: FileEntry) -> bool:
    """Whether a file was fetched before."""
    try:
        status = path.stat()
        if status.st_size != file.size or not stat.S_ISREG(status.st_mode):
            return False
        return sha256_of(path) == file.sha256
    except FileNotFoundError:
        return False
