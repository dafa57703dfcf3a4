"""What `t9k.em.backend.Grows` promises, as tests."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from attrs import evolve

from t9k.em.backend import Backend, Grows
from t9k.em.errors import InvalidInput, NotFound
from t9k.em.records import ARTIFACT, Node
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.store_suite import ODD_KEYS, THREADS, together
from t9k.em.testing.uploads import make_request, read_node, upload

KEY = "metrics/train.yaml"
FILES = {KEY: b"published", "empty": b""}


class GrowsSuite(BackendFixtures):
    """For backends that are `Grows`."""

    @pytest.fixture
    def run(self, backend: Backend, folder: str) -> Node:
        """Provide a run that was published."""
        return upload(backend, make_request(folder, "m", FILES), FILES)

    def test_what_was_appended_is_read(self, backend: Backend, run: Node) -> None:
        assert grows(backend).append(run, KEY, 0, b"0123") == 4
        assert grows(backend).append(run, KEY, 4, b"456789") == 10
        assert grows(backend).append(run, "new", 0, b"x") == 1
        assert read(backend, run) == b"0123456789"
        assert read(backend, run, "new") == b"x"
        segments = grows(backend).grown(run)
        assert [(at.key, at.start, at.size) for at in segments] == [(KEY, 0, 4), (KEY, 4, 6), ("new", 0, 1)]
        assert all(segment.modified > 0 for segment in segments)

    def test_the_published_files_stay_as_they_are(self, backend: Backend, run: Node) -> None:
        grows(backend).append(run, KEY, 0, b"0123")
        assert backend.stat(run.path) == run
        assert list(backend.list(run.path.rpartition("/")[0])) == [run]
        assert read_node(backend, backend.stat(run.path)) == FILES

    def test_the_same_bytes_again_are_harmless(self, backend: Backend, run: Node) -> None:
        for _ in range(2):
            assert grows(backend).append(run, KEY, 0, b"0123") == 4
        assert read(backend, run) == b"0123"
        assert len(grows(backend).grown(run)) == 1

    def test_what_lies_before_need_not_be_there_yet(self, backend: Backend, run: Node) -> None:
        assert grows(backend).append(run, KEY, 4, b"4567") == 0
        assert grows(backend).append(run, KEY, 8, b"89") == 0
        assert read(backend, run, start=4) == b"456789"
        assert read(backend, run) == b""
        assert grows(backend).append(run, KEY, 0, b"012") == 3
        assert read(backend, run) == b"012"
        assert read(backend, run, start=2, end=6) == b"2"
        assert grows(backend).append(run, KEY, 3, b"3") == 10
        assert read(backend, run) == b"0123456789"

    def test_segments_may_overlap(self, backend: Backend, run: Node) -> None:
        data = b"0123456789"
        for start, end in ((0, 2), (1, 5), (1, 3), (0, 4), (4, 10), (3, 7)):
            grows(backend).append(run, KEY, start, data[start:end])
        assert grows(backend).append(run, KEY, 2, data[2:6]) == 10
        assert read(backend, run) == data

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, None), (0, 10), (0, 4), (3, 7), (3, None), (0, 99), (9, 10), (4, 4), (10, None), (99, 100)],
    )
    def test_a_range_includes_its_start_and_excludes_its_end(
        self, backend: Backend, run: Node, start: int, end: int | None
    ) -> None:
        data = b"0123456789"
        for at, stop in ((0, 3), (2, 5), (5, 10)):
            grows(backend).append(run, KEY, at, data[at:stop])
        assert read(backend, run, start=start, end=end) == data[start:end]

    def test_nothing_appended_is_nothing_kept(self, backend: Backend, run: Node) -> None:
        assert grows(backend).append(run, KEY, 0, b"") == 0
        assert list(grows(backend).grown(run)) == []
        for key in (KEY, "never"):
            with pytest.raises(NotFound):
                grows(backend).read_grown(run, key)
        assert grows(backend).append(run, KEY, 0, b"01") == 2
        assert grows(backend).append(run, KEY, 7, b"") == 2

    def test_megabytes_are_appended_and_read_in_chunks(self, backend: Backend, run: Node) -> None:
        data = bytes(range(256)) * (3 << 12)
        middle = len(data) // 2
        grows(backend).append(run, KEY, middle, data[middle:])
        assert grows(backend).append(run, KEY, 0, data[:middle]) == len(data)
        assert read(backend, run) == data
        assert read(backend, run, start=middle - 5, end=middle + 5) == data[middle - 5 : middle + 5]

    @pytest.mark.parametrize("key", [key for key in ODD_KEYS if not key.startswith(".em/")])
    def test_files_with_odd_keys_grow(self, backend: Backend, run: Node, key: str) -> None:
        grows(backend).append(run, KEY, 0, b"other")
        assert grows(backend).append(run, key, 0, key.encode()) == len(key.encode())
        assert read(backend, run, key) == key.encode()
        assert sorted({segment.key for segment in grows(backend).grown(run)}) == sorted([KEY, key])

    def test_all_odd_keys_grow_beside_each_other(self, backend: Backend, run: Node) -> None:
        odd = [key for key in ODD_KEYS if not key.startswith(".em/")]
        for start in (0, 1):
            for key in odd:
                grows(backend).append(run, key, start, b"%d" % start)
        assert {segment.key for segment in grows(backend).grown(run)} == set(odd)
        assert {read(backend, run, key) for key in odd} == {b"01"}

    @pytest.mark.parametrize("key", ["", "/a", "../a", "a//b", ".em/x", "a\0", "x" * 2000])
    def test_a_key_that_no_file_can_have_is_refused(self, backend: Backend, run: Node, key: str) -> None:
        with pytest.raises(InvalidInput):
            grows(backend).append(run, key, 0, b"x")
        assert list(grows(backend).grown(run)) == []

    def test_bytes_before_the_first_are_refused(self, backend: Backend, run: Node) -> None:
        with pytest.raises(InvalidInput):
            grows(backend).append(run, KEY, -1, b"xx")
        assert list(grows(backend).grown(run)) == []

    def test_only_runs_grow(self, backend: Backend, folder: str) -> None:
        made = backend.make_folder(folder)
        artifact = upload(backend, make_request(folder, "a", FILES, kind=ARTIFACT), FILES)
        for node in (made, artifact):
            with pytest.raises(InvalidInput):
                grows(backend).append(node, KEY, 0, b"x")

    def test_a_new_generation_begins_without_and_the_one_before_grows_no_more(
        self, backend: Backend, new_backend: Callable[[], Backend], run: Node
    ) -> None:
        grows(backend).append(run, KEY, 0, b"0123")
        contents = {**FILES, "more": b"more"}
        folder = run.path.rpartition("/")[0]
        newer = upload(new_backend(), make_request(folder, run.name, contents, id=run.id), contents)
        assert newer.generation > run.generation
        assert list(grows(backend).grown(newer)) == []
        with pytest.raises(NotFound):
            grows(backend).append(run, KEY, 4, b"4567")
        assert read(backend, run) == b"0123"
        assert grows(backend).append(newer, KEY, 0, b"x") == 1
        assert read(backend, backend.stat(run.path)) == b"x"

    def test_a_run_that_was_deleted_grows_no_more(self, backend: Backend, run: Node) -> None:
        grows(backend).append(run, KEY, 0, b"0123")
        backend.delete(run.path)
        with pytest.raises(NotFound):
            grows(backend).append(run, KEY, 4, b"4567")
        again = upload(backend, make_request(run.path.rpartition("/")[0], run.name, FILES, id=run.id), FILES)
        assert list(grows(backend).grown(again)) == []

    def test_a_node_from_a_listing_and_one_without_a_handle_will_do(
        self, backend: Backend, new_backend: Callable[[], Backend], run: Node
    ) -> None:
        (listed,) = backend.list(run.path.rpartition("/")[0])
        assert grows(backend).append(listed, KEY, 0, b"01") == 2
        other = grows(new_backend())
        assert other.append(evolve(run, handle=None), KEY, 2, b"23") == 4
        assert b"".join(other.read_grown(evolve(run, handle=None), KEY)) == b"0123"

    def test_several_clients_append_at_once(
        self, backend: Backend, new_backend: Callable[[], Backend], run: Node
    ) -> None:
        clients = [grows(new_backend()) for _ in range(THREADS)]
        data = b"".join(b"%02d" % number for number in range(THREADS * 4))

        def send(worker: int, barrier: threading.Barrier) -> bool:
            node = clients[worker].stat(run.path)  # type: ignore[attr-defined]
            barrier.wait()
            for number in range(worker, THREADS * 4, THREADS):
                clients[worker].append(node, KEY, 2 * number, data[2 * number : 2 * number + 2])
                clients[worker].append(node, KEY, 0, data[:2])
            return True

        assert all(together(send))
        assert grows(backend).append(run, KEY, 0, data[:2]) == len(data)
        assert read(backend, run) == data
        assert len(grows(backend).grown(run)) == THREADS * 4


def grows(backend: Backend) -> Grows:
    """Return the backend; as a type checker wants it."""
    assert isinstance(backend, Grows)
    return backend


def read(backend: Backend, node: Node, key: str = KEY, start: int = 0, end: int | None = None) -> bytes:
    """Return the bytes of a growing file."""
    return b"".join(grows(backend).read_grown(node, key, start, end))
