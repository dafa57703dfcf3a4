"""The time by the clock of a store, which alone tells how old an object is: that of this machine may be days off."""

from __future__ import annotations

from t9k.em.backend import ObjectStore
from t9k.em.names import random_text
from t9k.em.records import Body


def store_time(store: ObjectStore) -> float:
    """POSIX seconds by a store's own clock, read off an object that is written for this and deleted.

    Raises:
        BackendPermissionError: The user may not write there.
    """
    key = f".em/clock/{random_text(16)}"
    now = store.put(key, Body.of(b"")).modified
    store.delete([key])
    return now
