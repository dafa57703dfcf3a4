"""What one local copy of a run or artifact remembers about the world: `<directory>/.em/`, never uploaded.

::

    state.yaml           remote: the upload and download history; artifacts: id -> local directory;
                         origin: where the objects that are not here can be fetched;
                         stores: URI -> id of the store that was there, see `t9k.em.backend.MarksStore`
    ancestors            the uploads that this copy comes from, see `t9k.em.local.descent`
    lock                 held while something in the directory is changed, see `t9k.em.local.locking`
    uploads/<hash>.yaml  an upload that is in progress: its target, op and content
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from t9k.em.local import below, locking, reentry
from t9k.em.local.below import Below
from t9k.em.local.descent import BEGAN, Descent
from t9k.em.local.files import make_private_dirs_below
from t9k.em.local.layout import PRIVATE, read_mapping, write_mapping
from t9k.em.names import is_op, new_op

MOST_REMOTE = 2000
"""Records of the upload and download history, so that the file stays one that can be read."""


class LocalState:
    """The private files of one directory; nothing is read or written before it is needed.

    Args:
        directory: Of the run or artifact.

    Attributes:
        descent: The uploads that the copy comes from.
        lock: Of the directory, for whoever changes something in it.
    """

    def __init__(self, directory: Path) -> None:
        self._private = Below(directory, PRIVATE)
        self.descent = Descent(directory)
        self.lock = locking.lock_of(directory, PRIVATE)

    def get(self, name: str, default: Any) -> Any:
        """Return a part of the state, by its name in `state.yaml`."""
        return self._read().get(name, default)

    def set(self, name: str, value: Any) -> None:
        """Replace a part of the state, durably."""
        self.change(name, lambda _: value)

    def change(self, name: str, make: Callable[[Any], Any]) -> None:
        """Make a part of the state anew from what it is, None when it is missing; durable on return.

        In a signal handler or finalizer it may be done later, see `t9k.em.local.reentry`.
        """
        reentry.alone(partial(self.change_here, name, make))

    def change_here(self, name: str, make: Callable[[Any], Any]) -> None:
        """Change the state as `change` does, in work that is done `alone` already."""
        with self.lock.held():
            state = self._read()
            state[name] = make(state.get(name))
            make_private_dirs_below(self._private)
            write_mapping(self._private / "state.yaml", state)

    def add_remote(self, record: dict[str, str]) -> None:
        """Add a record to the upload and download history, of which the last ones are kept."""
        self.change("remote", lambda known: [*(known or ()), record][-MOST_REMOTE:])

    def op_for(self, target: str, digest: str) -> tuple[str, bool]:
        """See `t9k.em.transfer.uploading.Journal`."""
        path = self._upload(target)
        with self.lock.held():
            known = read_mapping(path, "upload in progress")
            if known.get("digest") == digest and is_op(str(known.get("op"))):
                return known["op"], True
            op = new_op()
            if is_op(str(known.get("op"))):  # it may be published, and an earlier version did not note it
                self.descent.note(BEGAN, known["op"], target)
            self.descent.note(BEGAN, op, target)
            make_private_dirs_below(self._private / "uploads")
            write_mapping(path, {"target": target, "op": op, "digest": digest})
        return op, False

    def done(self, target: str) -> None:
        """See `t9k.em.transfer.uploading.Journal`."""
        below.remove(self._upload(target))

    def _upload(self, target: str) -> Below:
        return self._private / "uploads" / f"{hashlib.sha256(target.encode()).hexdigest()[:32]}.yaml"

    def _read(self) -> dict[str, Any]:
        return read_mapping(self._private / "state.yaml", "state")
