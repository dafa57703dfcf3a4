"""What earlier mirrors found equal, so that the next one asks only for listings: a cache in the user's cache directory.

A generation never changes. A node is believed to be the same on both sides when the newest generations are the very
ones that were compared; anything else is compared again. Without the file everything is compared, and nothing is sent again.

It also says which stores were there, so that neither an empty place is taken for the source, nor one is filled that the target was not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t9k.em.backend import MarksStore
from t9k.em.errors import BackendError, LocalError
from t9k.em.local.files import make_private_dir, write_atomic
from t9k.em.transfer.mirroring.nodes import Mirrored, fingerprint
from t9k.em.transfer.mirroring.report import Action, Entry

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.records import Node

FORMAT = 1
_SOURCE, _TARGET = "source", "target"

_log = logging.getLogger(__name__)


class State:
    """The nodes of one source and target that were found equal.

    Args:
        source: URI of what is mirrored.
        target: URI of what it is mirrored to.
    """

    def __init__(self, source: str, target: str) -> None:
        self._source = source
        self._target = target
        self._nodes: dict[str, dict[str, Any]] = {}
        self._stores: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """Where it lies: below `XDG_CACHE_HOME`, or `~/.cache`."""
        root = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")  # noqa: PTH111 - Path's raises
        digest = hashlib.sha256(f"{self._source}\0{self._target}".encode()).hexdigest()
        return Path(root) / "t9k-em" / "mirror" / f"{digest[:32]}.json"

    @property
    def _is_kept(self) -> bool:
        """Whether there is a place for it: in many a container nobody has a home."""
        return not str(self.path).startswith("~")

    def load(self) -> None:
        """Read it; what is missing or damaged counts as empty."""
        if not self._is_kept:
            return
        try:
            record = json.loads(self.path.read_bytes())
            nodes = record["nodes"] if record["v"] == FORMAT else {}
            self._nodes = {path: node for path, node in nodes.items() if isinstance(node, dict)}
            stores = record.get("stores", {})
            self._stores = {side: str(stores[side]) for side in (_SOURCE, _TARGET) if stores.get(side)}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            _log.warning("%s cannot be used (%s); comparing everything", self.path, error)

    def save(self) -> None:
        """Write it; without space, permission or a home the next mirror compares everything."""
        if not self._is_kept:
            return
        record = {
            "v": FORMAT,
            "source": self._source,
            "target": self._target,
            "stores": self._stores,
            "nodes": self._nodes,
        }
        try:
            make_private_dir(self.path.parent, exist_ok=True)
            write_atomic(self.path, json.dumps(record, separators=(",", ":")).encode())
        except (LocalError, OSError) as error:
            _log.warning("%s was not written (%s); the next mirror will compare everything", self.path, error)

    def forget_nodes(self) -> None:
        """Drop all nodes, so that each is compared again."""
        self._nodes = {}

    def expect_stores(self, source: Backend, target: Backend) -> None:
        """Let both sides refuse other stores than those that were there.

        Raises:
            StoreGone: A store is another one than before.
        """
        for side, backend in ((_SOURCE, source), (_TARGET, target)):
            if side in self._stores and isinstance(backend, MarksStore):
                backend.expect_store(self._stores[side], instead=f"rm {shlex.quote(str(self.path))}")
        if _TARGET in self._stores and isinstance(target, MarksStore):
            target.check_store()  # once, and not for each node

    def note_stores(self, source: Backend, target: Backend) -> None:
        """Remember which stores are there, where that can be learned."""
        for side, backend in ((_SOURCE, source), (_TARGET, target)):
            if isinstance(backend, MarksStore):
                with contextlib.suppress(BackendError):  # what was mirrored is there all the same
                    self._stores[side] = backend.store_id()

    def __contains__(self, path: str) -> bool:
        """Return whether a node was mirrored before."""
        return path in self._nodes

    def entry(self, path: str, source: Node, target: Node, *, history: bool) -> Entry | None:
        """Return the entry of a node that is known to be the same on both sides, else None."""
        known = self._nodes.get(path, {})
        same = (known.get("source"), known.get("target")) == (fingerprint(source), fingerprint(target))
        if not same or (history and not known.get("history")):
            return None
        return Entry(
            path=path,
            kind=source.kind,
            id=source.id,
            action=Action.UNCHANGED,
            files=source.file_count,
            size=source.size,
            digest=str(known["digest"]),
            artifacts=tuple(known["artifacts"]),
        )

    def remember(self, done: Mirrored, *, history: bool) -> None:
        """Note what was found equal, or that it was not."""
        if not (done.source and done.target):
            self.forget(done.entry.path)
            return
        self._nodes[done.entry.path] = {
            "source": done.source,
            "target": done.target,
            "history": history,
            "digest": done.entry.digest,
            "artifacts": list(done.entry.artifacts),
        }

    def forget(self, path: str) -> None:
        """Drop a node, and what lies below when it is a folder."""
        for known in [known for known in self._nodes if known == path or known.startswith(f"{path}/")]:
            del self._nodes[known]
