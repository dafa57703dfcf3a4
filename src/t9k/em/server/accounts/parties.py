"""Users and groups: whom keys belong to, and whom something can be shared with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from t9k.em.errors import Conflict, EMError, InvalidInput, NameCollision, NotFound
from t9k.em.names import check_name, fold, is_name
from t9k.em.server.accounts.database import Database, record
from t9k.em.server.accounts.records import Group, User
from t9k.em.server.accounts.tables import members, parties

MAX_PAGE = 1000
_USER = (parties.c.name, parties.c.is_admin, parties.c.disabled, parties.c.created)


def upsert(connection: Connection) -> type[postgresql.Insert | sqlite.Insert]:
    """Return the INSERT of a database, which knows ON CONFLICT; alike in both."""
    return sqlite.Insert if connection.dialect.name == "sqlite" else postgresql.Insert


def written(connection: Connection, statement: postgresql.Insert | sqlite.Insert) -> bool:
    """Run an INSERT of one row, and say whether there was no conflict that kept it from being written."""
    options = {"preserve_rowcount": True}  # SQLAlchemy does not ask the driver otherwise
    return connection.execute(statement.inline(), execution_options=options).rowcount == 1


class Parties(Database):
    """Manage users and groups."""

    def add_user(self, name: str, is_admin: bool = False) -> User:
        """Add a user.

        Raises:
            InvalidName: The name cannot be that of a folder, which a user's tree is.
            Conflict: The user exists; NameCollision where the names differ by case or Unicode form only.
        """
        self._add("user", name, is_admin=is_admin)
        return self.user(name)

    def users(self, after: str = "", limit: int = 100) -> list[User]:
        """Return a page of the users by name, byte by byte.

        Args:
            after: The last name of the page before, exclusive.
            limit: How many at most, 1 to 1,000.
        """
        query = select(*_USER).where(parties.c.kind == "user", parties.c.name > _sound(after)).order_by(parties.c.name)
        query = query.limit(check_limit(limit))
        return self._read(lambda connection: [record(User, row) for row in connection.execute(query)])

    def user(self, name: str) -> User:
        """One user.

        Raises:
            NotFound: No such user exists.
        """
        query = select(*_USER).where(parties.c.kind == "user", parties.c.name == name)
        row = self._read(lambda connection: connection.execute(query).one_or_none()) if is_name(name) else None
        if row is None:
            raise nobody("user", name)
        return record(User, row)

    def set_disabled(self, name: str, disabled: bool) -> User:
        """Let none of a user's keys be accepted, or those again that were neither revoked nor have expired.

        Raises:
            NotFound: No such user exists.
        """
        change = update(parties).where(parties.c.kind == "user", parties.c.name == name).values(disabled=disabled)
        if not is_name(name) or not self._write(lambda connection: connection.execute(change).rowcount):
            raise nobody("user", name)
        return self.user(name)

    def add_group(self, name: str) -> Group:
        """Add a group without members.

        Raises:
            InvalidName: The name cannot be one.
            Conflict: The group exists; NameCollision where the names differ by case or Unicode form only.
        """
        self._add("group", name)
        return Group(name=name, members=())

    def remove_group(self, name: str) -> None:
        """Remove a group, and all that was shared with it; a later one of that name starts without.

        Raises:
            NotFound: No such group exists.
        """
        gone = delete(parties).where(parties.c.kind == "group", parties.c.name == name)
        if not is_name(name) or not self._write(lambda connection: connection.execute(gone).rowcount):
            raise nobody("group", name)

    def groups(self, after: str = "", limit: int = 100) -> list[Group]:
        """Return a page of the groups by name, see `users`."""
        page = select(parties.c.id, parties.c.name).where(parties.c.kind == "group", parties.c.name > _sound(after))
        page_ = page.order_by(parties.c.name).limit(check_limit(limit)).subquery()
        user = parties.alias()
        query = (
            select(page_.c.name, user.c.name)
            .select_from(page_)
            .outerjoin(members, members.c.group_id == page_.c.id)
            .outerjoin(user, user.c.id == members.c.user_id)
            .order_by(page_.c.name, user.c.name)
        )
        found: dict[str, list[str]] = {}
        for group, member in self._read(lambda connection: connection.execute(query).all()):
            found.setdefault(group, []).extend([] if member is None else [member])
        return [Group(name=name, members=tuple(names)) for name, names in found.items()]

    def add_member(self, group: str, user: str) -> None:
        """Make a user a member of a group; one who is a member stays one.

        Raises:
            NotFound: No such user or group exists.
        """

        def work(connection: Connection) -> None:
            row = {"group_id": party_id(connection, "group", group), "user_id": party_id(connection, "user", user)}
            connection.execute(upsert(connection)(members).values(row).on_conflict_do_nothing())

        try:
            self._write(work)
        except Conflict:  # a foreign key: the group was removed meanwhile
            raise nobody("group", group) from None

    def remove_member(self, group: str, user: str) -> None:
        """End a membership.

        Raises:
            NotFound: No such user or group exists, or the user is not a member.
        """

        def work(connection: Connection) -> int:
            group_id, user_id = party_id(connection, "group", group), party_id(connection, "user", user)
            gone = delete(members).where(members.c.group_id == group_id, members.c.user_id == user_id)
            return connection.execute(gone).rowcount

        if not self._write(work):
            raise NotFound(f"user {user!r} is not a member of group {group!r}; em server group list shows who is")

    def _add(self, kind: str, name: str, *, is_admin: bool = False) -> None:
        check_name(name, what=f"{kind} name")
        row = {"kind": kind, "name": name, "folded": fold(name), "is_admin": is_admin, "disabled": False}
        row |= {"created": self._now()}

        def work(connection: Connection) -> str | None:
            # The constraint decides: of many who check first, several would find the name free.
            if written(connection, upsert(connection)(parties).values(row).on_conflict_do_nothing()):
                return None
            query = select(parties.c.name).where(parties.c.kind == kind, parties.c.folded == row["folded"])
            return str(connection.execute(query).scalar_one_or_none() or name)

        taken = self._write(work)
        if taken == name:
            raise Conflict(f"there is a {kind} {name!r} already; choose another name")
        if taken is not None:
            raise NameCollision(f"{kind} {name!r} would be taken for {taken!r}, which is there; choose another name")


def party_id(connection: Connection, kind: str, name: str) -> int:
    """Return the number of a user or group in the tables.

    Raises:
        NotFound: No such user or group exists.
    """
    if name and not is_name(name):  # drivers refuse what no text can be
        raise nobody(kind, name)
    query = select(parties.c.id).where(parties.c.kind == kind, parties.c.name == name)
    found: int | None = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise nobody(kind, name)
    return found


def locked(connection: Connection, user: str) -> Any:
    """Return the row of a user; another transaction that locks it waits for this one.

    Raises:
        NotFound: No such user exists.
    """
    row = locked_users(connection, user).get(user)
    if row is None:
        raise nobody("user", user)
    return row


def locked_users(connection: Connection, *users: str) -> dict[str, Any]:
    """Return the rows of those of some users that there are, by name; locked in one order, so that nobody waits in a circle."""
    query = select(parties).where(parties.c.kind == "user", parties.c.name.in_(sorted(filter(is_name, users))))
    rows = connection.execute(query.order_by(parties.c.id).with_for_update(key_share=True))
    return {row.name: row for row in rows}


def nobody(kind: str, name: str) -> EMError:
    """There is no such user or group."""
    return NotFound(f"there is no {kind} {name!r}; em server {kind} list shows those there are")


def _sound(after: str) -> str:
    """Return the start of a page, if every database accepts it.

    Raises:
        InvalidInput: The text is neither '' nor a name.
    """
    if after and not is_name(after):
        raise InvalidInput(
            f"a page begins after a name, which {after!r} cannot be; pass the last one of the page before"
        )
    return after


def check_limit(limit: int) -> int:
    """Return the size of a page, if it can be one.

    Raises:
        InvalidInput: The number is not in 1 to 1,000.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit must be in 1 to {MAX_PAGE}, not {limit}")
    return limit
