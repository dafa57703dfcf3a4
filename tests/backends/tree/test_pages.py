"""Listings page by page: whole together, each as cheap as what it shows, and nothing quadratic."""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import chain, groupby
from uuid import uuid4

import pytest

from t9k.em.backend import ListsInOrder, ListsPages
from t9k.em.errors import Diverged, InvalidInput, NotFound
from t9k.em.names import new_op
from t9k.em.records import Body, Node
from t9k.em.testing.uploads import make_request, upload
from t9k.em.testing.wrappers import StoreWrapper
from t9k_em_backends.local import LocalBackend, LocalStore
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree import index, listing
from t9k_em_backends.tree.heads import Head, encode_head, head_key, heads_prefix
from t9k_em_backends.tree.history import KnownNames
from t9k_em_backends.tree.known import KnownRows
from t9k_em_backends.tree.listing import Children
from t9k_em_backends.tree.upload import MOST_LOOKED

FOLDER = "/alice/default"


class CountingStore(StoreWrapper):
    """Counts the calls, and how many objects a listing gave; lists from a key on where that is wanted.

    Args:
        inner: The store.
        in_order: Whether it lists from a key on.
    """

    def __init__(self, inner, *, in_order=True) -> None:
        super().__init__(inner)
        self.counts: Counter[str] = Counter()
        if in_order:
            self.list_after = self._list_after
        else:
            del self.list_after

    def around(self, what, call):
        self.counts[what.split(" ", 1)[0]] += 1
        return super().around(what, call)

    def _list_after(self, prefix, after):
        for info in self.inner.list_after(prefix, after):
            self.counts["listed"] += 1
            yield info


def fill(store, names, *, generations=1, **fields) -> None:
    """Put records of nodes, without what an upload does besides."""
    for name in names:
        for generation in range(1, generations + 1):
            head = Head(
                write_id=uuid4().hex,
                **{
                    "kind": "Run",
                    "state": "ready",
                    "name": name,
                    "id": name,
                    "writer": "alice",
                    "time": "2026-01-01T00:00:00.000000Z",
                    **fields,
                },
            )
            key = head_key(heads_prefix(FOLDER, name), generation)
            store.put(key, Body.of(encode_head(head)))


def fill_generation(store, name, number, **fields) -> None:
    """Put one record of a node."""
    head = Head(
        write_id=uuid4().hex,
        kind="Run",
        state="ready",
        name=name,
        id=name,
        writer="alice",
        time="2026-01-01T00:00:00.000000Z",
        **fields,
    )
    store.put(head_key(heads_prefix(FOLDER, name), number), Body.of(encode_head(head)))


def tree(store) -> MemoryBackend:
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


def walk(backend, limit, after="") -> list[list[str]]:
    pages = []
    while True:
        nodes, after = backend.list_page(FOLDER, limit, after)
        pages.append([node.name for node in nodes])
        if not after:
            return pages


NAMES = ["b", "B-x", "a", "a b", "a-b", "ab", "a.b", "a%b", "Größe", "x" * 250, "x" * 251, "z"]


@pytest.mark.parametrize("limit", [1, 2, 5, 12, 1000])
@pytest.mark.parametrize("kind", ["memory", "local", "unordered"])
def test_pages_hold_every_node_once_in_an_order_that_stays(kind, limit, tmp_path) -> None:
    store = LocalStore(tmp_path) if kind == "local" else CountingStore(MemoryStore(), in_order=kind == "memory")
    assert isinstance(store, ListsInOrder) == (kind != "unordered")
    fill(store, NAMES, generations=2)
    backend = LocalBackend(store, "file:///x") if kind == "local" else tree(store)
    assert isinstance(backend, ListsPages)
    pages = walk(backend, limit)
    assert sorted([*chain(*pages)]) == sorted(NAMES)
    assert all(len(page) == limit for page in pages[:-1])
    assert [*chain(*walk(backend, 3))] == [*chain(*pages)]
    assert [node.name for node in backend.list(FOLDER)] == sorted(NAMES)
    assert {node.generation for node in backend.list_page(FOLDER, 1000)[0]} == {2}


def test_what_is_published_meanwhile_does_not_shift_the_pages() -> None:
    backend = tree(store := MemoryStore())
    fill(store, ["a", "c", "e"])
    first, after = backend.list_page(FOLDER, 1)
    fill(store, ["b", "A0"])
    backend.delete(f"{FOLDER}/a")
    rest = walk(backend, 2, after)
    assert [node.name for node in first] == ["a"]
    assert rest == [["A0", "b"], ["c", "e"]]


def test_a_page_passes_over_so_many_deleted_nodes_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(listing, "MOST_HIDDEN", 5)
    store = CountingStore(MemoryStore())
    backend = tree(store)
    fill(store, [f"d{number:02d}" for number in range(20)], kind="Run", state="deleted")
    fill(store, ["z"])
    nodes, after = backend.list_page(FOLDER, 1)
    assert (nodes, after) == ([], "d05")
    assert [*chain(*walk(backend, 1))] == ["z"]


def test_a_damaged_record_is_left_out_of_a_page(caplog) -> None:
    backend = tree(store := MemoryStore())
    fill(store, ["a", "b", "c"])
    store.put(head_key(heads_prefix(FOLDER, "b"), 1), Body.of(b"{"))
    assert [*chain(*walk(backend, 2))] == ["a", "c"]
    assert "left out of the listing" in caplog.text


@pytest.mark.parametrize("after", ["a/b", "../x", "A", "%zz", "\ud800", "a\0"])
def test_what_no_page_gave_is_no_place_to_begin(after) -> None:
    backend = tree(MemoryStore())
    with pytest.raises(InvalidInput, match="the page before"):
        backend.list_page(FOLDER, 1, after)


def test_a_folder_that_is_not_there_has_no_pages() -> None:
    with pytest.raises(NotFound):
        tree(MemoryStore()).list_page("/bob/f", 1)


def test_a_walk_through_pages_reads_each_record_once_and_writes_the_cache_once() -> None:
    counts = []
    for number in (100, 200):
        inner = MemoryStore()
        fill(inner, [f"n{at:04d}" for at in range(number)])
        store = CountingStore(inner)
        cold = tree(store)
        assert sum(map(len, walk(cold, 20))) == number
        assert store.counts["put"] == 1
        counts.append(Counter(store.counts))
        store.counts.clear()
        assert sum(map(len, walk(cold, 20))) == number
        assert store.counts["get"] == 0, "what was read is remembered"
        store.counts.clear()
        assert sum(map(len, walk(tree(store), 20))) == number
        assert store.counts["get"] == 1, "another process finds it in the cache"
    small, large = counts
    assert large["listed"] <= 2 * small["listed"] + 10
    assert large["get"] <= 2 * small["get"] + 10
    assert large["list"] <= 2 * small["list"] + 10


def test_a_page_lists_what_it_shows_however_many_nodes_there_are() -> None:
    found = []
    for number in (100, 200):
        inner = MemoryStore()
        fill(inner, [f"n{at:04d}" for at in range(number)])
        store = CountingStore(inner)
        backend = tree(store)
        backend.list(FOLDER)
        store.counts.clear()
        backend.list_page(FOLDER, 1, "n0050")
        found.append((store.counts["listed"], store.counts["get"]))
    assert found[0] == found[1] == (3, 0)


def count_calls(name, work) -> int:
    """How often a function of this name is called by `work`."""
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls.count(name)


@pytest.mark.parametrize("number", [500, 1000])
def test_a_row_costs_as_many_steps_as_its_metadata_has_fields(number) -> None:
    fields = {f"key{at}": "x" * (at % 7) for at in range(number)}
    head = Head(write_id="", kind="Run", state="ready", name="n", id="", writer="", time="", metadata=fields)
    assert count_calls("dump_json", lambda: index.to_row(1, head)) <= 2 * number + 1
    size = len(json.dumps(index.to_row(1, head)["metadata"], separators=(",", ":")))
    assert size <= index.LARGEST_METADATA_BYTES < size + 20


def test_metadata_lose_their_largest_fields_until_they_fit() -> None:
    def kept(**metadata):
        head = Head(write_id="", kind="Run", state="ready", name="n", id="", writer="", time="", metadata=metadata)
        return index.to_row(1, head)["metadata"]

    most = index.LARGEST_METADATA_BYTES
    whole = "x" * (most - len('{"a":""}'))
    assert kept(a=whole) == {"a": whole}
    assert kept(a=whole + "x") == {}
    assert kept(a="small", b=whole, c=1) == {"a": "small", "c": 1}
    assert kept(a="x" * (most // 2), b="x" * (most // 2)) == {"b": "x" * (most // 2)}
    assert kept() == {}


# Generations.


def test_versions_come_page_by_page() -> None:
    backend = tree(store := CountingStore(MemoryStore()))
    fill(store, ["m"], generations=7)
    whole = backend.versions(f"{FOLDER}/m")
    assert [node.generation for node in whole] == [7, 6, 5, 4, 3, 2, 1]
    found: list[Node] = []
    before = 0
    for expected in (3, 3, 1):
        store.counts.clear()
        nodes, before = backend.versions_page(f"{FOLDER}/m", 3, before)
        assert (len(nodes), store.counts["get"]) == (expected, expected)
        found += nodes
    assert (found, before) == (whole, 0)


def test_versions_of_a_name_that_was_never_used_are_not_found_on_the_first_page_only() -> None:
    backend = tree(store := MemoryStore())
    fill(store, ["m"], generations=3)
    for path in (f"{FOLDER}/other", f"{FOLDER}/M", "/"):
        with pytest.raises(NotFound, match="never"):
            backend.versions_page(path, 2)
    assert backend.versions_page(f"{FOLDER}/M", 2, 3) == ([], 0)


# What is remembered.


def remember(known, folder, *rows):
    here = known.folder(folder)
    for name, generation in rows:
        known.add(folder, here, f"{name}/{generation:08d}/9-etag", {"g": generation})
    return here


def test_rows_are_remembered_as_far_as_there_is_room() -> None:
    known = KnownRows(3000)
    rows = [(f"n{at}", 1) for at in range(50)]
    one = remember(known, "/one", *rows)
    assert one.is_cut
    assert 5 < len(one.by_key()) < 10
    two = remember(known, "/two", *rows[:3])
    assert (len(two.by_key()), two.is_cut) == (3, False)
    assert known.folder("/one") is not one, "what was listed the longest time ago is forgotten first"
    known.add("/one", one, "x/00000001/9-etag", {})
    assert one.is_cut, "a listing that is still in progress with it does no harm"


def test_only_the_newest_row_of_a_name_is_remembered() -> None:
    known = KnownRows()
    folder = remember(known, "/f", ("n", 2), ("n", 1), ("n", 2))
    assert folder.by_key() == {"n/00000002/9-etag": {"g": 2}}
    assert folder.row("n", "n/00000001/9-etag") is None
    assert folder.row("n", "n/00000002/9-another") is None, "another object with the same name"
    assert remember(known, "/f", ("n", 3)).row("n", "n/00000003/9-etag") == {"g": 3}


def test_a_folder_too_large_to_be_remembered_is_listed_all_the_same() -> None:
    store = CountingStore(MemoryStore())
    fill(store, [f"n{at:03d}" for at in range(60)])
    here = Children(store=store, folder=FOLDER, sleep=lambda _: None, known=KnownRows(5000), damaged={})
    for _ in range(2):
        assert len(here.whole()) == 60
    store.counts.clear()
    assert len(here.page("", 30)[0]) == 30
    assert store.counts["get"] <= 30, "the cache is not read for each page"
    assert len(here.page("n030", 60)[0]) == 29
    assert store.counts["put"] == 0, "the cache is not written with a part of the rows"


# Uploads to a name with many generations.


def test_an_upload_reads_the_generations_that_were_published_since_the_last_one_and_lists_no_others() -> None:
    counts = []
    for number in (50, 100):
        inner = MemoryStore()
        backend = tree(store := CountingStore(inner))
        for at in range(number):
            content = {"a": b"%d" % at}
            request = make_request(FOLDER, "m", content, id="m", alternative_name="m_1", resumed=True)
            assert upload(backend, request, content).generation == at + 1
        counts.append(store.counts)
    small, large = counts
    assert {what for what in large if large[what] > 2 * small[what] + 10} == set()


def test_an_upload_that_was_published_is_found_whatever_is_remembered() -> None:
    store = MemoryStore()
    backend, other = tree(store), tree(store)
    fill(store, ["m"], generations=2)
    ops = [new_op() for _ in range(7)]
    for number, op in enumerate(ops, 3):
        fill_generation(store, "m", number, op=op)
    generations = backend.tree.generations(FOLDER, "m")

    def found(op, seen=0, of=generations):
        record = of.published_by(op, *of.newest(), seen)
        return record and record[0]

    assert found(ops[6]) == 9
    assert found(ops[3], 4) == 6
    assert found(ops[0], 4) is None, "it looks no further than it has to"
    assert found(ops[0]) == 3
    assert found(new_op()) is None
    assert [found(op) for op in ops] == [3, 4, 5, 6, 7, 8, 9]
    later = new_op()
    fill_generation(store, "m", 10, op=None)
    fill_generation(store, "m", 11, op=later)
    assert found(new_op(), 10) is None
    assert [found(later), found(ops[2]), found(ops[2], of=other.tree.generations(FOLDER, "m"))] == [11, 5, 5]
    assert found(new_op(), 20, of=tree(store).tree.generations(FOLDER, "m")) is None


def test_a_generation_that_could_not_be_read_is_looked_at_again() -> None:
    backend = tree(store := MemoryStore())
    fill(store, ["m"], generations=5)
    op = new_op()
    key = head_key(heads_prefix(FOLDER, "m"), 3)
    store.put(key, Body.of(b"damaged"))
    generations = backend.tree.generations(FOLDER, "m")
    assert generations.published_by(op, *generations.newest(), 0) is None
    fill_generation(store, "m", 3, op=op)
    found = generations.published_by(op, *generations.newest(), 0)
    assert found is not None
    assert found[0] == 3


def test_what_is_remembered_of_a_store_that_was_replaced_is_forgotten() -> None:
    backend = tree(store := MemoryStore())
    op, other = new_op(), new_op()
    fill(store, ["m"], generations=5)
    fill_generation(store, "m", 5, op=op)
    generations = backend.tree.generations(FOLDER, "m")
    assert generations.published_by(other, *generations.newest(), 0) is None
    for number in (3, 4, 5):
        store.delete([head_key(heads_prefix(FOLDER, "m"), number)])
    assert generations.newest_listed() == 2
    assert generations.published_by(op, *generations.newest(), 0) is None
    fill_generation(store, "m", 2, op=other)
    found = generations.published_by(other, *generations.newest(), 0)
    assert found is not None
    assert found[0] == 2
    store.delete([head_key(heads_prefix(FOLDER, "m"), number) for number in (1, 2)])
    assert generations.newest() == (0, None)


def test_names_are_remembered_as_far_as_there_is_room() -> None:
    names = KnownNames(100)
    first = names.of("a/")
    for number in range(50):
        first.note(number, new_op(), is_read=True)
    assert names.of("a/") is first
    second = names.of("b/")
    for number in range(50):
        second.note(number, None, is_read=False)
    assert names.of("b/") is second
    assert names.of("a/") is not first, "what was used the longest time ago is forgotten first"
    assert names.of("b/") is second


@pytest.mark.parametrize("in_order", [True, False])
def test_the_newest_generation_counts_in_whatever_order_a_store_lists_those_of_a_name(in_order) -> None:
    class Backwards(CountingStore):
        def list(self, prefix):
            return iter([*super().list(prefix)][::-1])

        def _list_after(self, prefix, after):
            names = groupby(super()._list_after(prefix, after), key=lambda info: info.key.split("/")[-2])
            return (info for _, infos in names for info in [*infos][::-1])

    store = Backwards(MemoryStore(), in_order=in_order)
    fill(store, ["a", "b"], generations=3)
    assert [(node.name, node.generation) for node in tree(store).list(FOLDER)] == [("a", 3), ("b", 3)]


def test_a_conflict_looks_through_some_versions_for_the_one_that_a_copy_comes_from() -> None:
    backend = tree(store := MemoryStore())
    op = new_op()
    fill_generation(store, "m", 1, op=op)
    for number in range(2, MOST_LOOKED + 3):
        fill_generation(store, "m", number, op=new_op())
    for ancestor, told in ((op, f"none of its last {MOST_LOOKED} versions"), (new_op(), "none of its last")):
        request = make_request(FOLDER, "m", {"a": b"new"}, id="m", ancestors=[ancestor])
        with pytest.raises(Diverged, match=told):
            backend.begin(request)
