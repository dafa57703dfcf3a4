"""Quotas of users, what is stored in their folders, and what uploads in progress are about to store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_LIMITS = ("max_keys", "max_shares", "max_uploads", "max_bytes")


def upgrade() -> None:
    """Add the columns; nobody has limits of their own yet, and what is stored is counted when it matters first."""
    for column in _LIMITS:
        op.add_column("parties", sa.Column(column, sa.BigInteger))
    op.add_column("parties", sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("parties", sa.Column("counted", sa.DateTime(timezone=True)))
    with op.batch_alter_table("uploads") as table:
        table.add_column(sa.Column("home_id", sa.Integer))
        table.add_column(sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"))
        table.create_foreign_key("fk_uploads_home", "parties", ["home_id"], ["id"], ondelete="SET NULL")
    op.create_index("ix_uploads_home", "uploads", ["home_id"])


def downgrade() -> None:
    """Drop the columns; there are no limits then."""
    op.drop_index("ix_uploads_home", "uploads")
    with op.batch_alter_table("uploads") as table:
        table.drop_constraint("fk_uploads_home", type_="foreignkey")
        for column in ("size_bytes", "home_id"):
            table.drop_column(column)
    # Not as a batch, in which SQLite makes the table anew: when the old one is dropped, all keys of its users go with it.
    for column in ("counted", "stored_bytes", *reversed(_LIMITS)):
        op.drop_column("parties", column)
