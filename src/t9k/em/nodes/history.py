"""The upload and download history of a run or artifact: `remote`, a list of records whose values are all str.

Each has `action` ('upload' or 'download'), `uri` of the backend, `path` and `generation` of the node in it, and
`timestamp`, UTC. Beside it is kept which store was at each of these URIs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t9k.em.backend import MarksStore
from t9k.em.errors import BackendError
from t9k.em.names import join
from t9k.em.records import Node, Outcome, utc_text

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.local.state import LocalState

_STORES = "stores"
_MOST_STORES = 200

UPLOAD, DOWNLOAD = "upload", "download"


def record(action: str, uri: str, node: Node) -> dict[str, str]:
    """One record of the history."""
    return {
        "action": action,
        "uri": uri,
        "path": node.path,
        "generation": str(node.generation),
        "timestamp": utc_text(),
    }


def add(state: LocalState, outcome: Outcome, uri: str, node: Node) -> None:
    """Remember where an upload went, unless it went nowhere or is known."""
    known = {(old["uri"], old["path"], old["generation"]) for old in state.get("remote", [])}
    if outcome is not Outcome.SKIPPED and (uri, node.path, str(node.generation)) not in known:
        state.add_remote(record(UPLOAD, uri, node))


def expect_store(state: LocalState, backend: Backend) -> None:
    """Let a backend refuse every other store than the one that was there at the last upload or download.

    Raises:
        StoreGone: The store is another one, to which no login was made.
    """
    if isinstance(backend, MarksStore) and (known := _stores(state.get(_STORES, None)).get(backend.uri)):
        backend.expect_store(known)


def note_store(state: LocalState, backend: Backend) -> None:
    """Remember which store is at the URI of a backend, where that can be learned."""
    if not isinstance(backend, MarksStore):
        return
    uri, store = backend.uri, ""
    with contextlib.suppress(BackendError):  # what was sent or fetched is there all the same
        store = backend.store_id()
    if store and _stores(state.get(_STORES, None)).get(uri) != store:
        state.change(_STORES, lambda stores: dict([*_stores(stores).items(), (uri, store)][-_MOST_STORES:]))


def _stores(value: object) -> dict[str, str]:
    """Return the stores by URI, as far as what was read is that."""
    known = value.items() if isinstance(value, dict) else ()
    return {uri: store for uri, store in known if isinstance(uri, str) and isinstance(store, str)}


def is_at_alternative(remote: Sequence[dict[str, str]], uri: str, folder: str, alternative_name: str) -> bool:
    """Return whether the last upload to a folder went there under the alternative name."""
    there = [
        old["path"] for old in remote if old["uri"] == uri and old["path"].rpartition("/")[0] == folder.rstrip("/")
    ]
    return bool(there) and there[-1] == join(folder, alternative_name)


def place_in(remote: Sequence[dict[str, str]], uri: str) -> dict[str, str] | None:
    """Return the last upload to, or download from, a backend: that it is there, and where; None if it never was."""
    return next((old for old in reversed(remote) if old["uri"] == uri), None)


def was_uploaded(remote: Sequence[dict[str, str]], uri: str) -> bool:
    """Return whether there was an upload to a backend, and not only a download from it."""
    return any(old["uri"] == uri and old["action"] == UPLOAD for old in remote)
