"""The tables; `migrations` makes them, and a test holds the two together."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData()

ByteWise = Text().with_variant(Text(collation="C"), "postgresql")
"""A text that is compared byte by byte, as SQLite does: pages and ranges of paths rely on the order."""


class Utc(TypeDecorator[datetime]):
    """A time in UTC; SQLite has no zones, so there it is kept without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return a time with a zone, as the driver takes it."""
        if value is None:
            return None
        value = value.astimezone(timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the time of the driver, with its zone."""
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=timezone.utc) if dialect.name == "sqlite" else found.astimezone(timezone.utc)


def _party(name: str, **options: Any) -> Column[int]:
    return Column(name, Integer, ForeignKey("parties.id", ondelete="CASCADE"), nullable=False, **options)


# Whoever something can be shared with, so that a share is one row with one foreign key: users, groups, and one row
# for everybody, which the first migration writes.
parties = Table(
    "parties",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", ByteWise, nullable=False),
    Column("name", ByteWise, nullable=False),
    Column("folded", ByteWise, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created", Utc, nullable=False),
    Column("max_keys", BigInteger),  # these four of users; empty: what the server was started with
    Column("max_shares", BigInteger),
    Column("max_uploads", BigInteger),
    Column("max_bytes", BigInteger),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    Column("counted", Utc),
    UniqueConstraint("kind", "name", name="uq_parties_name"),
    UniqueConstraint("kind", "folded", name="uq_parties_folded"),
)

members = Table(
    "members",
    metadata,
    _party("group_id", primary_key=True),
    _party("user_id", primary_key=True),
    Index("ix_members_user", "user_id"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", ByteWise, primary_key=True),
    _party("user_id"),
    Column("sha256", ByteWise, nullable=False),
    Column("note", Text, nullable=False),
    Column("created", Utc, nullable=False),
    Column("expires", Utc),
    Column("revoked", Utc),
    Column("scope", ByteWise, nullable=False, server_default="all"),
    Column("folder", ByteWise),
    Column("parent", ByteWise),
    Column("used", Utc),
    UniqueConstraint("sha256", name="uq_keys_sha256"),
    Index("ix_keys_user", "user_id"),
    Index("ix_keys_parent", "parent"),
)

shares = Table(
    "shares",
    metadata,
    Column("path", ByteWise, primary_key=True),
    _party("party_id", primary_key=True),
    Column("level", ByteWise, nullable=False),
    Column("by", ByteWise, nullable=False),
    Column("created", Utc, nullable=False),
    Index("ix_shares_party", "party_id", "path"),
)

stores = Table(
    "stores",
    metadata,
    Column("root", ByteWise, primary_key=True),
    Column("id", ByteWise, nullable=False),
    Column("since", Utc, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("op", ByteWise, primary_key=True),
    _party("user_id"),
    Column("document", LargeBinary, nullable=False),  # compressed by zlib
    Column("expires", Utc, nullable=False),
    Column("home_id", Integer, ForeignKey("parties.id", name="fk_uploads_home", ondelete="SET NULL")),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Index("ix_uploads_expires", "expires"),
    Index("ix_uploads_home", "home_id"),
    Index("ix_uploads_user", "user_id"),
)
