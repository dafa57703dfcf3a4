"""Wrappers over the ports: each call goes through one method, `around`, that a subclass changes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from t9k.em.backend import (
    BACKEND_ABILITIES,
    STORE_ABILITIES,
    UPLOAD_ABILITIES,
    Backend,
    FillsBuffers,
    ListsInOrder,
    ObjectStore,
    SignsReads,
    SignsRequests,
    Upload,
)
from t9k.em.backend.abilities import members_of
from t9k.em.errors import BackendPermissionError
from t9k.em.records import Body, FileEntry, FileSpec, Node, ObjectInfo, UploadRequest

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.uris import URI

T = TypeVar("T")
_READING = ("get", "list", "list_after", "read_into", "recognizes", "sweep", "parts")


def _pass_on(wrapper: object, inner: object, abilities: Iterable[type], call: Callable[..., Any]) -> None:
    """Give a wrapper the methods of those abilities that the wrapped object has; attributes are properties of the wrapper."""
    for ability in abilities:
        if isinstance(inner, ability):
            for name in members_of(ability):
                if callable(getattr(inner, name)) and not hasattr(type(wrapper), name):  # a subclass may have its own
                    setattr(wrapper, name, partial(call, name))


class StoreWrapper(ObjectStore):
    """An object store that asks another one; it has the abilities of that, see the protocols in `t9k.em.backend`.

    Args:
        inner: The store to ask.

    Attributes:
        left_out: Abilities that a subclass does not pass on.
    """

    left_out: ClassVar[Sequence[type]] = ()

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        _pass_on(self, inner, (each for each in STORE_ABILITIES if each not in self.left_out), self._use)

    @property
    def fills_buffers(self) -> bool:
        """See `t9k.em.backend.FillsBuffers`."""
        return isinstance(self.inner, FillsBuffers) and self.inner.fills_buffers

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
        """Raise NotImplementedError: a wrapper wraps a store and has no URI."""
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

    def _use(self, name: str, *args: Any, **options: Any) -> Any:
        of = f" {getattr(args[0], 'key', args[0])}" if args else ""
        return self.around(f"{name}{of}", lambda: getattr(self.inner, name)(*args, **options))


class BackendWrapper(Backend):
    """A backend that asks another one, uploads included; it has the abilities of that, see the protocols in `t9k.em.backend`.

    Args:
        inner: The backend to ask.

    Attributes:
        left_out: Abilities that a subclass does not pass on.
    """

    left_out: ClassVar[Sequence[type]] = ()

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.uri = inner.uri
        _pass_on(self, inner, (each for each in BACKEND_ABILITIES if each not in self.left_out), self._use)

    @property
    def signs_reads(self) -> bool:
        """See `t9k.em.backend.SignsReads`."""
        return isinstance(self.inner, SignsReads) and self.inner.signs_reads

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
        """Raise NotImplementedError: a wrapper wraps a backend and has no URI."""
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

    def _use(self, name: str, *args: Any, **options: Any) -> Any:
        of = f" {getattr(args[0], 'path', args[0])}" if args else ""
        return self.around(f"{name}{of}", lambda: getattr(self.inner, name)(*args, **options))


class _UploadWrapper(Upload):
    """An upload whose calls go through its backend's `around`."""

    def __init__(self, backend: BackendWrapper, inner: Upload) -> None:
        self._backend = backend
        self._inner = inner
        _pass_on(self, inner, UPLOAD_ABILITIES, self._use)
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

    def _use(self, name: str, *args: Any, **options: Any) -> Any:
        return self._backend.around(f"Upload.{name}", lambda: getattr(self._inner, name)(*args, **options))

    def _follow(self) -> None:
        self.outcome, self.node = self._inner.outcome, self._inner.node


class StaleStore(StoreWrapper):
    """A store whose listings come in random order, and now and then from before the last writes.

    The port promises listings that are up to date; this store breaks the promise. It does not list in order.

    Args:
        inner: The store to ask.
        random: Decides.
        stale: The probability that a listing is out of date.
        memory: How many of the last listings of a prefix one may be taken from.
    """

    left_out = (ListsInOrder,)

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
    """A store that refuses every write, as for a user who may only read; it signs nothing, for others could write by that."""

    left_out = (SignsRequests,)

    def around(self, what: str, call: Callable[[], T]) -> T:
        """Call what reads.

        Raises:
            BackendPermissionError: The call would change something.
        """
        if what.split(" ", 1)[0] not in _READING:
            raise BackendPermissionError(f"{what}: this store is read-only")
        return super().around(what, call)
