"""Where the accounts are kept: the URL of a database, how it may be shown, and an engine for it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from attrs import field, frozen
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError

from t9k.em.errors import InvalidURI, MissingExtra

IMMEDIATE = "em_immediate"
"""Execution option of a connection whose transaction is going to write."""

_BUSY_TIMEOUT_S = 30
_CONNECT_TIMEOUT_S = 10
_POSTGRESQL = ("postgresql", "postgresql+psycopg", "postgres")
_WRITE = "write it as sqlite:////var/lib/em/server.db or postgresql://user:password@host/database"


@frozen(kw_only=True)
class Place:
    """A database.

    Attributes:
        text: Its URL, without the password and options.
        file: Absolute path of an SQLite database, None for PostgreSQL.
        url: For PostgreSQL.
    """

    text: str
    file: Path | None = None
    url: URL | None = field(default=None, repr=False)

    @property
    def secret(self) -> str:
        """The password; '' without one."""
        return str(self.url.password or "") if self.url is not None else ""


def parse(text: str) -> Place:
    """Parse the URL of a database.

    Raises:
        InvalidURI: The URL is neither that of an SQLite file nor of PostgreSQL.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError, TypeError):
        url = None
    if url is None:  # outside of `except`, for the error there holds the URL
        raise InvalidURI(f"the database is no URL; {_WRITE}")
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return _sqlite(url)
    if url.drivername not in _POSTGRESQL:
        raise InvalidURI(f"a database of the kind {url.drivername!r} is not supported; {_WRITE}")
    if "@" in (url.host or ""):
        raise InvalidURI("the password in the URL of the database holds '@'; write it as %40")
    hosts = url.query.get("host", ())
    shown = url.host or (hosts if isinstance(hosts, str) else ",".join(hosts))
    user = f"{url.username}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    return Place(
        text=f"postgresql://{user}{shown}{port}/{url.database or ''}", url=url.set(drivername="postgresql+psycopg")
    )


def _sqlite(url: URL) -> Place:
    if url.host or url.query or url.username or url.database in (None, "", ":memory:"):
        raise InvalidURI(f"an SQLite database needs a file, and takes no options; {_WRITE}")
    file = Path(os.path.abspath(str(url.database)))  # noqa: PTH100 - `resolve` would follow links
    return Place(text=f"sqlite:///{file}", file=file)


def make_engine(place: Place) -> Engine:
    """Make an engine, which connects on use.

    Raises:
        MissingExtra: The driver is not installed.
    """
    if place.url is None:
        return _sqlite_engine(str(place.file))
    defaults = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "t9k-em"}
    try:
        # Reads would pay a round trip for pool_pre_ping; `Database` repeats what a dropped connection cut short.
        return create_engine(
            place.url,
            hide_parameters=True,
            pool_size=10,
            max_overflow=10,
            pool_timeout=_BUSY_TIMEOUT_S,
            connect_args={name: value for name, value in defaults.items() if name not in place.url.query},
        )
    except ImportError as error:
        raise MissingExtra(
            "PostgreSQL needs a driver that is not installed: pip install 't9k-em[postgresql]'"
        ) from error


def _sqlite_engine(file: str) -> Engine:
    def connect() -> DBAPIConnection:
        connection = sqlite3.connect(
            f"file:{quote(file)}?mode=rw",  # a file that is missing is an error: `migrate` makes it, with its mode
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,  # transactions begin below, and not behind our back
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection  # type: ignore[return-value]  # it is one, but for the names of parameters

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, hide_parameters=True, pool_size=10, max_overflow=40
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes then would fail where another one wrote in between.
        if connection.get_execution_options().get(IMMEDIATE):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
