"""Accounts of the AIStore server in SQL: users, API keys, groups, shares, and records of uploads in progress."""

from __future__ import annotations

from t9k.em.errors import MissingExtra

try:
    import alembic as _  # noqa: F401 - it loads the rest when it is used
    import sqlalchemy as __  # noqa: F401
except ImportError as error:
    raise MissingExtra("the server needs a few more libraries: pip install 't9k-em[server]'") from error

from t9k.em.server.accounts.keys import Keys
from t9k.em.server.accounts.parties import Parties
from t9k.em.server.accounts.quotas import UserQuotas
from t9k.em.server.accounts.records import Group, KeyInfo, Kind, Level, Principal, Quotas, Scope, Share, Usage, User
from t9k.em.server.accounts.schema import Schema
from t9k.em.server.accounts.shares import Shares
from t9k.em.server.accounts.stores import Stores
from t9k.em.server.accounts.uploads import Storing, Uploads

__all__ = [
    "Accounts",
    "Group",
    "KeyInfo",
    "Kind",
    "Level",
    "Principal",
    "Quotas",
    "Scope",
    "Share",
    "Storing",
    "Usage",
    "User",
]


class Accounts(Schema, Parties, Keys, Shares, UserQuotas, Stores, Uploads):
    """All that a server knows of people and its root, in a database that several processes may use at once.

    Every method may be called from any thread, and a write is one transaction. Nothing is cached: what one process
    writes holds for all others from their next call on.

    Args:
        url: `sqlite:////path/server.db` or `postgresql://user:password@host/database`. Nothing is connected to before
            the first use.
        clock: What time it is, with a time zone; decides what has expired.

    Raises:
        InvalidURI: The URL has another form.

    All methods raise BackendUnavailable where the database does not answer, BackendError where its tables are not
    those of this version, and MissingExtra where the driver is not installed.
    """
