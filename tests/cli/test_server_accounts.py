from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.cli.conftest import Em

pytest.importorskip("sqlalchemy")

from t9k.em.cli import server_database
from t9k.em.errors import NotAuthenticated
from t9k.em.server.accounts import Accounts


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/server.db"
    monkeypatch.setenv("EM_SERVER_DATABASE", url)
    return url


@pytest.fixture
def key(em: Em, database: str) -> str:
    """Of alice, who made the database."""
    return em("server", "init", "alice").out.strip()


def user_of(database: str, key: str) -> str:
    accounts = Accounts(database)
    try:
        return accounts.authenticate(key).user
    finally:
        accounts.close()


def test_init_makes_the_first_user_and_prints_a_key_and_what_comes_next(em: Em, database: str) -> None:
    ran = em("server", "init", "alice")
    assert ran.code == 0
    key = ran.out.removesuffix("\n")
    assert str(UUID(key)) == key
    assert key not in ran.err
    for command in ("em server --root file:///data/em", "em login http://127.0.0.1:8000 --api-key", "user add bob"):
        assert command in ran.err
    assert user_of(database, key) == "alice"
    (alice,) = em("server", "user", "list", "--json").json
    assert (alice["name"], alice["is_admin"], alice["disabled"]) == ("alice", True, False)


def test_init_is_for_an_empty_database(em: Em, key: str) -> None:
    for name in ("bob", "alice"):
        ran = em("server", "init", name)
        assert (ran.code, ran.out) == (1, "")
        assert "has users already; em server user list shows them, em server key add USER makes a key" in ran.err
    assert len(em("server", "user", "list", "--json").json) == 1


def test_without_a_database_a_file_of_the_user_is_taken(em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(os.environ["HOME"]) / ".local/state/t9k-em/server.db"
    assert em("server", "migrate").out == f"sqlite:///{file} has the tables of this version\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert em("server", "migrate").code == 0
    assert Path("state/t9k-em/server.db").exists()


def test_the_database_is_an_option_of_the_group(em: Em, database: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    ran = em("server", "--database", other, "init", "bob")
    assert f"em server --database {other} user add bob" in ran.err
    assert "bob" in em("server", "--database", other, "user", "list").out
    assert not Path("server.db").exists()
    assert em("server", "--database", "mysql://u:hunter2@h/d", "user", "list").err.startswith("em: a database of the")


def test_before_the_database_is_made_a_command_says_how(em: Em, database: str) -> None:
    ran = em("server", "user", "list")
    assert (ran.code, ran.err) == (
        1,
        f"em: {database} is not there; make it with: em server init USER, or without a user: em server migrate\n",
    )
    assert em("server", "migrate").code == em("server", "migrate").code == 0
    assert em("server", "user", "list").code == 0
    with sqlite3.connect("server.db") as connection:
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    assert em("server", "user", "list").err.endswith("run: em server migrate\n")


def test_users_are_added_listed_disabled_and_enabled(em: Em, database: str, key: str) -> None:
    ran = em("server", "user", "add", "bob")
    assert (ran.code, ran.out, ran.err) == (0, "added user bob\n", "em server key add bob makes an API key\n")
    assert em("server", "user", "add", "root", "--admin").code == 0
    ran = em("server", "user", "add", "BOB")
    assert ran.code == 1
    assert "would be taken for 'bob'" in ran.err
    assert em("server", "user", "disable", "alice").out == "disabled user alice\n"
    with pytest.raises(NotAuthenticated, match="disabled"):
        user_of(database, key)
    header, *rows = [line.split() for line in em("server", "user", "list").out.splitlines()]
    assert header == ["Role", "State", "Created", "Name"]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("admin", "disabled", "alice"),
        ("user", "enabled", "bob"),
        ("admin", "enabled", "root"),
    ]
    assert em("server", "user", "enable", "alice").code == 0
    assert user_of(database, key) == "alice"
    assert "em server user list shows" in em("server", "user", "disable", "eve").err


def test_lists_have_more_than_one_page(em: Em, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t9k.em.cli.server_people._PAGE", 2)
    for number in range(5):
        em("server", "user", "add", f"user-{number}")
        em("server", "group", "add", f"group-{number}")
    assert len(em("server", "user", "list", "--json").json) == 6
    assert len(em("server", "group", "list", "--json").json) == 5


def test_keys_are_made_listed_and_revoked(em: Em, database: str, key: str) -> None:
    ran = em("server", "key", "add", "alice", "--note", "laptop", "--days", "30")
    made = ran.out.strip()
    assert user_of(database, made) == "alice"
    first, second = em("server", "key", "list", "alice", "--json").json
    assert (first["note"], first["expires"], second["note"]) == ("em server init", None, "laptop")
    assert second["created"] < second["expires"]
    assert f"this is API key {second['id']} of alice; it is not shown again" in ran.err
    assert em("server", "key", "revoke", "alice", first["id"]).code == 0
    with pytest.raises(NotAuthenticated, match="revoked"):
        user_of(database, key)
    listed = em("server", "key", "list", "alice").out
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [[first["id"], "revoked"], [second["id"], "valid"]]
    assert key not in listed
    assert made not in listed
    assert "has no key" in em("server", "key", "revoke", "alice", made).err
    assert em("server", "key", "add", "eve").code == 1
    assert em("server", "key", "add", "alice", "--days", "0").code == 2


def test_groups_are_joined_and_left(em: Em, key: str) -> None:
    em("server", "user", "add", "bob")
    assert em("server", "group", "add", "team").out == "added group team\n"
    for name in ("bob", "alice"):
        assert em("server", "group", "join", "team", name).code == 0
    assert em("server", "group", "list").out == "Group  Members\nteam   alice bob\n"
    assert em("server", "group", "leave", "team", "alice").code == 0
    assert em("server", "group", "leave", "team", "alice").code == 1
    assert em("server", "group", "list", "--json").json == [{"name": "team", "members": ["bob"]}]
    assert em("server", "group", "remove", "team").code == 0
    assert em("server", "group", "remove", "team").code == 1
    assert em("server", "group", "list", "--json").json == []


def test_a_path_is_shared_until_it_is_taken_back(em: Em, key: str) -> None:
    em("server", "user", "add", "bob")
    em("server", "group", "add", "team")
    share = ("server", "share")
    assert em(*share, "add", "/alice/x", "--user", "bob", "--edit").out == "user bob may edit /alice/x\n"
    assert em(*share, "add", "/alice/x", "--group", "team").out == "group team may view /alice/x\n"
    assert em(*share, "add", "/alice/x", "--public", "--by", "bob").out == "everybody may view /alice/x\n"
    listed = em(*share, "list", "/alice/x", "--json").json
    assert [(each["kind"], each["name"], each["level"], each["by"]) for each in listed] == [
        ("group", "team", "view", "alice"),
        ("public", "", "view", "bob"),
        ("user", "bob", "edit", "alice"),
    ]
    table = em(*share, "list", "/alice/x").out.splitlines()
    assert [line.split()[0] for line in table] == ["Level", "view", "view", "edit"]
    assert [line.split("  ")[-1] for line in table[1:]] == ["group team", "everybody", "user bob"]
    for whom in (("--user", "bob"), ("--group", "team"), ("--public",)):
        assert em(*share, "remove", "/alice/x", *whom).code == 0
        assert em(*share, "remove", "/alice/x", *whom).code == 1
    assert em(*share, "list", "/alice/x", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["add", "/alice"], 2, "say with whom: one of --user USER, --group GROUP and --public"),
        (["add", "/alice", "--user", "bob", "--public"], 2, "say with whom"),
        (["remove", "/alice"], 2, "say with whom"),
        (["add", "alice", "--public"], 2, "a PATH looks like /alice/mnist"),
        (["add", "/", "--public"], 2, "say who shares with --by USER"),
        (["add", "/alice/../x", "--public"], 1, "'.' or '..'"),
        (["add", "/eve/x", "--public"], 1, "there is no user 'eve'"),
        (["add", "/alice", "--user", "eve"], 1, "there is no user 'eve'"),
        (["add", "/alice", "--group", "eve"], 1, "there is no group 'eve'"),
        (["list", "alice"], 1, "must start with '/'"),
    ],
)
def test_a_wrong_share_says_what_is_wrong(em: Em, key: str, arguments: list[str], code: int, message: str) -> None:
    ran = em("server", "share", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err


def test_control_characters_never_reach_the_terminal(em: Em, key: str) -> None:
    for arguments in (["user", "add", "a\x1b[31m"], ["user", "disable", "a\x1b[31m"], ["group", "join", "a\x1b", "b"]):
        ran = em("server", *arguments)
        assert ran.code == 1
        assert "\x1b" not in ran.out + ran.err


def test_without_a_root_there_is_nothing_to_serve(em: Em, database: str) -> None:
    ran = em("server")
    assert ran.code == 2
    assert "say what to serve, such as --root file:///data/em" in ran.err


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings that servers were started with, instead of starting them."""
    settings: list[Any] = []
    monkeypatch.setattr("t9k.em.server.serving.run", settings.append)
    return settings


def test_without_options_the_server_has_the_defaults_of_its_settings(
    em: Em, database: str, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from t9k.em.server.settings import Settings

    assert em("server", "--root", "file:///data/em").code == 0
    monkeypatch.setenv("EM_SERVER_ROOT", "file:///data/em")
    assert em("server").code == 0
    assert started == [Settings(root="file:///data/em", database=database)] * 2


def test_every_option_gets_to_the_server(em: Em, started: list[Any]) -> None:
    from t9k.em.server.settings import Settings

    expected: dict[str, Any] = {
        "root": "s3://bucket/em",
        "database": "postgresql://host/db",
        "host": "0.0.0.0",
        "port": 8080,
        "workers": 4,
        "root_path": "/t9k/aistore/server",
        "body_bytes": 10_000_000,
        "rate": 2.5,
        "upload_lifetime_s": 3600,
    }
    options = [
        word
        for name, value in expected.items()
        for word in (f"--{name.removesuffix('_s').replace('_', '-')}", str(value))
    ]
    assert em("server", *options, "--allow-query-keys", "--no-direct").code == 0
    assert started == [Settings(**expected, allow_query_keys=True, direct=False)]


@pytest.mark.parametrize("arguments", [["--root", "file:///data/em"], ["user", "list"], ["migrate"]])
def test_without_a_library_the_extra_is_named(em: Em, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = server_database.find_spec
    monkeypatch.setattr(server_database, "find_spec", lambda name: None if name == "sqlalchemy" else find_spec(name))
    ran = em("server", *arguments)
    assert (ran.code, ran.err) == (
        1,
        "em: the server needs a few more libraries: pip install 't9k-em[server]'\n",
    )


def test_the_help_loads_no_library_of_the_server() -> None:
    code = (
        "import sys\nfrom t9k.em.cli.app import app\n"
        "try: app.main(['server', 'user', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('sqlalchemy', 'alembic', 'fastapi', 'rich') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("\n[]\n")


@pytest.mark.long
def test_it_works_as_a_program_on_postgresql(program: Callable[..., Any], postgresql: str) -> None:
    environment = os.environ | {"EM_SERVER_DATABASE": postgresql}
    ran = program("server", "init", "alice", env=environment)
    assert (ran.returncode, len(ran.stdout)) == (0, 37)
    assert "alice" in program("server", "user", "list", env=environment).stdout
    assert user_of(postgresql, ran.stdout.strip()) == "alice"
