"""What `t9k.em.backend.ObjectStore` promises, as tests."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

import gc
import hashlib
import io
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from t9k.em.backend import CopiesObjects, FillsBuffers, ListsInOrder, ObjectStore, SweepsTemporary
from t9k.em.errors import AlreadyExists, NotFound, SourceChanged
from t9k.em.records import Body, ObjectInfo

ODD_KEYS = [
    "plain",
    "deep/er/and/deeper",
    "#hash",
    "a%2Fb",
    "a?x",
    "a?x=1&y=2",
    "with space",
    "a+b",
    "a*b",
    "[x]",
    "a[1-3]{b}",
    "~tilde",
    "ab::c",
    "a;b,c=d@e!f$g",
    "quote'd",
    "-dash",
    "Größe",
    "\u00e9-NFC",
    "e\u0301-NFD",
    "\N{SNOWMAN}/\N{PILE OF POO}",
    ".hidden",
    ".em/h/name/00000001.json",
    "k" * 255,
    "/".join(["x" * 200] * 5),
]
"""Keys that are legal and that something somewhere takes for something else."""

THREADS = 8
LARGEST_CHUNK_BYTES = 16 << 20


class StoreFixtures:
    """What the suites of a store have in common."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Provide an empty store; override this."""
        raise NotImplementedError("override the fixture `store`")

    @pytest.fixture
    def new_store(self, store: ObjectStore) -> Callable[[], ObjectStore]:
        """Make another client of the place that `store` uses; override it where clients have a state of their own."""
        return lambda: store


class ObjectStoreSuite(StoreFixtures):
    """Conformance tests of an object store; a subclass overrides the fixture `store`, and `new_store` if it can."""

    def test_what_was_put_is_got(self, store: ObjectStore) -> None:
        put(store, "a/b", b"bytes")
        assert get(store, "a/b") == b"bytes"

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_make_an_exact_round_trip(self, store: ObjectStore, key: str) -> None:
        put(store, "other", b"other")
        put(store, key, key.encode())
        assert get(store, key) == key.encode()
        assert sorted(keys(store)) == sorted(["other", key])
        with pytest.raises(AlreadyExists):
            put(store, key, b"second", if_absent=True)
        store.delete([key])
        assert keys(store) == ["other"]
        with pytest.raises(NotFound):
            store.get(key)

    def test_all_odd_keys_live_beside_each_other(self, store: ObjectStore) -> None:
        contents = {f"odd/{number}/{key}": key.encode() for number, key in enumerate(ODD_KEYS)}
        store.put_many([(key, Body.of(data)) for key, data in contents.items()])
        for key, data in contents.items():
            assert get(store, key) == data
        assert len(keys(store, "odd/")) == len(ODD_KEYS)

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, None), (0, 10), (0, 4), (3, 7), (3, None), (0, 99), (9, 10), (4, 4), (10, None), (10, 20), (99, 100)],
    )
    def test_a_range_includes_its_start_and_excludes_its_end(
        self, store: ObjectStore, start: int, end: int | None
    ) -> None:
        put(store, "a", b"0123456789")
        assert b"".join(store.get("a", start, end)) == b"0123456789"[start:end]

    def test_a_missing_object_raises_before_the_first_chunk(self, store: ObjectStore) -> None:
        put(store, "a/b", b"x")
        for key in ("missing", "a/missing", "a", "a/b/c", "missing/deep"):
            with pytest.raises(NotFound):
                store.get(key)
            with pytest.raises(NotFound):
                store.get(key, 0, 1)

    def test_an_empty_object_is_an_object(self, store: ObjectStore) -> None:
        info = put(store, "empty", b"")
        assert info.size == 0
        assert get(store, "empty") == b""
        assert b"".join(store.get("empty", 0, 100)) == b""
        assert keys(store) == ["empty"]
        with pytest.raises(AlreadyExists):
            put(store, "empty", b"x", if_absent=True)

    def test_large_objects_come_in_chunks(self, store: ObjectStore) -> None:
        data = bytes(range(256)) * (5 << 12) + b"odd end"
        put(store, "large", data)
        chunks = [*store.get("large")]
        assert b"".join(chunks) == data
        assert all(0 < len(chunk) <= LARGEST_CHUNK_BYTES for chunk in chunks)
        assert b"".join(store.get("large", 1 << 20, (3 << 20) + 5)) == data[1 << 20 : (3 << 20) + 5]

    def test_put_replaces_the_whole_object(self, store: ObjectStore) -> None:
        put(store, "a", b"a long first version")
        put(store, "a", b"short")
        assert get(store, "a") == b"short"
        assert keys(store) == ["a"]

    def test_put_and_list_tell_the_same(self, store: ObjectStore) -> None:
        told = put(store, "a/b", b"bytes")
        (listed,) = store.list("")
        assert (told.key, told.size) == (listed.key, listed.size) == ("a/b", 5)
        assert told.modified > 0
        assert abs(told.modified - listed.modified) < 2, "both by the store's clock, to the second"
        sha256 = hashlib.sha256(b"bytes").hexdigest()
        assert told.sha256 in ("", sha256)
        assert listed.sha256 in ("", sha256)

    def test_put_if_absent_keeps_what_is_there(self, store: ObjectStore) -> None:
        put(store, "a", b"first", if_absent=True)
        for data in (b"second", b"first"):
            with pytest.raises(AlreadyExists):
                put(store, "a", data, if_absent=True)
        assert get(store, "a") == b"first"
        store.delete(["a"])
        put(store, "a", b"third", if_absent=True)
        assert get(store, "a") == b"third"

    @pytest.mark.parametrize("if_absent", [False, True])
    @pytest.mark.parametrize(
        "changes",
        [{"size": 4}, {"size": 6}, {"sha256": "0" * 64}, {"open": io.BytesIO}],
        ids=["longer", "shorter", "other", "gone"],
    )
    def test_bytes_that_are_not_the_announced_ones_are_not_stored(
        self, store: ObjectStore, changes: dict[str, Any], if_absent: bool
    ) -> None:
        body = evolve(Body.of(b"bytes"), **changes)
        with pytest.raises(SourceChanged):
            store.put("a", body, if_absent=if_absent)
        assert keys(store) == []
        put(store, "a", b"before")
        with pytest.raises(SourceChanged):
            store.put("a", body)
        with pytest.raises(SourceChanged):
            store.put_many([("b", Body.of(b"b")), ("a", body)])
        assert get(store, "a") == b"before"
        put(store, "new", b"the store works on", if_absent=True)

    def test_a_file_is_put_from_its_path_as_from_its_bytes(self, store: ObjectStore, tmp_path: Path) -> None:
        path = tmp_path / "source"
        data = b"0123456789" * 200_000
        path.write_bytes(data)
        body = evolve(Body.of(data), open=lambda: path.open("rb"), path=path)
        store.put("a", body)
        store.put_many([("b", body), ("c", body)])
        assert get(store, "a") == get(store, "b") == get(store, "c") == data
        path.write_bytes(data[::-1])
        assert get(store, "a") == data, "the object is no link to its source"
        with pytest.raises(SourceChanged):
            store.put("d", body)
        with pytest.raises(SourceChanged):
            store.put_many([("d", body)])
        assert sorted(keys(store)) == ["a", "b", "c"]

    def test_put_many_answers_in_the_order_of_its_items(self, store: ObjectStore) -> None:
        contents = {f"many/{number:02d}/{number}": b"x" * number for number in range(20, 0, -1)}
        put(store, "many/05/5", b"before")
        infos = store.put_many([(key, Body.of(data)) for key, data in contents.items()])
        assert [(info.key, info.size) for info in infos] == [(key, len(data)) for key, data in contents.items()]
        assert {key: get(store, key) for key in keys(store)} == contents
        assert list(store.put_many([])) == []

    def test_delete_takes_several_keys_and_those_that_are_not_there(self, store: ObjectStore) -> None:
        for key in ("a", "b/c", "b/d", "e"):
            put(store, key, b"x")
        store.delete(iter(["a", "b/c", "missing", "a/below", "missing/deep"]))
        assert sorted(keys(store)) == ["b/d", "e"]
        store.delete(["a", "b/c"])
        store.delete([])
        store.delete(["b/d", "e"])
        assert keys(store) == []

    def test_no_key_is_a_pattern(self, store: ObjectStore) -> None:
        neighbours = ["ab", "a1", "x", "a", "b/c", "b/d"]
        for key in neighbours:
            put(store, key, b"x")
        store.delete(["a*", "a?", "[ab]", "[a-z]", "*", "b/*", "**", "A", "%61", "~"])
        assert sorted(keys(store)) == sorted(neighbours)
        assert keys(store, "*/") == keys(store, "[b]/") == keys(store, "?/") == []

    def test_a_change_has_a_later_time_or_the_same(self, store: ObjectStore) -> None:
        times = [put(store, f"{number}", b"x").modified for number in range(5)]
        replaced = put(store, "0", b"y").modified
        assert sorted(times) == times
        assert max(times) <= replaced < times[0] + 3600

    def test_deleting_what_is_only_a_prefix_deletes_nothing(self, store: ObjectStore) -> None:
        put(store, "a/b", b"x")
        store.delete(["a"])
        assert keys(store) == ["a/b"]

    def test_a_prefix_ends_at_a_slash(self, store: ObjectStore) -> None:
        everything = ["a/x", "a/y/z", "ab/x", "b", "a.txt"]
        for key in everything:
            put(store, key, b"x")
        assert sorted(keys(store)) == sorted(everything)
        assert sorted(keys(store, "a/")) == ["a/x", "a/y/z"]
        assert keys(store, "a/y/") == ["a/y/z"]
        assert keys(store, "missing/") == []
        assert keys(store, "b/") == []

    def test_listing_goes_on_behind_any_key(self, store: ObjectStore) -> None:
        if not isinstance(store, ListsInOrder):
            pytest.skip("it lists everything or nothing")
        names = ["a", "a-b", "a.b", "a%20b", "ab", "b", "b0", "c"]
        store.put_many([(f"p/{name}/{part}", Body.of(b"")) for name in names for part in ("1", "2/3", "4")])
        store.put_many([(key, Body.of(b"")) for key in ("o", "p-", "q/r")])
        whole = [info.key for info in store.list_after("p/", "")]
        assert sorted(whole) == sorted(keys(store, "p/"))
        groups = list(dict.fromkeys(key.split("/")[1] for key in whole))
        assert len(groups) == len(names)
        assert [key.split("/")[1] for key in whole] == [name for name in groups for _ in range(3)]
        for at, name in enumerate(groups):
            rest = [info.key for info in store.list_after("p/", f"p/{name}/~")]
            assert rest == whole[3 * at + 3 :]
        for at, key in enumerate(whole):
            assert [info.key for info in store.list_after("p/", key)] == whole[at + 1 :]
        assert list(store.list_after("r/", "")) == []

    def test_listing_yields_each_object_once(self, store: ObjectStore) -> None:
        expected = sorted(f"folder/{number % 7}/{number:04d}" for number in range(300))
        store.put_many([(key, Body.of(b"")) for key in expected])
        assert sorted(keys(store, "folder/")) == expected

    def test_of_many_conditional_writers_exactly_one_succeeds(
        self, store: ObjectStore, new_store: Callable[[], ObjectStore]
    ) -> None:
        clients = [new_store() for _ in range(THREADS)]
        for number in range(10):
            key = f"race/{number}"

            def create(writer: int, barrier: threading.Barrier, key: str = key) -> bool:
                barrier.wait()
                try:
                    put(clients[writer], key, b"%d" % writer * 100, if_absent=True)
                except AlreadyExists:
                    return False
                return True

            won = together(create)
            assert sum(won) == 1
            assert get(store, key) == b"%d" % won.index(True) * 100

    def test_readers_see_the_old_object_or_the_new_one(
        self, store: ObjectStore, new_store: Callable[[], ObjectStore]
    ) -> None:
        whole = [b"%d" % writer * 5000 for writer in range(THREADS)]
        put(store, "a", whole[0])
        clients = [new_store() for _ in range(THREADS)]

        def write_and_read(writer: int, barrier: threading.Barrier) -> bool:
            barrier.wait()
            seen = []
            for _ in range(5):
                put(clients[writer], "a", whole[writer])
                seen.append(get(clients[writer], "a"))
            return set(seen) <= set(whole)

        assert all(together(write_and_read))
        assert get(store, "a") in whole

    def test_writers_and_deleters_of_neighbours_leave_each_other_alone(
        self, store: ObjectStore, new_store: Callable[[], ObjectStore]
    ) -> None:
        clients = [new_store() for _ in range(THREADS)]

        def work(worker: int, barrier: threading.Barrier) -> bool:
            barrier.wait()
            for number in range(10):
                put(clients[worker], f"shared/{number}/{worker}", b"x", if_absent=True)
                clients[worker].delete([f"shared/{number}/{worker}"])
            put(clients[worker], f"shared/last/{worker}", b"x")
            return True

        assert all(together(work))
        assert len(keys(store, "shared/")) == THREADS

    def test_a_stream_that_is_left_half_read_leaks_nothing(self, store: ObjectStore) -> None:
        put(store, "a", b"x" * (3 << 20))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(20):
                stream = store.get("a")
                assert next(stream)
                del stream
                del_me = store.get("a")
                del del_me
            next(store.list(""))
            gc.collect()
        assert [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)] == []

    def test_closing_is_no_end(self, store: ObjectStore) -> None:
        store.open()
        store.open()
        put(store, "a", b"x")
        store.close()
        store.close()
        assert get(store, "a") == b"x"
        with store as entered:
            assert entered is store
            put(store, "b", b"x")
        assert sorted(keys(store)) == ["a", "b"]
        store.close()


class CopiesObjectsSuite(StoreFixtures):
    """For stores that are `CopiesObjects`."""

    def test_a_copy_has_the_bytes_and_lives_on_alone(self, store: ObjectStore) -> None:
        assert isinstance(store, CopiesObjects)
        for data in (b"bytes", b"", b"x" * (3 << 20)):
            put(store, "a", data)
            put(store, "b/c", b"replaced")
            info = store.copy("a", "b/c")
            assert (info.key, info.size) == ("b/c", len(data))
            store.delete(["a"])
            assert get(store, "b/c") == data

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_copied(self, store: ObjectStore, key: str) -> None:
        assert isinstance(store, CopiesObjects)
        put(store, key, key.encode())
        store.copy(key, "copies/1")
        store.copy("copies/1", f"copies/{key[:200]}")
        assert get(store, "copies/1") == get(store, f"copies/{key[:200]}") == key.encode()

    def test_without_a_source_there_is_no_copy(self, store: ObjectStore) -> None:
        assert isinstance(store, CopiesObjects)
        put(store, "b", b"kept")
        with pytest.raises(NotFound):
            store.copy("missing", "b")
        assert get(store, "b") == b"kept"


class FillsBuffersSuite(StoreFixtures):
    """For stores that are `FillsBuffers`."""

    @pytest.mark.parametrize(("start", "size"), [(0, 1000), (0, 1), (999, 1), (17, 500), (0, 1500), (900, 200)])
    def test_a_buffer_holds_the_bytes_from_a_place_on(self, store: ObjectStore, start: int, size: int) -> None:
        assert isinstance(store, FillsBuffers)
        data = bytes(range(251)) * 4
        put(store, "a", data)
        buffer = bytearray(size)
        assert store.read_into("a", start, memoryview(buffer)) == len(data)
        there = data[start : start + size]
        assert buffer[: len(there)] == there

    def test_a_large_buffer_is_filled_whole(self, store: ObjectStore) -> None:
        assert isinstance(store, FillsBuffers)
        data = bytes(range(251)) * 80_000
        put(store, "a", data)
        buffer = bytearray(len(data) - 5)
        assert store.read_into("a", 5, memoryview(buffer)) == len(data)
        assert buffer == data[5:]

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_read(self, store: ObjectStore, key: str) -> None:
        assert isinstance(store, FillsBuffers)
        data = key.encode()
        put(store, key, data)
        buffer = bytearray(len(data))
        assert store.read_into(key, 0, memoryview(buffer)) == len(data)
        assert buffer == data

    def test_what_is_not_there_fills_nothing(self, store: ObjectStore) -> None:
        assert isinstance(store, FillsBuffers)
        with pytest.raises(NotFound):
            store.read_into("missing", 0, memoryview(bytearray(5)))


class SweepsTemporarySuite(StoreFixtures):
    """For stores that are `SweepsTemporary`."""

    def leave_something(self, store: ObjectStore) -> None:
        """Leave what an interrupted write leaves; override this."""
        raise NotImplementedError("override `leave_something`")

    def test_what_interrupted_writes_left_is_found_and_removed_and_nothing_else(self, store: ObjectStore) -> None:
        assert isinstance(store, SweepsTemporary)
        put(store, "a", b"kept")
        assert list(store.sweep(-60)) == []
        self.leave_something(store)
        assert keys(store) == ["a"]
        assert list(store.sweep(3600)) == []
        found = list(store.sweep(-60))
        assert found
        store.remove_swept(found)
        store.remove_swept(found)
        assert list(store.sweep(-60)) == []
        assert get(store, "a") == b"kept"


def put(store: ObjectStore, key: str, data: bytes, *, if_absent: bool = False) -> ObjectInfo:
    """Put bytes."""
    return store.put(key, Body.of(data), if_absent=if_absent)


def get(store: ObjectStore, key: str) -> bytes:
    """All bytes of an object."""
    return b"".join(store.get(key))


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    """Return the keys below a prefix."""
    return [info.key for info in store.list(prefix)]


def together(work: Callable[[int, threading.Barrier], bool]) -> list[bool]:
    """Run something in several threads at once, each with its number and a barrier that they all wait at."""
    barrier = threading.Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS), [barrier] * THREADS))
