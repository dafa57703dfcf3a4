"""The upload and download history of a run or artifact: `remote`, a list of records whose values are all str.

Each has `action` ('upload' or 'download'), `uri` of the backend, `path` and `generation` of the node in it, and
`timestamp`, UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t9k.em.names import join
from t9k.em.records import Node, Outcome, utc_text

if TYPE_CHECKING:
    from t9k.em.local.state import LocalState

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
    """Remembers where an upload went, unless it went nowhere or is known."""
    known = {(old["uri"], old["path"], old["generation"]) for old in state.get("remote", [])}
    if outcome is not Outcome.SKIPPED and (uri, node.path, str(node.generation)) not in known:
        state.add_remote(record(UPLOAD, uri, node))


def is_at_alternative(remote: Sequence[dict[str, str]], uri: str, folder: str, alternative_name: str) -> bool:
    """Whether the last upload to a folder went there under the alternative name."""
    there = [
        old["path"] for old in remote if old["uri"] == uri and old["path"].rpartition("/")[0] == folder.rstrip("/")
    ]
    return bool(there) and there[-1] == join(folder, alternative_name)


def place_in(remote: Sequence[dict[str, str]], uri: str) -> dict[str, str] | None:
    """The last upload to, or download from, a backend: that it is there, and where; None if it never was."""
    return next((old for old in reversed(remote) if old["uri"] == uri), None)


def was_uploaded(remote: Sequence[dict[str, str]], uri: str) -> bool:
    """Whether there was an upload to a backend, and not only a download from it."""
    return any(old["uri"] == uri and old["action"] == UPLOAD for old in remote)
