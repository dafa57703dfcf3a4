"""Users, groups, keys, shares and uploads."""

from __future__ import annotations

from datetime import datetime, timezone

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the first tables, and the row for everybody."""
    parties = op.create_table(
        "parties",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("folded", _TEXT, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.UniqueConstraint("kind", "name", name="uq_parties_name"),
        sa.UniqueConstraint("kind", "folded", name="uq_parties_folded"),
    )
    op.create_table("members", _party("group_id", primary_key=True), _party("user_id", primary_key=True))
    op.create_index("ix_members_user", "members", ["user_id"])
    op.create_table(
        "keys",
        sa.Column("id", _TEXT, primary_key=True),
        _party("user_id"),
        sa.Column("sha256", _TEXT, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("expires", _TIME),
        sa.Column("revoked", _TIME),
        sa.UniqueConstraint("sha256", name="uq_keys_sha256"),
    )
    op.create_index("ix_keys_user", "keys", ["user_id"])
    op.create_table(
        "shares",
        sa.Column("path", _TEXT, primary_key=True),
        _party("party_id", primary_key=True),
        sa.Column("level", _TEXT, nullable=False),
        sa.Column("by", _TEXT, nullable=False),
        sa.Column("created", _TIME, nullable=False),
    )
    op.create_index("ix_shares_party", "shares", ["party_id", "path"])
    op.create_table(
        "uploads",
        sa.Column("op", _TEXT, primary_key=True),
        _party("user_id"),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
    )
    op.create_index("ix_uploads_expires", "uploads", ["expires"])
    op.create_index("ix_uploads_user", "uploads", ["user_id"])
    everybody = {"kind": "public", "name": "", "folded": "", "is_admin": False, "disabled": False}
    op.bulk_insert(parties, [everybody | {"created": datetime(1970, 1, 1, tzinfo=timezone.utc)}])


def downgrade() -> None:
    """Drop all tables."""
    for table in ("uploads", "shares", "keys", "members", "parties"):
        op.drop_table(table)


def _party(name: str, *, primary_key: bool = False) -> sa.Column[int]:
    target = sa.ForeignKey("parties.id", ondelete="CASCADE")
    return sa.Column(name, sa.Integer, target, primary_key=primary_key, nullable=False)
