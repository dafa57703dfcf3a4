"""Whether a store can create a record without overwriting another: found out by trying, never believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from t9k.em.backend import ObjectStore
from t9k.em.errors import AlreadyExists, NotFound, UnsafeStore
from t9k.em.names import random_text
from t9k.em.records import Body, ObjectInfo

if TYPE_CHECKING:
    from t9k.em.uris import URI


def require_put_if_absent(store: ObjectStore, uri: str) -> None:
    """Creates one object twice; the second time has to fail and to leave the first one's bytes.

    Raises:
        UnsafeStore: The store ignores the condition.
    """
    key = f".em/probe/{random_text(16)}"
    first = Body.of(b"first")
    store.put(key, first, if_absent=True)
    try:
        store.put(key, Body.of(b"second"), if_absent=True)
        refused = False
    except AlreadyExists:
        refused = True
    kept = b"".join(store.get(key)) == first.read()
    store.delete([key])
    if not (refused and kept):
        raise UnsafeStore(
            f"{uri} lets one writer overwrite another's record, so nothing is written there; use another store, or "
            "add the option '?unsafe_single_writer=true' to its URI when only one process ever writes"
        )


class SingleWriterStore(ObjectStore):
    """A store whose conditional writes are replaced by a look and a write: safe for one writer at a time only."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner

    @classmethod
    def from_uri(cls, uri: URI) -> SingleWriterStore:
        """Not made from a URI: it wraps a store that was."""
        raise NotImplementedError(f"wrap the store of {uri.text} instead")

    def open(self) -> None:
        """See the port."""
        self._inner.open()

    def close(self) -> None:
        """See the port."""
        self._inner.close()

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port."""
        return self._inner.get(key, start, end)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        return self._inner.list(prefix)

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        if if_absent and self._has(key):
            raise AlreadyExists(f"{key} is there already")
        return self._inner.put(key, body)

    def put_many(self, items: Sequence[tuple[str, Body]]) -> Sequence[ObjectInfo]:
        """See the port."""
        return self._inner.put_many(items)

    def delete(self, keys: Iterable[str]) -> None:
        """See the port."""
        self._inner.delete(keys)

    def _has(self, key: str) -> bool:
        try:
            self._inner.get(key, 0, 1)
        except NotFound:
            return False
        return True
