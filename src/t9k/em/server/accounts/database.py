"""Run statements: one transaction each, repeated once over a dropped connection, with errors of this library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from t9k.em.errors import EMError
from t9k.em.server.accounts.database_url import IMMEDIATE, make_engine, parse
from t9k.em.server.accounts.failures import translate, unfit

_T = TypeVar("_T")


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(timezone.utc)


def record(kind: type[_T], row: Any, **more: Any) -> _T:
    """Return a record with the columns of a row."""
    return kind(**row._mapping, **more)  # noqa: SLF001 - public in spite of its name, as SQLAlchemy says


class Database:
    """A database that is connected to on first use; every method may be called from any thread.

    Args:
        url: `sqlite:////path/server.db` or `postgresql://user:password@host/database`.
        clock: What time it is, with a time zone.

    Raises:
        InvalidURI: The URL has another form.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._place = parse(url)
        self._clock = clock
        self._lock = threading.Lock()
        self._made: Engine | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """Where the database is, without the password."""
        return self._place.text

    def close(self) -> None:
        """Close the connections; may be called again. Use after it opens again."""
        with self._lock:
            engine, self._made = self._made, None
        if engine is not None:
            engine.dispose()

    def _now(self) -> datetime:
        return self._clock().astimezone(timezone.utc)

    def _engine(self) -> Engine:
        with self._lock:
            if self._made is None:
                self._made = make_engine(self._place)
            return self._made

    def _read(self, work: Callable[[Connection], _T]) -> _T:
        """Run statements that only read, each seeing what was committed before it."""
        engine = self._engine()
        if engine.dialect.name != "sqlite":  # there none begins anyway
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")  # no round trips for BEGIN and ROLLBACK
        return self._attempt(engine, work)

    def _write(self, work: Callable[[Connection], _T]) -> _T:
        """Run statements in one transaction; `work` may run twice, and what it did the first time is undone."""
        return self._attempt(self._engine().execution_options(**{IMMEDIATE: True}), work)

    def _attempt(self, engine: Engine, work: Callable[[Connection], _T]) -> _T:
        ours: EMError
        for again in (True, False):
            committing = False
            try:
                with engine.connect() as connection, connection.begin() as transaction:
                    result = work(connection)
                    committing = True
                    transaction.commit()
                    return result
            except SQLAlchemyError as error:
                dropped = isinstance(error, DBAPIError) and error.connection_invalidated
                if again and dropped and not committing:
                    continue  # the pool has dropped the connections of a server that was restarted
                ours = translate(error, self._place, committing=committing)
            except UnicodeEncodeError:
                ours = unfit(self._place)
            break
        # Outside of `except`, so that the driver's error, with SQL and values, is not the context of ours.
        raise ours
