"""Folders within one another: how deep new ones may be, and old ones that are deeper."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

import pytest

from t9k.em.errors import Conflict, InvalidName, NotFound
from t9k.em.names import MAX_PATH_DEPTH, check_depth, check_path, parent_and_name
from t9k.em.records import Body
from t9k.em.testing.uploads import make_request, upload
from t9k.em.testing.wrappers import StoreWrapper
from t9k.em.transfer.mirroring.mirror import Side, run_mirror
from t9k.em.transfer.mirroring.nodes import Options
from t9k_em_backends.local import LocalBackend, LocalStore
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.heads import Head, encode_head, head_key, heads_prefix

FILES = {"a": b"a"}
TIME = "2026-01-01T00:00:00.000000Z"


class CountingStore(StoreWrapper):
    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.counts: Counter[str] = Counter()

    def around(self, what, call):
        """See the base class."""
        self.counts[what.split(" ", 1)[0]] += 1
        return super().around(what, call)


def tree(store) -> MemoryBackend:
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


def deep(depth: int) -> str:
    return "/alice" + "/d" * (depth - 1)


def make_deep(store, depth: int) -> None:
    """Folders as earlier versions made them, as deep as one liked."""
    path = deep(depth)
    while path != "/":
        folder, name = parent_and_name(path)
        head = Head(
            write_id=uuid4().hex, kind="Folder", state="ready", name=name, id=path[-9:], writer="alice", time=TIME
        )
        store.put(head_key(heads_prefix(folder, name), 1), Body.of(encode_head(head)))
        path = folder


def test_the_deepest_folder_holds_the_deepest_nodes() -> None:
    backend = tree(MemoryStore())
    assert check_depth("/") == "/"
    backend.make_folder(deep(MAX_PATH_DEPTH))
    node = upload(backend, make_request(deep(MAX_PATH_DEPTH - 1), "m", FILES), FILES)
    assert node.path.count("/") == MAX_PATH_DEPTH
    assert backend.stat(node.path) == node
    backend.delete("/alice/d", recursive=True)
    with pytest.raises(NotFound):
        backend.stat("/alice/d")


def test_nothing_is_made_deeper() -> None:
    store = MemoryStore()
    backend = tree(store)
    for make in (
        lambda: backend.make_folder(deep(MAX_PATH_DEPTH + 1)),
        lambda: backend.begin(make_request(deep(MAX_PATH_DEPTH), "m", FILES, make_folder=True)),
    ):
        with pytest.raises(InvalidName, match=f"has {MAX_PATH_DEPTH + 1} components, of at most {MAX_PATH_DEPTH}; use"):
            make()
    assert list(store.list("")) == []


@pytest.mark.long
@pytest.mark.parametrize(("kind", "depth"), [("memory", 960), ("local", 400)])
def test_folders_that_are_deeper_are_read_and_deleted(kind, depth, tmp_path) -> None:
    store = LocalStore(tmp_path) if kind == "local" else MemoryStore()
    make_deep(store, depth)
    backend = LocalBackend(store, "file:///x") if kind == "local" else tree(store)
    assert [node.path for node in backend.list(deep(depth - 1))] == [deep(depth)]
    with pytest.raises(Conflict, match="recursive=True"):
        backend.delete("/alice/d")
    backend.delete("/alice/d", recursive=True)
    assert backend.list("/alice") == []
    with pytest.raises(NotFound):
        backend.stat(deep(300))


def test_deleting_asks_the_store_as_often_as_there_are_folders() -> None:
    counts = []
    for depth in (50, 100):
        store = CountingStore(MemoryStore())
        make_deep(store.inner, depth)
        tree(store).delete("/alice/d", recursive=True)
        counts.append(store.counts)
    small, large = counts
    assert {what for what in large if large[what] > 2 * small[what] + 10} == set()


def test_what_somebody_else_deletes_meanwhile_is_no_matter() -> None:
    store = MemoryStore()
    backend, other = tree(store), tree(store)
    for name in ("a", "b"):
        backend.make_folder(f"/alice/d/{name}")

    class Racing(MemoryBackend):
        def stat(self, path):
            if path == "/alice/d/b":
                other.delete(path)
            return super().stat(path)

    Racing(store, "memory://test", sleep=lambda _: None).delete("/alice/d", recursive=True)
    assert backend.list("/alice") == []


def sides(source, target, depth) -> list[Side]:
    """Two stores under names that no other test has mirrored."""
    uris = [f"memory://deep-{name}-{depth}" for name in ("source", "target")]
    return [
        Side(backend=MemoryBackend(store, uri), uri=uri, path="/alice")
        for store, uri in zip((source, target), uris, strict=True)
    ]


def test_mirroring_asks_as_often_as_there_are_folders_and_tells_of_those_that_are_too_deep() -> None:
    counts = []
    for depth in (100, 200):
        source, target = CountingStore(MemoryStore()), CountingStore(MemoryStore())
        make_deep(source.inner, depth)
        here, there = sides(source, target, depth)
        report = run_mirror(here, there, Options(apply=True))
        problems = [entry.problem for entry in report.entries if entry.problem]
        assert len(problems) == depth - MAX_PATH_DEPTH
        assert all("at most 64; use fewer folders" in problem for problem in problems)
        counts.append(source.counts + target.counts)
    small, large = counts
    assert {what for what in large if large[what] > 2 * small[what] + 10} == set()


def test_a_path_that_is_right_is_written_into_no_message() -> None:
    class Told(str):
        """A text that says when it is repeated."""

        __slots__ = ()

        def __repr__(self) -> str:
            raise AssertionError("a message as long as the path for each of its components")

    assert check_path(Told(deep(960))) == deep(960)
