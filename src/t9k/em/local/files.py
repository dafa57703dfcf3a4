"""Durable primitives on the local disk: files that are whole or not there, and private."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from t9k.em.local import below
from t9k.em.local.appender import LineAppender
from t9k.em.local.below import AnyPath, Below, located
from t9k.em.local.disk import explained, sync_dir, sync_open_dir

__all__ = [
    "TEMP_PREFIX",
    "FileIdentity",
    "LineAppender",
    "append_all",
    "identity",
    "make_private_dir",
    "make_private_dirs_below",
    "make_safe_parents",
    "overwrite",
    "replacing",
    "sha256_of_file",
    "sync_dir",
    "write_all",
    "write_atomic",
]

TEMP_PREFIX = ".em-tmp-"
"""First characters of a temporary file's name; one that stays after a crash may be deleted."""

_WRITE_BYTES = 32 << 10
"""What to write in one call. The longer it is the larger are the pieces in which Linux takes memory for it, and those a
virtual machine may have given back to its host: 800 MiB took 0.2 s in calls of 32 KiB, and 0.2 to 2 s in longer ones."""

_CHUNK_BYTES = 1 << 20
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


@attrs.frozen(kw_only=True)
class FileIdentity:
    """What changes when a file is replaced, resized or written to.

    Attributes:
        ino: Inode number.
        size_bytes: Length.
        mtime_ns: Time of the last write, nanoseconds since the epoch.
        ctime_ns: Time of the last change of content or inode; cannot be set back by `os.utime`.
    """

    ino: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


def identity(file: int | AnyPath) -> FileIdentity:
    """Return the identity of a file.

    Args:
        file: An open descriptor, or a path; a link is not followed.

    Raises:
        NodeSymlinkError: The path is a link.
        OSError: The file cannot be examined.
    """
    status = os.fstat(file) if isinstance(file, int) else below.status(file)
    if status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    return FileIdentity(
        ino=status.st_ino, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns
    )


@contextlib.contextmanager
def replacing(path: AnyPath, *, durable: bool = True) -> Iterator[int]:
    """Give the descriptor of a temporary file, 0600, that takes the place of `path` when the block succeeds.

    Args:
        path: The file. A link in its place is replaced.
        durable: Whether it has to survive a power cut from then on.

    Raises:
        NodeSymlinkError: A directory on the way to a `Below` is a link.
        OSError: The disk refuses or failed; `path` is as it was.
    """
    with located(path) as (name, directory):
        parent = os.path.dirname(name) or os.curdir
        temp = f"{TEMP_PREFIX}{os.urandom(8).hex()}"
        if directory is None:
            temp = f"{parent}/{temp}"
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY | _NO_FOLLOW, 0o600, dir_fd=directory)
        try:
            try:
                yield fd
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            try:
                os.replace(temp, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError as error:
                raise OSError(error.errno, error.strerror, temp, None, str(path)) from None
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temp, dir_fd=directory)
            raise
        if durable:
            sync_dir(parent) if directory is None else sync_open_dir(directory)


def write_all(fd: int, data: bytes | memoryview, start: int | None = None) -> None:
    """Write all of some bytes to a file.

    Args:
        fd: Its descriptor.
        data: The bytes.
        start: Where they belong in the file; None for where the descriptor stands.

    Raises:
        OSError: The disk refuses or failed; some may have been written.
    """
    left = memoryview(data)
    while left:
        if start is None:
            written = os.write(fd, left[:_WRITE_BYTES])
        else:
            written = os.pwrite(fd, left[:_WRITE_BYTES], start)
            start += written
        left = left[written:]


def write_atomic(path: AnyPath, data: bytes) -> None:
    """Write a file so that it holds either the old or the new content, whatever happens.

    The file is 0600. When this returns, the content survives a power cut. A link at `path` is replaced, not
    followed. Safe to call from several threads and processes: the last one wins.

    Args:
        path: The file; its directory must exist.
        data: The whole content.

    Raises:
        LocalError: Disk full, over quota, no permission or read-only; nothing was changed.
        OSError: Any other failure; nothing was changed.
    """
    with explained("write", path), replacing(path) as fd:
        write_all(fd, data)


def append_all(root: Path, key: str, data: Iterable[bytes]) -> None:
    """Append bytes to a file below a directory, which is made if it is missing; durable on return.

    Args:
        root: The directory.
        key: The file in it, components joined by '/'.
        data: The bytes.

    Raises:
        LocalError: Disk full, over quota, no permission or read-only.
    """
    path = Below(root, key)
    if isinstance(path.parent, Below):
        below.make_dirs(path.parent)
    with explained("write", path):
        is_new = below.status(path) is None
        fd = below.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for piece in data:
                write_all(fd, piece)
            os.fsync(fd)
        finally:
            os.close(fd)
        if is_new:
            below.sync_parent(path)


def overwrite(path: AnyPath, data: bytes) -> None:
    """Write a small file, 0600, in place: who reads meanwhile, or after a crash, may find a part of it.

    Args:
        path: The file; its directory must exist.
        data: The whole content.

    Raises:
        NodeSymlinkError: The path is a link.
        OSError: The disk refuses or failed.
    """
    fd = below.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def make_private_dir(path: Path, *, exist_ok: bool, durable: bool = True) -> None:
    """Make a directory that only its owner can read (0700), and those above it that are missing.

    Args:
        path: The directory. One that exists keeps its permissions.
        exist_ok: Whether it may exist already.
        durable: Whether it has to survive a power cut from then on; those above it do.

    Raises:
        FileExistsError: The directory must not exist and does, or a file has its name.
        LocalError: Disk full, over quota, no permission or read-only.
        OSError: Any other failure.
    """
    with explained("make", path):
        missing = []
        parent = path.parent
        while not parent.is_dir() and parent != parent.parent:
            missing.append(parent)
            parent = parent.parent
        for directory in reversed(missing):
            _make_dir(directory, exist_ok=True)
        _make_dir(path, exist_ok=exist_ok, durable=durable)


def _make_dir(path: Path, *, exist_ok: bool, durable: bool = True) -> None:
    try:
        with explained("make", path):
            os.mkdir(path, 0o700)
    except FileExistsError:
        if not (exist_ok and path.is_dir()):
            raise
        return
    if durable:
        sync_dir(path.parent)


def make_private_dirs_below(path: Below) -> None:
    """Make a directory below one that may be missing itself (0700), and all in between; durable on return.

    Raises:
        NodeSymlinkError: A component below the root is a link.
        LocalError, OSError: See `make_private_dir`.
    """
    try:
        below.make_dirs(path)
    except FileNotFoundError:
        make_private_dir(Path(path.root), exist_ok=True)
        below.make_dirs(path)


def make_safe_parents(root: Path, target: Path) -> None:
    """Make the directories between `root` and a file inside it, and refuse links among them.

    To be called before a file is written to `target` as a `Below`, so that nothing can be written outside of `root`.

    Args:
        root: A directory that exists; it may itself be reached through links.
        target: The file to be written, a path that starts with `root`.

    Raises:
        ValueError: `target` does not lie inside `root`.
        NodeSymlinkError: A directory on the way is a symbolic link.
        LocalError: Disk full, over quota, no permission or read-only.
        OSError: Any other failure, for example a file where a directory should be.
    """
    parts = target.relative_to(root).parts
    if not parts or ".." in parts:
        raise ValueError(f"{target} does not lie inside {root}")
    if len(parts) > 1:
        below.make_dirs(Below(root, "/".join(parts[:-1])))


def sha256_of_file(path: AnyPath) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        NodeSymlinkError: The path is a link.
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with open(below.open_file(path), "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
