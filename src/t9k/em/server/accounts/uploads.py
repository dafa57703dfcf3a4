"""Records of uploads under way: documents that every process of a server can find again."""

from __future__ import annotations

import zlib
from datetime import timedelta

from sqlalchemy import Connection, delete, select

from t9k.em.errors import Conflict, InvalidInput
from t9k.em.names import is_name, is_op
from t9k.em.server.accounts.database import Database
from t9k.em.server.accounts.parties import party_id, upsert, written
from t9k.em.server.accounts.tables import parties, uploads

_LONGEST_S = 10 * 366 * 86_400
_FAST = 1  # level of zlib; lists of files shrink to a third by it in a tenth of a second for 20 MB


class Uploads(Database):
    """Keeps records of uploads; each belongs to a user, and nobody else is told of it."""

    def save_upload(self, op: str, user: str, document: bytes, lifetime_s: float) -> None:
        """Keeps the record of an upload, in place of an earlier one of the same upload.

        Args:
            op: The upload, see `names.new_op`.
            user: Whose it is.
            document: What to keep.
            lifetime_s: How long, in seconds from now.

        Raises:
            Conflict: The upload is another user's.
            NotFound: There is no such user.
            InvalidInput: The upload was not made by `names.new_op`, or the lifetime is not positive, or
                over ten years.
        """
        if not is_op(op):
            raise InvalidInput(f"upload {op!r} was not made by names.new_op; begin a new upload")
        if not 0 < lifetime_s <= _LONGEST_S:
            raise InvalidInput(f"the lifetime of an upload must be in 0 to {_LONGEST_S} s, not {lifetime_s} s")
        expires = self._now() + timedelta(seconds=lifetime_s)
        row = {"op": op, "document": zlib.compress(document, _FAST), "expires": expires}

        def work(connection: Connection) -> bool:
            mine = party_id(connection, "user", user)
            statement = upsert(connection)(uploads).values(user_id=mine, **row)
            statement = statement.on_conflict_do_update(
                index_elements=[uploads.c.op],
                set_={"document": statement.excluded.document, "expires": statement.excluded.expires},
                where=uploads.c.user_id == statement.excluded.user_id,
            )
            return written(connection, statement)

        if not self._write(work):
            raise Conflict(f"upload {op} was begun by another user; begin a new one")

    def upload(self, op: str, user: str) -> bytes | None:
        """The record of an upload; None if there is none, it is another user's, or it has expired."""
        if not is_op(op) or not is_name(user):
            return None
        query = select(uploads.c.document).join(parties).where(uploads.c.op == op, parties.c.name == user)
        query = query.where(parties.c.kind == "user", uploads.c.expires > self._now())
        found = self._read(lambda connection: connection.execute(query).scalar_one_or_none())
        return None if found is None else zlib.decompress(found)

    def drop_upload(self, op: str, user: str) -> None:
        """Forgets a user's upload; none is no error, and another user's stays."""
        if not is_op(op) or not is_name(user):
            return
        users = select(parties.c.id).where(parties.c.kind == "user", parties.c.name == user)
        gone = delete(uploads).where(uploads.c.op == op, uploads.c.user_id.in_(users))
        self._write(lambda connection: connection.execute(gone))

    def expire_uploads(self) -> int:
        """Forgets the uploads that have expired, and says how many."""
        gone = delete(uploads).where(uploads.c.expires <= self._now())
        return self._write(lambda connection: connection.execute(gone).rowcount)
