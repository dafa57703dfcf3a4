"""Copies of files that another program may be writing to: each holds what the file held at one moment."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from t9k.em.errors import LocalError, SourceChanged, SymlinkError
from t9k.em.local.below import AnyPath, Below, open_file
from t9k.em.local.disk import explained
from t9k.em.local.files import identity, replacing, write_all
from t9k.em.local.reflink import reflink

_CHUNK_BYTES = 1 << 20
_ZEROS = bytes(_CHUNK_BYTES)
_BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system's own are
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Opening a pipe must not wait for its other end.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_TRIES = 6
_FIRST_PAUSE_S = 0.02


def copy_hashed(source: Path | Below, target: AnyPath, *, follow_symlinks: bool = False) -> tuple[int, str]:
    """Copy a file durably, and return what was copied; see `copied`."""
    with copied(source, target, follow_symlinks=follow_symlinks) as copy:
        return copy


@contextlib.contextmanager
def copied(source: Path | Below, target: AnyPath, *, follow_symlinks: bool = False) -> Iterator[tuple[int, str]]:
    """Copy a file durably; the copy takes its place when the block succeeds.

    Where the file system can (btrfs, XFS, ...), source and copy share their blocks until one changes; holes of a sparse file stay
    holes where it can detect them. The copy is 0600. A link at `target` is replaced, not followed; for links above it see
    `Below`.

    The source may be written to meanwhile. Of a file that only grew, the copy is what it held when it was looked at; of one that was
    replaced by another, the old one. One that was rewritten in the middle is read again, several times in a second.

    Args:
        source: A regular file; a `Below` for one of a run or artifact.
        target: Where the copy goes; its directory must exist, a file there is replaced.
        follow_symlinks: Whether `source` may itself be a symbolic link.

    Yields:
        Size of the copy in bytes, and its SHA-256 in hexadecimal.

    Raises:
        SymlinkError: `source` is a link and may not be, or one that dangles or loops.
        SourceChanged: `source` was rewritten each time that it was read; `target` is as it was.
        LocalError: `source` is not a regular file; disk full, over quota, no permission or read-only; `target` is
            as it was.
        OSError: Any other failure, for example FileNotFoundError; `target` is as it was.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        source_fd = _open_source(source, follow_symlinks=follow_symlinks)
        try:
            with explained("write", target), replacing(target) as target_fd:
                yield _copy(source_fd, target_fd)
                return
        except _RewrittenError:
            continue
        finally:
            os.close(source_fd)
    raise SourceChanged(
        f"{source} was rewritten each of the {_TRIES} times that it was copied; try again when nothing writes to it, or "
        "write it under another name and rename it"
    )


class _RewrittenError(Exception):
    """A file holds something else than what was read of it."""


def _copy(source_fd: int, target_fd: int) -> tuple[int, str]:
    before = identity(source_fd)
    if reflink(source_fd, target_fd):
        size_bytes = os.fstat(target_fd).st_size
        sha256 = _transfer(target_fd, None, size_bytes)
    else:
        size_bytes = before.size_bytes
        sha256 = _transfer(source_fd, target_fd, size_bytes)
    # The times alone do not tell what grew from what was rewritten; the bytes do.
    if identity(source_fd) != before and _transfer(source_fd, None, size_bytes) != sha256:
        raise _RewrittenError
    return size_bytes, sha256


def _open_source(source: Path | Below, *, follow_symlinks: bool) -> int:
    if isinstance(source, Below):
        with explained("read", source):
            return open_file(source)
    try:
        with explained("read", source):
            fd = os.open(source, _READ if follow_symlinks else _READ | _NO_FOLLOW)
    except OSError as error:
        if not source.is_symlink():
            raise
        why = "that dangles or loops" if follow_symlinks else "which is not followed here"
        raise SymlinkError(f"{source} is a symbolic link, {why}; give the file that it should stand for") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise LocalError(f"{source} is not a regular file; only files can be copied")
    return fd


def _transfer(source_fd: int, target_fd: int | None, size_bytes: int) -> str:
    """Hash the first bytes of a file, and write them to `target_fd` if given, which is empty.

    Raises:
        _RewrittenError: There are fewer by now.
    """
    digest = hashlib.sha256()
    end = 0
    for start, stop in _extents(source_fd, size_bytes):
        _hash_zeros(digest, start - end)
        end = start
        while end < stop:
            chunk = os.pread(source_fd, min(_CHUNK_BYTES, stop - end), end)
            if not chunk:
                raise _RewrittenError
            digest.update(chunk)
            if target_fd is not None:
                write_all(target_fd, chunk, end)
            end += len(chunk)
    _hash_zeros(digest, size_bytes - end)
    if os.fstat(source_fd).st_size < size_bytes:
        raise _RewrittenError
    if target_fd is not None and end < size_bytes:
        os.ftruncate(target_fd, size_bytes)
    return digest.hexdigest()


def _hash_zeros(digest: hashlib._Hash, count: int) -> None:
    for _ in range(count // _CHUNK_BYTES):
        digest.update(_ZEROS)
    digest.update(_ZEROS[: count % _CHUNK_BYTES])


def _extents(fd: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file that are no holes, in order; all of it where the system cannot report holes."""
    blocks: int | None = getattr(os.fstat(fd), "st_blocks", None)
    if blocks is None or blocks * _BLOCK_BYTES >= size_bytes or not hasattr(os, "SEEK_DATA"):
        yield 0, size_bytes
        return
    start = 0
    while start < size_bytes:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
            stop = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole from there on
            stop = size_bytes
        if start < size_bytes:
            yield start, min(stop, size_bytes)
        start = stop
