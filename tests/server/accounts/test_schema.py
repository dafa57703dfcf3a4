from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from t9k.em.errors import (
    BackendError,
    BackendPermissionError,
    BackendUnavailable,
    InvalidURI,
    MissingExtra,
)
from t9k.em.server.accounts import Accounts
from t9k.em.server.accounts.tables import ByteWise, metadata


def test_the_migrations_make_the_tables_that_the_code_expects(accounts: Accounts) -> None:
    def differences(connection: Connection) -> list:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert accounts._read(differences) == []
    accounts._write(lambda connection: connection.execute(text("DROP INDEX ix_keys_user")))
    assert len(accounts._read(differences)) == 1


def test_a_database_without_tables_says_what_to_run(url: str) -> None:
    with closing(Accounts(url)) as accounts:
        for use in (accounts.check, lambda: accounts.user("alice"), lambda: accounts.add_user("alice")):
            with pytest.raises(BackendError, match="run: em server migrate|make it with: em server init USER"):
                use()
        accounts.migrate()
        accounts.check()
        accounts.migrate()
        assert accounts.users() == []


def test_migrating_keeps_what_is_there(accounts: Accounts) -> None:
    accounts.add_user("alice")
    _, key = accounts.add_key("alice")
    accounts.share("/alice", "public", "", "view", "alice")
    accounts.migrate()
    assert accounts.authenticate(key).user == "alice"
    assert len(accounts.shares("/alice")) == 1


def test_a_database_of_a_newer_version_is_left_alone(accounts: Accounts) -> None:
    accounts._write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    for use in (accounts.check, accounts.migrate):
        with pytest.raises(BackendError, match="newer version of t9k-em; install that version"):
            use()


def test_a_step_that_fails_leaves_nothing_behind(url: str) -> None:
    with closing(Accounts(url)) as accounts:

        def broken(connection: Connection) -> None:
            accounts._upgrade(connection)
            raise ZeroDivisionError

        if url.startswith("sqlite"):
            file = Path(url.removeprefix("sqlite:///"))
            file.parent.mkdir()
            file.touch()
        with pytest.raises(ZeroDivisionError):
            accounts._write(broken)
        with pytest.raises(BackendError, match="run: em server migrate"):
            accounts.check()
        accounts.migrate()
        accounts.check()


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b%20c#?" / "server.db"
    before = os.umask(0)
    try:
        with closing(Accounts(f"sqlite:///{str(file).replace('?', '%3F')}")) as accounts:
            assert not file.parent.parent.exists()
            accounts.migrate()
            accounts.add_user("alice")
            files = sorted(found.name for found in tmp_path.rglob("server.db*"))
            modes = {stat.S_IMODE(found.stat().st_mode) for found in tmp_path.rglob("server.db*")}
            directory = next(tmp_path.rglob("server.db")).parent
    finally:
        os.umask(before)
    assert (files, modes) == (["server.db", "server.db-shm", "server.db-wal"], {0o600})
    assert stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0


def test_a_path_may_be_relative(tmp_path: Path) -> None:
    with closing(Accounts("sqlite:///server.db")) as accounts:
        accounts.migrate()
        assert (tmp_path / "server.db").exists()
        assert accounts.url == f"sqlite:///{tmp_path}/server.db"


def test_making_and_showing_it_does_no_io(tmp_path: Path) -> None:
    accounts = Accounts(f"sqlite:///{tmp_path}/x/server.db")
    assert repr(accounts) == f"Accounts('sqlite:///{tmp_path}/x/server.db')"
    accounts.close()
    with pytest.raises(
        BackendUnavailable,
        match="is not there; make it with: em server init USER, or without a user: em server migrate",
    ):
        accounts.check()
    assert not (tmp_path / "x").exists()


def test_use_after_close_opens_again(accounts: Accounts) -> None:
    accounts.add_user("alice")
    accounts.close()
    accounts.close()
    assert accounts.user("alice").name == "alice"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "server.db",
        "/var/server.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://host/x",
        "sqlite:////x?mode=ro",
        "mysql://u:hunter2@host/db",
        "postgresql+psycopg2://u:hunter2@host/db",
        "postgresql://u:hun@ter2@host/db",
        "postgresql://u:hunter2@host:port/db",
        "hunter2",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(InvalidURI) as caught:
        Accounts(wrong)
    assert "ter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", ["postgresql", "postgres", "postgresql+psycopg"])
def test_the_password_is_shown_nowhere(url: str) -> None:
    with closing(Accounts(f"{url}://u:hunter2@127.0.0.1:1/db?connect_timeout=1&sslpassword=hunter3")) as accounts:
        assert accounts.url == "postgresql://u@127.0.0.1:1/db"
        assert "hunter" not in repr(accounts) + repr(accounts._place)
        for use in (accounts.check, accounts.migrate, accounts.users, lambda: accounts.add_user("alice")):
            with pytest.raises(BackendUnavailable, match="127.0.0.1:1/db cannot be used now") as caught:
                use()
            assert "hunter" not in str(caught.value)
            assert caught.value.__context__ is None


def test_a_database_that_is_missing_is_named(postgresql: str) -> None:
    with closing(Accounts(postgresql.replace("?", "x?"))) as accounts:
        for use in (accounts.check, accounts.migrate):
            with pytest.raises(BackendUnavailable, match="create the database, then run: em server migrate"):
                use()


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "server.db"
    file.write_text("notes" * 1000)
    with closing(Accounts(f"sqlite:///{file}")) as accounts:
        for use in (accounts.check, accounts.migrate):
            with pytest.raises(BackendError, match="is no database, or is damaged"):
                use()
    assert file.read_text() == "notes" * 1000


def test_a_directory_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    with closing(Accounts(f"sqlite:///{tmp_path}")) as accounts, pytest.raises(BackendPermissionError):
        accounts.migrate()
    (tmp_path / "file").touch()
    with closing(Accounts(f"sqlite:///{tmp_path}/file/server.db")) as accounts:
        with pytest.raises(BackendError, match="cannot be made .* check the directory"):
            accounts.migrate()
        with pytest.raises(BackendUnavailable):
            accounts.check()


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    accounts = Accounts("postgresql://host/db")
    with pytest.raises(MissingExtra, match=r"pip install 't9k-em\[postgresql\]'"):
        accounts.users()


@pytest.mark.parametrize("library", ["sqlalchemy", "alembic"])
def test_without_a_library_the_extra_is_named(library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import t9k.em.server.accounts"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: the server needs a few more libraries: pip install 't9k-em[server]'" in ran.stderr


def test_postgresql_compares_names_and_paths_byte_by_byte_whatever_its_locale(postgresql: str) -> None:
    with closing(Accounts(postgresql)) as accounts:
        accounts.migrate()
        query = text(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attcollation = '\"C\"'::regcollation "
            "AND attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)"
        )
        found = accounts._read(lambda connection: {tuple(row) for row in connection.execute(query)})
    expected = {(table.name, column.name) for table in metadata.sorted_tables for column in table.c}
    assert found == {(table, column) for table, column in expected if metadata.tables[table].c[column].type is ByteWise}
    assert {("parties", "name"), ("shares", "path")} <= found


def test_a_file_that_somebody_is_writing_to_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "server.db", isolation_level=None)) as other,
        closing(Accounts(f"sqlite:///{tmp_path}/server.db")) as accounts,
    ):
        other.execute("BEGIN IMMEDIATE")
        waited = []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            other.execute("COMMIT")

        monkeypatch.setattr("t9k.em.server.accounts.schema.time.sleep", sleep)
        accounts.migrate()
        assert len(waited) == 1
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
