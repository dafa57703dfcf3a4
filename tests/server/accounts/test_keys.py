from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from attrs import evolve
from sqlalchemy import event
from tests.server.accounts.conftest import Clock
from tests.services.postgresql import PostgreSQLPlace

from t9k.em.errors import BackendFull, BackendUnavailable, InvalidInput, NotAuthenticated, NotFound
from t9k.em.server.accounts import Accounts, KeyInfo, Principal
from t9k.em.server.accounts import keys as keys_module


def refused(accounts: Accounts, key: str) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated) as caught:
        accounts.authenticate(key)
    assert key == "" or key not in str(caught.value)
    assert key == "" or key not in repr(caught.getrepr(showlocals=False).reprcrash)
    assert caught.value.__context__ is None
    return caught.value


def test_a_key_says_who_uses_it(team: Accounts, clock: Clock) -> None:
    info, text = team.add_key("bob", note="laptop")
    assert info == KeyInfo(id=info.id, user="bob", note="laptop", created=clock.now, expires=None, revoked=None)
    assert UUID(text).version == 4
    assert text == str(UUID(text))
    assert info.id not in text
    bob = Principal(user="bob", is_admin=False, groups=frozenset({"team"}), key_id=info.id)
    assert team.authenticate(text) == team.authenticate(text.upper()) == bob
    team.add_group("second")
    team.add_member("second", "bob")
    assert team.authenticate(text).groups == {"team", "second"}
    team.add_user("root", is_admin=True)
    assert team.authenticate(team.add_key("root")[1]).is_admin
    assert team.keys("bob") == [evolve(info, used=clock.now)]


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "secret",
        "x" * 64,
        "x" * 100_000,
        "0e8c6a5e7a3b4f4e9c8d1234567890ab",
        "{0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab}",
        "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab\n",
        "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab" * 2,
        "0e8c6a5e-7a3b-4f4e-9c8d-1234567890a\0",
        "0e8c6a5e-7a3b-4f4e-9c8d-1234567890a\ud800",
        "\u0660e8c6a5e-7a3b-4f4e-9c8d-1234567890ab",
    ],
)
def test_what_is_no_uuid_is_malformed(malformed: str) -> None:
    accounts = Accounts("sqlite:////nowhere/server.db")
    assert refused(accounts, malformed).reason == "key_malformed"


def test_each_reason_is_told_apart(team: Accounts, clock: Clock) -> None:
    assert refused(team, str(uuid4())).reason == "key_unknown"
    info, text = team.add_key("bob", expires=clock.now + timedelta(days=1))
    clock.advance(days=1, microseconds=-1)
    assert team.authenticate(text).user == "bob"
    clock.advance(microseconds=1)
    expired = refused(team, text)
    assert (expired.reason, str(expired)) == (
        "key_expired",
        f"the API key {info.id} has expired on 2026-01-03; ask for a new one",
    )
    team.revoke_key("bob", info.id)
    assert refused(team, text).reason == "key_revoked"
    _, other = team.add_key("bob")
    team.set_disabled("bob", True)
    assert refused(team, other).reason == "user_disabled"
    team.set_disabled("bob", False)
    assert team.authenticate(other).user == "bob"


@pytest.mark.long
def test_the_reason_survives_pickling(accounts: Accounts) -> None:
    error = pickle.loads(pickle.dumps(refused(accounts, "secret")))
    assert (type(error), error.reason) == (NotAuthenticated, "key_malformed")
    assert str(error).startswith("the API key is malformed")
    assert NotAuthenticated("no").reason == ""


def test_a_key_is_revoked_alone_and_stays_in_the_list(team: Accounts, clock: Clock) -> None:
    first, first_text = team.add_key("bob")
    clock.advance(seconds=1)
    second, second_text = team.add_key("bob", expires=datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))))
    clock.advance(seconds=1)
    team.revoke_key("bob", first.id)
    revoked = clock.now
    clock.advance(seconds=1)
    team.revoke_key("bob", first.id)
    listed = team.keys("bob")
    assert [key.id for key in listed] == [first.id, second.id]
    assert [key.revoked for key in listed] == [revoked, None]
    assert second.expires == listed[1].expires == datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert refused(team, first_text).reason == "key_revoked"
    assert team.authenticate(second_text).key_id == second.id
    assert team.keys("alice") == []


def test_only_the_own_key_is_revoked(team: Accounts) -> None:
    info, text = team.add_key("bob")
    for user, key_id in (
        ("alice", info.id),
        ("bob", "0"),
        ("bob", text),
        ("bob", "%"),
        ("bob", ""),
        ("bob", "\0"),
        ("bob", "\ud800"),
    ):
        with pytest.raises(NotFound, match="has no key"):
            team.revoke_key(user, key_id)
    assert team.authenticate(text).user == "bob"


def test_a_wrong_note_or_time_is_refused(team: Accounts, clock: Clock) -> None:
    for note in ("x" * 201, "a\nb", "a\0", "\ud800"):
        with pytest.raises(InvalidInput, match="note of a key"):
            team.add_key("bob", note=note)
    for expires in (clock.now, clock.now - timedelta(days=1), datetime(2030, 1, 1)):  # noqa: DTZ001
        with pytest.raises(InvalidInput, match="in the future"):
            team.add_key("bob", expires=expires)
    assert team.keys("bob") == []


def test_a_request_costs_one_statement(team: Accounts, as_user: Callable[[str], Principal]) -> None:
    _, text = team.add_key("bob")
    bob = as_user("bob")
    team.authenticate(text)  # the first use in a minute is noted
    seen: list[str] = []
    event.listen(team._engine(), "before_cursor_execute", lambda *args: seen.append(args[2]))
    event.listen(team._engine(), "begin", lambda *_: seen.append("begin"))
    team.authenticate(text)
    team.level(bob, "/alice/a/b/c")
    statements = [statement for statement in seen if statement != "begin"]
    assert [statement.split()[0] for statement in statements] == ["SELECT", "SELECT"]


def test_postgresql_is_sent_nothing_but_the_statement(postgresql: str, postgresql_service: PostgreSQLPlace) -> None:
    accounts = Accounts(postgresql)
    accounts.migrate()
    accounts.add_user("bob")
    _, text = accounts.add_key("bob")
    with closing(psycopg.connect(postgresql, autocommit=True)) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
    accounts.close()
    accounts.authenticate(text)  # a new connection asks for a few things first
    before = postgresql_service.log()
    accounts.authenticate(text)
    lines = re.findall(r"LOG: +(?:statement|execute [^:]*): (\w+)", postgresql_service.log()[len(before) :])
    accounts.close()
    assert lines == ["SELECT"]


def test_the_text_of_a_key_is_stored_nowhere(tmp_path: Path) -> None:
    accounts = Accounts(f"sqlite:///{tmp_path}/server.db")
    accounts.migrate()
    accounts.add_user("bob")
    info, text = accounts.add_key("bob")
    found = [path.read_bytes() for path in tmp_path.glob("server.db*")]
    assert any(info.id.encode() in data for data in found)
    for form in (text, text.replace("-", "")):
        assert not any(re.search(form.encode(), data, re.IGNORECASE) for data in found)
    assert not any(UUID(text).bytes in data for data in found)
    accounts.close()


def test_a_key_ends_with_the_one_that_made_it(team: Accounts) -> None:
    """However many lie between them, and without the others of the user."""
    first, first_text = team.add_key("bob")
    made = [first]
    texts = []
    for _ in range(4):
        info, text = team.add_key("bob", parent=made[-1].id)
        made.append(info)
        texts.append(text)
    _, other = team.add_key("bob")
    assert [info.parent for info in made] == [None, *(info.id for info in made[:-1])]
    team.revoke_key("bob", made[1].id)
    assert team.authenticate(first_text).key_id == first.id
    assert {refused(team, text).reason for text in texts} == {"key_revoked"}
    assert team.authenticate(other).user == "bob"
    with pytest.raises(NotAuthenticated, match="was revoked"):
        team.add_key("bob", parent=made[2].id)


def test_a_key_makes_none_that_allows_more_or_lasts_longer(team: Accounts, clock: Clock) -> None:
    end = clock.now + timedelta(days=9)
    parent = team.add_key("bob", scope="write", folder="/bob/mnist", expires=end)[0].id
    info, text = team.add_key("bob", parent=parent, scope="read")
    assert (info.scope, info.folder, info.expires) == ("read", "/bob/mnist", end)
    assert (team.authenticate(text).scope, team.authenticate(text).folder) == ("read", "/bob/mnist")
    below = team.add_key("bob", parent=parent, scope="write", folder="/bob/mnist/deep", expires=end - timedelta(days=1))
    assert (below[0].folder, below[0].expires) == ("/bob/mnist/deep", end - timedelta(days=1))
    for more in (
        {"scope": "all"},
        {"scope": "write", "folder": "/bob"},
        {"scope": "write", "folder": "/bob/mnist2"},
        {"scope": "write", "expires": end + timedelta(seconds=1)},
    ):
        with pytest.raises(InvalidInput, match="this key"):
            team.add_key("bob", parent=parent, **more)
    with pytest.raises(NotAuthenticated):
        team.add_key("alice", parent=parent)  # another user's key makes none


def test_a_scope_or_folder_that_cannot_be_one_is_refused(team: Accounts) -> None:
    with pytest.raises(InvalidInput, match="use one of read, write, all"):
        team.add_key("bob", scope="admin")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        team.add_key("bob", folder="mnist")
    assert team.keys("bob") == []


def test_a_user_has_a_bounded_number_of_valid_keys(team: Accounts, clock: Clock, monkeypatch) -> None:
    monkeypatch.setattr(keys_module, "MOST_KEYS", 3)
    team.add_key("bob", expires=clock.now + timedelta(days=1))
    first = team.add_key("bob")[0]
    team.add_key("bob")
    team.add_key("alice")
    with pytest.raises(BackendFull, match="3 valid API keys, and no more are allowed; revoke some"):
        team.add_key("bob")
    team.revoke_key("bob", first.id)
    team.add_key("bob")
    clock.advance(days=2)
    team.add_key("bob")


def test_the_last_use_is_noted_to_the_minute(team: Accounts, clock: Clock) -> None:
    info, text = team.add_key("bob")
    assert info.used is None
    began = clock.now
    for seconds in (0, 30, 29):
        clock.advance(seconds=seconds)
        team.authenticate(text)
    assert team.keys("bob")[0].used == began
    clock.advance(seconds=1)
    team.authenticate(text)
    assert team.keys("bob")[0].used == clock.now


def test_a_database_that_takes_no_writes_still_says_who_somebody_is(team: Accounts, monkeypatch, caplog) -> None:
    info, text = team.add_key("bob")

    def refuse(*_: object) -> None:
        raise BackendUnavailable("the database takes no writes; wait")

    monkeypatch.setattr(team, "_write", refuse)
    assert team.authenticate(text).user == "bob"
    assert f"the use of API key {info.id} was not noted" in caplog.text
    assert text not in caplog.text


def test_keys_from_before_there_were_scopes_allow_everything(url: str) -> None:
    from alembic import command

    from t9k.em.server.accounts import schema

    def to(accounts: Accounts, step: Callable, revision: str) -> None:
        def work(connection) -> None:
            config = schema._config()
            config.attributes["connection"] = connection
            step(config, revision)

        accounts._write(work)

    accounts = Accounts(url)
    accounts.migrate()
    accounts.add_user("bob")
    info, text = accounts.add_key("bob", scope="read", folder="/bob/x")
    to(accounts, command.downgrade, "0001")
    accounts.migrate()
    assert accounts.authenticate(text) == Principal(user="bob", is_admin=False, groups=frozenset(), key_id=info.id)
    accounts.close()
