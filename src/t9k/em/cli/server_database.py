"""The database that the commands of `em server` work on, and how they show what is in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t9k.em.errors import MissingExtra
from t9k.em.records import utc_text

if TYPE_CHECKING:
    from t9k.em.server.accounts import Accounts

_NEEDED = ("alembic", "fastapi", "httptools", "prometheus_client", "sqlalchemy", "uvicorn")
_CHOSEN = f"{__name__}.chosen"
_ROOT = f"{__name__}.root"


def choose(ctx: click.Context, database: str | None, root: str | None = None) -> str:
    """Set the database and the root for a command and its subcommands.

    Args:
        ctx: Of the group.
        database: The URL, None for a file of this user.
        root: URI of what is served, None where nobody said it.
    """
    chosen: str = database or default_database()
    ctx.meta[_CHOSEN], ctx.meta[_ROOT] = chosen, root
    return chosen


def chosen_root() -> str:
    """URI of what is served.

    Raises:
        UsageError: No root is given.
    """
    root: str | None = click.get_current_context().meta[_ROOT]
    if not root:
        raise click.UsageError("say what is served: em server --root file:///data/em ..., or EM_SERVER_ROOT")
    return root


def default_database() -> str:
    """URL of the database of a server that is told nothing else: a file of this user."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return f"sqlite:///{Path(state).absolute() / 't9k-em' / 'server.db'}"


def require_extra() -> None:
    """Make sure that what a server needs is installed.

    Raises:
        MissingExtra: A library is missing.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtra("the server needs a few more libraries: pip install 't9k-em[server]'")


@contextlib.contextmanager
def accounts(*, check: bool = True) -> Iterator[Accounts]:
    """Provide the accounts in the database that was chosen.

    Args:
        check: Whether it has to have its tables already.

    Raises:
        MissingExtra: A library of the server is not installed.
        BackendError: The database cannot be used.
    """
    require_extra()
    from t9k.em.server.accounts import Accounts

    found = Accounts(click.get_current_context().meta[_CHOSEN])
    try:
        if check:
            found.check()
        yield found
    finally:
        found.close()


def plain(record: Any) -> dict[str, Any]:
    """Return a record as JSON has it."""
    from attrs import asdict

    return {name: utc_text(value) if isinstance(value, datetime) else value for name, value in asdict(record).items()}
