"""`memory://name`: everything in this process, for tests and examples; gone when it ends."""

from __future__ import annotations

import bisect
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

from t9k.em.backend import ObjectStore
from t9k.em.errors import AlreadyExists, InvalidURI, NotFound
from t9k.em.records import CHUNK_BYTES, Body, ObjectInfo
from t9k_em_backends.tree import TreeBackend

if TYPE_CHECKING:
    from t9k.em.uris import URI

AT_ONCE = 1000
"""How many keys a listing takes at a time, between which others may write."""


class MemoryStore(ObjectStore):
    """Objects in a dict; the reference that other stores are compared with.

    Args:
        clock: POSIX seconds; what `ObjectInfo.modified` is taken from.
    """

    _by_name: ClassVar[dict[str, MemoryStore]] = {}
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._keys: list[str] = []  # in order
        self._lock = threading.Lock()
        self._clock = clock

    @classmethod
    def from_uri(cls, uri: URI) -> MemoryStore:
        """Return the store of that name and path in this process, made on first use."""
        if uri.options:
            raise InvalidURI(f"{uri.text} takes no option {next(iter(uri.options))!r}")
        with cls._naming:
            return cls._by_name.setdefault(uri.text, cls())

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        with self._lock:
            if key not in self._objects:
                raise NotFound(f"there is no object {key!r}")
            data = self._objects[key][0][start:end]
        return (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        return iter([*self.list_after(prefix, "")])

    def list_after(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """See `t9k.em.backend.ListsInOrder`."""
        while True:
            with self._lock:
                at = (
                    bisect.bisect_left(self._keys, prefix) if after < prefix else bisect.bisect_right(self._keys, after)
                )
                keys = [key for key in self._keys[at : at + AT_ONCE] if key.startswith(prefix)]
                infos = [self._objects[key][1] for key in keys]
            yield from infos
            if len(infos) < AT_ONCE:
                return
            after = keys[-1]

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        data = body.read()
        sha256 = hashlib.sha256(data).hexdigest()
        with self._lock:
            if if_absent and key in self._objects:
                raise AlreadyExists(f"there is an object {key!r} already")
            info = ObjectInfo(key=key, size=len(data), modified=self._clock(), etag=sha256[:32], sha256=sha256)
            if key not in self._objects:
                bisect.insort(self._keys, key)
            self._objects[key] = (data, info)
        return info

    def delete(self, keys: Iterable[str]) -> None:
        """See the port."""
        for key in keys:
            with self._lock:
                if self._objects.pop(key, None) is not None:
                    del self._keys[bisect.bisect_left(self._keys, key)]

    def copy(self, source: str, target: str) -> ObjectInfo:
        """See `t9k.em.backend.CopiesObjects`."""
        return self.put(target, Body.of(b"".join(self.get(source))))


class MemoryBackend(TreeBackend):
    """A tree in memory."""

    store_class = MemoryStore
