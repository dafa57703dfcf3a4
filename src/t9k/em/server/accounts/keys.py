"""API keys: made, listed, revoked, and asked who uses them."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import attrs
from sqlalchemy import Connection, Select, func, insert, or_, select, update

from t9k.em.errors import BackendError, InvalidInput, NotAuthenticated, NotFound, QuotaExceeded
from t9k.em.names import check_path, is_within
from t9k.em.records import utc_text
from t9k.em.server.accounts.database import Database, record
from t9k.em.server.accounts.parties import locked, party_id
from t9k.em.server.accounts.records import SCOPES, KeyInfo, Principal, Scope
from t9k.em.server.accounts.tables import keys, members, parties

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID = re.compile(r"[0-9a-f]{16}")
_LONGEST_KEY = 64
_LONGEST_NOTE = 200
_USE_PERIOD = timedelta(minutes=1)
_COLUMNS = (
    keys.c.id,
    keys.c.note,
    keys.c.created,
    keys.c.expires,
    keys.c.revoked,
    keys.c.scope,
    keys.c.folder,
    keys.c.parent,
    keys.c.used,
)

MOST_KEYS = 200
"""Valid keys that one user may have, who has no limit of their own."""

_log = logging.getLogger(__name__)


class Keys(Database):
    """Manage API keys.

    A key is a UUID4, and only its SHA-256 is stored. A slow hash, as passwords need, would add nothing: a UUID4 has
    122 random bits, which nobody tries out, and every request would pay for it.
    """

    def add_key(
        self,
        user: str,
        note: str = "",
        expires: datetime | None = None,
        *,
        scope: Scope = "all",
        folder: str | None = None,
        parent: str | None = None,
    ) -> tuple[KeyInfo, str]:
        """Make a key.

        Args:
            user: Whose it is.
            note: What it is for, at most 200 characters.
            expires: From when on it is not accepted, with a time zone; None for never, or as long as `parent` is.
            scope: What it allows.
            folder: Absolute path of the folder that it is bound to; None for all, or for that of `parent`.
            parent: The key that makes it, by its `id`. The new key never allows more, lasts no longer, and is revoked with it.

        Returns:
            The record of the key, and its text, which is returned only here.

        Raises:
            NotFound: No such user exists.
            NotAuthenticated: `parent` was revoked meanwhile.
            InvalidInput: The note is too long or has control characters, the time has no zone or is past, the scope or folder
                cannot be one, or the key would allow more than `parent` does, or last longer.
            QuotaExceeded: The user has as many as are allowed that are valid.
        """
        if scope not in SCOPES:
            raise InvalidInput(f"scope {scope!r} is unknown; use one of {', '.join(SCOPES)}")
        if folder is not None:
            check_path(folder)
        if len(note) > _LONGEST_NOTE or not note.isprintable():
            raise InvalidInput(f"the note of a key is one line of at most {_LONGEST_NOTE} characters; make it shorter")
        created = self._now()
        if expires is not None and (expires.tzinfo is None or expires <= created):
            raise InvalidInput(f"a key has to expire in the future, at a time with a zone, not {expires.isoformat()}")
        expires = None if expires is None else expires.astimezone(timezone.utc)
        text = str(uuid4())
        wanted = KeyInfo(
            id=secrets.token_hex(8),
            user=user,
            note=note,
            created=created,
            expires=expires,
            revoked=None,
            scope=scope,
            folder=folder,
            parent=parent,
        )

        def work(connection: Connection) -> KeyInfo:
            owner = locked(connection, user)
            mine, most = owner.id, MOST_KEYS if owner.max_keys is None else owner.max_keys
            info = wanted if parent is None else _within(wanted, _maker(connection, mine, parent))
            if most and connection.execute(count_keys(mine, created)).scalar_one() >= most:
                raise QuotaExceeded(
                    f"user {user!r} has {most} valid API keys, and no more are allowed; revoke some that are not used any more"
                )
            row = attrs.asdict(info, filter=attrs.filters.exclude("user"))
            connection.execute(insert(keys).values(row | {"user_id": mine, "sha256": _digest(text)}))
            return info

        return self._write(work), text

    def keys(self, user: str) -> list[KeyInfo]:
        """All keys of a user, the oldest first, with those that were revoked or have expired.

        Raises:
            NotFound: No such user exists.
        """

        def work(connection: Connection) -> list[KeyInfo]:
            query = select(*_COLUMNS).where(keys.c.user_id == party_id(connection, "user", user))
            rows = connection.execute(query.order_by(keys.c.created, keys.c.id))
            return [record(KeyInfo, row, user=user) for row in rows]

        return self._read(work)

    def revoke_key(self, user: str, key_id: str) -> None:
        """Revoke a key, and all keys that were made with it; one that was revoked stays so.

        Their rows stay, so that whoever uses one can be told.

        Raises:
            NotFound: No such user exists, or the user has no such key.
        """

        def work(connection: Connection) -> bool:
            mine = (keys.c.user_id == locked(connection, user).id) & (keys.c.id == key_id)
            if not _ID.fullmatch(key_id):  # drivers refuse what no text can be
                return False
            if connection.execute(select(keys.c.id).where(mine)).first() is None:
                return False
            made = select(keys.c.id).where(mine).cte(recursive=True)
            made = made.union(select(keys.c.id).where(keys.c.parent == made.c.id))
            change = update(keys).where(keys.c.id.in_(select(made.c.id)), keys.c.revoked.is_(None))
            connection.execute(change.values(revoked=self._now()))
            return True

        if not self._write(work):
            raise NotFound(f"user {user!r} has no key {key_id!r}; em server key list {user} shows those there are")

    def authenticate(self, key_text: str) -> Principal:
        """Find the user of a key, in one round trip, and once a minute one more that notes its use.

        Args:
            key_text: A UUID in its usual form, in any case.

        Raises:
            NotAuthenticated: The key is malformed or not accepted; `reason` says why: 'key_malformed',
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
            select(*_COLUMNS, parties.c.name, parties.c.is_admin)
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
        self._note_use(key.id, key.used)
        return Principal(
            user=key.name, is_admin=key.is_admin, groups=groups, key_id=key.id, scope=key.scope, folder=key.folder
        )

    def _note_use(self, key_id: str, before: datetime | None) -> None:
        now = self._now()
        if before is not None and now - before < _USE_PERIOD:
            return
        try:
            self._write(lambda connection: connection.execute(update(keys).where(keys.c.id == key_id).values(used=now)))
        except BackendError as error:  # a database that takes no writes now can still say who somebody is
            _log.warning("the use of API key %s was not noted: %s", key_id, error)


def count_keys(user_id: int, now: datetime) -> Select[int]:
    """Count the valid keys of a user."""
    valid = or_(keys.c.expires.is_(None), keys.c.expires > now) & keys.c.revoked.is_(None)
    return select(func.count()).where(keys.c.user_id == user_id, valid)


def _maker(connection: Connection, user_id: int, key_id: str) -> Any:
    row = connection.execute(select(*_COLUMNS).where(keys.c.id == key_id, keys.c.user_id == user_id)).one_or_none()
    if row is None or row.revoked is not None:
        raise NotAuthenticated(f"the API key {key_id} was revoked; ask for a new one", reason="key_revoked")
    return row


def _within(wanted: KeyInfo, maker: Any) -> KeyInfo:
    """Return a new key within the bounds of the one that makes it.

    Raises:
        InvalidInput: The new key would allow more than the key that makes it.
    """
    if SCOPES.index(wanted.scope) > SCOPES.index(maker.scope):
        raise InvalidInput(f"this key's scope is {maker.scope!r}, and it makes none with more; ask for that or less")
    if maker.folder is not None and wanted.folder is not None and not is_within(wanted.folder, maker.folder):
        raise InvalidInput(f"this key is bound to {maker.folder}, and it makes none for {wanted.folder}")
    if maker.expires is not None and wanted.expires is not None and wanted.expires > maker.expires:
        raise InvalidInput(f"this key expires at {utc_text(maker.expires)}, and none that it makes lasts longer")
    return attrs.evolve(wanted, folder=wanted.folder or maker.folder, expires=wanted.expires or maker.expires)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
