"""Who may do what: owners, whose home a node lies in, and those whom a share reaches."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from t9k.em.errors import BackendPermissionError, NotFound
from t9k.em.names import is_within, parent_and_name
from t9k.em.records import FOLDER, Node
from t9k.em.server.accounts import Accounts, Principal
from t9k.em.wire import EDIT, OWN, PASS, VIEW

_RANKS = {None: 0, PASS: 1, VIEW: 2, EDIT: 3, OWN: 4}
_MOST = {"read": VIEW, "write": EDIT, "all": OWN}


class Forbidden(BackendPermissionError):
    """Who asks may see the node, and not do this with it."""


@frozen
class Access:
    """What one person may do.

    Attributes:
        accounts: Where the shares are.
        principal: The person.
    """

    accounts: Accounts
    principal: Principal

    def permission(self, path: str) -> str | None:
        """Return the permission of the person for a path by this key, whether or not a node exists; None when the path must stay hidden."""
        return self._narrowed(path, self._held(path))

    def _held(self, path: str) -> str | None:
        """Return the permission of the person for a path, by whatever key."""
        if path == "/":
            return PASS
        if owner_of(path) == self.principal.user:
            return OWN
        level = self.accounts.level(self.principal, path)
        if level is not None:
            return level
        return PASS if self.accounts.shared_below(self.principal, path) else None

    def _narrowed(self, path: str, held: str | None) -> str | None:
        """Return a permission as the key narrows it: its scope bounds it, and outside of its folder one may only pass on the way there."""
        folder = self.principal.folder
        if folder is not None and not is_within(path, folder):
            return PASS if held is not None and is_within(folder, path) else None
        return min(held, _MOST[self.principal.scope], key=_RANKS.__getitem__)

    def _key(self) -> str:
        where = f" in {self.principal.folder}" if self.principal.folder is not None else ""
        return f"an API key with the scope {self.principal.scope!r}{where}"

    def require_writing(self) -> None:
        """Refuse a key that may only read.

        Raises:
            Forbidden: The key may only read.
        """
        if self.principal.scope == "read":
            raise Forbidden("this API key may only read; use one with the scope 'write' or 'all'")

    def require(self, path: str, wanted: str) -> str:
        """Return the permission, if it is enough.

        Args:
            path: Without a generation.
            wanted: 'pass', 'view', 'edit' or 'own'.

        Raises:
            NotFound: The person may not see it, so for them it is not there.
            Forbidden: The person may see the node, but not do that.
        """
        permission = self.permission(path)
        if permission is None or (wanted == VIEW and permission == PASS and path != "/"):
            if self.principal.folder is not None and self._held(path) is not None:
                raise NotFound(f"there is no {path} for {self._key()}")
            raise NotFound(f"there is no {path}")
        if _RANKS[permission] < _RANKS[wanted]:
            if _RANKS[self._held(path)] >= _RANKS[wanted]:
                raise Forbidden(f"{self._key()} does not let you {_VERBS[wanted]} {path}; use one with a wider scope")
            raise Forbidden(
                f"you may {_VERBS[permission]} {path} and not {_VERBS[wanted]} it; ask {owner_of(path) or 'its owner'}"
            )
        return permission

    def require_removal(self, path: str) -> None:
        """Refuse who may not take a node out of its folder.

        Raises:
            NotFound, Forbidden: See `require`.
        """
        self.require(path, PASS)
        self.require(parent_and_name(path)[0], EDIT)

    def names_within(self, folder: str, permission: str) -> Sequence[str] | None:
        """Return the only names in a folder that the person may see if they are there, in order; None for all.

        Args:
            folder: The folder.
            permission: What they may do with it.
        """
        start = len(folder.rstrip("/")) + 1
        bound = self.principal.folder
        if bound is not None and not is_within(folder, bound):
            paths = [bound] if is_within(bound, folder) else []
        elif permission == PASS:
            paths = self.accounts.shared_below(self.principal, folder)
            paths += [f"/{self.principal.user}"] if folder == "/" else []
        else:
            return None
        return sorted({path[start:].partition("/")[0] for path in paths})

    def visible(self, folder: str, children: Sequence[Node], permission: str) -> list[tuple[Node, str]]:
        """Those of the children of a folder that the person may see, each with what they may do with it.

        Args:
            folder: The folder.
            children: Its children.
            permission: What they may do with the folder.
        """
        bound = self.principal.folder
        if bound is not None and not is_within(folder, bound):
            on_the_way = [(child, self.permission(child.path)) for child in children if is_within(bound, child.path)]
            return [
                (child, allowed)
                for child, allowed in on_the_way
                if allowed is not None and (allowed != PASS or child.kind == FOLDER)
            ]
        found = self._held_below(folder, children, permission)
        return [(child, allowed) for child, held in found if (allowed := self._narrowed(child.path, held)) is not None]

    def _held_below(self, folder: str, children: Sequence[Node], permission: str) -> list[tuple[Node, str]]:
        if owner_of(folder) == self.principal.user:
            return [(child, OWN) for child in children]
        shared = set(self.accounts.shared_below(self.principal, folder))
        start = len(folder.rstrip("/")) + 1
        ways = {path[:end] for path in shared if (end := path.find("/", start)) > 0}
        found = []
        for child in children:
            allowed = self._of_child(child, permission, shared, ways)
            if allowed is not None:
                found.append((child, allowed))
        return found

    def _of_child(self, child: Node, above: str, shared: set[str], ways: set[str]) -> str | None:
        if owner_of(child.path) == self.principal.user:
            return OWN
        reached = self.accounts.level(self.principal, child.path) if child.path in shared else None
        # What was there before the folder that one may pass is nothing to pass.
        passing = PASS if child.path in ways and child.kind == FOLDER else None
        inherited = None if above == PASS else above
        return max((reached, passing, inherited), key=_RANKS.__getitem__)


def owner_of(path: str) -> str:
    """Return the user whose home a path lies in; '' for the root."""
    return path[1:].partition("/")[0]


_VERBS = {PASS: "pass through", VIEW: "view", EDIT: "edit", OWN: "share"}
