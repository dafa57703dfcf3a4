"""Quotas: how much a user may have, and how many bytes lie in their folders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
from attrs import frozen
from sqlalchemy import Connection, Select, case, func, select, update

from t9k.em.errors import InvalidInput, QuotaExceeded
from t9k.em.server.accounts.database import Database
from t9k.em.server.accounts.keys import count_keys
from t9k.em.server.accounts.parties import locked, locked_users
from t9k.em.server.accounts.records import Quotas, Usage
from t9k.em.server.accounts.shares import count_shares
from t9k.em.server.accounts.tables import parties, uploads

_MOST = 2**62
_COLUMNS = {"keys": "max_keys", "shares": "max_shares", "uploads": "max_uploads", "bytes": "max_bytes"}


@frozen(kw_only=True)
class Count:
    """A count of what is stored, while it goes on.

    Attributes:
        user: In whose folders.
        stored_bytes: What was known before.
        pending: What uploads in progress were about to store, by op.
    """

    user: str
    stored_bytes: int
    pending: Mapping[str, int]


class UserQuotas(Database):
    """Keep the limits of users, and count what lies in their folders."""

    def quotas(self, user: str) -> Quotas:
        """Return the limits that a user has of their own.

        Raises:
            NotFound: No such user exists.
        """
        row = self._read(lambda connection: locked(connection, user))
        return Quotas(**{name: getattr(row, column) for name, column in _COLUMNS.items()})

    def set_quotas(self, user: str, quotas: Quotas) -> None:
        """Give a user limits of their own, in place of those before.

        Raises:
            NotFound: No such user exists.
            InvalidInput: A limit is negative or has no place in the database.
        """
        values = {_COLUMNS[name]: value for name, value in attrs.asdict(quotas).items()}
        if not all(value is None or 0 <= value <= _MOST for value in values.values()):
            raise InvalidInput(f"a quota lies in 0 to {_MOST}, and 0 is for any number")

        def work(connection: Connection) -> None:
            connection.execute(update(parties).where(parties.c.id == locked(connection, user).id).values(**values))

        self._write(work)

    def usage(self, user: str) -> Usage:
        """Return the usage of a user.

        Raises:
            NotFound: No such user exists.
        """
        now = self._now()

        def work(connection: Connection) -> Usage:
            row = locked(connection, user)
            counts = count_keys(row.id, now), count_shares(user), count_uploads(row.id, now)
            keys, shares, under_way = (connection.execute(query).scalar_one() for query in counts)
            return Usage(keys=keys, shares=shares, uploads=under_way, bytes=row.stored_bytes, counted=row.counted)

        return self._read(work)

    def store_bytes(self, home: str, size_bytes: int, quotas: Quotas) -> None:
        """Count bytes that are about to be stored in somebody's folders.

        Args:
            home: Whose; nothing is counted where there is no such user.
            size_bytes: How many.
            quotas: What users may have who have no limits of their own.

        Raises:
            QuotaExceeded: The bytes would exceed the quota.
        """

        def work(connection: Connection) -> None:
            row = locked_users(connection, home).get(home)
            if row is not None:
                check_bytes(row, size_bytes, quotas)
                add_bytes(connection, row.id, size_bytes)

        self._write(work)

    def begin_count(self, user: str, period_s: float = 0.0) -> Count | None:
        """Begin to count what is stored in a user's folders; `end_count` ends it.

        Args:
            user: Whose.
            period_s: Nothing is counted when a count began within so many seconds.

        Returns:
            What to pass to `end_count`; None when the last count is young enough, or there is no such user.
        """
        now = self._now()

        def work(connection: Connection) -> Count | None:
            row = locked_users(connection, user).get(user)
            if row is None or (row.counted is not None and now - row.counted < timedelta(seconds=period_s)):
                return None
            connection.execute(update(parties).where(parties.c.id == row.id).values(counted=now))
            return Count(user=user, stored_bytes=row.stored_bytes, pending=_pending(connection, row.id, now))

        return self._write(work)

    def end_count(self, count: Count, found: Mapping[str, int]) -> int:
        """Note what was counted; what was stored meanwhile is added to it.

        Args:
            count: What was begun.
            found: Bytes in the store, by the op that brought them; '' for others.

        Returns:
            How many bytes are stored, or about to be.
        """

        def work(connection: Connection) -> int:
            row = locked(connection, count.user)
            under_way = {*count.pending, *_pending(connection, row.id, self._now())}
            there = sum(size for op, size in found.items() if op not in under_way)
            stored: int = max(0, there + sum(count.pending.values()) + row.stored_bytes - count.stored_bytes)
            connection.execute(update(parties).where(parties.c.id == row.id).values(stored_bytes=stored))
            return stored

        return self._write(work)


def _pending(connection: Connection, home_id: int, now: datetime) -> dict[str, int]:
    query = select(uploads.c.op, uploads.c.size_bytes).where(uploads.c.home_id == home_id, uploads.c.expires > now)
    return {row.op: row.size_bytes for row in connection.execute(query)}


def count_uploads(user_id: int, now: datetime) -> Select[int]:
    """Count the uploads of a user that are in progress."""
    return select(func.count()).where(uploads.c.user_id == user_id, uploads.c.expires > now)


def check_uploads(connection: Connection, user: Any, now: datetime, quotas: Quotas) -> None:
    """Refuse one more upload.

    Args:
        connection: Of a transaction.
        user: A row.
        now: What time it is.
        quotas: What users may have who have no limits of their own.

    Raises:
        QuotaExceeded: The user has as many as are allowed.
    """
    most = quotas.uploads if user.max_uploads is None else user.max_uploads
    if most and connection.execute(count_uploads(user.id, now)).scalar_one() >= most:
        raise QuotaExceeded(
            f"user {user.name!r} has {most} uploads in progress, and no more are allowed; finish some of them by uploading "
            "again what was interrupted, or drop them (DELETE /apis/v1/uploads/OP)"
        )


def check_bytes(home: Any, size_bytes: int, quotas: Quotas) -> None:
    """Refuse more bytes than a user's folders may hold.

    Args:
        home: The row of the user.
        size_bytes: How many more.
        quotas: What users may have who have no limits of their own.

    Raises:
        QuotaExceeded: So it is.
    """
    most = quotas.bytes if home.max_bytes is None else home.max_bytes
    if most and size_bytes and home.stored_bytes + size_bytes > most:
        raise QuotaExceeded(
            f"/{home.name} holds {home.stored_bytes} bytes of at most {most}, and {size_bytes} more do not fit; delete what is "
            "not needed, and ask who runs the server to collect it (em gc) or to allow more (em server user quota)"
        )


def add_bytes(connection: Connection, home_id: int, size_bytes: int) -> None:
    """Count bytes, or with a negative number no more."""
    after = parties.c.stored_bytes + size_bytes
    connection.execute(
        update(parties).where(parties.c.id == home_id).values(stored_bytes=case((after < 0, 0), else_=after))
    )
