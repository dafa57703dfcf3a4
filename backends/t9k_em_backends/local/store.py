"""`file:///data/em` and plain paths: a tree of plain files in a directory, shared by all who can write there."""

from __future__ import annotations

import contextlib
import errno
import heapq
import io
import itertools
import logging
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from t9k.em.backend import ObjectStore
from t9k.em.chunks import sha256_of
from t9k.em.errors import (
    AlreadyExists,
    BackendError,
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    EMError,
    InvalidKey,
    InvalidURI,
    LocalError,
    NotFound,
    StoreGone,
    UnsafeStore,
)
from t9k.em.local.disk import sync_dir
from t9k.em.local.files import write_all
from t9k.em.local.reflink import reflink
from t9k.em.names import check_stored, random_text
from t9k.em.records import CHUNK_BYTES, Body, ObjectInfo, Part
from t9k_em_backends.local.parts import LocalParts, PartsDropped
from t9k_em_backends.shared.clock import store_time
from t9k_em_backends.tree import TreeBackend
from t9k_em_backends.tree.foreign import closed_directories, is_needed

if TYPE_CHECKING:
    from t9k.em.uris import URI

_RECORDS, _HEADS, _UPLOADS = ".em", "h", "uploads"
"""Where a folder has its records, see `docs/formats/store.md`: those of uploads that began come and go with each upload."""

TEMPORARY = ".em/tmp"
_log = logging.getLogger(__name__)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_RETRIES = 100
_BATCH = 64  # files open at a time, of the 256 or more that a process may have
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


class LocalStore(ObjectStore):
    """Objects as files below a directory, which the first write makes where the directory above it is there.

    One that was written to and is gone is not made again: what was mounted there may not be, or somebody moved it.

    A write goes to a temporary file, which is synced and then renamed, or for a conditional write hard-linked, to its
    name; linking is the one way to create a file with its content that fails when the name is taken.

    Args:
        root: The directory, absolute.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._was_there = False
        self._parts = LocalParts(root / TEMPORARY, self._make_dirs)

    @classmethod
    def from_uri(cls, uri: URI) -> LocalStore:
        """Return the store in the directory that a `file` URI names."""
        if uri.options:
            raise InvalidURI(f"{uri.text} takes no option {next(iter(uri.options))!r}")
        return cls(Path(uri.path))

    def open(self) -> None:
        """Look whether the root is a directory, or can be made by the first write.

        Raises:
            InvalidURI: The root is no directory.
            StoreGone: Neither the root nor the directory above it exists.
            BackendPermissionError: The directory does not exist, and the user may not make it.
        """
        if os.path.lexists(self._root):
            if not self._root.is_dir():
                raise InvalidURI(f"{self._root} is no directory; choose a directory for the store")
        elif not os.path.lexists(self._root.parent):
            raise self._gone()
        else:
            self._check_can_be_made()

    def make_root(self) -> None:
        """See `t9k.em.backend.MakesRoot`.

        Raises:
            BackendPermissionError: The user may not make it.
        """
        if not os.path.lexists(self._root):
            self._check_can_be_made()
            with self._translated(""):
                _make_dirs(_missing(self._root))

    def _check_can_be_made(self) -> None:
        above = next(directory for directory in self._root.parents if os.path.lexists(directory))
        if not os.access(above, os.W_OK | os.X_OK):
            raise BackendPermissionError(
                f"{self._root} is not there, and you may not make it in {above}; check the path, and who may write there"
            )

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        chunks = self._chunks(key, start, end)
        first = next(chunks, b"")
        return itertools.chain([first] if first else [], chunks)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        start = prefix.rstrip("/")
        pending = [start]
        closed: MutableSequence[str] = []
        while pending:
            directory = pending.pop()
            if directory == TEMPORARY:
                continue
            for key, entry in self._entries(directory, None if directory == start else closed):
                if entry.is_dir(follow_symlinks=False):
                    pending.append(key)
                elif (info := self._listed(key, entry, closed)) is not None:
                    yield info
        if closed:
            _log.warning(closed_directories(str(self._root), closed))

    def list_after(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.ListsInOrder`; a directory is read when its turn comes, and sorted no further than needed."""
        closed: MutableSequence[str] = []
        start = prefix.rstrip("/")
        pending = [self._ordered(start, after[len(prefix) :] if after.startswith(prefix) else "", None)]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
                continue
            key, entry, rest = found
            if entry.is_dir(follow_symlinks=False):
                if key != TEMPORARY:
                    pending.append(self._ordered(key, rest or "", closed))
            elif rest is None and (info := self._listed(key, entry, closed)) is not None:
                yield info
        if closed:
            _log.warning(closed_directories(str(self._root), closed))

    def _ordered(
        self, directory: str, after: str, closed: MutableSequence[str] | None
    ) -> Iterator[tuple[str, os.DirEntry[str], str | None]]:
        """Yield the content of a directory from a name on, in the order of the names.

        Args:
            directory: The directory.
            after: A key within it, behind which to begin; '' for all.
            closed: See `_entries`.

        Yields:
            The key of each entry, the entry, and of the one that `after` begins with what follows there; else None.
        """
        first, _, rest = after.partition("/")
        entries: Sequence[os.DirEntry[str]] = []
        if closed is None:
            entries = self._scan(directory)
        else:
            with self._readable(directory, closed):
                entries = self._scan(directory)
        left = [(entry.name, entry) for entry in entries if entry.name >= first]
        heapq.heapify(left)  # no two names are equal, so that entries are never compared
        while left:
            name, entry = heapq.heappop(left)
            yield (f"{directory}/{name}" if directory else name), entry, (rest if name == first else None)

    def _listed(self, key: str, entry: os.DirEntry[str], closed: MutableSequence[str]) -> ObjectInfo | None:
        """Return a file as an object; None of one that is gone, or of what is no file."""
        if entry.is_file(follow_symlinks=False):
            with contextlib.suppress(NotFound), self._readable(key, closed):
                return _info(key, entry.stat(follow_symlinks=False))
        return None

    def _entries(self, directory: str, closed: MutableSequence[str] | None) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield the content of a directory, with keys.

        Args:
            directory: The directory.
            closed: Where to put one that may not be read, like `lost+found`; None for one that was asked for.
        """
        with contextlib.nullcontext() if closed is None else self._readable(directory, closed):
            for entry in self._scan(directory):
                yield (f"{directory}/{entry.name}" if directory else entry.name), entry

    @contextlib.contextmanager
    def _readable(self, key: str, closed: MutableSequence[str]) -> Iterator[None]:
        """Leave aside what may not be read, but for what is ours: without its records other files would count as garbage."""
        try:
            with self._translated(key):
                yield
        except BackendPermissionError:
            if is_needed(key):
                raise
            closed.append(key)

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        return self._write(key, partial(_fill, body), if_absent=if_absent)

    def put_many(self, items: Sequence[tuple[str, Body]]) -> Sequence[ObjectInfo]:
        """See the port; syncs files and directories together, which costs a fraction of one by one."""
        batches = (items[at : at + _BATCH] for at in range(0, len(items), _BATCH))
        return [info for batch in batches for info in self._put_batch(batch)]

    def delete(self, keys: Iterable[str]) -> None:
        """See the port; directories that become empty go too."""
        for key in keys:
            path = self._path(key)
            with self._translated(key), contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                _unlink(path)
            self._prune(path.parent)

    def copy(self, source: str, target: str) -> ObjectInfo:
        """See `t9k.em.backend.CopiesObjects`."""
        return self._write(target, partial(_duplicate, self._path(source)), if_absent=False)

    def put_part(self, key: str, start: int, body: Body) -> None:
        """See `t9k.em.backend.AssemblesParts`; the bytes go where they belong at once, in a file under `.em/tmp/`."""
        path = self._path(key)
        with self._translated(key):
            try:
                self._parts.put(key, start, body)
            except PartsDropped:
                if not path.exists():  # else the same part came twice, and the other one was in time
                    raise

    def parts(self, key: str) -> Sequence[Part]:
        """See `t9k.em.backend.AssemblesParts`."""
        with self._translated(check_stored(key)):
            return self._parts.present(key)

    def assemble(self, key: str, size: int, sha256: str) -> ObjectInfo:
        """See `t9k.em.backend.AssemblesParts`; no byte is copied."""
        path = self._path(key)
        with self._translated(key):
            if not size:
                return self.put(key, Body(size=0, sha256=sha256, open=io.BytesIO))
            try:
                with self._parts.whole(key, size, sha256) as (staged, fd):
                    info = _info(key, os.fstat(fd))
                    self._name(staged, path, if_absent=False)
                    _sync(path.parent)
            except NotFound:  # or it was assembled before
                there = _info(key, path.stat(follow_symlinks=False)) if path.exists() else None
                if there is None or there.size != size or sha256_of(self.get(key)) != sha256:
                    raise
                return there
            return info

    def drop_parts(self, key: str) -> None:
        """See `t9k.em.backend.AssemblesParts`."""
        with self._translated(check_stored(key)):
            self._parts.drop(key)

    def sweep(self, older_than_s: float) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.SweepsTemporary`."""
        before = store_time(self) - older_than_s
        for entry in self._scan(TEMPORARY):
            if not entry.is_file(follow_symlinks=False):
                continue
            try:
                info = _info(f"{TEMPORARY}/{entry.name}", entry.stat(follow_symlinks=False))
            except FileNotFoundError:  # its writer ended a moment ago
                continue
            if info.modified <= before:
                yield info

    def remove_swept(self, found: Iterable[ObjectInfo]) -> None:
        """See `t9k.em.backend.SweepsTemporary`."""
        for info in found:
            with self._translated(info.key), contextlib.suppress(FileNotFoundError):
                (self._root / info.key).unlink()

    def _put_batch(self, items: Sequence[tuple[str, Body]]) -> Sequence[ObjectInfo]:
        infos = []
        with contextlib.ExitStack() as stack:
            written = []
            for key, body in items:
                stack.enter_context(self._translated(key))
                written.append((key, *stack.enter_context(self._temporary(partial(_fill, body)))))
            for key, _, fd in written:
                os.fsync(fd)
                infos.append(_info(key, os.fstat(fd)))
            for key, temporary, _ in written:
                self._name(temporary, self._path(key), if_absent=False)
            for directory in {self._path(key).parent for key, _ in items}:
                _sync(directory)
        return infos

    def _write(self, key: str, fill: Callable[[int], None], *, if_absent: bool) -> ObjectInfo:
        path = self._path(key)
        with self._translated(key), self._temporary(fill) as (temporary, fd):
            os.fsync(fd)
            info = _info(key, os.fstat(fd))
            self._name(temporary, path, if_absent=if_absent)
            _sync(path.parent)
        return info

    def _chunks(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        with self._translated(key):
            yield from _read(
                f"{self._root}/{check_stored(key)}", start, end
            )  # a Path would cost as much as a small read

    def _path(self, key: str) -> Path:
        return self._root / check_stored(key)

    def _scan(self, directory: str) -> Sequence[os.DirEntry[str]]:
        """Return the entries of a directory; none for one that is not there (any more)."""
        try:
            with self._translated(directory), os.scandir(f"{self._root}/{directory}") as entries:
                return list(entries)
        except NotFound:
            return []

    @contextlib.contextmanager
    def _temporary(self, fill: Callable[[int], None]) -> Iterator[tuple[Path, int]]:
        """Provide a file that `fill` has written, and its descriptor; it goes when it got no other name."""
        directory = self._root / TEMPORARY
        temporary = directory / random_text(20)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW
        try:
            fd = os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            self._make_dirs(directory)
            fd = os.open(temporary, flags, 0o666)
        try:
            try:
                fill(fd)
                yield temporary, fd
            finally:
                os.close(fd)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()

    def _name(self, temporary: Path, path: Path, *, if_absent: bool) -> None:
        """Give a temporary file its name."""
        for _ in range(_RETRIES):
            try:
                if if_absent:
                    os.link(temporary, path, follow_symlinks=False)
                else:
                    os.replace(temporary, path)
            except FileNotFoundError:
                # The directory is missing, or somebody's `delete` found it empty a moment ago.
                self._make_dirs(path.parent)
            except FileExistsError as error:
                raise AlreadyExists(f"{path} is there already") from error
            except OSError as error:
                if if_absent and error.errno in _NO_LINKS:
                    raise UnsafeStore(
                        f"{self._root} lies on a file system without hard links, which a safe store needs; use another "
                        "directory, or the option '?unsafe_single_writer=true' when only one process ever writes"
                    ) from error
                raise
            else:
                return
        raise BackendUnavailable(f"{path.parent} disappears again and again; look at who deletes it")

    def _make_dirs(self, directory: Path) -> None:
        """Make a directory and those above it up to the root.

        Raises:
            StoreGone: The root was there and is not any more, or the directory that it would lie in is not.
        """
        was_there = self._was_there  # before looking, and set after making: another thread may make the root meanwhile
        missing = _missing(directory)
        if self._root in missing and (was_there or self._root.parent in missing):
            raise self._gone()
        _make_dirs(missing)
        self._was_there = True

    def _gone(self) -> StoreGone:
        if self._was_there:
            return StoreGone(
                f"{self._root} was there and is gone, so nothing is written; mount it or put it back, then run the same "
                "command again, it goes on where it stopped"
            )
        return StoreGone(
            f"{self._root.parent} is not there, so {self._root} is not made in it; mount it, or check the path, or make the "
            f"store with: em login {shlex.quote(str(self._root))}"
        )

    def _prune(self, directory: Path) -> None:
        with contextlib.suppress(OSError):  # ENOTEMPTY mostly; whatever it is, an empty directory does no harm
            while directory != self._root:
                if directory.name == _UPLOADS and (directory.parent / _HEADS).is_dir():
                    return  # the next upload to this folder would have to make it, durably
                if directory.name == _RECORDS:
                    with contextlib.suppress(OSError):
                        (directory / _UPLOADS).rmdir()
                directory.rmdir()
                directory = directory.parent

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Provide the one place where the system's errors become this library's."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"there is no {key!r} in {self._root}") from error
        except (NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(f"there is no object {key!r} in {self._root}, a file or directory is in its way") from error
        except (BackendError, InvalidKey, NotFound):
            raise
        except OSError as error:
            raise _translate(error, f"{self._root}/{key}") from error


def _translate(error: OSError, place: str) -> EMError:
    reason = os.strerror(error.errno or 0)
    if error.errno == errno.ENAMETOOLONG:
        return InvalidKey(f"{place}: {reason}; use shorter names, fewer folders, or a shorter root")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackendFull(f"{place}: {reason}; make room and run the same command again, it goes on where it stopped")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP):
        return BackendPermissionError(f"{place}: {reason}; check who may write there")
    return BackendUnavailable(f"{place}: {reason}; run the same command again when this is fixed")


def _read(path: str, start: int, end: int | None) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        end = status.st_size if end is None else min(end, status.st_size)
        while start < end and (chunk := os.pread(fd, min(CHUNK_BYTES, end - start), start)):
            start += len(chunk)
            yield chunk
    finally:
        os.close(fd)


def _unlink(path: Path) -> None:
    """Remove a file; a directory is an `IsADirectoryError`, which POSIX lets a system call a lack of permission."""
    try:
        path.unlink()
    except PermissionError:
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        raise


def _fill(body: Body, fd: int) -> None:
    """Write the bytes of a body to an empty file, as a clone of its source where the file system can."""
    if body.path is not None and body.size and _clone(body, fd):
        return
    for chunk in body.chunks():
        write_all(fd, chunk)


def _clone(body: Body, fd: int) -> bool:
    """Shares the source's blocks, and checks that they are what was planned."""
    with body.open() as source:
        if not reflink(source.fileno(), fd):
            return False
    cloned = Body(size=body.size, sha256=body.sha256, open=lambda: os.fdopen(os.dup(fd), "rb"), what=body.what)
    os.lseek(fd, 0, os.SEEK_SET)
    if os.fstat(fd).st_size > body.size:
        os.ftruncate(fd, body.size)
    for _ in cloned.chunks():
        pass
    return True


def _duplicate(source: Path, fd: int) -> None:
    source_fd = os.open(source, os.O_RDONLY | _NO_FOLLOW)
    try:
        if not reflink(source_fd, fd):
            while chunk := os.read(source_fd, CHUNK_BYTES):
                write_all(fd, chunk)
    finally:
        os.close(source_fd)


def _make_dirs(directories: Iterable[Path]) -> None:
    """Make directories one in another, durably; not if somebody's `delete` takes one away meanwhile."""
    for path in directories:
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            path.mkdir()
        _sync(path.parent)


def _missing(directory: Path) -> list[Path]:
    """Return a directory and those above it, the outermost first, as far as they are not there."""
    missing = []
    while not directory.is_dir() and directory != directory.parent:
        missing.append(directory)
        directory = directory.parent
    return missing[::-1]


def _sync(directory: Path) -> None:
    """Make the names in a directory durable, if it is still there: else somebody deleted all that was in it."""
    try:
        with contextlib.suppress(FileNotFoundError):
            sync_dir(directory)
    except LocalError as error:  # advice for a directory of the user's own; here the store explains
        raise (error.__cause__ or error) from None


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key=key, size=status.st_size, modified=status.st_mtime)


class LocalBackend(TreeBackend):
    """A tree in a directory."""

    store_class = LocalStore
    mark_good_for_s = 0.0
