"""The mark of a store: who has seen a store never takes an empty place, or another store, for it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from t9k.em.errors import (
    AlreadyExists,
    BackendPermissionError,
    BackendUnavailable,
    CorruptData,
    EMError,
    NewerStore,
    NotFound,
    StoreGone,
)
from t9k.em.records import Body
from t9k.em.testing.faults import Fault, Faults, FaultyStore
from t9k.em.testing.uploads import finish, make_request, read_node, upload
from t9k.em.testing.wrappers import ReadOnlyStore
from t9k_em_backends.local import LocalBackend, LocalStore
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.mark import KEY

HOME = "/alice/default"
FILES = {"a": b"a", "b/c": b"bb"}
OTHER = {"other": b"other"}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def tree(store, clock=None) -> MemoryBackend:
    backend = MemoryBackend(store, "memory://test", sleep=lambda _: None)
    if clock is not None:
        backend.tree.mark.clock = clock
    return backend


def local(root: Path) -> LocalBackend:
    return LocalBackend(LocalStore(root), f"file://{root}", sleep=lambda _: None)


def mark_of(store) -> dict:
    return json.loads(b"".join(store.get(KEY)))


def overwrite(store, **fields) -> None:
    store.put(KEY, Body.of(json.dumps({**mark_of(store), **fields}).encode()))


@contextmanager
def moved(root: Path) -> Iterator[Path]:
    """The root is elsewhere for as long as the block lasts, as a mount that fails; what comes in its place goes elsewhere."""
    elsewhere = root.with_name("elsewhere")
    root.rename(elsewhere)
    try:
        yield root
    finally:
        if root.exists():
            root.rename(root.with_name("instead"))
        elsewhere.rename(root)


# What it says, and when it is made.


def test_a_mark_says_which_store_it_is_and_what_its_writers_must_know(store) -> None:
    upload(tree(store), make_request(HOME, "m", FILES), FILES)
    found = mark_of(store)
    assert (found["v"], found["writer_features"]) == (1, [])
    assert len(found["id"]) == 32
    assert found["created"].endswith("Z")


@pytest.mark.parametrize("options", [{}, {"unsafe_single_writer": True}], ids=["safe", "single writer"])
def test_a_store_of_an_earlier_version_gets_one_with_the_next_write_and_is_never_refused(store, options) -> None:
    backend = MemoryBackend(store, "memory://test", sleep=lambda _: None, **options)
    node = upload(backend, make_request(HOME, "m", FILES), FILES)
    store.delete([KEY])
    later = MemoryBackend(store, "memory://test", sleep=lambda _: None, **options)
    assert read_node(later, later.stat(node.path)) == FILES
    assert later.store_id() == "", "who only reads writes nothing"
    upload(later, make_request(HOME, "n", FILES), FILES)
    assert later.store_id() == mark_of(store)["id"] != backend.store_id()


def test_who_only_deletes_in_such_a_store_makes_no_mark(store) -> None:
    node = upload(tree(store), make_request(HOME, "m", FILES), FILES)
    store.delete([KEY])
    later = tree(store)
    later.delete(node.path)
    assert list(later.list(HOME)) == []
    assert later.store_id() == ""


def test_of_many_who_write_first_all_see_one_mark(store) -> None:
    backends = [tree(store) for _ in range(8)]
    start = threading.Barrier(len(backends))

    def write(backend: MemoryBackend) -> None:
        start.wait()
        backend.make_folder("/alice/f")

    threads = [threading.Thread(target=write, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {backend.store_id() for backend in backends} == {mark_of(store)["id"]}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_mark_whose_reply_was_lost_is_the_mark(store, when) -> None:
    faults = Faults()
    tree(FaultyStore(MemoryStore(), faults)).make_folder("/alice/f")
    number = faults.calls.index(f"put {KEY}") + 1
    backend = tree(FaultyStore(store, Faults(Fault(number, when))))
    with pytest.raises(BackendUnavailable):
        backend.make_folder("/alice/f")
    backend.make_folder("/alice/f")
    assert backend.store_id() == mark_of(store)["id"]


def test_a_mark_that_another_made_in_between_is_the_mark_of_both(store) -> None:
    class Slow(FaultyStore):
        def put(self, key, body, *, if_absent=False):
            if key == KEY and not list(store.list(".em/store")):
                tree(store).make_folder("/bob/f")
            return super().put(key, body, if_absent=if_absent)

    backend = tree(Slow(store, Faults()))
    backend.make_folder("/alice/f")
    assert backend.store_id() == tree(store).store_id()


def test_a_mark_that_is_there_and_cannot_be_read_is_no_mark(store) -> None:
    class Hiding(FaultyStore):
        def get(self, key, start=0, end=None):
            if key == KEY:
                raise NotFound(key)
            return super().get(key, start, end)

    tree(store).make_folder("/alice/f")
    with pytest.raises(AlreadyExists):
        tree(Hiding(store, Faults())).make_folder("/alice/g")


def test_threads_that_write_first_at_the_same_time_look_one_after_the_other(store) -> None:
    class Watched:
        def __init__(self) -> None:
            self.lock, self.waiting = threading.Lock(), threading.Semaphore(0)

        def __enter__(self) -> None:
            self.waiting.release()
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    tree(store).make_folder("/alice/f")
    faults = Faults()
    backend = tree(FaultyStore(store, faults))
    backend.tree.mark._making = watched = Watched()  # type: ignore[assignment]  # it is one
    with watched.lock:
        threads = [threading.Thread(target=backend.make_folder, args=(f"/alice/{name}",)) for name in "gh"]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert watched.waiting.acquire(timeout=60)
    for thread in threads:
        thread.join()
    assert {node.name for node in backend.list("/alice")} >= {"f", "g", "h"}
    assert faults.calls.count(f"put {KEY}") == 0


# What it costs.


def test_uploads_read_the_mark_once_in_a_while(store, clock) -> None:
    upload(tree(store), make_request(HOME, "first", FILES), FILES)
    faults = Faults()
    backend = tree(FaultyStore(store, faults), clock)
    for number in range(3):
        upload(backend, make_request(HOME, f"n{number}", FILES), FILES)
    assert faults.calls.count(f"get {KEY}") == 1
    clock.now += 61
    upload(backend, make_request(HOME, "late", FILES), FILES)
    assert faults.calls.count(f"get {KEY}") == 2


def test_who_reads_and_expects_nothing_never_asks_for_the_mark(store) -> None:
    node = upload(tree(store), make_request(HOME, "m", FILES), FILES)
    faults = Faults()
    reader = tree(FaultyStore(store, faults))
    assert read_node(reader, reader.stat(node.path)) == FILES
    assert list(reader.list(f"/{reader.whoami()}")) == list(tree(store).list(f"/{reader.whoami()}"))
    with pytest.raises(NotFound):
        reader.stat(f"{HOME}/nothing")
    assert not [call for call in faults.calls if KEY in call]


# Features and damage.


def test_a_writer_that_does_not_know_a_feature_is_refused_and_readers_are_not(store) -> None:
    node = upload(tree(store), make_request(HOME, "m", FILES), FILES)
    overwrite(store, writer_features=["catalogue"])
    backend = tree(store)
    for write in (
        lambda: backend.make_folder("/alice/f"),
        lambda: backend.begin(make_request(HOME, "n", OTHER)),
        lambda: backend.delete(node.path),
        lambda: backend.collect(grace_s=-60.0, apply=True),
        backend.init_store,
    ):
        with pytest.raises(NewerStore, match="'catalogue'.*upgrade t9k-em"):
            write()
    assert read_node(backend, backend.stat(node.path)) == FILES
    assert backend.list(HOME) == [node]


def test_a_feature_that_comes_while_a_process_lives_is_seen(store, clock) -> None:
    backend = tree(store, clock)
    upload(backend, make_request(HOME, "m", FILES), FILES)
    overwrite(store, writer_features=["catalogue"])
    clock.now += 61
    with pytest.raises(NewerStore):
        upload(backend, make_request(HOME, "n", FILES), FILES)


def test_a_later_format_is_refused_with_what_to_do(store) -> None:
    tree(store).make_folder("/alice/f")
    overwrite(store, v=2)
    with pytest.raises(NewerStore, match=r"format 2.*upgrade"):
        tree(store).make_folder("/alice/g")


def test_fields_that_are_not_known_are_left_aside(store) -> None:
    tree(store).make_folder("/alice/f")
    overwrite(store, more={"x": 1})
    tree(store).make_folder("/alice/g")


DAMAGED = {
    "no JSON": b"{",
    "empty": b"",
    "no object": b"[]",
    "no id": b'{"v": 1, "created": "x", "writer_features": []}',
    "an id that is none": b'{"v": 1, "id": "a\\nb", "created": "x", "writer_features": []}',
    "an id that is too long": b'{"v": 1, "id": "%b", "created": "x", "writer_features": []}' % (b"a" * 101),
    "features that are no list": b'{"v": 1, "id": "a", "created": "x", "writer_features": "abc"}',
    "a feature that is no text": b'{"v": 1, "id": "a", "created": "x", "writer_features": [1]}',
    "a format that is none": b'{"v": true, "id": "a", "created": "x", "writer_features": []}',
    "a format below the first": b'{"v": 0, "id": "a", "created": "x", "writer_features": []}',
    "too large": b" " * (70 << 10),
    "too deep": b"[" * 60_000,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_mark_stops_writers_with_what_to_do_and_no_reader(store, data) -> None:
    node = upload(tree(store), make_request(HOME, "m", FILES), FILES)
    store.put(KEY, Body.of(data))
    backend = tree(store)
    with pytest.raises(CorruptData, match="delete it"):
        backend.begin(make_request(HOME, "n", OTHER))
    backend.expect_store("0" * 32)
    assert read_node(backend, backend.stat(node.path)) == FILES
    with pytest.raises(NotFound):
        backend.stat(f"{HOME}/n")
    store.delete([KEY])
    upload(tree(store), make_request(HOME, "n", OTHER), OTHER)


def test_a_reader_who_may_not_read_the_mark_reads_the_rest(store) -> None:
    class Hidden(ReadOnlyStore):
        def get(self, key, start=0, end=None):
            if key == KEY:
                raise BackendPermissionError(key)
            return super().get(key, start, end)

    node = upload(tree(store), make_request(HOME, "m", FILES), FILES)
    reader = tree(Hidden(store))
    reader.expect_store(mark_of(store)["id"])
    assert read_node(reader, reader.stat(node.path)) == FILES
    with pytest.raises(NotFound):
        reader.stat(f"{HOME}/n")


# Stores that go.


def test_a_store_that_is_emptied_while_files_are_sent_is_found_before_anything_is_published(store) -> None:
    backend = tree(store)
    upload(backend, make_request(HOME, "m", FILES), FILES)
    begun = backend.begin(make_request(HOME, "n", OTHER))
    begun.put([(file, Body.of(OTHER[file.key])) for file in begun.missing])
    store.delete([info.key for info in store.list("")])
    with pytest.raises(StoreGone, match="memory://test"):
        begun.commit()
    assert not [info for info in store.list("") if "/h/" in info.key]


def test_what_grows_is_not_acknowledged_where_its_run_is_not(store) -> None:
    backend = tree(store)
    run = upload(backend, make_request(HOME, "m", FILES), FILES)
    store.delete([info.key for info in store.list("")])
    with pytest.raises(StoreGone):
        backend.append(run, "a", 0, b"01")


def test_the_message_says_what_happened_and_what_to_do(tmp_path) -> None:
    root = tmp_path / "store"
    backend = local(root)
    upload(backend, make_request(HOME, "m", FILES), FILES)
    with moved(root):
        root.mkdir()  # the mount point, with nothing mounted
        with pytest.raises(StoreGone) as gone:
            backend.make_folder("/alice/f")
        assert not os.listdir(root), "nothing is written there"
    for part in (f"file://{root}", ".em/store.json", "mount", "run the same command again", f"em login file://{root}"):
        assert part in str(gone.value)


@pytest.mark.parametrize("instead", ["nothing", "an empty directory", "another store"])
def test_a_root_that_is_moved_while_uploads_go_on_hides_and_loses_nothing(tmp_path, instead) -> None:
    root = tmp_path / "store"
    backend = local(root)
    acknowledged = {"m": FILES}
    upload(backend, make_request(HOME, "m", FILES), FILES)
    request = make_request(HOME, "halfway", {"a": b"x" * 1000, **OTHER})
    begun = backend.begin(request)
    begun.put([(file, Body.of(b"x" * 1000)) for file in begun.missing if file.key == "a"])
    sent = threading.Event()
    refused: list[EMError] = []

    def send(worker: int) -> None:
        for number in range(200):
            name = f"n{worker}-{number}"
            try:
                upload(backend, make_request(HOME, name, OTHER), OTHER)
            except EMError as error:
                refused.append(error)
                return
            acknowledged[name] = OTHER
            sent.set()

    workers = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    assert sent.wait(60)
    with moved(root):
        if instead == "an empty directory":
            root.mkdir()
        elif instead == "another store":
            upload(local(root), make_request(HOME, "stranger", OTHER), OTHER)
        for worker in workers:
            worker.join()
        assert len(refused) == len(workers), "each was refused before it had sent all"
        with pytest.raises(EMError):
            finish(begun, OTHER)
        if instead == "nothing":
            assert not root.exists()
        if instead != "another store":
            with pytest.raises(StoreGone):
                backend.list(HOME)
    new = local(root)
    found = {node.name: read_node(new, node) for node in new.list(HOME)}
    assert acknowledged.items() <= found.items()
    assert all(found[name] == OTHER for name in found.keys() - acknowledged.keys()), "published, and not told so"
    node = upload(backend, request, {"a": b"x" * 1000, **OTHER})
    assert read_node(new, new.stat(node.path)) == {"a": b"x" * 1000, **OTHER}


def test_parts_are_not_taken_where_the_store_is_not(tmp_path) -> None:
    root = tmp_path / "store"
    backend = local(root)
    begun = backend.begin(make_request(HOME, "m", {"a": b"x" * 100}))
    (file,) = begun.missing
    begun.put_part(file, 0, Body.of(b"x" * 50))
    with moved(root):
        for empty in (False, True):
            if empty:
                root.mkdir()
            with pytest.raises(StoreGone):
                begun.put_part(file, 50, Body.of(b"x" * 50))
    begun.put_part(file, 50, Body.of(b"x" * 50))
    begun.join_parts(file)
    assert begun.commit() is not None


def test_a_mount_that_fails_between_the_check_and_the_record_is_not_acknowledged(tmp_path, monkeypatch) -> None:
    root = tmp_path / "store"
    backend = local(root)
    upload(backend, make_request(HOME, "m", FILES), FILES)
    begun = backend.begin(request := make_request(HOME, "n", OTHER))
    begun.put([(file, Body.of(OTHER[file.key])) for file in begun.missing])
    real = LocalStore.put
    done: list[str] = []

    def late(self, key, body, *, if_absent=False):
        if not done and "/h/n/" in key:
            done.append(key)
            root.rename(tmp_path / "elsewhere")
            root.mkdir()
            self._was_there = False
        return real(self, key, body, if_absent=if_absent)

    monkeypatch.setattr(LocalStore, "put", late)
    with pytest.raises(StoreGone):
        begun.commit()
    root.rename(tmp_path / "instead")
    (tmp_path / "elsewhere").rename(root)
    assert [node.name for node in backend.list(HOME)] == ["m"]
    upload(backend, request, OTHER)
    assert [node.name for node in backend.list(HOME)] == ["m", "n"]


# The root of a directory.


def test_the_first_write_makes_a_root_in_a_directory_that_is_there(tmp_path) -> None:
    upload(local(tmp_path / "store"), make_request(HOME, "m", FILES), FILES)
    assert (tmp_path / "store" / KEY).is_file()


def test_no_write_makes_the_directory_that_the_root_would_lie_in(tmp_path) -> None:
    root = tmp_path / "mount" / "store"
    backend = local(root)
    for write in (
        backend.open,
        backend.try_write,
        lambda: backend.make_folder("/alice/f"),
        lambda: backend.begin(make_request(HOME, "m", FILES)),
    ):
        with pytest.raises(StoreGone, match=f"{root.parent} is not there.*em login {root}"):
            write()
    assert not root.parent.exists()
    assert backend.init_store() == mark_of(LocalStore(root))["id"]
    upload(backend, make_request(HOME, "m", FILES), FILES)


def test_a_reader_who_has_seen_a_directory_does_not_take_its_loss_for_emptiness(tmp_path) -> None:
    root = tmp_path / "store"
    upload(local(root), make_request(HOME, "m", FILES), FILES)
    reader = local(root)
    assert [node.name for node in reader.list(HOME)] == ["m"]
    with moved(root):
        for look in (
            lambda: reader.list(HOME),
            lambda: reader.stat(f"{HOME}/m"),
            lambda: reader.versions(f"{HOME}/m"),
        ):
            with pytest.raises(StoreGone):
                look()
    assert [node.name for node in reader.list(HOME)] == ["m"]
