from __future__ import annotations

import threading

import pytest

from t9k.em.errors import Conflict, InvalidInput, NotFound, QuotaExceeded
from t9k.em.names import new_op
from t9k.em.server.accounts import Accounts, Quotas, Storing

NONE = Quotas(keys=0, shares=0, uploads=0, bytes=0)


def storing(size_bytes: int, home: str = "alice", **quotas: int) -> Storing:
    return Storing(home=home, size_bytes=size_bytes, quotas=Quotas(**{"uploads": 0, "bytes": 0, **quotas}))


def test_limits_of_their_own_stand_in_place_of_those_of_the_server(team: Accounts) -> None:
    assert team.quotas("alice") == Quotas()
    team.set_quotas("alice", Quotas(bytes=10, uploads=0))
    assert team.quotas("alice").over(Quotas(keys=1, shares=2, uploads=3, bytes=4)) == Quotas(
        keys=1, shares=2, uploads=0, bytes=10
    )
    team.set_quotas("alice", Quotas())
    assert team.quotas("alice") == Quotas()
    with pytest.raises(InvalidInput, match="a quota lies in 0"):
        team.set_quotas("alice", Quotas(bytes=-1))
    for use in (lambda: team.quotas("nobody"), lambda: team.set_quotas("nobody", NONE), lambda: team.usage("nobody")):
        with pytest.raises(NotFound, match="em server user list"):
            use()


def test_an_upload_counts_once_and_as_what_it_brought_in_the_end(team: Accounts) -> None:
    op = new_op()
    for _ in range(2):
        team.save_upload(op, "bob", b"{}", 60, storing(100))
    assert (team.usage("alice").bytes, team.usage("bob").bytes) == (100, 0)
    assert (team.usage("alice").uploads, team.usage("bob").uploads) == (0, 1)
    for _ in range(2):
        team.drop_upload(op, "bob", 70)
    assert (team.usage("alice").bytes, team.usage("bob").uploads) == (70, 0)


def test_what_is_refused_or_another_users_counts_nothing(team: Accounts) -> None:
    op = new_op()
    team.save_upload(op, "bob", b"{}", 60, storing(100, bytes=100))
    with pytest.raises(QuotaExceeded, match="/alice holds 100 bytes of at most 100, and 1 more do not fit"):
        team.save_upload(new_op(), "bob", b"{}", 60, storing(1, bytes=100))
    with pytest.raises(Conflict):
        team.save_upload(op, "carol", b"{}", 60, storing(100))
    with pytest.raises(QuotaExceeded, match="1 uploads in progress"):
        team.save_upload(new_op(), "bob", b"{}", 60, storing(0, uploads=1))
    team.save_upload(new_op(), "bob", b"{}", 60, storing(0, bytes=100))  # nothing is stored
    team.save_upload(new_op(), "bob", b"{}", 60, storing(5, home="nobody"))
    assert team.usage("alice").bytes == 100


def test_an_upload_whose_time_is_over_is_not_under_way_and_what_it_left_counts_until_the_next_count(
    team: Accounts, clock
) -> None:
    team.save_upload(new_op(), "alice", b"{}", 60, storing(100, uploads=1))
    clock.advance(seconds=61)
    team.check_uploads("alice", Quotas(uploads=1))
    team.expire_uploads()
    assert (team.usage("alice").uploads, team.usage("alice").bytes) == (0, 100)
    count = team.begin_count("alice")
    assert count is not None
    assert team.end_count(count, {"": 30}) == team.usage("alice").bytes == 30


def test_what_is_stored_while_it_is_counted_counts_too(team: Accounts) -> None:
    before, begun, ended = new_op(), new_op(), new_op()
    team.save_upload(before, "alice", b"{}", 60, storing(100))
    team.save_upload(ended, "alice", b"{}", 60, storing(50))
    count = team.begin_count("alice")
    assert count is not None
    team.save_upload(begun, "alice", b"{}", 60, storing(7))
    team.drop_upload(ended, "alice", 40)
    found = {"old": 1000, before: 60, begun: 3, ended: 40}
    assert team.end_count(count, found) == 1000 + 100 + 7 + 40


def test_a_count_that_is_young_enough_is_not_repeated(team: Accounts, clock) -> None:
    assert team.begin_count("alice", 60) is not None
    assert team.begin_count("alice", 60) is None
    assert team.begin_count("nobody", 60) is None
    clock.advance(seconds=61)
    assert team.begin_count("alice", 60) is not None
    assert team.usage("alice").counted == clock.now


def test_those_who_begin_at_once_do_not_exceed_a_limit_together(url: str, team: Accounts) -> None:
    others = [Accounts(url) for _ in range(4)]
    results: list[str] = []

    def begin(accounts: Accounts, user: str) -> None:
        for _ in range(5):
            try:
                accounts.save_upload(new_op(), user, b"{}", 60, storing(10, bytes=100))
            except QuotaExceeded:
                results.append("refused")
            else:
                results.append("begun")

    threads = [
        threading.Thread(target=begin, args=(accounts, user))
        for accounts, user in zip(others, ["alice", "bob", "carol", "alice"], strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for accounts in others:
        accounts.close()
    assert (results.count("begun"), len(results)) == (10, 20)
    assert team.usage("alice").bytes == 100
