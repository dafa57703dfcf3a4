"""Files in parts over a store that knows nothing of parts: what they look like there, and what the collector does."""

from __future__ import annotations

import hashlib

import pytest
from attrs import evolve

from t9k.em.errors import InvalidInput, NotFound, SourceChanged, UploadFenced
from t9k.em.records import Body, FileSpec, Part
from t9k.em.testing import AssemblesPartsSuite
from t9k.em.testing.uploads import finish, make_request, read_node
from t9k.em.testing.wrappers import StoreWrapper
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree import parts as parts_module
from t9k_em_backends.tree.parts import PartObjects

FILES = {"a/b": b"0123456789", "c": b"c"}


class _WithParts(StoreWrapper):
    """A store that shows its parts as abilities and not as objects."""

    def __init__(self, inner):
        super().__init__(inner)
        objects = PartObjects(inner, "")
        self.put_part, self.parts = objects.put_part, objects.parts
        self.assemble, self.drop_parts = objects.assemble, objects.drop_parts

    def list(self, prefix):
        return (info for info in super().list(prefix) if not info.key.startswith(".em/parts/"))


class TestPartObjects(AssemblesPartsSuite):
    @pytest.fixture
    def inner(self):
        return MemoryStore()

    @pytest.fixture
    def store(self, inner):
        return _WithParts(inner)

    @pytest.fixture
    def new_store(self, inner):
        return lambda: _WithParts(inner)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def backend(store):
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


def keys(store):
    return sorted(info.key for info in store.list("alice/f/m/"))


def large(begun):
    return next(file for file in begun.missing if file.key == "a/b")


def finished(begun):
    return finish(begun, FILES).node


def test_parts_lie_beside_the_files_of_their_upload_and_go_when_they_are_joined(backend, store) -> None:
    request = make_request("/alice/f", "m", FILES)
    begun = backend.begin(request)
    begun.put_part(large(begun), 4, Body.of(b"456789"))
    begun.put_part(large(begun), 0, Body.of(b"0123"))
    place = f"alice/f/m/{request.op}/.em/parts/{hashlib.sha256(b'a/b').hexdigest()[:32]}"
    assert keys(store) == [f"{place}/0000000000000000-4", f"{place}/0000000000000004-6"]
    begun.join_parts(large(begun))
    assert keys(store) == [f"alice/f/m/{request.op}/a/b"]


def test_what_is_no_part_or_not_whole_is_left_aside(backend, store) -> None:
    request = make_request("/alice/f", "m", FILES)
    begun = backend.begin(request)
    place = f"alice/f/m/{request.op}/.em/parts/{hashlib.sha256(b'a/b').hexdigest()[:32]}"
    for name, data in (("notes.txt", b"x"), ("0000000000000000-10", b"01234")):
        store.put(f"{place}/{name}", Body.of(data))
    assert begun.parts(large(begun)) == []
    with pytest.raises(NotFound):
        begun.join_parts(large(begun))


def test_bytes_without_a_checksum_are_kept_in_pieces(backend, monkeypatch) -> None:
    monkeypatch.setattr(parts_module, "UNANNOUNCED_BYTES", 4)
    begun = backend.begin(make_request("/alice/f", "m", FILES))
    whole = Body(size=10, sha256="", open=Body.of(FILES["a/b"]).open)
    begun.put_part(large(begun), 0, whole)
    assert [(part.start, part.size) for part in begun.parts(large(begun))] == [(0, 4), (4, 4), (8, 2)]
    begun.join_parts(large(begun))
    node = finished(begun)
    assert read_node(backend, node) == FILES


def test_of_bytes_that_end_too_early_no_piece_stays(backend, monkeypatch) -> None:
    monkeypatch.setattr(parts_module, "UNANNOUNCED_BYTES", 4)
    begun = backend.begin(make_request("/alice/f", "m", FILES))
    with pytest.raises(SourceChanged):
        begun.put_part(large(begun), 0, Body(size=10, sha256="", open=Body.of(b"012345").open))
    assert begun.parts(large(begun)) == []


def test_an_upload_whose_parts_were_collected_is_fenced(backend, store) -> None:
    begun = backend.begin(make_request("/alice/f", "m", FILES))
    begun.put_part(large(begun), 0, Body.of(b"0123"))
    (there,) = keys(store)
    assert backend.collect("/alice", grace_s=3600.0, apply=True).objects == ()
    collected = [info.key for info in backend.collect("/alice", grace_s=-60.0, apply=True).objects]
    assert collected == [there, f"alice/f/.em/uploads/m@{there.split('/')[3]}"]
    assert keys(store) == []
    with pytest.raises(UploadFenced):
        finish(begun, FILES)


def test_parts_that_a_process_left_after_it_had_joined_them_are_collected_and_fence_nothing(backend, store) -> None:
    begun = backend.begin(make_request("/alice/f", "m", FILES))
    begun.put_part(large(begun), 0, Body.of(FILES["a/b"]))
    (there,) = keys(store)
    begun.join_parts(large(begun))
    node = finished(begun)
    store.put(there, Body.of(FILES["a/b"]))
    assert [info.key for info in backend.collect("/alice", grace_s=-60.0, apply=True).objects] == [there]
    again = backend.stat(node.path)
    assert read_node(backend, again) == FILES
    assert again.handle.fenced == ()


def test_a_file_that_another_process_joined_is_found_where_the_store_keeps_no_checksum(store) -> None:
    class Plain(MemoryStore):
        def list(self, prefix):
            return (evolve(info, sha256="", etag="") for info in super().list(prefix))

    backend = MemoryBackend(Plain(), "memory://test")
    request = make_request("/alice/f", "m", FILES)
    one, other = backend.begin(request), backend.begin(request)
    one.put_part(large(one), 0, Body.of(FILES["a/b"]))
    one.join_parts(large(one))
    other.join_parts(large(other))
    assert [file.key for file in other.missing] == ["c"]
    backend.store.put(f"alice/f/m/{request.op}/a/b", Body.of(b"9876543210"))
    with pytest.raises(NotFound, match="in no part"):
        backend.begin(request).join_parts(request.files[0])


def test_a_part_that_the_store_cuts_makes_no_file(store) -> None:
    class Cutting(MemoryStore):
        def get(self, key, start=0, end=None):
            return super().get(key, start, start + 3 if "/.em/parts/" in key else end)

    backend = MemoryBackend(Cutting(), "memory://test")
    begun = backend.begin(make_request("/alice/f", "m", FILES))
    begun.put_part(large(begun), 0, Body.of(FILES["a/b"]))
    with pytest.raises(SourceChanged, match="send them again"):
        begun.join_parts(large(begun))
    assert "a/b" in [file.key for file in begun.missing]


def test_a_part_of_a_file_that_no_key_tells_of_is_refused(backend, store):
    largest = FileSpec(key="large", size=parts_module.MAX_FILE_BYTES, sha256="0" * 64)
    begun = backend.begin(evolve(make_request("/alice/f", "m", {}), files=(largest,)))
    begun.put_part(largest, largest.size - 1, Body.of(b"x"))
    assert begun.parts(largest) == [Part(start=largest.size - 1, size=1)]
    larger = evolve(largest, size=largest.size + 1)
    with pytest.raises(InvalidInput, match="in parts there can be 9999999999999999; split it"):
        begun.put_part(larger, largest.size, Body.of(b"x"))
