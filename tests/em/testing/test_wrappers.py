"""A wrapper is what it wraps, but for the one thing that it is there for."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from t9k.em import backend as ports
from t9k.em.backend import Collects, CopiesObjects, SweepsTemporary
from t9k.em.backend.abilities import can, members_of
from t9k.em.errors import BackendFull, BackendPermissionError, BackendUnavailable
from t9k.em.records import Body, Outcome
from t9k.em.testing import (
    BackendSuite,
    BackendWrapper,
    CollectsSuite,
    CopiesObjectsSuite,
    DescentSuite,
    Fault,
    Faults,
    FaultyBackend,
    FaultyStore,
    ObjectStoreSuite,
    ReadOnlyStore,
    SimulatedCrash,
    SlowStore,
    StaleStore,
    StoreWrapper,
    SweepsTemporarySuite,
    finish,
    make_request,
    read_node,
    upload,
)
from t9k.em.uris import parse
from t9k_em_backends.local import LocalStore
from t9k_em_backends.memory import MemoryBackend, MemoryStore

A = Body.of(b"a")
FILES = {"a": b"a", "b": b"b"}
PLAIN: Any = SimpleNamespace(uri="plain://")


class TestStoreWrapper(ObjectStoreSuite, CopiesObjectsSuite, SweepsTemporarySuite):
    @pytest.fixture
    def store(self, tmp_path):
        return StoreWrapper(LocalStore(tmp_path / "store"))

    def leave_something(self, store):
        directory = store.inner._root / ".em/tmp"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "left").write_bytes(b"half")


class TestStaleStoreThatIsUpToDate(ObjectStoreSuite):
    @pytest.fixture
    def store(self):
        return StaleStore(MemoryStore(), Random(0))


class TestBackendWrapper(BackendSuite, DescentSuite, CollectsSuite):
    @pytest.fixture
    def backend(self):
        return BackendWrapper(MemoryBackend(MemoryStore(), "memory://test"))


def test_a_wrapper_has_the_abilities_of_what_it_wraps(tmp_path) -> None:
    memory, local = StoreWrapper(MemoryStore()), StoreWrapper(LocalStore(tmp_path))
    assert isinstance(memory, CopiesObjects)
    assert not isinstance(memory, SweepsTemporary)
    assert isinstance(local, SweepsTemporary)
    backend = MemoryBackend(MemoryStore(), "memory://test")
    assert isinstance(BackendWrapper(backend), Collects)

    assert not isinstance(BackendWrapper(PLAIN), Collects)


def _able(ability: type) -> Any:
    """What a protocol asks for, and nothing else."""
    is_value = {name: isinstance(vars(ability)[name], property) for name in members_of(ability)}
    return SimpleNamespace(
        uri="able://",
        **{name: True if value else lambda *args, **options: (args, options) for name, value in is_value.items()},
    )


def _protocols() -> set[type]:
    return {each for each in vars(ports).values() if isinstance(each, type) and getattr(each, "_is_protocol", False)}


def test_every_protocol_of_the_ports_is_an_ability_of_a_store_a_backend_or_an_upload() -> None:
    assert {*ports.STORE_ABILITIES, *ports.BACKEND_ABILITIES, *ports.UPLOAD_ABILITIES} == _protocols()


@pytest.mark.parametrize("ability", ports.STORE_ABILITIES, ids=lambda each: each.__name__)
def test_a_store_wrapper_has_each_ability_if_its_store_has_it(ability: type) -> None:
    able, plain = StoreWrapper(_able(ability)), StoreWrapper(PLAIN)
    assert isinstance(able, ability)
    assert not isinstance(plain, ability)
    for name in members_of(ability):
        found = getattr(able, name)
        assert found is True if not callable(found) else found("a", more=1) == (("a",), {"more": 1})
    assert isinstance(ReadOnlyStore(able.inner), ability) == (ability is not ports.SignsRequests)
    assert (can(able, ability), can(plain, ability)) == (True, False)


@pytest.mark.parametrize("ability", ports.BACKEND_ABILITIES, ids=lambda each: each.__name__)
def test_a_backend_wrapper_has_each_ability_if_its_backend_has_it(ability: type) -> None:
    able: Any = BackendWrapper(_able(ability))
    assert isinstance(able, ability)
    assert not isinstance(BackendWrapper(PLAIN), ability)
    for name in members_of(ability):
        found = getattr(able, name)
        assert found is True if not callable(found) else found("a", more=1) == (("a",), {"more": 1})


@pytest.mark.parametrize("wrapper", [StoreWrapper, BackendWrapper])
def test_a_wrapper_has_no_uri(wrapper) -> None:
    with pytest.raises(NotImplementedError, match="wrap the"):
        wrapper.from_uri(parse("memory://x"))


def test_faults_hit_before_or_after_the_call() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, Faults(Fault(1, "before"), Fault(2, "after")))
    with pytest.raises(BackendUnavailable, match="put a"):
        store.put("a", A)
    assert not list(inner.list(""))
    with pytest.raises(BackendUnavailable, match="put a"):
        store.put("a", A)
    assert list(inner.list(""))
    assert b"".join(store.get("a")) == b"a"
    store.delete(["a", "b"])
    assert store.faults.calls == ["put a", "put a", "get a", "delete a", "delete b"]


@pytest.mark.parametrize("when", ["crash-before", "crash-after"])
def test_after_a_crash_nothing_works_until_a_restart(when) -> None:
    inner, faults = MemoryStore(), Faults(Fault(1, when))
    store = FaultyStore(inner, faults)
    for _ in range(2):
        with pytest.raises(SimulatedCrash):
            store.put("a", A)
    assert faults.crashed
    assert len(list(inner.list(""))) == (when == "crash-after")
    assert faults.calls == ["put a"], "a dead process makes no calls"
    faults.restart()
    store.put("a", A)


def test_a_fault_may_be_any_error_and_no_other_time() -> None:
    store = FaultyStore(MemoryStore(), Faults(Fault(1, "before"), error=BackendFull))
    with pytest.raises(BackendFull):
        store.put("a", A)
    sometimes: Any = "sometimes"
    with pytest.raises(ValueError, match="when"):
        Fault(1, sometimes)


def test_faults_of_a_backend_hit_its_uploads_too() -> None:
    inner, faults = MemoryBackend(MemoryStore(), "memory://test"), Faults(Fault(2, "before"), Fault(4, "after"))
    backend = FaultyBackend(inner, faults)
    begun = backend.begin(make_request("/alice", "m", FILES))
    with pytest.raises(BackendUnavailable, match=r"Upload\.put"):
        finish(begun, FILES)
    with pytest.raises(BackendUnavailable, match=r"Upload\.commit"):
        finish(begun, FILES)
    assert finish(begun, FILES).node == inner.stat("/alice/m")
    assert faults.calls == ["begin /alice", "Upload.put", "Upload.put", "Upload.commit", "Upload.commit"]


def test_a_stale_store_lists_what_was() -> None:
    store = StaleStore(MemoryStore(), Random(0), stale=1.0, memory=2)
    seen = []
    for number in range(20):
        store.put(f"{number:02d}", A)
        seen.append({info.key for info in store.list("")})
    assert any(len(found) < number + 1 for number, found in enumerate(seen))
    assert all(len(found) >= number for number, found in enumerate(seen)), "from the last two listings"


def test_a_stale_store_lists_in_any_order() -> None:
    store = StaleStore(MemoryStore(), Random(0))
    for number in range(20):
        store.put(f"{number:02d}", A)
    keys = [info.key for info in store.list("")]
    assert keys != sorted(keys)
    assert sorted(keys) == [f"{number:02d}" for number in range(20)]


def test_a_slow_store_waits_before_every_call() -> None:
    waited: list[float] = []
    store = SlowStore(MemoryStore(), 0.5, sleep=waited.append)
    store.put("a", A)
    list(store.list(""))
    b"".join(store.get("a"))
    store.delete(["a", "b"])
    assert waited == [0.5] * 5


def test_a_read_only_store_refuses_what_changes_something(tmp_path) -> None:
    inner = LocalStore(tmp_path / "store")
    inner.put("a", A)
    store = ReadOnlyStore(inner)
    for change in (
        lambda: store.put("a", A),
        lambda: store.put("b", A, if_absent=True),
        lambda: store.put_many([("b", A)]),
        lambda: store.delete(["a"]),
        lambda: store.copy("a", "b"),
        lambda: store.remove_swept([]),
    ):
        with pytest.raises(BackendPermissionError):
            change()
    assert b"".join(store.get("a")) == b"a"
    assert [info.key for info in store.list("")] == ["a"]
    assert list(store.sweep(0.0)) == []


def test_an_upload_that_never_ends_is_an_error() -> None:
    endless: Any = SimpleNamespace(outcome=None, missing=(), commit=lambda: None)
    with pytest.raises(AssertionError, match="no outcome"):
        finish(endless, {})
    nowhere: Any = SimpleNamespace(begin=lambda _: SimpleNamespace(outcome=Outcome.PUBLISHED, node=None))
    with pytest.raises(AssertionError, match="has a node"):
        upload(nowhere, make_request("/alice", "m", {}), {})


def test_a_node_that_is_not_what_its_records_say_is_an_error() -> None:
    store = MemoryStore()
    backend = MemoryBackend(store, "memory://test")
    request = make_request("/alice", "m", FILES)
    node = upload(backend, request, FILES)
    with pytest.raises(AssertionError, match="number or size"):
        read_node(backend, evolve(node, file_count=3))
    store.put(f"alice/m/{request.op}/a", Body.of(b"x"))
    with pytest.raises(AssertionError, match="not what was uploaded"):
        read_node(backend, node)
