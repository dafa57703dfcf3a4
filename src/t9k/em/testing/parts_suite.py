"""What `t9k.em.backend.AssemblesParts` and `TakesParts` promise, as tests."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

import hashlib
import io
import random
import threading
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from attrs import evolve

from t9k.em.backend import AssemblesParts, Backend, ObjectStore, TakesParts, Upload
from t9k.em.errors import InvalidInput, NotFound, SourceChanged
from t9k.em.records import Body, FileSpec, Node, Outcome, Part, UploadRequest
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.store_suite import ODD_KEYS, THREADS, StoreFixtures, get, keys, put, together
from t9k.em.testing.uploads import finish, make_request, read_node, upload

PART_BYTES = 300_000
DATA = array("Q", range(200_000)).tobytes()
"""Bytes of which no two parts are alike."""

SHA256 = hashlib.sha256(DATA).hexdigest()
STARTS = range(0, len(DATA), PART_BYTES)


def part(start: int, *, announced: bool = True, data: bytes = DATA) -> Body:
    """Return the body of one part of some bytes, with or without its checksum."""
    body = Body.of(data[start : start + PART_BYTES])
    return body if announced else evolve(body, sha256="")


class _WentAwayError(Exception):
    """What a sender's connection raises."""


class _Broken(io.BytesIO):
    """A stream that fails after some bytes."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise _WentAwayError
        return data


class AssemblesPartsSuite(StoreFixtures):
    """For stores that are `AssemblesParts`."""

    @pytest.fixture
    def assembler(self, store: ObjectStore) -> AssemblesParts:
        """Provide the store; as a type checker wants it."""
        assert isinstance(store, AssemblesParts)
        return store

    @pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
    @pytest.mark.parametrize("order", ["ascending", "descending", "random"])
    def test_parts_in_any_order_are_one_object(
        self, store: ObjectStore, assembler: AssemblesParts, order: str, announced: bool
    ) -> None:
        starts = {
            "ascending": [*STARTS],
            "descending": [*reversed(STARTS)],
            "random": random.Random(1).sample([*STARTS], len(STARTS)),  # noqa: S311 - no secret
        }[order]
        for start in starts:
            assembler.put_part("a/b", start, part(start, announced=announced))
        assert keys(store) == [], "it is not seen before it is whole"
        with pytest.raises(NotFound):
            store.get("a/b")
        assert list(assembler.parts("a/b")) == [
            Part(start=start, size=min(PART_BYTES, len(DATA) - start)) for start in STARTS
        ]
        info = assembler.assemble("a/b", len(DATA), SHA256)
        assert (info.key, info.size) == ("a/b", len(DATA))
        assert get(store, "a/b") == DATA
        assert keys(store) == ["a/b"]
        assert list(assembler.parts("a/b")) == []

    def test_assembling_again_is_harmless_and_so_is_a_part_that_comes_late(
        self, store: ObjectStore, assembler: AssemblesParts
    ) -> None:
        for start in STARTS:
            assembler.put_part("a", start, part(start))
        first = assembler.assemble("a", len(DATA), SHA256)
        assert assembler.assemble("a", len(DATA), SHA256).size == first.size
        assembler.put_part("a", 0, part(0))
        assert get(store, "a") == DATA
        assert assembler.assemble("a", len(DATA), SHA256).size == first.size
        assembler.put_part("a", 0, part(0, data=b"\xff" * len(DATA), announced=False))
        assert get(store, "a") == DATA
        assembler.drop_parts("a")
        assert list(assembler.parts("a")) == []
        assert get(store, "a") == DATA

    def test_the_same_part_again_is_harmless(self, store: ObjectStore, assembler: AssemblesParts) -> None:
        for start in [*STARTS, *STARTS]:
            assembler.put_part("a", start, part(start))
        assert len(assembler.parts("a")) == len(STARTS)
        assembler.assemble("a", len(DATA), SHA256)
        assert get(store, "a") == DATA

    def test_parts_may_overlap(self, store: ObjectStore, assembler: AssemblesParts) -> None:
        middle = len(DATA) // 2
        for start, end in ((middle - 1000, len(DATA)), (0, middle + 1000), (middle - 5, middle + 5)):
            assembler.put_part("a", start, Body.of(DATA[start:end]))
        assembler.assemble("a", len(DATA), SHA256)
        assert get(store, "a") == DATA

    @pytest.mark.parametrize("missing", [STARTS[0], STARTS[2], STARTS[-1]])
    def test_without_all_bytes_there_is_no_object_and_no_part_goes(
        self, store: ObjectStore, assembler: AssemblesParts, missing: int
    ) -> None:
        for start in STARTS:
            if start != missing:
                assembler.put_part("a", start, part(start))
        with pytest.raises(NotFound):
            assembler.assemble("a", len(DATA), SHA256)
        assert keys(store) == []
        assert missing not in [there.start for there in assembler.parts("a")]
        assert len(assembler.parts("a")) == len(STARTS) - 1
        assembler.put_part("a", missing, part(missing))
        assembler.assemble("a", len(DATA), SHA256)
        assert get(store, "a") == DATA

    def test_of_nothing_nothing_is_made(self, store: ObjectStore, assembler: AssemblesParts) -> None:
        assert list(assembler.parts("a")) == []
        with pytest.raises(NotFound):
            assembler.assemble("a", 1, SHA256)
        put(store, "a", b"other")
        with pytest.raises(NotFound):
            assembler.assemble("a", len(DATA), SHA256)
        with pytest.raises(NotFound):
            assembler.assemble("a", 5, SHA256)
        assert get(store, "a") == b"other"

    def test_an_empty_object_has_no_parts(self, store: ObjectStore, assembler: AssemblesParts) -> None:
        assembler.put_part("a", 0, Body.of(b""))
        assert list(assembler.parts("a")) == []
        with pytest.raises(SourceChanged):
            assembler.assemble("a", 0, SHA256)
        assembler.assemble("a", 0, hashlib.sha256(b"").hexdigest())
        assert get(store, "a") == b""

    @pytest.mark.parametrize("changes", [{"size": 4}, {"size": 6}, {"sha256": "0" * 64}, {"size": 6, "sha256": ""}])
    def test_bytes_that_are_not_the_announced_ones_are_no_part(
        self, store: ObjectStore, assembler: AssemblesParts, changes: dict[str, int | str]
    ) -> None:
        with pytest.raises(SourceChanged):
            assembler.put_part("a", 0, evolve(Body.of(b"bytes"), **changes))  # type: ignore[arg-type]
        assert list(assembler.parts("a")) == []
        assembler.put_part("a", 0, Body.of(b"bytes"))
        assembler.assemble("a", 5, hashlib.sha256(b"bytes").hexdigest())
        assert get(store, "a") == b"bytes"

    def test_a_sender_that_goes_away_leaves_no_part(self, store: ObjectStore, assembler: AssemblesParts) -> None:
        half = evolve(part(0, announced=False), open=lambda: _Broken(DATA[: PART_BYTES // 2]))
        with pytest.raises(_WentAwayError):
            assembler.put_part("a", 0, half)
        assert list(assembler.parts("a")) == []
        for start in STARTS:
            assembler.put_part("a", start, part(start, announced=False))
        assembler.assemble("a", len(DATA), SHA256)
        assert get(store, "a") == DATA

    @pytest.mark.parametrize("wrong", [STARTS[0], STARTS[1], STARTS[-1]])
    def test_a_whole_that_is_not_the_announced_one_is_dropped(
        self, store: ObjectStore, assembler: AssemblesParts, wrong: int
    ) -> None:
        for start in STARTS:
            data = DATA[::-1] if start == wrong else DATA
            assembler.put_part("a", start, part(start, announced=False, data=data))
        with pytest.raises(SourceChanged):
            assembler.assemble("a", len(DATA), SHA256)
        assert keys(store) == []
        assert list(assembler.parts("a")) == []
        with pytest.raises(NotFound):
            assembler.assemble("a", len(DATA), SHA256)
        for start in STARTS:
            assembler.put_part("a", start, part(start))
        assembler.assemble("a", len(DATA), SHA256)
        assert get(store, "a") == DATA

    def test_a_whole_that_is_longer_than_announced_is_dropped(
        self, store: ObjectStore, assembler: AssemblesParts
    ) -> None:
        assembler.put_part("a", 0, Body.of(DATA))
        with pytest.raises(SourceChanged):
            assembler.assemble("a", 10, hashlib.sha256(DATA[:10]).hexdigest())
        assert keys(store) == []
        assert list(assembler.parts("a")) == []

    def test_dropped_parts_are_gone(self, store: ObjectStore, assembler: AssemblesParts) -> None:
        for key in ("a", "b"):
            assembler.put_part(key, 0, Body.of(key.encode()))
        assembler.drop_parts("a")
        assembler.drop_parts("a")
        assert list(assembler.parts("a")) == []
        with pytest.raises(NotFound):
            assembler.assemble("a", 1, hashlib.sha256(b"a").hexdigest())
        assembler.assemble("b", 1, hashlib.sha256(b"b").hexdigest())
        assert get(store, "b") == b"b"

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_assembled(self, store: ObjectStore, assembler: AssemblesParts, key: str) -> None:
        data = key.encode()
        assembler.put_part("other", 0, Body.of(b"other"))
        assembler.put_part(key, 1, Body.of(data[1:]))
        assembler.put_part(key, 0, Body.of(data[:1]))
        assembler.assemble(key, len(data), hashlib.sha256(data).hexdigest())
        assert get(store, key) == data
        assert keys(store) == [key]

    def test_an_object_that_is_there_is_replaced_by_its_parts(
        self, store: ObjectStore, assembler: AssemblesParts
    ) -> None:
        put(store, "a", b"damaged")
        for start in STARTS:
            assembler.put_part("a", start, part(start))
        assert get(store, "a") == b"damaged"
        assembler.assemble("a", len(DATA), SHA256)
        assert get(store, "a") == DATA

    def test_several_clients_and_threads_bring_parts_at_once(
        self, store: ObjectStore, new_store: Callable[[], ObjectStore]
    ) -> None:
        clients = [new_store() for _ in range(THREADS)]

        def send(worker: int, barrier: threading.Barrier) -> bool:
            client = clients[worker]
            assert isinstance(client, AssemblesParts)
            barrier.wait()
            for start in STARTS[worker % 2 :: 2]:
                client.put_part("a", start, part(start, announced=bool(worker % 3)))
            return True

        assert all(together(send))
        last = new_store()
        assert isinstance(last, AssemblesParts)
        assert [there.start for there in last.parts("a")] == [*STARTS]
        last.assemble("a", len(DATA), SHA256)
        assert get(store, "a") == DATA

    def test_clients_that_take_turns_with_other_bytes_are_found_out(
        self, store: ObjectStore, new_store: Callable[[], ObjectStore]
    ) -> None:
        one, other = new_store(), new_store()
        assert isinstance(one, AssemblesParts)
        assert isinstance(other, AssemblesParts)
        one.put_part("a", STARTS[0], part(STARTS[0], announced=False))
        one.put_part("a", STARTS[1], part(STARTS[1], announced=False))
        other.put_part("a", STARTS[1], Body.of(DATA[::-1][PART_BYTES - 10 : 2 * PART_BYTES + 10]))
        other.put_part("a", 5, Body.of(b"other bytes, cut otherwise"))
        for start in STARTS[2:]:
            one.put_part("a", start, part(start, announced=False))
        try:
            one.assemble("a", len(DATA), SHA256)
        except (SourceChanged, NotFound):
            assert keys(store) == []
        else:
            assert get(store, "a") == DATA, "the first one's parts stayed"

    def test_of_several_that_assemble_at_once_all_succeed(
        self, store: ObjectStore, new_store: Callable[[], ObjectStore], assembler: AssemblesParts
    ) -> None:
        for start in STARTS:
            assembler.put_part("a", start, part(start))
        clients = [new_store() for _ in range(THREADS)]

        def assemble(worker: int, barrier: threading.Barrier) -> bool:
            client = clients[worker]
            assert isinstance(client, AssemblesParts)
            barrier.wait()
            return client.assemble("a", len(DATA), SHA256).size == len(DATA)

        assert all(together(assemble))
        assert get(store, "a") == DATA


class TakesPartsSuite(BackendFixtures):
    """For backends whose uploads are `TakesParts`."""

    CONTENTS: ClassVar[dict[str, bytes]] = {"large/file.bin": DATA, "small": b"small", "empty": b""}

    def test_parts_in_any_order_are_a_file_that_is_not_missing_any_more(self, backend: Backend, folder: str) -> None:
        begun = backend.begin(make_request(folder, "m", self.CONTENTS))
        large = _large(begun)
        for start in reversed(STARTS):
            _takes(begun).put_part(large, start, part(start, announced=bool(start % 2)))
        assert large in begun.missing
        assert [there.start for there in _takes(begun).parts(large)] == [*STARTS]
        _takes(begun).join_parts(large)
        assert sorted(file.key for file in begun.missing) == ["empty", "small"]
        assert list(_takes(begun).parts(large)) == []
        node = _finish(begun, self.CONTENTS)
        assert read_node(backend, backend.stat(node.path)) == self.CONTENTS

    def test_parts_are_no_files_of_the_node(self, backend: Backend, folder: str) -> None:
        request = make_request(folder, "m", self.CONTENTS)
        begun = backend.begin(request)
        _takes(begun).put_part(_large(begun), 0, part(0))
        assert begun.commit() is None
        assert _large(begun) in begun.missing
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m")
        node = _finish(begun, self.CONTENTS)
        assert read_node(backend, node) == self.CONTENTS

    def test_several_clients_and_threads_bring_parts_at_once(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", self.CONTENTS)
        first = backend.begin(request)
        other = new_backend().begin(evolve(request, resumed=True))
        large = _file(request, "large/file.bin")
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [
                pool.submit(_takes(upload_).put_part, large, start, part(start, announced=False))
                for number, start in enumerate([*STARTS, STARTS[0]])
                for upload_ in (first, other)
                if number % 2 or upload_ is first
            ]
            for future in futures:
                future.result()
        assert [there.start for there in _takes(other).parts(large)] == [*STARTS]
        _takes(other).join_parts(large)
        assert large not in other.missing
        _takes(first).join_parts(large)
        assert large not in first.missing
        node = _finish(first, self.CONTENTS)
        assert finish(other, self.CONTENTS).node == node
        assert read_node(backend, node) == self.CONTENTS

    def test_another_process_goes_on_with_the_parts(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", self.CONTENTS)
        begun = backend.begin(request)
        for start in STARTS[:2]:
            _takes(begun).put_part(_large(begun), start, part(start))
        resumed = new_backend().begin(evolve(request, resumed=True))
        large = _large(resumed)
        assert [there.start for there in _takes(resumed).parts(large)] == [*STARTS[:2]]
        for start in STARTS[2:]:
            _takes(resumed).put_part(large, start, part(start))
        _takes(resumed).join_parts(large)
        last = new_backend().begin(evolve(request, resumed=True))
        assert large not in last.missing
        _takes(last).join_parts(large)
        node = _finish(last, self.CONTENTS)
        assert read_node(backend, node) == self.CONTENTS

    def test_wrong_bytes_are_refused_in_a_part_and_in_the_whole(self, backend: Backend, folder: str) -> None:
        begun = backend.begin(make_request(folder, "m", self.CONTENTS))
        large = _large(begun)
        with pytest.raises(SourceChanged):
            _takes(begun).put_part(large, 0, evolve(part(0), sha256="0" * 64))
        assert list(_takes(begun).parts(large)) == []
        for start in STARTS:
            _takes(begun).put_part(large, start, part(start, announced=False, data=DATA[::-1]))
        with pytest.raises(SourceChanged):
            _takes(begun).join_parts(large)
        assert list(_takes(begun).parts(large)) == []
        assert large in begun.missing
        for start in STARTS:
            _takes(begun).put_part(large, start, part(start))
        _takes(begun).join_parts(large)
        assert read_node(backend, _finish(begun, self.CONTENTS)) == self.CONTENTS

    def test_a_part_outside_of_the_file_is_refused(self, backend: Backend, folder: str) -> None:
        begun = backend.begin(make_request(folder, "m", self.CONTENTS))
        large = _large(begun)
        for start in (-1, len(DATA) - 1, len(DATA)):
            with pytest.raises(InvalidInput):
                _takes(begun).put_part(large, start, Body.of(b"xx"))
        assert list(_takes(begun).parts(large)) == []

    def test_a_file_with_a_missing_part_stays_missing(self, backend: Backend, folder: str) -> None:
        begun = backend.begin(make_request(folder, "m", self.CONTENTS))
        large = _large(begun)
        with pytest.raises(NotFound):
            _takes(begun).join_parts(large)
        for start in STARTS[1:]:
            _takes(begun).put_part(large, start, part(start))
        with pytest.raises(NotFound):
            _takes(begun).join_parts(large)
        assert large in begun.missing
        assert len(_takes(begun).parts(large)) == len(STARTS) - 1
        for start in (STARTS[0], STARTS[0]):
            _takes(begun).put_part(large, start, part(start))
        _takes(begun).join_parts(large)
        assert large not in begun.missing
        assert read_node(backend, _finish(begun, self.CONTENTS)) == self.CONTENTS

    def test_a_file_of_no_bytes_is_joined_of_no_parts(self, backend: Backend, folder: str) -> None:
        contents = {"empty": b""}
        begun = backend.begin(make_request(folder, "m", contents))
        (empty,) = begun.missing
        assert list(_takes(begun).parts(empty)) == []
        _takes(begun).join_parts(empty)
        assert list(begun.missing) == []
        assert read_node(backend, _finish(begun, contents)) == contents

    def test_files_with_odd_keys_are_kept_apart(self, backend: Backend, folder: str) -> None:
        contents = {key: key.encode() * 3 for key in ODD_KEYS if not key.startswith(".em/") and len(key) < 200}
        begun = backend.begin(make_request(folder, "m", contents))
        files = [*begun.missing]
        for start in (1, 0):
            for file in files:
                data = contents[file.key]
                _takes(begun).put_part(file, start, Body.of(data[start:] if start else data[:1]))
        for file in files:
            _takes(begun).join_parts(file)
        assert list(begun.missing) == []
        assert read_node(backend, _finish(begun, contents)) == contents

    def test_an_upload_that_moves_to_the_alternative_name_has_its_parts_or_is_sent_them_again(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", {**self.CONTENTS, "second": DATA[::-1]}, strategy="new")
        contents = {**self.CONTENTS, "second": DATA[::-1]}
        begun = backend.begin(request)
        files = {file.key: file for file in begun.missing}
        large, second = files["large/file.bin"], files["second"]
        for start in STARTS:
            _takes(begun).put_part(large, start, part(start))
        _takes(begun).join_parts(large)
        _takes(begun).put_part(second, 0, part(0, data=contents["second"]))
        begun.put([(files[key], Body.of(contents[key])) for key in ("small", "empty")])
        there = upload(new_backend(), make_request(folder, "m", {"other": b"other"}), {"other": b"other"})
        _commit_by_parts(begun, contents)
        assert begun.outcome is Outcome.PUBLISHED
        assert begun.node is not None
        assert begun.node.path == f"{folder}/{request.draft.alternative_name}"
        assert read_node(backend, backend.stat(begun.node.path)) == contents
        assert read_node(backend, backend.stat(there.path)) == {"other": b"other"}

    def test_after_a_move_another_process_goes_on(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", self.CONTENTS, strategy="new")
        before = backend.begin(request)
        _takes(before).put_part(_large(before), 0, part(0))
        upload(new_backend(), make_request(folder, "m", {"other": b"other"}), {"other": b"other"})
        for _ in range(2):
            resumed = new_backend().begin(evolve(request, resumed=True))
            large = _large(resumed)
            start = next(start for start in STARTS if start not in {at.start for at in _takes(resumed).parts(large)})
            _takes(resumed).put_part(large, start, part(start))
        last = new_backend().begin(evolve(request, resumed=True))
        assert len(_takes(last).parts(_large(last))) == 2, "what was sent after the move is found"
        _commit_by_parts(last, self.CONTENTS)
        assert last.node is not None
        assert last.node.path == f"{folder}/{request.draft.alternative_name}"
        assert read_node(backend, last.node) == self.CONTENTS

    def test_joining_what_the_generation_below_has_is_harmless(self, backend: Backend, folder: str) -> None:
        first = make_request(folder, "m", self.CONTENTS)
        upload(backend, first, self.CONTENTS)
        contents = {**self.CONTENTS, "new": b"new"}
        begun = backend.begin(make_request(folder, "m", contents, id=first.draft.id))
        large = _file(first, "large/file.bin")
        assert large not in begun.missing
        _takes(begun).join_parts(large)
        assert read_node(backend, _finish(begun, contents)) == contents


def _takes(begun: Upload) -> TakesParts:
    assert isinstance(begun, TakesParts)
    return begun


def _file(request: UploadRequest, key: str) -> FileSpec:
    return next(file for file in request.files if file.key == key)


def _large(begun: Upload) -> FileSpec:
    return next(file for file in begun.missing if file.key == "large/file.bin")


def _finish(begun: Upload, contents: dict[str, bytes]) -> Node:
    node = finish(begun, contents).node
    assert node is not None
    return node


def _commit_by_parts(begun: Upload, contents: dict[str, bytes]) -> None:
    """Commit, and send by parts what is missing, until there is an outcome."""
    for _ in range(10):
        for file in begun.missing:
            data = contents[file.key]
            there = {at.start for at in _takes(begun).parts(file)}
            for start in range(0, len(data), PART_BYTES):
                if start not in there:
                    _takes(begun).put_part(file, start, part(start, data=data))
            _takes(begun).join_parts(file)
        if begun.outcome is not None or begun.commit() is not None:
            return
