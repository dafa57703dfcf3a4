"""`PlainStore`: whatever fsspec can reach, by the calls that every driver has.

Nothing here can be created without the risk of overwriting another writer's, so a tree is written by one writer at a time
(`?unsafe_single_writer=true`), but for the drivers in `_CREATE`. Where a file can get another name, it is written under a
temporary one, so that a process that is killed leaves no half of it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, MutableSequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import fsspec
from fsspec.spec import AbstractFileSystem

from t9k.em.backend import ObjectStore
from t9k.em.errors import (
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    EMError,
    InvalidKey,
    InvalidURI,
    LocalError,
    MissingExtra,
    NotFound,
    UnsafeStore,
)
from t9k.em.names import random_text
from t9k.em.records import Body, ObjectInfo
from t9k_em_backends.shared.async_store import taken
from t9k_em_backends.shared.clock import store_time
from t9k_em_backends.shared.error_codes import failure
from t9k_em_backends.shared.fsspec_loop import PerProcess
from t9k_em_backends.shared.pacing import FEWEST
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES
from t9k_em_backends.shared.pieces_ahead import PIECE_BYTES
from t9k_em_backends.shared.uri_options import check_known
from t9k_em_backends.tree.foreign import closed_directories, is_needed

if TYPE_CHECKING:
    from t9k.em.uris import URI

TEMPORARY = ".em/tmp"
_log = logging.getLogger(__name__)
_RENAMING = frozenset({"sftp", "ssh"})
_TIMES = ("modified", "mtime", "LastModified", "last_modified", "updated", "timeModified")

_CREATE: Mapping[str, Mapping[str, Any]] = {scheme: {"overwrite": False} for scheme in ("az", "abfs", "abfss")}
"""What makes a driver write only what is not there yet; whether it really does is probed once for each root."""


class PlainStore(ObjectStore):
    """Objects as files of a fsspec file system.

    Args:
        scheme: What fsspec calls it.
        options: What its class takes.
        root: The path of the root there.
        text: Name of the place in error messages.
    """

    batch_files = 1

    def __init__(self, scheme: str, options: Mapping[str, Any], root: str, text: str) -> None:
        self._scheme = scheme
        self._options = options
        self._root = root.rstrip("/")
        self._text = text
        self._is_async = bool(driver_class(scheme).async_impl)
        self._one = contextlib.nullcontext() if self._is_async else threading.RLock()
        self._directories: set[str] = set()
        self._driver = PerProcess(self._make)

    @classmethod
    def from_uri(cls, uri: URI) -> PlainStore:
        """Return the store of whatever driver serves the scheme.

        Raises:
            MissingExtra: The driver is not installed.
        """
        driver = driver_class(uri.scheme)
        check_known(uri, ())
        options = driver._get_kwargs_from_urls(uri.text)  # noqa: SLF001 - how fsspec itself reads a URI
        root = driver._strip_protocol(uri.text)  # noqa: SLF001 - likewise
        copies = driver.cp_file is not AbstractFileSystem.cp_file
        return (CopyingPlainStore if copies else PlainStore)(uri.scheme, options, root, uri.text)

    def __repr__(self) -> str:
        """Name the place."""
        return f"{type(self).__name__}({self._text!r})"

    def __reduce__(self) -> tuple[type[PlainStore], tuple[str, Mapping[str, Any], str, str]]:
        """Another process finds its own credentials."""
        return type(self), (self._scheme, self._options, self._root, self._text)

    @property
    def parallelism(self) -> int:  # type: ignore[override]  # it follows from the driver
        """See the port; a driver that is not asynchronous has one connection, or may have."""
        return FEWEST if self._is_async else 1

    def open(self) -> None:
        """Connect."""
        with self._driving(""):
            pass

    def close(self) -> None:
        """See the port."""
        self._driver.close()

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        path = self._path(key)
        with self._driving(key) as driver:
            size = self._size(driver, path)
            end = size if end is None else min(end, size)
            first = self._read(driver, path, start, end)
        return self._pieces(key, first, start + len(first), end)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        start = prefix.rstrip("/")
        pending = [start]
        closed: MutableSequence[str] = []
        while pending:
            directory = pending.pop()
            if directory == TEMPORARY:
                continue
            try:
                entries = [*self._entries(directory)]
            except BackendPermissionError:
                if directory == start or is_needed(directory):
                    raise
                closed.append(directory)
                continue
            for key, found in entries:
                if found["type"] == "directory":
                    pending.append(key)
                else:
                    yield _info(key, found)
        if closed:
            _log.warning(closed_directories(self._text, closed))

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """See the port.

        Raises:
            UnsafeStore: With `if_absent`: the driver cannot.
        """
        path = self._path(key)
        create = _CREATE.get(self._scheme)
        if if_absent and create is None:
            raise UnsafeStore(
                f"{self._text} lets one writer overwrite another's record, so nothing is written there; use another "
                "store, or add the option '?unsafe_single_writer=true' to its URI when only one process ever writes"
            )
        with self._source(body) as source, self._driving(key) as driver:
            if self._renames:
                temporary = f"{self._path(TEMPORARY)}/{random_text(20)}"
                self._make_parent(driver, temporary)
                self._make_parent(driver, path)
                self._send(driver, temporary, source)
                self._rename(driver, temporary, path)
            else:
                self._send(driver, path, source, **((create or {}) if if_absent else {}))
            return _info(key, driver.info(path))

    def delete(self, keys: Iterable[str]) -> None:
        """See the port; directories stay."""
        for key in keys:
            path = self._path(key)
            with contextlib.suppress(NotFound), self._driving(key) as driver:
                self._size(driver, path)  # or a driver may delete a directory with all that is in it
                driver.rm_file(path)

    def sweep(self, older_than_s: float) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.SweepsTemporary`."""
        before = store_time(self) - older_than_s
        for key, found in self._entries(TEMPORARY):
            info = _info(key, found)
            if info.modified <= before:
                yield info

    def remove_swept(self, found: Iterable[ObjectInfo]) -> None:
        """See `t9k.em.backend.SweepsTemporary`."""
        self.delete(info.key for info in found)

    # Inside.

    def _make(self) -> tuple[Any, Callable[[], Coroutine[Any, Any, object]] | None]:
        driver = driver_class(self._scheme)(**self._options, skip_instance_cache=True)
        # As an argument some drivers pass it on to their client, which does not know it.
        driver.dircache.use_listings_cache = False
        return driver, None

    @property
    def _renames(self) -> bool:
        """Whether the driver gives a file another name, in place of one that is there, without copying it."""
        return self._scheme in _RENAMING

    def _rename(self, driver: Any, source: str, target: str) -> None:
        driver.mv(source, target)

    def _send(self, driver: Any, path: str, source: bytes | str, **options: Any) -> None:
        """Write a file from bytes, or from a local file."""
        if isinstance(source, bytes):
            driver.pipe_file(path, source, **options)
        else:
            driver.put_file(source, path, **options)

    def _make_parent(self, driver: Any, path: str) -> None:
        """Make the directory of a file, where there are directories."""
        directory = path.rpartition("/")[0]
        if self._renames and directory not in self._directories:
            driver.makedirs(directory, exist_ok=True)
            self._directories.add(directory)

    def _path(self, key: str) -> str:
        if not key or "\0" in key or any(component in ("", ".", "..") for component in key.split("/")):
            raise InvalidKey(f"{key!r} is no key of an object")
        return f"{self._root}/{key}"

    def _size(self, driver: Any, path: str) -> int:
        found = driver.info(path)
        if found["type"] != "file":
            raise IsADirectoryError(path)
        return int(found["size"])

    def _read(self, driver: Any, path: str, start: int, end: int) -> bytes:
        stop = min(end, start + PIECE_BYTES)
        return bytes(driver.cat_file(path, start=start, end=stop)) if start < stop else b""

    def _pieces(self, key: str, piece: bytes, start: int, end: int) -> Iterator[bytes]:
        while piece:
            yield piece
            with self._driving(key) as driver:
                piece = self._read(driver, self._path(key), start, end)
            start += len(piece)

    def _entries(self, directory: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the content of a directory, with keys; nothing for a directory that does not exist."""
        path = f"{self._root}/{directory}".rstrip("/")
        try:
            with self._driving(directory) as driver:
                found = [] if directory and driver.info(path)["type"] != "directory" else driver.ls(path, detail=True)
        except NotFound:
            return
        for entry in found:
            name = entry["name"].rstrip("/").rpartition("/")[2]
            yield (f"{directory}/{name}" if directory else name), entry

    @contextlib.contextmanager
    def _source(self, body: Body) -> Iterator[bytes | str]:
        """Provide the bytes of a body, once they are all compared: themselves, or the path of a copy on the local disk."""
        if body.size < MULTIPART_FROM_BYTES:
            yield body.read()
            return
        with _spooling():
            copy = tempfile.NamedTemporaryFile(prefix="em-", buffering=0)  # noqa: SIM115 - which opens it, closed below
        with copy:
            for chunk in body.chunks():
                rest = memoryview(chunk)
                while rest:
                    with _spooling():
                        rest = rest[copy.write(rest) :]
            yield copy.name

    @contextlib.contextmanager
    def _driving(self, key: str) -> Iterator[Any]:
        """Provide the driver, for one thread at a time; the one place where its errors become this library's."""
        place = f"{self._text}/{key}"
        try:
            with self._one:
                yield self._driver.get()
        except EMError:
            raise
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(f"{place}: there is no such object, or a file or directory is in its way") from error
        except FileExistsError as error:
            raise taken(place) from error
        except ImportError as error:
            raise MissingExtra(f"{self._scheme}:// needs a library that is not installed: {error}") from error
        except Exception as error:  # noqa: BLE001 - each driver raises what it likes
            raise _translate(error, place) from None


class CopyingPlainStore(PlainStore):
    """One whose driver copies a file without the bytes passing through the client."""

    def copy(self, source: str, target: str) -> ObjectInfo:
        """See `t9k.em.backend.CopiesObjects`."""
        path = self._path(target)
        with self._driving(source) as driver:
            self._size(driver, self._path(source))
            self._make_parent(driver, path)
            self._copy_file(driver, self._path(source), path)
            return _info(target, driver.info(path))

    def _copy_file(self, driver: Any, source: str, target: str) -> None:
        driver.cp_file(source, target)


@functools.cache
def driver_class(scheme: str) -> Any:
    """Return the class of fsspec's driver.

    Raises:
        MissingExtra: A library of the driver is not installed.
        InvalidURI: fsspec does not know it.
    """
    try:
        return fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise MissingExtra(f"{scheme}:// needs a library that is not installed: {error}") from error
    except ValueError as error:
        raise InvalidURI(f"fsspec does not know {scheme}://") from error


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    """Return what to do when a copy cannot be made on the local disk."""
    try:
        yield
    except OSError as error:
        raise LocalError(
            f"{tempfile.gettempdir()}: a large file is copied there before it is sent, and cannot be ({error.strerror}); "
            "make room there, or set TMPDIR to a directory that has some"
        ) from error


def _translate(error: Exception, place: str) -> EMError:
    """Return the error of this library for a driver's error; only the kind of the latter is reported, for its text may hold anything."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return failure(str(status), place)
    if isinstance(error, PermissionError):
        return BackendPermissionError(f"{place}: permission denied; check who may read and write there")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackendFull(f"{place}: there is no space; make room and run the same command again")
    return BackendUnavailable(
        f"{place}: the store does not answer as expected ({type(error).__name__}); check the network, the address and "
        "the credentials, then run the same command again"
    )


def _info(key: str, found: Mapping[str, Any]) -> ObjectInfo:
    told = next((found[name] for name in _TIMES if found.get(name)), None)
    return ObjectInfo(key=key, size=int(found["size"] or 0), modified=_time(told))


def _time(told: Any) -> float:
    """POSIX seconds of whatever a driver calls a time; now where it has none."""
    if isinstance(told, datetime):
        return (told if told.tzinfo else told.replace(tzinfo=timezone.utc)).timestamp()
    if isinstance(told, (int, float)):
        return float(told)
    if isinstance(told, str):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(told.replace("Z", "+00:00")).timestamp()
        with contextlib.suppress(ValueError):
            return parsedate_to_datetime(told).timestamp()
    return time.time()
