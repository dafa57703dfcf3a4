"""Several processes and threads on one database, and connections that break."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from tests.services.postgresql import postgresql_in

from t9k.em.errors import BackendUnavailable
from t9k.em.server.accounts import Accounts

PROCESSES = 8

PRELUDE = """
import json, sys
from t9k.em.errors import Conflict, NotFound
from t9k.em.names import new_op
from t9k.em.server.accounts import Accounts
accounts, number = Accounts(sys.argv[1]), int(sys.argv[2])
won = []
def attempt(name, call, *args):
    try:
        call(*args)
        won.append(name)
    except Conflict:
        pass
print("ready", flush=True)
sys.stdin.readline()
"""
EPILOGUE = "\nprint(json.dumps(won)); accounts.close()"


def race(url: str, code: str) -> list[list[str]]:
    """What each of several processes won, all of which began at once; an error in one is an error here."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PRELUDE + code + EPILOGUE, url]
    racers = [
        subprocess.Popen([*command, str(number)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for number in range(PROCESSES)
    ]
    try:
        for racer in racers:
            assert racer.stdout
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("\n")
            racer.stdin.flush()
        ended = [racer.communicate() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert [error for _, error in ended] == [""] * PROCESSES
    return [json.loads(output) for output, _ in ended]


@pytest.mark.long
def test_of_many_who_migrate_at_once_all_find_the_tables(url: str) -> None:
    race(url, "accounts.migrate(); accounts.check(); accounts.add_user(f'user-{number}')")
    with closing(Accounts(url)) as accounts:
        assert len(accounts.users()) == PROCESSES


@pytest.mark.long
@pytest.mark.parametrize("kind", ["user", "group"])
def test_of_many_who_want_a_name_one_gets_it(accounts: Accounts, url: str, kind: str) -> None:
    code = (
        "for each in range(12):\n"
        "    name = f'name-{each}' if number % 2 else f'NAME-{each}'\n"
        f"    attempt(each, accounts.add_{kind}, name)"
    )
    won = race(url, code)
    assert Counter(name for names in won for name in names) == dict.fromkeys(range(12), 1)
    assert len(accounts.users() if kind == "user" else accounts.groups()) == 12


@pytest.mark.long
def test_of_many_who_begin_an_upload_one_does(team: Accounts, url: str) -> None:
    for number in range(PROCESSES):
        team.add_user(f"user-{number}")
    code = (
        "for each in range(12):\n"
        "    op = f'20260101T000000.{each:06}Z-0123456789'\n"
        "    attempt(op, accounts.save_upload, op, f'user-{number}', str(number).encode(), 1e6)"
    )
    won = race(url, code)
    assert Counter(op for ops in won for op in ops) == Counter({op for ops in won for op in ops})
    assert sum(map(len, won)) == 12
    with closing(Accounts(url)) as accounts:
        for number, ops in enumerate(won):
            assert {accounts.upload(op, f"user-{number}") for op in ops} <= {str(number).encode()}


@pytest.mark.long
def test_nobody_is_refused_while_others_write(team: Accounts, url: str) -> None:
    code = (
        "_, key = accounts.add_key('bob')\n"
        "for each in range(8):\n"
        "    accounts.share('/alice/x', 'user', 'bob', 'edit', f'by-{number}')\n"
        "    accounts.share(f'/alice/{number}/{each}', 'group', 'team', 'view', 'alice')\n"
        "    accounts.add_member('team', 'carol')\n"
        "    bob = accounts.authenticate(key)\n"
        "    attempt(accounts.level(bob, '/alice/x/y'), accounts.save_upload, new_op(), 'bob', b'x' * 10000, 60)"
    )
    assert race(url, code) == [["edit"] * 8] * PROCESSES
    bob = team.authenticate(team.add_key("bob")[1])
    assert len(team.shared_below(bob, "/alice")) == 8 * PROCESSES + 1
    assert len(team.shares("/alice/x")) == 1
    assert team.groups()[0].members == ("bob", "carol")


@pytest.mark.long
def test_a_group_that_is_removed_meanwhile_keeps_no_share(team: Accounts, url: str) -> None:
    code = (
        "for each in range(12):\n"
        "    for call in ((accounts.add_group, 'g'), (accounts.add_member, 'g', 'bob'),\n"
        "                 (accounts.share, '/x', 'group', 'g', 'edit', 'bob'), (accounts.remove_group, 'g')):\n"
        "        try: call[0](*call[1:])\n"
        "        except (Conflict, NotFound): pass"
    )
    race(url, code)
    assert [group.name for group in team.groups()] in (["team"], ["g", "team"])
    team.add_group("h")
    if len(team.groups()) == 3:
        team.remove_group("g")
    assert team.shares("/x") == []


@pytest.mark.long
def test_forty_threads_share_it(team: Accounts) -> None:
    _, key = team.add_key("bob")

    def work(number: int) -> tuple[str, str | None]:
        team.share(f"/alice/{number}", "user", "bob", "edit", "alice")
        bob = team.authenticate(key)
        return bob.user, team.level(bob, f"/alice/{number}")

    with ThreadPoolExecutor(40) as pool:
        assert list(pool.map(work, range(200))) == [("bob", "edit")] * 200


def test_a_connection_that_was_dropped_is_replaced(postgresql: str) -> None:
    with closing(Accounts(postgresql)) as accounts, closing(psycopg.connect(postgresql, autocommit=True)) as other:
        drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        drop += " AND pid <> pg_backend_pid()"
        accounts.migrate()
        accounts.add_user("alice")
        _, key = accounts.add_key("alice")
        for use in (
            lambda: accounts.authenticate(key),
            lambda: accounts.add_user("bob"),
            lambda: accounts.share("/alice", "user", "bob", "view", "alice"),
            accounts.check,
        ):
            assert other.execute(drop).fetchall() == [(True,)]
            use()
        assert [user.name for user in accounts.users()] == ["alice", "bob"]


@pytest.mark.long
def test_a_server_that_is_restarted_is_found_again(tmp_path: Path) -> None:
    with postgresql_in(tmp_path / "postgresql") as place:
        url = place.new_database()
        accounts = Accounts(url)
        accounts.migrate()
        accounts.add_user("alice")
    with pytest.raises(BackendUnavailable, match="cannot be used now .* check that it runs"):
        accounts.user("alice")
    with postgresql_in(tmp_path / "postgresql"):
        assert accounts.user("alice").name == "alice"
        assert accounts.add_user("bob").name == "bob"
        accounts.close()


def test_a_transaction_that_fails_changes_nothing(team: Accounts) -> None:
    def broken(connection: object) -> None:
        from sqlalchemy import delete

        from t9k.em.server.accounts.tables import parties

        connection.execute(delete(parties))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        team._write(broken)
    assert len(team.users()) == 3
