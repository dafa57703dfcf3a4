"""Scopes of keys, the keys that made them, and when they were last used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns; keys that are there keep everything that they allowed."""
    op.add_column("keys", sa.Column("scope", _TEXT, nullable=False, server_default="all"))
    op.add_column("keys", sa.Column("folder", _TEXT))
    op.add_column("keys", sa.Column("parent", _TEXT))
    op.add_column("keys", sa.Column("used", sa.DateTime(timezone=True)))
    op.create_index("ix_keys_parent", "keys", ["parent"])


def downgrade() -> None:
    """Drop the columns; keys then allow everything again."""
    op.drop_index("ix_keys_parent", "keys")
    with op.batch_alter_table("keys") as table:
        for column in ("used", "parent", "folder", "scope"):
            table.drop_column(column)
