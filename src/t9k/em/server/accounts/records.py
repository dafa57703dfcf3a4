"""Records of the accounts: users, keys, groups and shares."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from attrs import frozen

Level = Literal["view", "edit"]
"""What a share allows; 'edit' includes 'view'."""

Scope = Literal["read", "write", "all"]
"""What a key allows of what its user may do: to read nodes, also to write them, or everything, keys and shares included."""

SCOPES: tuple[Scope, ...] = ("read", "write", "all")
"""All scopes; each includes those before it."""

Kind = Literal["user", "group", "public"]
"""Whom a share is for; 'public' is everybody."""


@frozen(kw_only=True)
class Principal:
    """Who makes a request.

    Attributes:
        user: Name of the user.
        is_admin: Whether the user may do everything.
        groups: Names of the groups that the user is a member of.
        key_id: The key that was used, see `KeyInfo.id`.
        scope: What the key allows.
        folder: The folder that the key is bound to; None for all.
    """

    user: str
    is_admin: bool
    groups: frozenset[str]
    key_id: str
    scope: Scope = "all"
    folder: str | None = None

    @property
    def manages(self) -> bool:
        """Whether the key may make and revoke keys, and manage users and groups where the user may."""
        return self.scope == "all" and self.folder is None


@frozen(kw_only=True)
class User:
    """A user.

    Attributes:
        name: Unique, also in the form of `names.fold`.
        is_admin: Whether the user may do everything.
        disabled: Whether none of the user's keys is accepted.
        created: UTC.
    """

    name: str
    is_admin: bool
    disabled: bool
    created: datetime


@frozen(kw_only=True)
class KeyInfo:
    """An API key, without its text.

    Attributes:
        id: Its name where it is revoked; unrelated to the text.
        user: Whose it is.
        note: What it is for, in the words of who made it.
        created: UTC.
        expires: First moment, UTC, at which it is not accepted any more; None for never.
        revoked: When it was revoked, UTC; None if it was not.
        scope: What it allows.
        folder: The folder that it is bound to; None for all.
        parent: The key that made it; None when `em server key add` did. It ends with that one.
        used: When it was last used, UTC, to the minute; None if it never was.
    """

    id: str
    user: str
    note: str
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    scope: Scope = "all"
    folder: str | None = None
    parent: str | None = None
    used: datetime | None = None


@frozen(kw_only=True)
class Group:
    """A group of users.

    Attributes:
        name: Unique, also in the form of `names.fold`.
        members: Names of users, in order.
    """

    name: str
    members: tuple[str, ...]


@frozen(kw_only=True)
class Share:
    """A permission on a path and all below it.

    Attributes:
        path: Of the folder or node.
        kind: Whom it is for.
        name: Of the user or group, '' for everybody.
        level: What it allows.
        by: The user who gave it last.
        created: When it was given first, UTC.
    """

    path: str
    kind: Kind
    name: str
    level: Level
    by: str
    created: datetime


@frozen(kw_only=True)
class Quotas:
    """How much a user may have; of each, 0 for any number and None for what the server was started with.

    Attributes:
        keys: Valid API keys.
        shares: Shares of what lies in the user's folders.
        uploads: Uploads in progress.
        bytes: Bytes of files that lie in the user's folders, whoever uploaded them, old versions included.
    """

    keys: int | None = None
    shares: int | None = None
    uploads: int | None = None
    bytes: int | None = None

    def over(self, defaults: Quotas) -> Quotas:
        """Return these limits, with the limits that they leave open taken from others."""
        return Quotas(
            keys=defaults.keys if self.keys is None else self.keys,
            shares=defaults.shares if self.shares is None else self.shares,
            uploads=defaults.uploads if self.uploads is None else self.uploads,
            bytes=defaults.bytes if self.bytes is None else self.bytes,
        )


@frozen(kw_only=True)
class Usage:
    """How much a user has; see `Quotas`.

    Attributes:
        keys: Valid API keys.
        shares: Shares.
        uploads: Uploads in progress.
        bytes: Bytes that are stored, and those that uploads in progress are about to store.
        counted: When the bytes were last counted in the store, UTC; None if they never were.
    """

    keys: int
    shares: int
    uploads: int
    bytes: int
    counted: datetime | None
