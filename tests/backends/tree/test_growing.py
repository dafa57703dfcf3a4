"""What grows in a tree: where it lies, what it costs, and what the collector leaves alone."""

from __future__ import annotations

import pytest
from attrs import evolve

from t9k.em.errors import Conflict, NotFound
from t9k.em.records import Body
from t9k.em.testing.faults import Faults, FaultyStore
from t9k.em.testing.uploads import make_request, upload
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.growing import publication
from t9k_em_backends.tree.heads import encode_head

FILES = {"a": b"a"}
LONG = "/".join(["metrics" * 20] * 3)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def backend(store):
    return tree(store)


@pytest.fixture
def run(backend):
    return upload(backend, make_request("/alice/f", "m", FILES, id="mine"), FILES)


def tree(store) -> MemoryBackend:
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


def keys(store):
    return sorted(info.key for info in store.list("alice/f/m/"))


def read(backend, node, key):
    return b"".join(backend.read_grown(node, key))


def test_segments_lie_beside_the_files_under_their_byte_ranges(backend, store, run) -> None:
    backend.append(run, "metrics/a b.yaml", 0, b"0123")
    backend.append(run, "metrics/a b.yaml", 4, b"45")
    place = f"alice/f/m/{run.handle.op}/.em/grown/metrics%2Fa%20b.yaml"
    assert keys(store) == [
        f"{place}/0000000000000000-0000000000000004",
        f"{place}/0000000000000004-0000000000000006",
        f"alice/f/m/{run.handle.op}/a",
    ]


def test_a_long_key_lies_in_an_object_of_its_own(backend, store, run) -> None:
    backend.append(run, LONG, 0, b"0123")
    assert [(segment.key, segment.size) for segment in backend.grown(run)] == [(LONG, 4)]
    (place,) = [key.removesuffix("/key") for key in keys(store) if key.endswith("/key")]
    assert b"".join(store.get(f"{place}/key")) == LONG.encode()
    assert read(backend, run, LONG) == b"0123"


def test_what_is_no_segment_or_not_whole_is_left_aside(backend, store, run) -> None:
    backend.append(run, "a", 0, b"01")
    place = f"alice/f/m/{run.handle.op}/.em/grown/a"
    for name, data in (("notes.txt", b"x"), ("0000000000000002-0000000000000009", b"23")):
        store.put(f"{place}/{name}", Body.of(data))
    assert backend.append(run, "a", 0, b"01") == 2
    assert read(backend, run, "a") == b"01"


def test_an_append_costs_three_requests_after_the_mark_of_the_store_was_read(store, run) -> None:
    faults = Faults()
    backend = tree(FaultyStore(store, faults))
    backend.append(run, "a", 0, b"01")
    assert [call.split(" ")[0] for call in faults.calls] == ["get", "list", "put", "list"]
    faults.calls.clear()
    backend.append(run, "a", 2, b"23")
    assert [call.split(" ")[0] for call in faults.calls] == ["list_after", "put", "list"]


def test_only_the_segments_that_are_needed_are_read(store, backend, run) -> None:
    for start in range(0, 20, 2):
        backend.append(run, "a", start, b"%02d" % start)
    faults = Faults()
    reader = tree(FaultyStore(store, faults))
    assert b"".join(reader.read_grown(run, "a", 3, 7)) == b"2" + b"04" + b"0"
    assert [call.split(" ")[0] for call in faults.calls] == ["list", "get", "get", "get"]


def test_what_grows_is_never_collected_however_old_and_goes_with_its_generation(backend, store, run) -> None:
    backend.append(run, "a", 0, b"0123")
    backend.append(run, LONG, 0, b"01")
    grown = [key for key in keys(store) if "/.em/grown/" in key]
    assert len(grown) == 3
    assert backend.collect("/", grace_s=-60.0, apply=True).objects == ()
    store.put(f"alice/f/m/{run.handle.op}/left", Body.of(b"x"))
    assert [info.key.rpartition("/")[2] for info in backend.collect("/", grace_s=-60.0, apply=True).objects] == ["left"]
    assert [key for key in keys(store) if "/.em/grown/" in key] == grown
    upload(backend, make_request("/alice/f", "m", {"b": b"b"}, id="mine"), {"b": b"b"})
    assert set(grown) < {info.key for info in backend.collect("/", grace_s=-60.0, apply=True).objects}
    assert not [key for key in keys(store) if "/.em/grown/" in key]


def test_what_a_deleted_run_grew_is_collected(backend, store, run) -> None:
    backend.append(run, "a", 0, b"0123")
    backend.delete(run.path)
    backend.collect("/", grace_s=-60.0, apply=True)
    assert keys(store) == []


def test_a_generation_that_the_collector_repeats_goes_on_growing(backend, store, run) -> None:
    backend.append(run, "a", 0, b"01")
    for _ in range(2):
        store.put(f"alice/f/m/{run.handle.op}/left", Body.of(b"x"))
        backend.collect("/", grace_s=-60.0, apply=True)
    repeated = backend.stat(run.path)
    assert (repeated.generation, repeated.handle.op) == (3, None)
    assert backend.append(repeated, "a", 2, b"23") == 4
    assert backend.append(run, "a", 4, b"45") == 6, "it is the same publication"
    assert read(backend, repeated, "a") == read(backend, run, "a") == b"012345"
    assert backend.collect("/", grace_s=-60.0, apply=True).objects == ()
    upload(backend, make_request("/alice/f", "m", {"b": b"b"}, id="mine"), {"b": b"b"})
    for node in (run, repeated):
        with pytest.raises(NotFound, match="not the newest"):
            backend.append(node, "a", 6, b"67")


def test_a_listing_that_lags_behind_refuses_nothing(store, run) -> None:
    class Lagging(MemoryStore):
        def list(self, prefix):
            return (info for info in store.list(prefix) if "/.em/h/" not in info.key)

        def get(self, key, start=0, end=None):
            return store.get(key, start, end)

        def put(self, key, body, *, if_absent=False):
            return store.put(key, body, if_absent=if_absent)

    backend = tree(Lagging())
    assert backend.append(run, "a", 0, b"01") == 2


def test_a_newest_generation_that_cannot_be_read_is_believed_to_be_another(store, backend, run) -> None:
    class Hiding(FaultyStore):
        def get(self, key, start=0, end=None):
            if "/.em/h/" in key:
                raise NotFound(key)
            return super().get(key, start, end)

    upload(backend, make_request("/alice/f", "m", {"b": b"b"}, id="mine"), {"b": b"b"})
    hiding = tree(Hiding(store, Faults()))
    with pytest.raises(NotFound, match="not the newest"):
        hiding.append(run, "a", 0, b"01")


def test_a_run_that_no_upload_published_does_not_grow(backend, store, run) -> None:
    head = evolve(run.handle, op=None, write_id="another")
    for generation, other in ((2, head), (4, head), (5, evolve(head, metadata={"other": 1}))):
        store.put(f"alice/f/.em/h/m/{generation:08d}.json", Body.of(encode_head(other)))
    assert publication(2, head, {1: run.handle}.get) == run.handle.op
    for generation in (4, 5):
        node = backend.stat(f"{run.path}@{generation}")
        with pytest.raises(Conflict, match="no upload is known"):
            backend.append(node, "a", 0, b"x")
