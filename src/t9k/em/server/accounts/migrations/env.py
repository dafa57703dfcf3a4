"""Run the steps on the connection, and in the transaction, that `schema` has begun."""

from __future__ import annotations

from alembic import context

from t9k.em.server.accounts.tables import metadata


def _run() -> None:
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()


if __name__ == "env_py":  # as Alembic loads it
    _run()
