"""What the tree does of its own, beyond what any backend promises."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from attrs import evolve

from t9k.em.errors import BackendPermissionError, Conflict, CorruptData, InvalidInput, InvalidName, NotFound
from t9k.em.records import Body, Node, Outcome
from t9k.em.testing.faults import Faults, FaultyStore, SimulatedCrash
from t9k.em.testing.uploads import finish, make_request, read_node, upload
from t9k.em.testing.wrappers import ReadOnlyStore, StoreWrapper
from t9k.em.uris import parse
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree import heads as heads_module
from t9k_em_backends.tree.collect import Collector
from t9k_em_backends.tree.listing import REWRITE_AT

HOME = "/alice/default"

FILES = {"a": b"a", "b/c": b"bb"}
OTHER = {"other": b"other"}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def backend(store):
    return tree(store)


def tree(store) -> MemoryBackend:
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


# Opening.


def test_a_uri_opens_a_tree_and_keeps_the_trees_own_option_from_the_store() -> None:
    opened = MemoryBackend.from_uri(parse("memory://opened/here?unsafe_single_writer=true#folder"))
    again = MemoryBackend.from_uri(parse("memory://opened/here"))
    assert opened.uri == again.uri == "memory://opened/here"
    node = upload(opened, make_request("/alice", "m", FILES), FILES)
    assert again.stat("/alice/m") == node


def test_the_user_is_the_one_of_the_environment_or_of_the_system(backend, monkeypatch) -> None:
    assert backend.whoami() == "alice"
    monkeypatch.setenv("EM_USER", "")
    monkeypatch.setenv("LOGNAME", "bob")
    assert backend.whoami() == "bob"
    monkeypatch.setenv("EM_USER", "no/name")
    with pytest.raises(InvalidName, match="EM_USER"):
        backend.whoami()


def test_users_share_what_is_known_of_the_store_whatever_the_constructor_takes(store) -> None:
    class Special(MemoryBackend):
        def __init__(self, *, secret: str) -> None:
            super().__init__(store, "memory://test")
            self.secret = secret

    faults = Faults()
    first = Special(secret="x")
    first.store = FaultyStore(store, faults)
    for user in ("bob", "carol"):
        seen = first.for_user(user)
        assert (seen.secret, seen.store, type(seen)) == ("x", first.store, Special)
        seen.make_folder(f"/{user}/f")
    first.make_folder("/alice/f")
    assert sum(call.startswith("put .em/probe/") for call in faults.calls) == 2, "a probe is two puts"


def test_the_time_of_a_generation_is_the_writers(store) -> None:
    backend = MemoryBackend(store, "memory://test", clock=lambda: datetime(2020, 1, 2, tzinfo=timezone.utc))
    assert upload(backend, make_request("/alice", "m", {}), {}).modified == "2020-01-02T00:00:00.000000Z"


def test_files_lie_where_any_tool_finds_them(backend, store) -> None:
    request = make_request("/alice/f", "Größe", FILES)
    upload(backend, request, FILES)
    assert b"".join(store.get(f"alice/f/Größe/{request.op}/b/c")) == b"bb"
    head = json.loads(b"".join(store.get("alice/f/.em/h/gr%C3%B6sse/00000001.json")))
    assert (head["name"], head["op"], [file["key"] for file in head["files"]]) == ("Größe", request.op, ["a", "b/c"])


# Who may only read.


def test_a_reader_without_permission_to_write_reads_everything(backend, store) -> None:
    nodes = [upload(backend, make_request("/alice/f", f"n{n:02d}", FILES), FILES) for n in range(REWRITE_AT + 1)]
    reader = tree(ReadOnlyStore(store))
    assert list(reader.list("/alice/f")) == nodes, "although the listing cache cannot be written"
    assert read_node(reader, reader.stat(nodes[0].path)) == FILES
    backend.delete(nodes[0].path)
    assert reader.collect(grace_s=-60.0).size == 3
    for write in (
        lambda: reader.make_folder("/alice/g"),
        lambda: reader.begin(make_request("/alice/f", "x", FILES)),
        lambda: reader.delete(nodes[1].path),
        lambda: reader.collect(grace_s=-60.0, apply=True),
    ):
        with pytest.raises(BackendPermissionError):
            write()
    reader.tree.probe.done = True
    with pytest.raises(BackendPermissionError):
        reader.collect(grace_s=-60.0, apply=True)


# Reading what is gone.


def test_a_node_that_never_was_has_no_files(backend) -> None:
    node = upload(backend, make_request("/alice", "m", FILES), FILES)
    with pytest.raises(NotFound, match="@7"):
        backend.files(evolve(node, generation=7, handle=None))


def test_a_collected_version_says_so(backend) -> None:
    for contents in (FILES, OTHER):
        upload(backend, make_request("/alice", "m", contents, strategy="replace"), contents)
    backend.collect("/alice", grace_s=-60.0, apply=True)
    with pytest.raises(NotFound, match="was collected"):
        backend.stat("/alice/m@1")
    with pytest.raises(NotFound, match="differs"):
        backend.stat("/alice/M")


def test_what_always_exists_cannot_be_deleted(backend) -> None:
    for path in ("/", "/alice"):
        with pytest.raises(InvalidInput, match="always exists"):
            backend.delete(path, recursive=True)


def test_a_default_folder_that_was_deleted_is_empty_and_there(backend) -> None:
    upload(backend, make_request("/alice/default", "m", FILES), FILES)
    backend.delete("/alice/default", recursive=True)
    backend.delete("/alice/default")
    assert list(backend.list("/alice/default")) == []


def test_nothing_is_collected_while_a_head_cannot_be_read(backend, store) -> None:
    for contents in (FILES, OTHER):
        upload(backend, make_request("/alice", "m", contents, strategy="replace"), contents)
    before = sorted(info.key for info in store.list(""))

    class Hiding(StoreWrapper):
        def get(self, key, start=0, end=None):
            if key.endswith("00000002.json"):
                raise NotFound(key)
            return super().get(key, start, end)

    assert tree(Hiding(store)).collect(grace_s=-60.0, apply=True).objects == ()
    assert sorted(info.key for info in store.list("")) == before


# Uploads in company.


def test_of_a_folder_closed_by_a_deleter_that_died_nothing_is_lost(backend, store) -> None:
    node = upload(backend, make_request("/alice/f", "m", FILES), FILES)
    backend.delete(node.path)
    faults = Faults()
    before = len([*store.list("alice/.em/h/f/")])
    dying = tree(FaultyStore(store, faults))
    dying.tree.probe.done = True
    number = _number_of(lambda tree_: tree_.delete("/alice/f"), store, "put alice/.em/h/f/")
    faults._faults[number] = "crash-after"
    with pytest.raises(SimulatedCrash):
        dying.delete("/alice/f")
    assert len([*store.list("alice/.em/h/f/")]) == before + 1
    assert backend.stat("/alice/f").id
    assert list(backend.list("/alice/f")) == []
    again = upload(backend, make_request("/alice/f", "m", FILES, make_folder=False), FILES)
    assert list(backend.list("/alice/f")) == [again]


def _number_of(act, store, what: str) -> int:
    """The number of the first call of that kind, tried on a copy."""
    copy, faults = MemoryStore(), Faults()
    for info in store.list(""):
        copy.put(info.key, Body.of(b"".join(store.get(info.key))))
    trial = tree(FaultyStore(copy, faults))
    trial.tree.probe.done = True
    act(trial)
    return next(number for number, call in enumerate(faults.calls, 1) if call.startswith(what))


def test_a_list_of_files_that_is_replaced_and_collected_while_it_is_read(backend, store, monkeypatch) -> None:
    monkeypatch.setattr(heads_module, "FILES_IN_HEAD_BYTES", 1)
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)

    class Overtaken(StoreWrapper):
        armed = True

        def around(self, what, call):
            if self.armed and what.startswith("get alice/m/") and "/.em/manifest-" in what:
                self.armed = False
                upload(backend, make_request("/alice", "m", OTHER, strategy="replace"), OTHER)
                backend.collect("/alice", grace_s=-60.0, apply=True)
            return super().around(what, call)

    contents = {**FILES, "more": b"more"}
    begun = tree(Overtaken(store)).begin(make_request("/alice", "m", contents, id="mine", strategy="replace"))
    assert len(begun.missing) == 3, "nothing to refer to"
    assert finish(begun, contents).outcome is Outcome.PUBLISHED
    assert read_node(backend, backend.stat("/alice/m")) == contents


def test_a_store_that_does_not_keep_a_file_is_told_so(store) -> None:
    class Forgetting(StoreWrapper):
        def list(self, prefix):
            return (info for info in super().list(prefix) if not info.key.endswith("/b/c"))

    begun = tree(Forgetting(store)).begin(make_request("/alice", "m", FILES))
    with pytest.raises(CorruptData, match="does not keep"):
        finish(begun, FILES)


def test_a_run_in_the_place_of_its_deleted_folder(backend) -> None:
    begun = backend.begin(make_request("/alice/f", "m", FILES))
    backend.delete("/alice/f")
    upload(backend, make_request("/alice", "f", OTHER), OTHER)
    with pytest.raises(Conflict, match="is a Run"):
        finish(begun, FILES)


@pytest.mark.parametrize(
    "path", ["relative", "/alice/../x", "/alice//x", "/alice/x@1", "/alice/a\\b", "/alice/.em", ""]
)
def test_a_path_that_cannot_be_one_is_refused_before_anything_is_written(backend, store, path: str) -> None:
    for call in (backend.make_folder, backend.list, backend.versions, backend.delete):
        with pytest.raises(InvalidName):
            call(path)
    with pytest.raises(InvalidName):
        backend.begin(make_request(path, "m", FILES))
    if not path.endswith("@1"):
        with pytest.raises(InvalidName):
            backend.stat(path)
    assert not list(store.list(""))


def test_the_root_has_no_versions(backend) -> None:
    with pytest.raises(NotFound):
        backend.versions("/")


def test_a_name_that_only_the_collector_knows_was_never_used(backend, store) -> None:
    abandoned = backend.begin(make_request("/alice", "m", FILES))
    abandoned.put([(file, Body.of(FILES[file.key])) for file in abandoned.missing])
    assert backend.collect(grace_s=-60.0, apply=True).objects
    with pytest.raises(NotFound):
        backend.versions("/alice/m")


def test_a_collector_that_a_writer_outruns_looks_again(monkeypatch):
    tree = MemoryBackend(MemoryStore(), "memory://outrun")
    request = make_request(HOME, "m", {"a": b"1"})
    upload(tree, request, {"a": b"1"})
    broken = make_request(HOME, "m", {"x": b"x"}, id=request.draft.id)
    tree.begin(broken).put([(broken.files[0], Body.of(b"x"))])
    fence = Collector._fence
    outrun: list[Node] = []

    def late(self, *args):
        if not outrun:
            contents = {"a": b"1", "b": b"2"}
            outrun.append(upload(tree, make_request(HOME, "m", contents, id=request.draft.id), contents))
        return fence(self, *args)

    monkeypatch.setattr(Collector, "_fence", late)
    garbage = tree.collect(grace_s=-60, apply=True)
    assert [info.key.rpartition("/")[2] for info in garbage.objects] == ["x"]
    assert read_node(tree, tree.stat(f"{HOME}/m")) == {"a": b"1", "b": b"2"}


def test_on_a_store_that_cannot_copy_what_was_sent_is_sent_again_under_the_alternative_name():
    class CannotCopy(MemoryStore):
        copy = None  # type: ignore[assignment]  # which takes the ability away

    tree = MemoryBackend(CannotCopy(), "memory://no-copy")
    request = make_request(HOME, "m", {"a": b"mine"}, strategy="new")
    begun = tree.begin(request)
    begun.put([(request.files[0], Body.of(b"mine"))])
    upload(tree, make_request(HOME, "m", {"a": b"other"}), {"a": b"other"})
    assert begun.commit() is None
    assert list(begun.missing) == list(request.files)
    node = finish(begun, {"a": b"mine"}).node
    assert node is not None
    assert node.path == f"{HOME}/{request.draft.alternative_name}"
    assert read_node(tree, node) == {"a": b"mine"}
