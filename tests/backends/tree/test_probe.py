"""A store that does not keep its promise is found out before anything is written to it."""

from __future__ import annotations

import pytest

from t9k.em.errors import (
    AlreadyExists,
    BackendError,
    BackendFull,
    BackendPermissionError,
    BackendUnavailable,
    Conflict,
    UnsafeStore,
)
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k.em.testing import Faults, FaultyStore, backend_machine, finish, make_request, read_node, upload
from t9k_em_backends.memory import MemoryBackend, MemoryStore

HOME = "/alice/default"


class IgnoresTheCondition(MemoryStore):
    def put(self, key, body, *, if_absent=False):
        return super().put(key, body)


class ComplainsTooLate(MemoryStore):
    def put(self, key, body, *, if_absent=False):
        there = any(info.key == key for info in self.list(""))
        info = super().put(key, body)
        if there and if_absent:
            raise AlreadyExists(key)
        return info


class KeepsTheFirstInSilence(MemoryStore):
    def put(self, key, body, *, if_absent=False):
        try:
            return super().put(key, body, if_absent=if_absent)
        except AlreadyExists:
            return next(info for info in self.list("") if info.key == key)


class Says(MemoryStore):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def put(self, key, body, *, if_absent=False):
        if if_absent:
            raise self.error
        return super().put(key, body)


@pytest.mark.parametrize(
    "error", [BackendUnavailable("later"), BackendPermissionError("not you"), BackendFull("no room")], ids=repr
)
def test_a_store_that_cannot_be_tried_now_is_not_called_unsafe(error):
    backend = MemoryBackend(Says(error), "memory://now")
    with pytest.raises(type(error), match=str(error)):
        backend.make_folder("/alice/new")


def test_a_store_that_knows_no_condition_is_unsafe():
    backend = MemoryBackend(Says(BackendError("not implemented")), "memory://old")
    with pytest.raises(UnsafeStore, match=r"memory://old cannot write under a condition \(not implemented\)"):
        backend.make_folder("/alice/new")


def test_a_driver_that_repeats_the_first_try_by_itself_is_believed_by_what_is_there():
    class Repeats(MemoryStore):
        def put(self, key, body, *, if_absent=False):
            info = super().put(key, body, if_absent=if_absent)
            if key.startswith(".em/probe/"):
                super().put(key, body, if_absent=if_absent)
            return info

    assert MemoryBackend(Repeats(), "memory://repeats").make_folder("/alice/new").kind == "Folder"


@pytest.mark.parametrize("unsafe", [IgnoresTheCondition, ComplainsTooLate, KeepsTheFirstInSilence])
class TestUnsafeStore:
    @pytest.mark.parametrize(
        "write",
        [
            lambda backend: backend.begin(make_request(HOME, "m", {})),
            lambda backend: backend.make_folder("/alice/new"),
            lambda backend: backend.collect(grace_s=-60, apply=True),
        ],
        ids=["begin", "make_folder", "collect"],
    )
    def test_it_is_refused_and_left_as_it_was(self, unsafe, write):
        store = unsafe()
        store.put("somebody's", Body.of(b"own"))
        backend = MemoryBackend(store, "memory://unsafe")
        for _ in range(2):
            with pytest.raises(UnsafeStore, match=r"memory://unsafe.*unsafe_single_writer=true"):
                write(backend)
        assert [info.key for info in store.list("")] == ["somebody's"]
        assert b"".join(store.get("somebody's")) == b"own"

    def test_it_can_be_read(self, unsafe):
        store = unsafe()
        writer = MemoryBackend(store, "memory://unsafe", unsafe_single_writer=True)
        upload(writer, make_request(HOME, "m", {"a": b"a"}), {"a": b"a"})
        reader = MemoryBackend(store, "memory://unsafe")
        (node,) = reader.list(HOME)
        assert read_node(reader, node) == {"a": b"a"}

    def test_a_single_writer_finds_out_whether_it_can_be_written(self, unsafe):
        store = unsafe()
        MemoryBackend(store, "memory://unsafe", unsafe_single_writer=True).try_write()
        assert list(store.list("")) == []

    def test_a_single_writer_may_use_it(self, unsafe):
        backend = MemoryBackend(unsafe(), "memory://unsafe", unsafe_single_writer=True)
        upload(backend, make_request(HOME, "m", {"a": b"a"}), {"a": b"a"})
        with pytest.raises(Conflict):
            backend.begin(make_request(HOME, "m", {}))
        node = upload(backend, make_request(HOME, "m", {"a": b"b"}, strategy="replace"), {"a": b"b"})
        assert (node.generation, read_node(backend, node)) == (2, {"a": b"b"})


def test_a_safe_store_is_probed_once_and_nothing_stays_of_it():
    store = MemoryStore()
    faults = Faults()
    backend = MemoryBackend(FaultyStore(store, faults), "memory://safe")
    backend.list(HOME)
    assert not [call for call in faults.calls if call.startswith("put")]
    for number in range(3):
        upload(backend, make_request(HOME, f"m{number}", {}), {})
    assert len([call for call in faults.calls if call.startswith("put") and "probe" in call]) == 2
    assert not [info.key for info in store.list("") if "probe" in info.key]


def test_the_option_of_the_uri_is_the_trees_own():
    with open_backend("memory://option?unsafe_single_writer=true") as backend:
        assert upload(backend, make_request(HOME, "m", {}), {}).path == f"{HOME}/m"
        assert backend.uri == "memory://option"


TestSingleWriterHistory = backend_machine(
    lambda: [MemoryBackend(IgnoresTheCondition(), "memory://unsafe", unsafe_single_writer=True)]
).TestCase


def test_a_single_writer_that_comes_back_to_a_name_overwrites_no_record():
    store = IgnoresTheCondition()
    first, second = (MemoryBackend(store, "memory://unsafe", unsafe_single_writer=True) for _ in range(2))
    upload = second.begin(make_request(HOME, "m", {}, strategy="error"))
    finish(first.begin(make_request(HOME, "m", {}, strategy="error")), {})
    with pytest.raises(Conflict):
        upload.commit()
    assert len(first.versions(f"{HOME}/m")) == 1
