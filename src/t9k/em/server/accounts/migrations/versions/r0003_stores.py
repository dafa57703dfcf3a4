"""Which store was found at a root."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table; servers fill it when they start."""
    op.create_table(
        "stores",
        sa.Column("root", _TEXT, primary_key=True),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("stores")
