"""Whether a store can create a record without overwriting another: found out by trying, never believed."""

from __future__ import annotations

import threading

from t9k.em.backend import ObjectStore
from t9k.em.errors import (
    AlreadyExists,
    BackendError,
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    StoreGone,
    UnsafeStore,
)
from t9k.em.names import random_text
from t9k.em.records import Body


class Probe:
    """What is known of one store; shared by all who use it, for whatever user.

    Args:
        done: Whether nothing is to be found out.
    """

    def __init__(self, *, done: bool) -> None:
        self.done = done
        self._probing = threading.Lock()

    def require(self, store: ObjectStore, uri: str) -> None:
        """Probes the store, unless that was done.

        Raises:
            UnsafeStore: See `require_put_if_absent`.
        """
        with self._probing:
            if not self.done:
                require_put_if_absent(store, uri)
                self.done = True


def require_put_if_absent(store: ObjectStore, uri: str) -> None:
    """Create one object twice; the second time has to fail and to leave the first one's bytes.

    Raises:
        UnsafeStore: The store ignores the condition.
    """
    key = _new_key()
    first = Body.of(b"first")
    try:
        store.put(key, first, if_absent=True)
    except AlreadyExists:  # nobody else has this key: a driver repeated what had happened already
        pass
    except (BackendFull, BackendPermissionError, BackendUnavailable, StoreGone):
        raise
    except BackendError as error:
        raise _unsafe(f"{uri} cannot write under a condition ({error})") from error
    try:
        store.put(key, Body.of(b"second"), if_absent=True)
        refused = False
    except AlreadyExists:
        refused = True
    kept = b"".join(store.get(key)) == first.read()
    store.delete([key])
    if not (refused and kept):
        raise _unsafe(f"{uri} lets one writer overwrite another's record")


def try_write(store: ObjectStore) -> None:
    """Create an object and delete it, under no condition."""
    key = _new_key()
    store.put(key, Body.of(b"first"))
    store.delete([key])


def _new_key() -> str:
    return f".em/probe/{random_text(16)}"


def _unsafe(why: str) -> UnsafeStore:
    return UnsafeStore(
        f"{why}, so nothing is written there; use another store, or add the option '?unsafe_single_writer=true' to its "
        "URI when only one process ever writes"
    )
