from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.server.accounts.conftest import Clock

from t9k.em.errors import InvalidInput, InvalidName, NotFound
from t9k.em.server.accounts import Accounts, Principal, Share

AsUser = Callable[[str], Principal]


def test_a_share_reaches_whom_it_names_and_what_lies_below(team: Accounts, as_user: AsUser, clock: Clock) -> None:
    made = team.share("/alice/x", "user", "bob", "view", "alice")
    assert made == Share(path="/alice/x", kind="user", name="bob", level="view", by="alice", created=clock.now)
    bob, carol = as_user("bob"), as_user("carol")
    for path in ("/alice/x", "/alice/x/y", "/alice/x/y/z"):
        assert (team.level(bob, path), team.level(carol, path)) == ("view", None)
    for path in ("/", "/alice", "/alice/xy", "/alice/X", "/alice/x y", "/alice/y", "/bob/alice/x"):
        assert team.level(bob, path) is None
    assert team.shares("/alice/x") == [made]
    assert team.shares("/alice/x/y") == []


def test_the_best_share_counts(team: Accounts, as_user: AsUser) -> None:
    bob, carol = as_user("bob"), as_user("carol")
    team.share("/alice", "public", "", "view", "alice")
    team.share("/alice/x", "group", "team", "edit", "alice")
    team.share("/alice/x/y", "user", "bob", "view", "alice")
    assert [team.level(bob, path) for path in ("/alice", "/alice/x", "/alice/x/y/z")] == ["view", "edit", "edit"]
    assert [team.level(carol, path) for path in ("/alice", "/alice/x", "/alice/x/y/z")] == ["view"] * 3
    team.share("/", "public", "", "edit", "alice")
    assert [team.level(carol, path) for path in ("/", "/carol", "/alice/x")] == ["edit"] * 3


def test_a_share_is_changed_by_another_of_the_same(team: Accounts, as_user: AsUser, clock: Clock) -> None:
    first = clock.now
    for kind, name in (("user", "bob"), ("group", "team"), ("public", "")):
        team.share("/alice/x", kind, name, "edit", "alice")  # type: ignore[arg-type]
    clock.advance(days=1)
    changed = team.share("/alice/x", "user", "bob", "view", "carol")
    assert changed == Share(path="/alice/x", kind="user", name="bob", level="view", by="carol", created=first)
    assert [(share.kind, share.name, share.level) for share in team.shares("/alice/x")] == [
        ("group", "team", "edit"),
        ("public", "", "edit"),
        ("user", "bob", "view"),
    ]
    assert team.level(as_user("bob"), "/alice/x") == "edit"
    team.unshare("/alice/x", "group", "team")
    team.unshare("/alice/x", "public", "")
    assert team.level(as_user("bob"), "/alice/x") == "view"
    with pytest.raises(NotFound, match="/alice/x is not shared with everybody"):
        team.unshare("/alice/x", "public", "")
    with pytest.raises(NotFound, match="/alice is not shared with user 'bob'"):
        team.unshare("/alice", "user", "bob")


def test_names_of_users_and_groups_are_not_mixed_up(team: Accounts, as_user: AsUser) -> None:
    team.add_user("team")
    team.share("/alice/x", "user", "team", "edit", "alice")
    assert team.level(as_user("bob"), "/alice/x") is None
    assert team.level(as_user("team"), "/alice/x") == "edit"


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/a/%", "/a/b"),
        ("/a_b", "/aXb"),
        ("/a/Model", "/a/model"),
        ("/a/\u00e9", "/a/e\u0301"),
        ("/a/*", "/a/b"),
        ("/a/[b]", "/a/b"),
        ("/a'b", "/a"),
        ("/a/模", "/a/型"),
    ],
)
def test_a_path_means_itself_only(team: Accounts, as_user: AsUser, path: str, other: str) -> None:
    bob = as_user("bob")
    team.share(f"{path}/x", "user", "bob", "edit", "alice")
    team.share(f"{other}/x", "user", "carol", "edit", "alice")
    assert team.level(bob, f"{path}/x/y") == "edit"
    assert team.level(bob, f"{other}/x/y") is None
    assert team.shared_below(bob, path) == [f"{path}/x"]
    assert team.shared_below(bob, other) == []
    team.forget_shares(other)
    assert team.level(bob, f"{path}/x") == "edit"
    assert team.shares(f"{other}/x") == []


def test_what_is_shared_below_is_listed_in_order(team: Accounts, as_user: AsUser) -> None:
    bob, carol = as_user("bob"), as_user("carol")
    below = ["/a/B", "/a/a", "/a/b", "/a/b/c", "/a/\U0001f600"]
    beside = ["/a", "/a b", "/a-b", "/a.b", "/a0", "/ab", "/A/b", "/b"]
    for path in reversed([*below, *beside]):
        team.share(path, "group", "team", "view", "alice")
    team.share("/a/b", "user", "bob", "edit", "alice")
    team.share("/a/c", "user", "carol", "edit", "alice")
    assert team.shared_below(bob, "/a") == below
    assert team.shared_below(bob, "/") == sorted([*below, *beside], key=str.encode)
    assert team.shared_below(bob, "/a/b") == ["/a/b/c"]
    assert team.shared_below(carol, "/") == ["/a/c"]
    team.share("/a/d", "public", "", "view", "alice")
    assert team.shared_below(carol, "/a") == ["/a/c", "/a/d"]


def test_shares_of_a_node_that_is_gone_are_forgotten_with_all_below(team: Accounts, as_user: AsUser) -> None:
    bob = as_user("bob")
    paths = ["/a", "/a/b", "/a/b/c", "/a/bc", "/a/b0", "/a/b-"]
    for path in paths:
        team.share(path, "user", "bob", "view", "alice")
    team.forget_shares("/a/b")
    assert team.shared_below(bob, "/") == ["/a", "/a/b-", "/a/b0", "/a/bc"]
    team.forget_shares("/nothing")
    team.forget_shares("/")
    assert team.shared_below(bob, "/") == []


def test_a_group_that_is_made_again_has_no_shares(team: Accounts) -> None:
    team.share("/alice/x", "group", "team", "edit", "alice")
    team.remove_group("team")
    assert team.shares("/alice/x") == []
    team.add_group("team")
    team.add_member("team", "carol")
    assert team.level(team.authenticate(team.add_key("carol")[1]), "/alice/x") is None


def test_a_wrong_share_is_refused(team: Accounts, as_user: AsUser) -> None:
    bob = as_user("bob")
    for path in ("", "alice", "/alice/", "//", "/a/../b", "/a\0", "/.em", "/x@3", "/\ud800"):
        for call in (
            lambda path: team.share(path, "user", "bob", "view", "alice"),
            lambda path: team.unshare(path, "user", "bob"),
            lambda path: team.level(bob, path),
            lambda path: team.shared_below(bob, path),
            team.shares,
            team.forget_shares,
        ):
            with pytest.raises(InvalidName):
                call(path)
    for kind, name, level in (
        ("user", "", "view"),
        ("public", "bob", "view"),
        ("world", "", "view"),
        ("user", "bob", "own"),
        ("user", "bob", ""),
    ):
        with pytest.raises(InvalidInput):
            team.share("/alice", kind, name, level, "alice")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        team.unshare("/alice", "world", "")  # type: ignore[arg-type]
    for kind, name in (("user", "team"), ("group", "bob"), ("user", "\ud800"), ("group", "\0")):
        with pytest.raises(NotFound, match=f"there is no {kind}"):
            team.share("/alice", kind, name, "view", "alice")  # type: ignore[arg-type]
        with pytest.raises(NotFound, match=f"there is no {kind}"):
            team.unshare("/alice", kind, name)  # type: ignore[arg-type]
    assert team.shares("/alice") == []


def test_a_path_is_as_long_as_an_index_takes(team: Accounts, as_user: AsUser) -> None:
    import random

    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=2047)  # what does not compress
    longest = "".join(["/", *letters])
    for slash in range(200, 2048, 200):
        longest = f"{longest[:slash]}/{longest[slash + 1 :]}"
    team.share(longest, "user", "bob", "edit", "alice")
    with pytest.raises(InvalidName, match="at most 2048 bytes"):
        team.share(f"{longest}x", "user", "bob", "edit", "alice")
    assert team.level(as_user("bob"), longest + "/x" * 2000) == "edit"
    assert team.shared_below(as_user("bob"), longest + "/x" * 2000) == []
