"""Shares: what a path allows others, with all that lies below it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select

from t9k.em.errors import Conflict, InvalidInput, InvalidName, NotFound, QuotaExceeded
from t9k.em.names import check_name, check_path
from t9k.em.server.accounts.database import Database, record
from t9k.em.server.accounts.parties import locked_users, nobody, party_id, upsert
from t9k.em.server.accounts.records import Kind, Level, Principal, Share
from t9k.em.server.accounts.tables import parties, shares

MAX_PATH_BYTES = 2048
"""Of a path that is shared, in UTF-8; an index of PostgreSQL does not take much more."""

_COLUMNS = (shares.c.path, parties.c.kind, parties.c.name, shares.c.level, shares.c.by, shares.c.created)


class Shares(Database):
    """Manage shares. A path is absolute; whether there is something, and whose it is, is the caller's business."""

    def share(self, path: str, kind: Kind, name: str, level: Level, by: str, *, most: int = 0) -> Share:
        """Let others view or edit a path and all below it, instead of what they were allowed by this path before.

        Args:
            path: Of a folder or node.
            kind: Whom it is for.
            name: Of the user or group; '' with the kind 'public'.
            level: What they may do.
            by: Who shares.
            most: How many shares may reach into the home of one user, who has no limit of their own; 0 for any number.

        Raises:
            NotFound: No such user or group exists.
            QuotaExceeded: The user has as many shares as allowed.
            InvalidInput: The path, kind, name or level cannot be one.
        """
        if len(check_path(path).encode()) > MAX_PATH_BYTES:
            raise InvalidName(f"a path that is shared has at most {MAX_PATH_BYTES} bytes; share a folder above it")
        _check_kind(kind, name)
        if level not in ("view", "edit"):
            raise InvalidInput(f"level {level!r} is unknown; use 'view' or 'edit'")
        row = {"path": path, "level": level, "by": check_name(by, what="user name"), "created": self._now()}

        def work(connection: Connection) -> Share:
            found = party_id(connection, kind, name)
            _check_quota(connection, path, found, most)
            statement = upsert(connection)(shares).values(party_id=found, **row)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[shares.c.path, shares.c.party_id],
                    set_={"level": statement.excluded.level, "by": statement.excluded.by},
                )
            )
            mine = select(*_COLUMNS).join(parties).where(shares.c.path == path, shares.c.party_id == found)
            return record(Share, connection.execute(mine).one())

        try:
            return self._write(work)
        except Conflict:  # a foreign key: the group was removed meanwhile
            raise nobody(kind, name) from None

    def unshare(self, path: str, kind: Kind, name: str) -> None:
        """Take a share back; what folders above the path allow stays.

        Raises:
            NotFound: No such user or group exists, or the path is not shared with it.
            InvalidInput: The path, kind or name cannot be one.
        """
        check_path(path)
        _check_kind(kind, name)

        def work(connection: Connection) -> int:
            mine = (shares.c.path == path) & (shares.c.party_id == party_id(connection, kind, name))
            return connection.execute(delete(shares).where(mine)).rowcount

        if not self._write(work):
            whom = f"with {kind} {name!r}" if name else "with everybody"
            raise NotFound(f"{path} is not shared {whom}; em server share list {path} shows with whom it is")

    def shares(self, path: str) -> list[Share]:
        """Return the shares of a path itself, by kind and name.

        Raises:
            InvalidName: The path cannot be one.
        """
        query = select(*_COLUMNS).join(parties).where(shares.c.path == check_path(path))
        query = query.order_by(parties.c.kind, parties.c.name)
        rows = self._read(lambda connection: connection.execute(query).all())
        return [record(Share, row) for row in rows]

    def level(self, principal: Principal, path: str) -> Level | None:
        """Return the best that shares of a path, or of a folder above it, allow somebody.

        Args:
            principal: Who asks.
            path: What for.

        Returns:
            'edit', 'view', or None for nothing.

        Raises:
            InvalidName: The path cannot be one.
        """
        places = shares.c.path.in_(_with_parents(check_path(path)))
        query = select(shares.c.level).join(parties).where(places, _reaches(principal)).distinct()
        levels = self._read(lambda connection: connection.execute(query).scalars().all())
        return "edit" if "edit" in levels else "view" if levels else None

    def shared_below(self, principal: Principal, path: str) -> list[str]:
        """Return the paths, below a path and not itself, that are shared with somebody, byte by byte in order.

        Raises:
            InvalidName: The path cannot be one.
        """
        query = select(shares.c.path).join(parties).where(_below(check_path(path)), _reaches(principal))
        query = query.distinct().order_by(shares.c.path)
        return self._read(lambda connection: list(connection.execute(query).scalars()))

    def forget_shares(self, path: str) -> None:
        """Take all shares of a path, and of all below it, back: the node was deleted, or moved away.

        Raises:
            InvalidName: The path cannot be one.
        """
        gone = delete(shares).where(or_(shares.c.path == check_path(path), _below(path)))
        self._write(lambda connection: connection.execute(gone))


def _check_kind(kind: str, name: str) -> None:
    if kind not in ("user", "group", "public"):
        raise InvalidInput(f"something is shared with a 'user', a 'group' or the 'public', not with a {kind!r}")
    if (name == "") != (kind == "public"):
        raise InvalidInput(f"a share for {kind!r} {'has no' if kind == 'public' else 'needs a'} name, not {name!r}")


def _check_quota(connection: Connection, path: str, party: int, default: int) -> None:
    """Refuse one more share of what lies in somebody's home where there are as many as are allowed."""
    name = path[1:].partition("/")[0]
    owner = locked_users(connection, name).get(name)
    if owner is None:
        return
    most = default if owner.max_shares is None else owner.max_shares
    again = select(shares.c.path).where(shares.c.path == path, shares.c.party_id == party)
    if (
        most
        and connection.execute(again).first() is None
        and connection.execute(count_shares(name)).scalar_one() >= most
    ):
        raise QuotaExceeded(
            f"/{name} has {most} shares, and no more are allowed; take some back, or share a folder or with a group"
        )


def count_shares(user: str) -> Select[int]:
    """Count the shares of a home and of all below it."""
    return select(func.count()).where(or_(shares.c.path == f"/{user}", _below(f"/{user}")))


def _with_parents(path: str) -> list[str]:
    """Return the path, and all folders above it up to '/', but for those that are too long to be shared."""
    names = path.split("/") if path != "/" else [""]
    parents = ["/".join(names[:end]) for end in range(2, len(names) + 1)]
    return ["/", *(parent for parent in parents if len(parent.encode()) <= MAX_PATH_BYTES)]


def _below(path: str) -> ColumnElement[bool]:
    """Return whether a share lies below a path: by a range of its index, for LIKE has wildcards, and in SQLite no case."""
    folder = path.removesuffix("/")
    return and_(shares.c.path > f"{folder}/", shares.c.path < f"{folder}0")  # '0' is what comes after '/'


def _reaches(principal: Principal) -> ColumnElement[bool]:
    return or_(
        parties.c.kind == "public",
        and_(parties.c.kind == "user", parties.c.name == principal.user),
        and_(parties.c.kind == "group", parties.c.name.in_(sorted(principal.groups))),
    )
