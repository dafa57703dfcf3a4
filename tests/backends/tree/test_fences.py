"""Uploads that were given up are fenced before their files go, and however many they are, every head stays short."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.errors import BackendError, UploadFenced
from t9k.em.names import new_op
from t9k.em.records import Body
from t9k.em.testing.uploads import finish, make_request, read_node, upload
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree import collect, fences
from t9k_em_backends.tree.fences import MOST_FENCED, STANDS_S, Fences
from t9k_em_backends.tree.heads import MAX_HEAD_BYTES, encode_head, head_key, heads_prefix

FILES = {"a": b"a", "b/c": b"bb"}
NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def backend(store):
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


def _op(number: int, since: datetime = NOW - timedelta(days=100)) -> str:
    return f"{new_op(since + timedelta(seconds=number)).partition('-')[0]}-{number:010d}"


def _give_up(store, number: int, *, first: int = 0, since: datetime = NOW - timedelta(days=100)) -> list[str]:
    """Leaves so many uploads with one file each."""
    ops = [_op(index, since) for index in range(first, first + number)]
    body = Body.of(b"x")
    for op in ops:
        store.put(f"alice/m/{op}/a", body)
    return ops


def _head(backend):
    return backend.tree.generations("/alice", "m").newest()[1]


def _resume(backend, op: str):
    return backend.begin(make_request("/alice", "m", FILES, id="mine", op=op, resumed=True))


@pytest.mark.long
def test_a_hundred_thousand_uploads_that_were_given_up_leave_a_node_that_is_read_and_written(backend, store, clock):
    node = upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    ops = _give_up(store, 115_000)
    clock.now += 4 * DAY_S
    found = backend.collect("/alice", apply=True)
    assert len(found.objects) == 115_000
    assert len(encode_head(_head(backend))) < 4096
    assert read_node(backend, backend.stat("/alice/m")) == FILES
    assert [listed.id for listed in backend.list("/alice")] == [node.id]
    for op in (ops[0], ops[70_000], ops[-1]):
        with pytest.raises(UploadFenced, match="upload again. Where it was not paused, the clock of this machine"):
            _resume(backend, op)
    assert upload(backend, make_request("/alice", "m", {"a": b"new"}, id="mine"), {"a": b"new"}).generation == 3
    assert sum(1 for _ in store.list("alice/m/")) == len(FILES) + 1


def test_uploads_that_have_files_or_are_new_are_in_no_span(backend, store, clock):
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    new = {"a": b"new", "b/c": b"newer"}
    between = make_request("/alice", "m", new, id="mine", op=_op(1000))
    _give_up(store, 1000)
    _give_up(store, 1000, first=1001)
    clock.now += 4 * DAY_S
    begun = backend.begin(between)
    begun.put([(file, Body.of(new[file.key])) for file in begun.missing])
    backend.collect("/alice", apply=True)
    assert _head(backend).fenced_spans == ((_op(0), _op(999)), (_op(1001), _op(2000)))
    assert _head(backend).fenced == ()
    finish(begun, new)
    assert read_node(backend, backend.stat("/alice/m@3")) == new
    assert len(_head(backend).fenced_spans) == 2
    assert upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES).generation == 4


def test_few_uploads_are_fenced_one_by_one(backend, store, clock):
    upload(backend, make_request("/alice", "m", FILES), FILES)
    ops = _give_up(store, MOST_FENCED)
    clock.now += 4 * DAY_S
    backend.collect("/alice", apply=True)
    assert (_head(backend).fenced, _head(backend).fenced_spans) == (tuple(ops), ())
    _give_up(store, 1, first=MOST_FENCED)
    clock.now += 4 * DAY_S / 2
    backend.collect("/alice", grace_s=DAY_S, apply=True)
    assert (_head(backend).fenced, _head(backend).fenced_spans) == ((), ((_op(0), _op(MOST_FENCED)),))


@pytest.mark.parametrize("number", [1, 2 * MOST_FENCED])
def test_a_fence_is_dropped_when_it_stood_for_three_days_and_nothing_of_its_uploads_is_there(
    backend, store, clock, number
):
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    ops = _give_up(store, number)
    clock.now += 4 * DAY_S
    backend.collect("/alice", apply=True)
    clock.now += STANDS_S - 1
    [left] = _give_up(store, 1, first=number + 1)
    backend.collect("/alice", grace_s=0.0, apply=True)
    assert Fences.of(_head(backend)).hold(ops[0])
    store.put(f"alice/m/{ops[-1]}/late", Body.of(b""))
    clock.now += STANDS_S
    _give_up(store, 1, first=number + 2)
    backend.collect("/alice", grace_s=0.0, apply=True)
    assert Fences.of(_head(backend)).hold(ops[-1]), "something of it was there"
    assert not Fences.of(_head(backend)).hold(left)
    clock.now += STANDS_S
    last = _give_up(store, 1, first=number + 3)
    backend.collect("/alice", grace_s=0.0, apply=True)
    assert Fences.of(_head(backend)) == Fences(tuple(last))
    assert read_node(backend, backend.stat("/alice/m")) == FILES


def test_an_upload_whose_fence_was_dropped_sends_its_files_again(backend, store, clock):
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    new = {"a": b"new", "b/c": b"newer"}
    paused = backend.begin(make_request("/alice", "m", new, id="mine", op=_op(0)))
    paused.put([(file, Body.of(new[file.key])) for file in paused.missing])
    for first in (1, 2):
        clock.now += STANDS_S + 1
        backend.collect("/alice", apply=True)
        _give_up(store, 1, first=first)
    clock.now += STANDS_S + 1
    backend.collect("/alice", apply=True)
    assert not Fences.of(_head(backend)).hold(_op(0))
    assert paused.commit() is None
    assert paused.outcome is None
    finish(paused, new)
    assert read_node(backend, backend.stat("/alice/m")) == new


def test_a_head_with_more_fences_than_earlier_versions_could_read_again_becomes_short(backend, store, clock):
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    many = evolve(_head(backend), fenced=tuple(_op(number) for number in range(90_000)))
    store.put(head_key(heads_prefix("/alice", "m"), 2), Body.of(encode_head(many)))
    assert len(encode_head(many)) < MAX_HEAD_BYTES
    clock.now += 1
    _give_up(store, 1, first=90_001)
    backend.collect("/alice", grace_s=0.0, apply=True)
    assert len(encode_head(_head(backend))) < 4096
    assert Fences.of(_head(backend)).hold(_op(89_999))


def test_uploads_of_clocks_that_are_ahead_are_collected_as_far_as_a_head_tells_of_them(backend, store, clock, caplog):
    upload(backend, make_request("/alice", "m", FILES), FILES)
    ops = _give_up(store, MOST_FENCED + 300, since=NOW + timedelta(days=1000))
    clock.now += 4 * DAY_S
    with caplog.at_level(logging.WARNING):
        found = backend.collect("/alice", apply=True)
    assert "of 1300 objects of uploads to m in alice/m that were given up are left for later" in caplog.text
    assert len(found.objects) == 650
    assert set(_head(backend).fenced) == set(ops[:650])
    clock.now += 4 * DAY_S
    assert len(backend.collect("/alice", apply=True).objects) == 650
    assert sum(1 for _ in store.list("alice/m/")) == len(FILES)


def test_a_collector_that_was_stopped_for_a_day_deletes_nothing_more(backend, store, clock, monkeypatch):
    upload(backend, make_request("/alice", "m", FILES), FILES)
    _give_up(store, 5)
    clock.now += 4 * DAY_S
    monkeypatch.setattr(collect, "DELETED_AT_ONCE", 2)
    delete, now = store.delete, time.time

    def deleting(keys):
        keys = list(keys)
        delete(keys)
        if keys[0].startswith("alice/m/"):
            monkeypatch.setattr(collect.time, "time", lambda: now() + fences.DELETES_S + 1)

    monkeypatch.setattr(store, "delete", deleting)
    with pytest.raises(
        BackendError, match="3 objects are left, because deleting them took more than 24 hours; collect"
    ):
        backend.collect("/alice", apply=True)
    monkeypatch.undo()
    assert len(backend.collect("/alice", apply=True).objects) == 3


def test_a_damaged_version_is_no_obstacle_to_the_collector_once_its_time_is_over(backend, store, clock, caplog):
    for number in range(3):
        upload(backend, make_request("/alice", "m", {"a": b"%d" % number}, id="mine"), {"a": b"%d" % number})
        clock.now += 4 * DAY_S if number == 1 else 0
    store.put(head_key(heads_prefix("/alice", "m"), 2), Body.of(b"damaged"))
    assert not backend.collect("/alice").objects
    assert "nothing is collected of 'm'" in caplog.text
    clock.now += 4 * DAY_S
    caplog.clear()
    assert not backend.collect("/alice", keep_versions=2).objects, "it would be kept"
    assert "nothing is collected of 'm'" in caplog.text
    assert len(backend.collect("/alice", apply=True).objects) == 2
    assert read_node(backend, backend.stat("/alice/m")) == {"a": b"2"}
    store.put(head_key(heads_prefix("/alice", "m"), 2), Body.of(b'{"v": 2}'))
    upload(backend, make_request("/alice", "m", {"a": b"x"}, id="mine"), {"a": b"x"})
    clock.now += 4 * DAY_S
    caplog.clear()
    assert not backend.collect("/alice", apply=True).objects
    assert "upgrade t9k-em" in caplog.text


numbers = st.sets(st.integers(0, 60), max_size=40)


@given(old=numbers, losing=numbers, alive=numbers, later=numbers, most=st.integers(0, 10))
def test_all_that_lose_files_are_fenced_and_none_that_lives(old, losing, alive, later, most):
    alive -= old | losing
    ahead = {_op(number, NOW + timedelta(days=1)) for number in later}
    before = Fences().added(map(_op, old), set(map(_op, alive)), NOW.timestamp())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fences, "MOST_FENCED", most)
        ops = {_op(number) for number in losing} | ahead
        after = before.added(ops, {_op(number) for number in alive}, NOW.timestamp())
    assert all(after.hold(_op(number)) for number in old)
    assert all(map(after.hold, ops))
    assert not any(after.hold(_op(number)) for number in alive)
    assert len(after.ops) <= max(most, len(ahead))
    assert len(after.spans) <= len(alive) + 1
    assert after.dropped(after, ()) == Fences()
    assert after.dropped(Fences(), ()) == after
    assert all(after.dropped(after, [op]).hold(op) for op in ops)
