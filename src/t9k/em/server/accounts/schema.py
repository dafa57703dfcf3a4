"""Bring the tables of a database to this version, and say whether they are."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from t9k.em.errors import BackendError
from t9k.em.server.accounts.database import Database
from t9k.em.server.accounts.failures import missing, no_schema

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS = Path(__file__).with_name("migrations")
_ADVISORY_LOCK = 0x7439_6B65  # 't9ke': any number that nobody else takes in this database
_WAL_WITHIN_S = 30
_PAUSE_S = 0.05


class Schema(Database):
    """Make and check the tables."""

    def migrate(self) -> None:
        """Create the SQLite database if it does not exist, and all tables, or migrate them to this version.

        Of several processes that do it at once, one does, and the others wait for it.

        Raises:
            BackendUnavailable: The database cannot be reached.
            BackendError: A newer version made it.
        """
        if self._place.file is not None:
            try:
                _make_file(self._place.file)
            except OSError as error:
                raise BackendError(f"{self.url} cannot be made ({error.strerror}); check the directory") from error
            self._attempt(self._engine(), _use_wal)
        self._write(self._upgrade)

    def check(self) -> None:
        """Make sure that the database can be reached and has the tables of this version.

        Raises:
            BackendUnavailable: The database cannot be reached.
            BackendError: Its tables are of another version; the message says what to do.
        """
        if self._place.file is not None and not os.path.exists(self._place.file):  # noqa: PTH110 - see `missing`
            raise missing(self._place, "")
        current = self._read(self._revisions)
        self._refuse_newer(current)
        if current != _heads():
            raise no_schema(self._place)

    def _upgrade(self, connection: Connection) -> None:
        from alembic import command  # noqa: PLC0415 - takes a while to load, and only a migration needs it

        if connection.dialect.name != "sqlite":  # there this transaction has the only lock already
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        self._refuse_newer(self._revisions(connection))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    def _refuse_newer(self, current: set[str]) -> None:
        if not current <= _known():
            raise BackendError(
                f"{self.url} was made by a newer version of t9k-em; install that version: pip install -U 't9k-em[server]'"
            )

    @staticmethod
    def _revisions(connection: Connection) -> set[str]:
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - see `_upgrade`

        return set(MigrationContext.configure(connection).get_current_heads())


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see `_upgrade`

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _heads() -> set[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see `_upgrade`

    return set(ScriptDirectory.from_config(_config()).get_heads())


def _known() -> set[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see `_upgrade`

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _make_file(file: Path) -> None:
    """Create an empty file that only its owner may read, unless it exists; SQLite's own files take its mode.

    One that is there is not opened: closing it would drop the locks that SQLite holds in this process.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _use_wal(connection: Connection) -> None:
    """Let readers and a writer not wait for each other; the file remembers it.

    SQLite does not wait here for another process that does the same.
    """
    deadline = time.monotonic() + _WAL_WITHIN_S
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
