"""API keys: made, listed, revoked, and asked who uses them."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timezone
from uuid import uuid4

from sqlalchemy import Connection, insert, select, update

from t9k.em.errors import InvalidInput, NotAuthenticated, NotFound
from t9k.em.server.accounts.database import Database, record
from t9k.em.server.accounts.parties import party_id
from t9k.em.server.accounts.records import KeyInfo, Principal
from t9k.em.server.accounts.tables import keys, members, parties

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID = re.compile(r"[0-9a-f]{16}")
_LONGEST_KEY = 64
_LONGEST_NOTE = 200


class Keys(Database):
    """Manages API keys.

    A key is a UUID4, and only its SHA-256 is stored. A slow hash, as passwords need, would add nothing: a UUID4 has
    122 random bits, which nobody tries out, and every request would pay for it.
    """

    def add_key(self, user: str, note: str = "", expires: datetime | None = None) -> tuple[KeyInfo, str]:
        """Makes a key.

        Args:
            user: Whose it is.
            note: What it is for, at most 200 characters.
            expires: From when on it is not accepted, with a time zone; None for never.

        Returns:
            What is known about it, and its text, which is told only here.

        Raises:
            NotFound: There is no such user.
            InvalidInput: The note is too long or has control characters, or the time has no zone or is past.
        """
        if len(note) > _LONGEST_NOTE or not note.isprintable():
            raise InvalidInput(f"the note of a key is one line of at most {_LONGEST_NOTE} characters; make it shorter")
        created = self._now()
        if expires is not None and (expires.tzinfo is None or expires <= created):
            raise InvalidInput(f"a key has to expire in the future, at a time with a zone, not {expires.isoformat()}")
        expires = None if expires is None else expires.astimezone(timezone.utc)
        text = str(uuid4())
        info = KeyInfo(id=secrets.token_hex(8), user=user, note=note, created=created, expires=expires, revoked=None)

        def work(connection: Connection) -> None:
            row = {"id": info.id, "user_id": party_id(connection, "user", user), "sha256": _digest(text)}
            row |= {"note": note, "created": created, "expires": expires}
            connection.execute(insert(keys).values(row))

        self._write(work)
        return info, text

    def keys(self, user: str) -> list[KeyInfo]:
        """All keys of a user, the oldest first, with those that were revoked or have expired.

        Raises:
            NotFound: There is no such user.
        """

        def work(connection: Connection) -> list[KeyInfo]:
            columns = [keys.c.id, keys.c.note, keys.c.created, keys.c.expires, keys.c.revoked]
            query = select(*columns).where(keys.c.user_id == party_id(connection, "user", user))
            rows = connection.execute(query.order_by(keys.c.created, keys.c.id))
            return [record(KeyInfo, row, user=user) for row in rows]

        return self._read(work)

    def revoke_key(self, user: str, key_id: str) -> None:
        """Lets a key not be accepted any more; one that was revoked stays so.

        Its row stays, so that who uses it can be told.

        Raises:
            NotFound: There is no such user, or the user has no such key.
        """

        def work(connection: Connection) -> bool:
            mine = (keys.c.user_id == party_id(connection, "user", user)) & (keys.c.id == key_id)
            if not _ID.fullmatch(key_id):  # drivers refuse what no text can be
                return False
            change = update(keys).where(mine, keys.c.revoked.is_(None)).values(revoked=self._now())
            if connection.execute(change).rowcount:
                return True
            return connection.execute(select(keys.c.id).where(mine)).first() is not None

        if not self._write(work):
            raise NotFound(f"user {user!r} has no key {key_id!r}; em server key list {user} shows those there are")

    def authenticate(self, key_text: str) -> Principal:
        """Says whose a key is, in one round trip.

        Args:
            key_text: A UUID in its usual form, in any case.

        Raises:
            NotAuthenticated: It is none, or one that is not accepted; `reason` says why: 'key_malformed',
                'key_unknown', 'key_revoked', 'key_expired' or 'user_disabled'. The key is not in the message.
        """
        text = key_text.lower() if len(key_text) <= _LONGEST_KEY else ""
        if not _UUID.fullmatch(text):
            raise NotAuthenticated(
                "the API key is malformed: it has to be a UUID, as it was printed when it was made; log in with it again",
                reason="key_malformed",
            )
        group = parties.alias()
        query = (
            select(keys.c.id, keys.c.revoked, keys.c.expires, parties.c.name, parties.c.is_admin)
            .add_columns(parties.c.disabled, group.c.name.label("group"))
            .select_from(keys)
            .join(parties, parties.c.id == keys.c.user_id)
            .outerjoin(members, members.c.user_id == parties.c.id)
            .outerjoin(group, group.c.id == members.c.group_id)
            .where(keys.c.sha256 == _digest(text))
        )
        rows = self._read(lambda connection: connection.execute(query).all())
        if not rows:
            raise NotAuthenticated(
                "the API key is unknown to this server; check that it was made for it, or ask for a new one",
                reason="key_unknown",
            )
        key = rows[0]
        if key.revoked is not None:
            raise NotAuthenticated(f"the API key {key.id} was revoked; ask for a new one", reason="key_revoked")
        if key.expires is not None and key.expires <= self._now():
            raise NotAuthenticated(
                f"the API key {key.id} has expired on {key.expires:%Y-%m-%d}; ask for a new one", reason="key_expired"
            )
        if key.disabled:
            raise NotAuthenticated(
                f"user {key.name!r} is disabled; ask who runs the server to enable the account", reason="user_disabled"
            )
        groups = frozenset(row.group for row in rows if row.group is not None)
        return Principal(user=key.name, is_admin=key.is_admin, groups=groups, key_id=key.id)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
