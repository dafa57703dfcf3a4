"""Wrappers over the ports: each call goes through one method, `around`, that a subclass changes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from t9k.em.backend import Backend, MakesRoot, ObjectStore, Upload
from t9k.em.errors import BackendPermissionError
from t9k.em.records import Body, FileEntry, FileSpec, Garbage, Node, ObjectInfo, UploadRequest

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.uris import URI

T = TypeVar("T")
_STORE_ABILITIES = (
    "copy",
    "recognizes",
    "sweep",
    "remove_swept",
    "put_part",
    "parts",
    "assemble",
    "drop_parts",
)


_MARK_ABILITIES = ("store_id", "init_store", "check_store", "expect_store")
_BACKEND_ABILITIES = ("append", "grown", "read_grown", "lacks", "note_damage")


class StoreWrapper(ObjectStore):
    """An object store that asks another one; it has the abilities of that, see the protocols in `t9k.em.backend`.

    Args:
        inner: The store to ask.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        for ability in _STORE_ABILITIES:
            if hasattr(inner, ability):
                setattr(self, ability, partial(self._use, ability))
        if isinstance(inner, MakesRoot):
            self.make_root = inner.make_root

    @property
    def parallelism(self) -> int:  # type: ignore[override]  # what is wrapped may adapt it
        """See the port."""
        return self.inner.parallelism

    @property
    def batch_files(self) -> int:  # type: ignore[override]  # likewise
        """See the port."""
        return self.inner.batch_files

    @property
    def batches(self) -> int | None:  # type: ignore[override]  # likewise
        """See the port."""
        return self.inner.batches

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Make one call.

        Args:
            what: The method, and the key or prefix after a space.
            call: What the inner store would do.
        """
        del what
        return call()

    @classmethod
    def from_uri(cls, uri: URI) -> Self:
        """Return a wrapper wraps a store and has no URI."""
        raise NotImplementedError(f"wrap the store of {uri.text} instead")

    def open(self) -> None:
        """See the port."""
        self.inner.open()

    def close(self) -> None:
        """See the port."""
        self.inner.close()

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        return self.around(f"get {key}", lambda: self.inner.get(key, start, end))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port; the whole list is fetched at once."""
        return iter(self.around(f"list {prefix}", lambda: [*self.inner.list(prefix)]))

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        return self.around(f"put {key}", lambda: self.inner.put(key, body, if_absent=if_absent))

    def put_many(self, items: Sequence[tuple[str, Body]]) -> Sequence[ObjectInfo]:
        """See the port; one call each, so that a wrapper sees them all."""
        return [self.put(key, body) for key, body in items]

    def delete(self, keys: Iterable[str]) -> None:
        """See the port; one call each."""
        for key in keys:
            self.around(f"delete {key}", partial(self.inner.delete, [key]))

    def _use(self, ability: str, *args: Any) -> Any:
        return self.around(f"{ability} {getattr(args[0], 'key', args[0])}", lambda: getattr(self.inner, ability)(*args))


class BackendWrapper(Backend):
    """A backend that asks another one, uploads included; it collects, and takes files that grow, where that does.

    Args:
        inner: The backend to ask.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.uri = inner.uri
        if hasattr(inner, "collect"):
            self.collect = self._collect
        for ability in _MARK_ABILITIES:
            if hasattr(inner, ability):
                setattr(self, ability, getattr(inner, ability))
        for ability in _BACKEND_ABILITIES:
            if hasattr(inner, ability):
                setattr(self, ability, partial(self._use, ability))

    @property
    def parallelism(self) -> int:  # type: ignore[override]  # what is wrapped may adapt it
        """See the port."""
        return self.inner.parallelism

    @property
    def batch_files(self) -> int:  # type: ignore[override]  # likewise
        """See the port."""
        return self.inner.batch_files

    @property
    def batches(self) -> int | None:  # type: ignore[override]  # likewise
        """See the port."""
        return self.inner.batches

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Make one call.

        Args:
            what: The method, and the path after a space; of an upload 'Upload.put' or 'Upload.commit'.
            call: What the inner backend would do.
        """
        del what
        return call()

    @classmethod
    def from_uri(cls, uri: URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Self:
        """Return a wrapper wraps a backend and has no URI."""
        raise NotImplementedError(f"wrap the backend of {uri.text} instead")

    def open(self) -> None:
        """See the port."""
        self.inner.open()

    def close(self) -> None:
        """See the port."""
        self.inner.close()

    def whoami(self) -> str:
        """See the port."""
        return self.around("whoami", self.inner.whoami)

    def stat(self, path: str) -> Node:
        """See the port."""
        return self.around(f"stat {path}", lambda: self.inner.stat(path))

    def list(self, path: str) -> Sequence[Node]:
        """See the port."""
        return self.around(f"list {path}", lambda: self.inner.list(path))

    def versions(self, path: str) -> Sequence[Node]:
        """See the port."""
        return self.around(f"versions {path}", lambda: self.inner.versions(path))

    def make_folder(self, path: str) -> Node:
        """See the port."""
        return self.around(f"make_folder {path}", lambda: self.inner.make_folder(path))

    def begin(self, request: UploadRequest) -> Upload:
        """See the port."""
        inner = self.around(f"begin {request.folder}", lambda: self.inner.begin(request))
        return _UploadWrapper(self, inner)

    def files(self, node: Node) -> Sequence[FileEntry]:
        """See the port."""
        return self.around(f"files {node.path}", lambda: self.inner.files(node))

    def read(self, node: Node, file: FileEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        return self.around(f"read {node.path}", lambda: self.inner.read(node, file, start, end))

    def delete(self, path: str, *, recursive: bool = False, generation: int | None = None) -> None:
        """See the port."""
        self.around(f"delete {path}", lambda: self.inner.delete(path, recursive=recursive, generation=generation))

    def _use(self, ability: str, node: Node, *arguments: Any, **options: Any) -> Any:
        return self.around(f"{ability} {node.path}", lambda: getattr(self.inner, ability)(node, *arguments, **options))

    def _collect(self, path: str = "/", **options: Any) -> Garbage:
        found: Garbage = self.around(f"collect {path}", lambda: self.inner.collect(path, **options))  # type: ignore[attr-defined]
        return found


class _UploadWrapper(Upload):
    """An upload whose calls go through its backend's `around`."""

    def __init__(self, backend: BackendWrapper, inner: Upload) -> None:
        self._backend = backend
        self._inner = inner
        self._follow()

    @property
    def missing(self) -> Sequence[FileSpec]:
        """See the port."""
        return self._inner.missing

    def put(self, items: Sequence[tuple[FileSpec, Body]]) -> None:
        """See the port."""
        self._backend.around("Upload.put", lambda: self._inner.put(items))

    def commit(self) -> Node | None:
        """See the port."""
        node = self._backend.around("Upload.commit", self._inner.commit)
        self._follow()
        return node

    def _follow(self) -> None:
        self.outcome, self.node = self._inner.outcome, self._inner.node


class StaleStore(StoreWrapper):
    """A store whose listings come in random order, and now and then from before the last writes.

    The port promises listings that are up to date; this is what a store does that breaks the promise.

    Args:
        inner: The store to ask.
        random: Decides.
        stale: The probability that a listing is out of date.
        memory: How many of the last listings of a prefix one may be taken from.
    """

    def __init__(self, inner: ObjectStore, random: Random, *, stale: float = 0.0, memory: int = 3) -> None:
        super().__init__(inner)
        self._random = random
        self._stale = stale
        self._seen: dict[str, deque[list[ObjectInfo]]] = {}
        self._memory = memory

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port, and the class."""
        seen = self._seen.setdefault(prefix, deque(maxlen=self._memory))
        seen.append([*super().list(prefix)])
        found = [*(self._random.choice(seen) if self._random.random() < self._stale else seen[-1])]
        self._random.shuffle(found)
        return iter(found)


class SlowStore(StoreWrapper):
    """A store whose every call takes some time more.

    Args:
        inner: The store to ask.
        latency_s: How long, in seconds.
        sleep: Waits so many seconds.
    """

    def __init__(self, inner: ObjectStore, latency_s: float, *, sleep: Callable[[float], object] = time.sleep) -> None:
        super().__init__(inner)
        self._latency_s = latency_s
        self._sleep = sleep

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Wait, then call."""
        self._sleep(self._latency_s)
        return super().around(what, call)


class ReadOnlyStore(StoreWrapper):
    """A store that refuses every write, as for a user who may only read."""

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Call what reads.

        Raises:
            BackendPermissionError: The call would change something.
        """
        if what.split(" ", 1)[0] not in ("get", "list", "recognizes", "sweep", "parts"):
            raise BackendPermissionError(f"{what}: this store is read-only")
        return super().around(what, call)
