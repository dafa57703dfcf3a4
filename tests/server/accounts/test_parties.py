from __future__ import annotations

from datetime import timezone

import pytest
from tests.server.accounts.conftest import Clock

from t9k.em.errors import Conflict, InvalidInput, InvalidName, NameCollision, NotFound
from t9k.em.server.accounts import Accounts, Group, User


def test_a_user_that_was_added_is_found(accounts: Accounts, clock: Clock) -> None:
    alice = User(name="alice", is_admin=True, disabled=False, created=clock.now)
    assert accounts.add_user("alice", is_admin=True) == alice
    assert accounts.user("alice") == alice
    assert accounts.user("alice").created.tzinfo is timezone.utc
    assert not accounts.add_user("bob").is_admin
    assert [user.name for user in accounts.users()] == ["alice", "bob"]


@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_name_is_given_once(accounts: Accounts, kind: str) -> None:
    add = accounts.add_user if kind == "user" else accounts.add_group
    add("Straße")
    with pytest.raises(Conflict, match="there is a .* 'Straße' already") as caught:
        add("Straße")
    assert not isinstance(caught.value, NameCollision)
    with pytest.raises(NameCollision, match="would be taken for 'Straße'"):
        add("STRASSE")
    assert len(accounts.users()) + len(accounts.groups()) == 1


def test_a_user_and_a_group_may_have_the_same_name(accounts: Accounts) -> None:
    accounts.add_user("alice")
    accounts.add_group("alice")
    accounts.remove_group("alice")
    assert accounts.user("alice").name == "alice"
    with pytest.raises(NotFound):
        accounts.add_member("alice", "alice")


@pytest.mark.long
@pytest.mark.parametrize("wrong", ["", "a/b", "..", ".em", "a\0", "a\n", "x" * 256, "\ud800", "CON", "a@3"])
def test_a_wrong_name_is_refused(accounts: Accounts, wrong: str) -> None:
    for add in (accounts.add_user, accounts.add_group):
        with pytest.raises(InvalidName):
            add(wrong)
    assert (accounts.users(), accounts.groups()) == ([], [])


@pytest.mark.parametrize("unknown", ["nobody", "ALICE", "", "alice' OR '1'='1", "%", "a\0", "\ud800"])
def test_who_is_not_there_is_not_found(accounts: Accounts, unknown: str) -> None:
    accounts.add_user("alice")
    accounts.add_group("alice")
    for call in (
        lambda: accounts.user(unknown),
        lambda: accounts.set_disabled(unknown, True),
        lambda: accounts.add_key(unknown),
        lambda: accounts.keys(unknown),
        lambda: accounts.revoke_key(unknown, "id"),
        lambda: accounts.remove_group(unknown),
        lambda: accounts.add_member("alice", unknown),
        lambda: accounts.add_member(unknown, "alice"),
        lambda: accounts.remove_member("alice", unknown),
        lambda: accounts.remove_member(unknown, "alice"),
    ):
        with pytest.raises(NotFound, match="there is no (user|group)"):
            call()
    assert not accounts.user("alice").disabled


def test_a_user_is_disabled_and_enabled(accounts: Accounts) -> None:
    accounts.add_user("alice")
    accounts.add_user("bob")
    assert accounts.set_disabled("alice", True).disabled
    assert accounts.set_disabled("alice", True).disabled
    assert [user.disabled for user in accounts.users()] == [True, False]
    assert not accounts.set_disabled("alice", False).disabled


def test_pages_hold_everybody_once_byte_by_byte(accounts: Accounts) -> None:
    names = sorted(["B", "a", "b2", "b-1", "Z", "é", "y", "_", "模型", "c d"], key=str.encode)
    for name in reversed(names):
        accounts.add_user(name)
        accounts.add_group(name)
    for page in (accounts.users, accounts.groups):
        found: list[str] = []
        while rows := page(after=found[-1] if found else "", limit=3):
            assert len(rows) <= 3
            found += [row.name for row in rows]
        assert found == names


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_limit(accounts: Accounts, limit: int) -> None:
    for page in (accounts.users, accounts.groups):
        with pytest.raises(InvalidInput, match="limit must be in 1 to 1000"):
            page(limit=limit)


@pytest.mark.parametrize("after", ["\0", "\ud800", "/"])
def test_an_odd_place_to_start_is_no_error_of_the_database(accounts: Accounts, after: str) -> None:
    for page in (accounts.users, accounts.groups):
        with pytest.raises(InvalidInput, match="begins after a name"):
            page(after=after)


def test_groups_have_members(accounts: Accounts) -> None:
    for name in ("bob", "alice"):
        accounts.add_user(name)
    assert accounts.add_group("team") == Group(name="team", members=())
    accounts.add_group("empty")
    for name in ("bob", "alice", "alice"):
        accounts.add_member("team", name)
    assert accounts.groups() == [Group(name="empty", members=()), Group(name="team", members=("alice", "bob"))]
    assert accounts.groups(limit=1, after="empty") == [Group(name="team", members=("alice", "bob"))]
    accounts.remove_member("team", "alice")
    with pytest.raises(NotFound, match="'alice' is not a member of group 'team'"):
        accounts.remove_member("team", "alice")
    assert accounts.groups(after="empty") == [Group(name="team", members=("bob",))]
    accounts.remove_group("team")
    accounts.add_group("team")
    assert accounts.groups(after="empty") == [Group(name="team", members=())]
    assert accounts.user("bob").name == "bob"
