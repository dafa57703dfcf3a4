"""What changed or was lost in a store is fixed by whoever has the bytes: by an upload, 'replace', or a mirror back."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from t9k.em import create_artifact, mirror, session
from t9k.em.backend import NotesDamage, ObjectStore
from t9k.em.errors import BackendError, CorruptData
from t9k.em.objects.published import PublishedArtifact
from t9k.em.records import Body
from t9k.em.testing import BackendWrapper, ReadOnlyStore, ReferenceBackend, make_request, read_node, upload
from t9k.em.transfer.downloading import download_files
from t9k.em.transfer.sources import fetch
from t9k_em_backends.memory import MemoryBackend, MemoryStore

DATA = bytes(range(251)) * 9000
PATH = "/alice/default/model"


@pytest.fixture
def new_uri(tmp_path):
    def make() -> str:
        return (tmp_path / str(uuid4())).as_uri()

    return make


@pytest.fixture
def uri(new_uri) -> str:
    return new_uri()


@pytest.fixture
def artifact(uri, tmp_path):
    (tmp_path / "model.bin").write_bytes(DATA)
    session.login(uri)
    artifact = create_artifact("model")
    artifact.add_file(str(tmp_path / "model.bin"), "model.bin")
    artifact.upload("/alice/default")
    return artifact


def store_of(uri: str) -> ObjectStore:
    store = session.backend_at(uri).store
    assert isinstance(store, ObjectStore)
    return store


def flip(uri: str) -> None:
    store = store_of(uri)
    [key] = [info.key for info in store.list("") if info.key.endswith("/objects/model.bin")]
    store.put(key, Body.of(DATA[:-1] + b"!"))


def downloaded(uri: str, target: Path) -> bytes:
    target.mkdir()
    backend = session.backend_at(uri)
    download_files(backend, backend.stat(PATH), target)
    return (target / "objects/model.bin").read_bytes()


def read_whole(uri: str) -> None:
    backend = session.backend_at(uri)
    assert read_node(backend, backend.stat(PATH))["objects/model.bin"] == DATA


class TestUploading:
    def test_after_a_download_that_failed_it_mends_what_that_found(self, artifact, uri, tmp_path):
        flip(uri)
        with pytest.raises(CorruptData, match="upload it again$"):
            downloaded(uri, tmp_path / "first")
        artifact.upload("/alice/default")
        assert downloaded(uri, tmp_path / "second") == DATA

    @pytest.mark.parametrize(
        "read",
        [
            lambda found: found.open("model.bin").read(),
            lambda found: [*iter(partial(found.open("model.bin").read, 1 << 20), b"")],
            lambda found: found.ranges("model.bin").get(0, len(DATA)),
        ],
        ids=["at once", "in pieces", "as bytes"],
    )
    def test_after_an_object_was_read_in_place_too(self, artifact, uri, read):
        flip(uri)
        with pytest.raises(CorruptData):
            read(PublishedArtifact(uri, PATH))
        artifact.upload("/alice/default")
        read_whole(uri)

    def test_with_replace_it_compares_every_byte_by_itself(self, artifact, uri):
        flip(uri)
        artifact.upload("/alice/default", conflict_strategy="replace")
        read_whole(uri)
        assert session.backend_at(uri).stat(PATH).generation == 2

    def test_with_replace_what_is_right_stays(self, artifact, uri):
        artifact.upload("/alice/default", conflict_strategy="replace")
        assert session.backend_at(uri).stat(PATH).generation == 1

    def test_costs_two_requests_of_the_node_and_no_byte_where_nothing_changed(self, artifact, uri, monkeypatch):
        backend = session.backend_at(uri)
        calls: list[str] = []
        for name in ("list", "get"):
            real = getattr(backend.store, name)

            def counted(key, *args, real=real, name=name):
                calls.append(f"{name} {key}")
                return real(key, *args)

            monkeypatch.setattr(backend.store, name, counted)
        artifact.upload("/alice/default")
        assert len([call for call in calls if call.startswith("list alice/default/model/")]) == 1
        assert not [call for call in calls if call.startswith("get alice/default/model/")]


class TestMirroring:
    def test_a_good_copy_back_mends_what_a_read_found(self, artifact, uri, new_uri, tmp_path):
        copy = new_uri()
        mirror(uri, copy)
        flip(uri)
        with pytest.raises(CorruptData):
            downloaded(uri, tmp_path / "first")
        report = mirror(copy, uri)
        assert report.complete
        assert [(entry.action.value, entry.moved_files) for entry in report.nodes] == [("update", 1)]
        read_whole(uri)
        assert {entry.action.value for entry in mirror(copy, uri).nodes} == {"unchanged"}

    def test_a_good_copy_back_mends_what_is_missing(self, artifact, uri, new_uri):
        copy = new_uri()
        mirror(uri, copy)
        store = store_of(uri)
        store.delete([info.key for info in store.list("") if info.key.endswith("/objects/model.bin")])
        assert mirror(copy, uri).complete
        read_whole(uri)

    def test_verifying_reads_the_bytes_in_the_target(self, artifact, uri, new_uri):
        copy = new_uri()
        mirror(uri, copy)
        flip(copy)
        assert {entry.action.value for entry in mirror(uri, copy).nodes} == {"unchanged"}, "it was found equal before"
        report = mirror(uri, copy, verify=True)
        assert [(entry.action.value, entry.moved_files) for entry in report.nodes] == [("update", 1)]
        read_whole(copy)
        assert {entry.action.value for entry in mirror(uri, copy, verify=True).nodes} == {"unchanged"}

    def test_a_plan_tells_what_verifying_found_and_changes_nothing(self, artifact, uri, new_uri):
        copy = new_uri()
        mirror(uri, copy)
        flip(copy)
        before = sorted((info.key, info.size) for info in store_of(copy).list(""))
        report = mirror(uri, copy, verify=True, dry_run=True)
        assert [(entry.action.value, entry.moved_files) for entry in report.nodes] == [("update", 1)]
        assert sorted((info.key, info.size) for info in store_of(copy).list("")) == before

    def test_of_two_damaged_copies_none_is_called_right(self, artifact, uri, new_uri):
        copy = new_uri()
        mirror(uri, copy)
        flip(uri)
        flip(copy)
        report = mirror(uri, copy, verify=True)
        assert not report.complete
        assert "is not what was uploaded" in report.entries[-1].problem


class TestNoting:
    FILES = {"a": b"a" * 100}  # noqa: RUF012 - never changed

    def damaged(self, backend):
        node = upload(backend, make_request("/alice", "m", self.FILES), self.FILES)
        store = backend.store
        [key] = [info.key for info in store.list("") if info.key.endswith("/a")]
        store._objects[key] = (b"b" * 100, store._objects[key][1])
        return node

    def test_who_may_not_write_is_told_what_mends_it(self):
        tree = MemoryBackend(MemoryStore(), "memory://x")
        node = self.damaged(tree)
        reader = MemoryBackend(ReadOnlyStore(tree.store), "memory://x")
        with pytest.raises(CorruptData, match="upload it again with conflict_strategy='replace'"):
            list(fetch(reader, node, reader.files(node)[0]))
        assert list(tree.lacks(node)) == []

    def test_a_backend_that_takes_no_note_is_no_trouble(self):
        backend = ReferenceBackend()
        assert not isinstance(backend, NotesDamage)
        node = upload(backend, make_request("/alice", "m", self.FILES), self.FILES)

        class Damaging(BackendWrapper):
            def read(self, node, file, start=0, end=None):
                return iter([b"b" * 100])

        with pytest.raises(CorruptData, match="conflict_strategy='replace'"):
            list(fetch(Damaging(backend), node, backend.files(node)[0]))

    def test_a_backend_out_of_reach_hides_nothing(self, monkeypatch):
        tree = MemoryBackend(MemoryStore(), "memory://x")
        node = self.damaged(tree)

        def fail(*_):
            raise BackendError("out of reach")

        monkeypatch.setattr(tree, "note_damage", fail)
        with pytest.raises(CorruptData, match="is not what was uploaded"):
            list(fetch(tree, node, tree.files(node)[0]))
