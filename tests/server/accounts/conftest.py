"""Accounts in SQLite and in PostgreSQL, with a clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from attrs import define

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from t9k.em.server.accounts import Accounts, Principal

DATABASES = ("sqlite", "postgresql")


@define
class Clock:
    now: datetime = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where there is no database yet, or an empty one."""
    if request.param == "postgresql":
        empty: str = request.getfixturevalue("postgresql")
        return empty
    return f"sqlite:///{tmp_path}/state/server.db"


@pytest.fixture
def accounts(url: str, clock: Clock) -> Iterator[Accounts]:
    found = Accounts(url, clock=clock)
    found.migrate()
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def team(accounts: Accounts) -> Accounts:
    """Accounts with the users alice, bob and carol, of whom bob is in the group team."""
    for name in ("alice", "bob", "carol"):
        accounts.add_user(name)
    accounts.add_group("team")
    accounts.add_member("team", "bob")
    return accounts


@pytest.fixture
def as_user(accounts: Accounts) -> Callable[[str], Principal]:
    """Logs a user in."""
    return lambda name: accounts.authenticate(accounts.add_key(name)[1])
