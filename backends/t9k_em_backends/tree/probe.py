"""Whether a store can create a record without overwriting another: found out by trying, never believed."""

from __future__ import annotations

import contextlib

from t9k.em.backend import ObjectStore
from t9k.em.errors import AlreadyExists, UnsafeStore
from t9k.em.names import random_text
from t9k.em.records import Body


def require_put_if_absent(store: ObjectStore, uri: str) -> None:
    """Creates one object twice; the second time has to fail and to leave the first one's bytes.

    Raises:
        UnsafeStore: The store ignores the condition.
    """
    key = f".em/probe/{random_text(16)}"
    first = Body.of(b"first")
    with contextlib.suppress(AlreadyExists):  # nobody else has this key: a driver repeated what had happened already
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
