from __future__ import annotations

import random

import pytest
from tests.server.accounts.conftest import Clock

from t9k.em.errors import Conflict, InvalidInput, NotFound
from t9k.em.names import new_op
from t9k.em.server.accounts import Accounts


def test_a_record_is_its_users_until_it_expires(team: Accounts, clock: Clock) -> None:
    op = new_op()
    team.save_upload(op, "alice", b"\0document", 60)
    assert team.upload(op, "alice") == b"\0document"
    assert (team.upload(op, "bob"), team.upload(new_op(), "alice"), team.upload(op, "team")) == (None, None, None)
    clock.advance(seconds=59.9)
    assert team.upload(op, "alice") == b"\0document"
    clock.advance(seconds=0.1)
    assert team.upload(op, "alice") is None


@pytest.mark.long
def test_saving_it_again_replaces_it_and_renews_its_time(team: Accounts, clock: Clock) -> None:
    op = new_op()
    team.save_upload(op, "alice", b"first", 60)
    clock.advance(seconds=59)
    team.save_upload(op, "alice", b"", 60)
    clock.advance(seconds=59)
    assert team.upload(op, "alice") == b""
    clock.advance(days=1)
    team.save_upload(op, "alice", b"late", 60)
    assert team.upload(op, "alice") == b"late"


def test_nobody_takes_over_the_upload_of_another(team: Accounts, clock: Clock) -> None:
    op = new_op()
    team.save_upload(op, "alice", b"hers", 60)
    with pytest.raises(Conflict, match="begun by another user"):
        team.save_upload(op, "bob", b"his", 60)
    team.drop_upload(op, "bob")
    team.drop_upload(op, "team")
    assert (team.upload(op, "alice"), team.upload(op, "bob")) == (b"hers", None)
    clock.advance(seconds=61)
    with pytest.raises(Conflict):
        team.save_upload(op, "bob", b"his", 60)
    team.drop_upload(op, "alice")
    team.drop_upload(op, "alice")
    team.save_upload(op, "bob", b"his", 60)
    assert team.upload(op, "bob") == b"his"


def test_what_has_expired_is_removed_and_counted(team: Accounts, clock: Clock) -> None:
    ops = [new_op() for _ in range(3)]
    for lifetime, op in enumerate(ops, 1):
        team.save_upload(op, "alice", b"x", lifetime)
    assert team.expire_uploads() == 0
    clock.advance(seconds=2)
    assert team.expire_uploads() == 2
    assert team.expire_uploads() == 0
    assert [team.upload(op, "alice") for op in ops] == [None, None, b"x"]


@pytest.mark.long
@pytest.mark.parametrize("noise", [False, True], ids=["compressible", "noise"])
def test_it_may_be_large(team: Accounts, noise: bool) -> None:
    document = random.Random(0).randbytes(20 << 20) if noise else b'{"key": "weights/a.bin"}' * 850_000
    op = new_op()
    team.save_upload(op, "alice", document, 60)
    assert team.upload(op, "alice") == document


def test_wrong_arguments_are_refused(team: Accounts) -> None:
    for op in ("", "x", "\0", "../x", f"{new_op()}x"):
        with pytest.raises(InvalidInput, match="begin a new upload"):
            team.save_upload(op, "alice", b"", 60)
    for op in ("", "x", "\0", "\ud800"):
        assert team.upload(op, "alice") is None
        team.drop_upload(op, "alice")
    for lifetime in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="must be in 0 to"):
            team.save_upload(new_op(), "alice", b"", lifetime)
    for name in ("nobody", "\0", "\ud800"):
        with pytest.raises(NotFound):
            team.save_upload(new_op(), name, b"", 60)
        assert team.upload(new_op(), name) is None
        team.drop_upload(new_op(), name)
