"""Records of uploads in progress: documents that every process of a server can find again."""

from __future__ import annotations

import zlib
from datetime import timedelta

from attrs import frozen
from sqlalchemy import Connection, delete, select

from t9k.em.errors import Conflict, InvalidInput
from t9k.em.names import is_name, is_op
from t9k.em.server.accounts.database import Database
from t9k.em.server.accounts.parties import locked_users, nobody, upsert, written
from t9k.em.server.accounts.quotas import add_bytes, check_bytes, check_uploads
from t9k.em.server.accounts.records import Quotas
from t9k.em.server.accounts.tables import parties, uploads

_LONGEST_S = 10 * 366 * 86_400
_FAST = 1  # level of zlib; lists of files shrink to a third by it in a tenth of a second for 20 MB


@frozen(kw_only=True)
class Storing:
    """What an upload is about to store.

    Attributes:
        home: The user in whose folders.
        size_bytes: How much.
        quotas: What users may have who have no limits of their own.
    """

    home: str
    size_bytes: int
    quotas: Quotas


class Uploads(Database):
    """Keep records of uploads; each belongs to a user, and no other user sees it."""

    def save_upload(
        self, op: str, user: str, document: bytes, lifetime_s: float, storing: Storing | None = None
    ) -> None:
        """Keep the record of an upload, in place of an earlier one of the same upload.

        Args:
            op: The upload, see `names.new_op`.
            user: Whose it is.
            document: What to keep.
            lifetime_s: How long, in seconds from now.
            storing: What it stores, which counts from now on; nothing for None. An earlier record keeps what it said.

        Raises:
            Conflict: The upload is another user's.
            NotFound: No such user exists.
            InvalidInput: The upload was not made by `names.new_op`, or the lifetime is not positive, or
                over ten years.
            QuotaExceeded: The user has as many uploads in progress, or the home as many bytes, as are allowed.
        """
        if not is_op(op):
            raise InvalidInput(f"upload {op!r} was not made by names.new_op; begin a new upload")
        if not 0 < lifetime_s <= _LONGEST_S:
            raise InvalidInput(f"the lifetime of an upload must be in 0 to {_LONGEST_S} s, not {lifetime_s} s")
        now = self._now()
        row = {"op": op, "document": zlib.compress(document, _FAST), "expires": now + timedelta(seconds=lifetime_s)}

        def work(connection: Connection) -> bool:
            users = locked_users(connection, user, *([] if storing is None else [storing.home]))
            if user not in users:
                raise nobody("user", user)
            known = connection.execute(select(uploads.c.op).where(uploads.c.op == op)).first() is not None
            home = None if storing is None else users.get(storing.home)
            if storing is not None and not known:
                check_uploads(connection, users[user], now, storing.quotas)
                if home is not None:
                    check_bytes(home, storing.size_bytes, storing.quotas)
                    row.update(home_id=home.id, size_bytes=storing.size_bytes)
            statement = upsert(connection)(uploads).values(user_id=users[user].id, **row)
            statement = statement.on_conflict_do_update(
                index_elements=[uploads.c.op],
                set_={"document": statement.excluded.document, "expires": statement.excluded.expires},
                where=uploads.c.user_id == statement.excluded.user_id,
            )
            if not written(connection, statement):
                return False
            if storing is not None and not known and home is not None:
                add_bytes(connection, home.id, storing.size_bytes)
            return True

        if not self._write(work):
            raise Conflict(f"upload {op} was begun by another user; begin a new one")

    def check_uploads(self, user: str, quotas: Quotas) -> None:
        """Refuse one more upload of a user who has as many in progress as are allowed.

        Raises:
            QuotaExceeded: So it is.
        """

        def work(connection: Connection) -> None:
            query = select(parties).where(parties.c.kind == "user", parties.c.name == user)
            row = connection.execute(query).one_or_none()
            if row is not None:
                check_uploads(connection, row, self._now(), quotas)

        self._read(work)

    def upload(self, op: str, user: str) -> bytes | None:
        """Return the record of an upload; None if it does not exist, belongs to another user, or has expired."""
        if not is_op(op) or not is_name(user):
            return None
        query = select(uploads.c.document).join(parties, parties.c.id == uploads.c.user_id)
        query = query.where(uploads.c.op == op, parties.c.name == user)
        query = query.where(parties.c.kind == "user", uploads.c.expires > self._now())
        found = self._read(lambda connection: connection.execute(query).scalar_one_or_none())
        return None if found is None else zlib.decompress(found)

    def drop_upload(self, op: str, user: str, stored_bytes: int | None = None) -> None:
        """Forget a user's upload; none is no error, and another user's stays.

        Args:
            op: The upload.
            user: Whose it is.
            stored_bytes: What it has stored; None when that is not known, and what it was about to store counts on until the next
                count, for some of it may be there.
        """
        if not is_op(op) or not is_name(user):
            return
        users = select(parties.c.id).where(parties.c.kind == "user", parties.c.name == user)
        mine = (uploads.c.op == op) & uploads.c.user_id.in_(users)

        def work(connection: Connection) -> None:
            row = connection.execute(select(uploads.c.home_id, uploads.c.size_bytes).where(mine)).one_or_none()
            gone = connection.execute(delete(uploads).where(mine)).rowcount  # 0: another process was faster
            if gone and row is not None and row.home_id is not None and stored_bytes is not None:
                add_bytes(connection, row.home_id, stored_bytes - row.size_bytes)

        self._write(work)

    def expire_uploads(self) -> int:
        """Forget the uploads that have expired, and say how many; what they were about to store counts on, see `drop_upload`."""
        gone = delete(uploads).where(uploads.c.expires <= self._now())
        return self._write(lambda connection: connection.execute(gone).rowcount)
