"""What a backend promises of bytes that are lost or changed where it keeps them, as tests."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

from collections.abc import Callable

import pytest

from t9k.em.backend import Backend, Collects, NotesDamage, ObjectStore, RecognizesContent
from t9k.em.records import Body, FileEntry, Node, Outcome, UploadRequest
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.uploads import finish, make_request, read_node, upload

KEPT = b"\0kept\xff" * 200
CONTENTS = {"weights.bin": KEPT, "other": b"other"}
HARM = ("missing", "shorter", "longer")


class DamageSuite(BackendFixtures):
    """A part of `BackendSuite`: what is acknowledged is there, and uploading again fixes what is not.

    A subclass whose backend has no attribute `store` overrides `kept_in`; without either these tests are skipped.
    """

    @pytest.fixture
    def kept_in(self, backend: Backend) -> ObjectStore:
        """Provide the store in which the backend keeps its files, each as an object of its own; the tests harm them there."""
        store = getattr(backend, "store", None)
        if not isinstance(store, ObjectStore):
            pytest.skip("its bytes cannot be reached")
        return store

    @pytest.fixture
    def there(self, backend: Backend, folder: str) -> UploadRequest:
        """Provide the node that was uploaded, and is harmed then."""
        request = make_request(folder, "m", CONTENTS)
        upload(backend, request, CONTENTS)
        return request

    @pytest.mark.parametrize("strategy", ["new", "replace", "error", "skip"])
    @pytest.mark.parametrize("how", HARM)
    def test_uploading_again_sends_what_is_not_there_any_more(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest, how: str, strategy: str
    ) -> None:
        harm(kept_in, KEPT, how)
        again = make_request(folder, "m", CONTENTS, id=there.draft.id, strategy=strategy, ancestors=())
        begun = backend.begin(again)
        assert [file.key for file in begun.missing] == ["weights.bin"]
        assert finish(begun, CONTENTS).outcome is Outcome.PUBLISHED
        assert read_node(backend, backend.stat(f"{folder}/m")) == CONTENTS
        unchanged = backend.begin(make_request(folder, "m", CONTENTS, id=there.draft.id))
        assert unchanged.outcome is Outcome.UNCHANGED

    @pytest.mark.parametrize("when", ["before", "in progress"])
    @pytest.mark.parametrize("how", HARM)
    def test_no_version_refers_to_what_is_not_there(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest, how: str, when: str
    ) -> None:
        contents = {**CONTENTS, "new": b"new"}
        if when == "before":
            harm(kept_in, KEPT, how)
        begun = backend.begin(make_request(folder, "m", contents, id=there.draft.id))
        begun.put([(file, Body.of(contents[file.key])) for file in begun.missing])
        if when != "before":
            harm(kept_in, KEPT, how)
            assert begun.commit() is None
            assert [file.key for file in begun.missing] == ["weights.bin"]
        finish(begun, contents)
        assert read_node(backend, backend.stat(f"{folder}/m")) == contents

    def test_other_metadata_do_not_hide_that_a_file_is_gone(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest
    ) -> None:
        harm(kept_in, KEPT, "missing")
        node = upload(backend, make_request(folder, "m", CONTENTS, id=there.draft.id, metadata={"a": 2}), CONTENTS)
        assert (node.metadata, read_node(backend, node)) == ({"a": 2}, CONTENTS)

    def test_another_node_in_its_place_does_not_take_over_what_is_gone(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest
    ) -> None:
        harm(kept_in, KEPT, "missing")
        other = make_request(folder, "m", CONTENTS, strategy="replace")
        assert other.draft.id != there.draft.id
        assert read_node(backend, upload(backend, other, CONTENTS)) == CONTENTS

    def test_what_was_sent_again_before_a_process_died_is_not_sent_once_more(
        self,
        backend: Backend,
        new_backend: Callable[[], Backend],
        kept_in: ObjectStore,
        folder: str,
        there: UploadRequest,
    ) -> None:
        harm(kept_in, KEPT, "missing")
        request = make_request(folder, "m", CONTENTS, id=there.draft.id)
        left = backend.begin(request)
        left.put([(file, Body.of(CONTENTS[file.key])) for file in left.missing])
        with new_backend() as another:
            resumed = make_request(folder, "m", CONTENTS, id=there.draft.id, op=request.op, resumed=True)
            begun = another.begin(resumed)
            assert list(begun.missing) == []
            assert finish(begun, {}).outcome is Outcome.PUBLISHED
        assert read_node(backend, backend.stat(f"{folder}/m")) == CONTENTS

    def test_bytes_that_changed_are_found_by_who_compares_them(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest
    ) -> None:
        harm(kept_in, KEPT, "flipped")
        again = make_request(folder, "m", CONTENTS, id=there.draft.id, strategy="replace", compare="content")
        assert finish(backend.begin(again), CONTENTS).outcome is Outcome.PUBLISHED
        assert read_node(backend, backend.stat(f"{folder}/m")) == CONTENTS
        whole = make_request(folder, "m", CONTENTS, id=there.draft.id, strategy="replace", compare="content")
        assert backend.begin(whole).outcome is Outcome.UNCHANGED

    def test_bytes_whose_checksum_a_listing_tells_are_compared_by_everybody(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest
    ) -> None:
        if not (isinstance(kept_in, RecognizesContent) or any(info.sha256 for info in kept_in.list(""))):
            pytest.skip("its listings tell no checksum")
        harm(kept_in, KEPT, "flipped")
        again = make_request(folder, "m", CONTENTS, id=there.draft.id)
        assert finish(backend.begin(again), CONTENTS).outcome is Outcome.PUBLISHED
        assert read_node(backend, backend.stat(f"{folder}/m")) == CONTENTS

    @pytest.mark.parametrize("metadata", [{}, {"a": 2}], ids=["unchanged", "other metadata"])
    def test_bytes_that_a_reader_found_changed_are_sent_again(
        self,
        backend: Backend,
        new_backend: Callable[[], Backend],
        kept_in: ObjectStore,
        folder: str,
        there: UploadRequest,
        metadata: dict[str, object],
    ) -> None:
        noting = notes(backend)
        node = backend.stat(f"{folder}/m")
        assert list(noting.lacks(node)) == []
        harm(kept_in, KEPT, "flipped")
        noting.note_damage(node, entry(backend, node, "weights.bin"))
        assert [file.key for file in noting.lacks(node)] == ["weights.bin"]
        with new_backend() as another:
            again = make_request(folder, "m", CONTENTS, id=there.draft.id, metadata=metadata)
            assert finish(another.begin(again), CONTENTS).outcome is Outcome.PUBLISHED
        fixed = backend.stat(f"{folder}/m")
        assert read_node(backend, fixed) == CONTENTS
        assert list(noting.lacks(fixed)) == []

    @pytest.mark.parametrize("how", HARM)
    def test_what_is_not_there_is_told_without_reading(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest, how: str
    ) -> None:
        del there
        noting = notes(backend)
        harm(kept_in, KEPT, how)
        assert [file.key for file in noting.lacks(backend.stat(f"{folder}/m"))] == ["weights.bin"]

    def test_a_collector_leaves_what_says_that_a_file_is_damaged(
        self, backend: Backend, kept_in: ObjectStore, folder: str, there: UploadRequest
    ) -> None:
        if not isinstance(backend, Collects):
            pytest.skip("it does not collect")
        noting, node = notes(backend), backend.stat(f"{folder}/m")
        harm(kept_in, KEPT, "flipped")
        noting.note_damage(node, entry(backend, node, "weights.bin"))
        backend.collect(grace_s=-60.0, apply=True)
        again = upload(backend, make_request(folder, "m", CONTENTS, id=there.draft.id), CONTENTS)
        assert read_node(backend, again) == CONTENTS
        before = {info.key for info in kept_in.list("")}
        backend.collect(grace_s=-60.0, apply=True)
        gone = before - {info.key for info in kept_in.list("")}
        assert len(gone) == 2, "the damaged file, and what says so"


def notes(backend: Backend) -> NotesDamage:
    """Return the backend, which takes note of damage; skips the test where it does not."""
    if not isinstance(backend, NotesDamage):
        pytest.skip("it takes no note of damage")
    return backend


def entry(backend: Backend, node: Node, key: str) -> FileEntry:
    """Return the record of one file."""
    return next(file for file in backend.files(node) if file.key == key)


def harm(store: ObjectStore, data: bytes, how: str) -> None:
    """Harms the objects that hold certain bytes.

    Args:
        store: Where they are.
        data: The bytes.
        how: 'missing', 'shorter', 'longer' or 'flipped'.
    """
    found = [
        info.key
        for info in store.list("")
        if info.size == len(data) and b"".join(map(bytes, store.get(info.key))) == data
    ]
    assert found
    if how == "missing":
        store.delete(found)
        return
    other = {"shorter": data[:-1], "longer": data + b"x", "flipped": bytes([data[0] ^ 1]) + data[1:]}[how]
    for key in found:
        store.put(key, Body.of(other))
