"""Runs a server until it is told to stop."""

from __future__ import annotations

import uvicorn

from t9k.em.server import logs
from t9k.em.server.accounts import Accounts
from t9k.em.server.settings import Settings

DRAIN_S = 30
"""How long requests under way may take after SIGTERM."""

KEEP_ALIVE_S = 75


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; requests that were accepted are answered first.

    Args:
        settings: What to serve.

    Raises:
        BackendError: The database has no accounts yet, or cannot be reached.
    """
    accounts = Accounts(settings.database)
    try:
        accounts.check()
    finally:
        accounts.close()
    logs.configure()
    settings.to_environment()
    uvicorn.run(
        "t9k.em.server.app:from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,  # ours has no queries in it
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        http="t9k.em.server.connections:BoundedConnection",
        ws="none",
    )
