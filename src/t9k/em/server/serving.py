"""Run a server until it is stopped."""

from __future__ import annotations

import socket

import uvicorn

from t9k.em.errors import InvalidInput
from t9k.em.registry import open_backend
from t9k.em.server import logs
from t9k.em.server.accounts import Accounts
from t9k.em.server.audit import AuditLog
from t9k.em.server.http.protocol import protocol
from t9k.em.server.settings import Settings

DRAIN_S = 30
"""How long requests in progress may take after SIGTERM."""

KEEP_ALIVE_S = 75


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests that were accepted are answered first.

    Args:
        settings: What to serve.

    Raises:
        BackendError: The database has no accounts yet, or cannot be reached; or the root cannot be used, and never was.
        InvalidInput: The address cannot be listened at, or the audit log cannot be written.
    """
    accounts = Accounts(settings.database)
    try:
        accounts.check()
        _check_root(settings.root, accounts)
    finally:
        accounts.close()
    AuditLog(settings.audit)  # says here what is wrong with the file, and not in each process
    _check_address(settings.host, settings.port)
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
        http=protocol(),
        ws="none",
    )


def _check_root(root: str, accounts: Accounts) -> None:
    """Report here what is wrong with a root, and not in each process; one that is known may be gone for a while."""
    backend = open_backend(root)
    if not accounts.store_at(backend.uri):
        with backend:
            pass


def _check_address(host: str, port: int) -> None:
    """Look whether one can listen there; uvicorn would end with a line in its log."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another --port or --host"
        ) from error
