"""How many bytes lie in the folders of a user, counted in the store itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from t9k.em.backend import Backend
from t9k.em.errors import EMError, QuotaExceeded
from t9k.em.names import is_op
from t9k.em.records import FOLDER, Node
from t9k.em.server.accounts import Accounts, Quotas

RECOUNT_PERIOD_S = 3600.0
"""A user whose quota is exceeded is counted anew, at most so often: what was collected meanwhile is room again."""

NOTED_BYTES = 1 << 20
"""From so many on, what was appended to runs in progress is noted; less is lost when the process ends."""

_MANIFEST = ".em/manifest-"


def recount(accounts: Accounts, tree: Backend, user: str, period_s: float = 0.0) -> int | None:
    """Count what is stored in a user's folders, as versions that are kept or deleted, or for uploads that were given up.

    Args:
        accounts: Where it is noted.
        tree: The backend.
        user: In whose folders.
        period_s: Nothing is counted when a count began within so many seconds.

    Returns:
        The bytes, with those that uploads in progress are about to store; None when nothing was counted.
    """
    count = accounts.begin_count(user, period_s)
    return None if count is None else accounts.end_count(count, stored_bytes(tree, f"/{user}"))


def count_before_refusing(accounts: Accounts, tree: Backend, user: str, work: Callable[[], None]) -> None:
    """Do what a quota may refuse; what is stored is counted first where that was not done of late.

    Args:
        accounts: Where it is noted.
        tree: The backend.
        user: In whose folders something is stored.
        work: What to do, and to do again after a count.

    Raises:
        QuotaExceeded: The bytes exceed the quota also after a new count.
    """
    try:
        work()
    except QuotaExceeded:
        if recount(accounts, tree, user, RECOUNT_PERIOD_S) is None:
            raise
        work()


class Growth:
    """Counts what is appended to runs in progress, which is too little at a time to be noted each time.

    Args:
        accounts: Where it is noted.
        tree_of: Gives the backend of a user.
        quotas: What users may have who have no limits of their own.
    """

    def __init__(self, accounts: Accounts, tree_of: Callable[[str], Backend], quotas: Quotas) -> None:
        self._accounts = accounts
        self._tree_of = tree_of
        self._quotas = quotas
        self._pending: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, user: str, size_bytes: int) -> None:
        """Count bytes that are about to be appended.

        Args:
            user: In whose folders.
            size_bytes: How many.

        Raises:
            QuotaExceeded: The bytes would exceed the quota.
        """
        with self._lock:
            size = self._pending[user] + size_bytes
            if size < NOTED_BYTES:
                self._pending[user] = size
                return
            del self._pending[user]
        try:
            count_before_refusing(
                self._accounts,
                self._tree_of(user),
                user,
                lambda: self._accounts.store_bytes(user, size, self._quotas),
            )
        except EMError:
            with self._lock:
                self._pending[user] += size - size_bytes
            raise


def stored_bytes(tree: Backend, path: str) -> Counter[str]:
    """Count the bytes of files below a path, by the op that brought them.

    Args:
        tree: The backend.
        path: Of a folder or node.
    """
    store: Any = getattr(tree, "store", None)
    found: Counter[str] = Counter()
    if store is None:
        top = tree.stat(path)
        for node in _nodes(tree, path) if top.kind == FOLDER else [top]:
            found.update(published_bytes(tree, node))
        return found
    for info in store.list(f"{path[1:]}/"):
        parts = info.key.split("/")
        at = next((index for index, part in enumerate(parts) if is_op(part)), None)
        if at is not None and not "/".join(parts[at + 1 :]).startswith(_MANIFEST):
            found[parts[at]] += info.size
    return found


def published_bytes(tree: Backend, node: Node) -> Counter[str]:
    """Count the bytes of the files of all versions of a node, by the op that brought them."""
    files = {(file.op, file.key): file.size for each in tree.versions(node.path) for file in tree.files(each)}
    found: Counter[str] = Counter()
    for (op, _), size in files.items():
        found[op] += size
    return found


def _nodes(tree: Backend, path: str) -> Iterator[Node]:
    pending: list[Iterable[Node]] = [tree.list(path)]
    while pending:
        for node in pending.pop():
            if node.kind == FOLDER:
                pending.append(tree.list(node.path))
            else:
                yield node
