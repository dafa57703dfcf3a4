"""What the stores of cloud services have in common: coroutines for single requests, many of which run at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any

from attrs import frozen

from t9k.em.backend import ObjectStore
from t9k.em.errors import (
    AlreadyExists,
    BackendError,
    BackendPermissionError,
    BackendUnavailable,
    InvalidKey,
    SourceChanged,
)
from t9k.em.records import Body, ObjectInfo, Origin
from t9k_em_backends.shared.fsspec_loop import PerProcess, Slots, run, submit
from t9k_em_backends.shared.pacing import Budget, Pace
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES
from t9k_em_backends.shared.pieces_ahead import PIECE_BYTES, pieces_ahead


class PastTheEnd(BackendError):
    """A range begins where the object ends."""


@frozen(kw_only=True)
class Piece:
    """Some bytes of an object.

    Attributes:
        data: The bytes.
        size: Of the whole object.
        version: Identifies this content of the object; '' if nothing does.
    """

    data: bytes
    size: int
    version: str


class CloudStore(ObjectStore):
    """Objects in a bucket, by an asynchronous fsspec driver.

    A subclass says how one request is made; whatever waits for an answer is a coroutine on fsspec's loop.

    Args:
        text: Name of the place in error messages, without a slash at its end.
        root: Prefix of all keys; '' or ends with a slash.
    """

    batch_files = 64

    def __init__(self, text: str, root: str) -> None:
        self._text = text
        self._root = root
        self._pace = Pace()
        self._driver = PerProcess(self._make)
        self._room = PerProcess(self._make_room)

    def __repr__(self) -> str:
        """Name the place."""
        return f"{type(self).__name__}({self._text!r})"

    @property
    def parallelism(self) -> int:  # type: ignore[override]  # it follows from how far away the store is
        """See the port."""
        return self._pace.parallelism

    def open(self) -> None:
        """Find the credentials and the endpoint, and ask the service for next to nothing, to see that they are right.

        Raises:
            BackendPermissionError: Credentials are missing or wrong.
            InvalidURI: No such bucket exists.
            BackendUnavailable: The service does not answer.
        """
        run(self._asked("", self._list(f"{self._root}.em/probe/", "", "")))

    def close(self) -> None:
        """See the port."""
        self._driver.close()

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port; the pieces of a large object are fetched several at a time."""
        if end is not None and end <= start:
            run(self._asked(key, self._head(self._key(key))))
            return iter(())
        stop = start + PIECE_BYTES if end is None else min(end, start + PIECE_BYTES)
        try:
            with self._budget.holding(stop - start if end is not None else 0), self._pace.timed():
                first = run(self._asked(key, self._read(self._key(key), start, stop, "")))
        except PastTheEnd:
            return iter(())
        end = first.size if end is None else min(end, first.size)
        return self._pieces(key, first, stop, end)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        return self.list_after(prefix, "")

    def list_after(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.ListsInOrder`."""
        token: str | None = ""
        start = self._root + after if after else ""
        while token is not None:
            infos, token = run(self._asked(prefix, self._list(self._root + prefix, token, start)))
            yield from infos

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """See the port. A conditional write is always one request, for that is what was probed."""
        if body.origin is not None and not if_absent and self.copies_from(body.origin.store):
            with contextlib.suppress(BackendPermissionError):  # the bytes may be sent where a copy may not be made
                return self._copy_from_origin(key, body, body.origin)
        if body.size >= MULTIPART_FROM_BYTES and not if_absent:
            return self._put_large(key, body)
        path = self._key(key)
        with self._budget.holding(body.size):
            data = body.read()
            with self._pace.timed():
                info: ObjectInfo = run(self._asked(key, self._write(path, data, body.sha256, if_absent)))
            return info

    def put_many(self, items: Sequence[tuple[str, Body]]) -> Sequence[ObjectInfo]:
        """See the port; small objects are in progress at once, as many as pay off."""
        infos: dict[int, ObjectInfo] = {}
        sending: dict[int, Future[ObjectInfo]] = {}
        try:
            for number, (key, body) in enumerate(items):
                if body.size < MULTIPART_FROM_BYTES and body.origin is None:
                    sending[number] = self._send(key, body)
                else:
                    infos[number] = self.put(key, body)
        except BaseException:
            wait(sending.values())
            raise
        wait(sending.values())
        infos |= {number: future.result() for number, future in sending.items()}
        return [infos[number] for number in range(len(items))]

    def delete(self, keys: Iterable[str]) -> None:
        """See the port."""
        paths = [self._key(key) for key in keys]
        if paths:
            run(self._asked("", self._delete(paths)))

    def copy(self, source: str, target: str) -> ObjectInfo:
        """See `t9k.em.backend.CopiesObjects`."""
        return self._copy(self, source, target, self._found(source).size, "")

    @abstractmethod
    def copies_from(self, source: object) -> bool:
        """Return whether the service copies by itself what lies in another store."""

    # What a subclass does. Paths are keys below the bucket.

    @abstractmethod
    def _make(self) -> tuple[Any, Callable[[], Coroutine[Any, Any, object]] | None]:
        """Make the driver, and say how to end it."""

    @abstractmethod
    async def _head(self, path: str) -> ObjectInfo:
        """Ask what is there."""

    @abstractmethod
    async def _read(self, path: str, start: int, stop: int, version: str) -> Piece:
        """Read bytes of an object, of this version of it."""

    @abstractmethod
    async def _list(self, prefix: str, token: str, after: str) -> tuple[Sequence[ObjectInfo], str | None]:
        """One page of a listing of what comes behind a path, '' for all, and what to ask the next one with."""

    @abstractmethod
    async def _write(self, path: str, data: bytes, sha256: str, if_absent: bool) -> ObjectInfo:
        """Write an object by one request."""

    @abstractmethod
    async def _delete(self, paths: Sequence[str]) -> None:
        """Delete objects that may be there."""

    @abstractmethod
    def _copy(self, source: Any, key: str, target: str, size: int, etag: str) -> ObjectInfo:
        """Let the service copy an object of another store of this class, said to have so many bytes.

        It fails with `AlreadyExists` where the service sees that the object has not this ETag, '' for any.
        """

    @abstractmethod
    def _put_large(self, key: str, body: Body) -> ObjectInfo:
        """Write a large object in parts, all of which vanish when the bytes are not the announced ones."""

    @abstractmethod
    def _translated(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Return the one place where the driver's errors become this library's."""

    # Inside.

    def _make_room(self) -> tuple[tuple[Budget, Slots], None]:
        return (Budget(), Slots(self._pace)), None

    @property
    def _budget(self) -> Budget:
        room: tuple[Budget, Slots] = self._room.get()
        return room[0]

    @property
    def _slots(self) -> Slots:
        room: tuple[Budget, Slots] = self._room.get()
        return room[1]

    def _key(self, key: str) -> str:
        if not key or "\0" in key or any(component in ("", ".", "..") for component in key.split("/")):
            raise InvalidKey(f"{key!r} is no key of an object")
        return self._root + key

    def _info(self, path: str, size: int, modified: float, etag: str) -> ObjectInfo:
        return ObjectInfo(key=path[len(self._root) :], size=size, modified=modified, etag=etag.strip('"'))

    def _asked(self, key: str, request: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Return a request with its errors translated; the driver is made here, in the caller's thread."""
        try:
            with self._translated(key):
                self._driver.get()
        except BaseException:
            request.close()
            raise

        async def asked() -> Any:
            with self._translated(key):
                return await request

        return asked()

    def _send(self, key: str, body: Body) -> Future[ObjectInfo]:
        """Start to write a small object, when there is room."""
        path = self._key(key)
        self._budget.take(body.size)
        self._slots.take()
        try:
            future = submit(self._timed(self._asked(key, self._write(path, body.read(), body.sha256, False))))
        except BaseException:
            self._given(body.size)
            raise
        future.add_done_callback(lambda _: self._given(body.size))
        return future

    def _given(self, size_bytes: int) -> None:
        self._slots.give()
        self._budget.give(size_bytes)

    async def _timed(self, request: Coroutine[Any, Any, Any]) -> Any:
        with self._pace.timed():
            return await request

    def _pieces(self, key: str, first: Piece, start: int, end: int) -> Iterator[bytes]:
        if first.data:
            yield first.data

        async def piece(start: int, stop: int) -> bytes:
            found: Piece = await self._asked(key, self._read(self._key(key), start, stop, first.version))
            return found.data

        yield from pieces_ahead(lambda start, stop: submit(piece(start, stop)), start, end, self._budget)

    def _copy_from_origin(self, key: str, body: Body, origin: Origin) -> ObjectInfo:
        """Let the service copy what a body consists of.

        Raises:
            SourceChanged: The service copied another version of the object.
        """
        changed = SourceChanged(f"{body.what} is not what was uploaded: the store has other bytes there")
        try:
            info = self._copy(origin.store, origin.key, key, body.size, origin.etag)
        except AlreadyExists:
            raise changed from None
        if not origin.etag or info.etag != origin.etag:
            # An encrypted copy has an ETag of its own, and not every service looks at the source's by itself.
            info = self._found(key)
            there = origin.store._found(origin.key)  # noqa: SLF001 - of this class
            if info.size != body.size or (origin.etag and there.etag != origin.etag):
                self.delete([key])
                raise changed
        return info

    def _found(self, key: str) -> ObjectInfo:
        found: ObjectInfo = run(self._asked(key, self._head(self._key(key))))
        return found


async def in_turn(work: Callable[[Any], Coroutine[Any, Any, object]], items: Iterable[Any], at_once: int) -> None:
    """Awaits a coroutine for each item, some at once."""
    room = asyncio.Semaphore(at_once)

    async def one(item: Any) -> None:
        async with room:
            await work(item)

    await asyncio.gather(*map(one, items))


def taken(place: str) -> AlreadyExists:
    """Return the error for a conditional write that found something."""
    return AlreadyExists(f"{place}: an object is there already")


def changed(place: str) -> BackendUnavailable:
    """Return the error for an object of which a first part was read and that now has another content, or none."""
    return BackendUnavailable(f"{place}: it changed while it was read; read it again")


def now() -> float:
    """For services that do not say what time it is."""
    return time.time()
