"""What Alembic runs to make the tables, see `t9k.em.server.accounts.schema`."""
