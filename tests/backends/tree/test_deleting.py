"""Folders that hold damaged records, or are very deep, are deleted all the same."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from t9k.em.errors import Conflict, CorruptManifest, InvalidInput, NotFound
from t9k.em.names import encode_component, fold
from t9k.em.records import Body
from t9k.em.testing.uploads import make_request, read_node, upload
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree.heads import MAX_GENERATION, head_key, heads_prefix

FILES = {"a": b"a", "b/c": b"bb"}
DAMAGED = [b"damaged", b'{"v": 1, "metadata": {"x": NaN}}', b""]


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def backend(store):
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


def _damage(store, folder: str, name: str, generation: int = 1, data: bytes = b"damaged") -> None:
    store.put(head_key(heads_prefix(folder, name), generation), Body.of(data))


@pytest.fixture
def folder(backend):
    """The path of a folder with two runs and a folder."""
    for name in ("m", "other"):
        upload(backend, make_request("/alice/f", name, FILES), FILES)
    upload(backend, make_request("/alice/f/Sub", "deep", FILES), FILES)
    return "/alice/f"


@pytest.mark.parametrize("data", DAMAGED)
@pytest.mark.parametrize("name", ["m", "Sub"])
def test_a_folder_with_a_damaged_record_is_deleted_with_all_that_is_in_it(backend, store, folder, name, data) -> None:
    _damage(store, folder, name, data=data)
    with pytest.raises(Conflict, match="holds 3 nodes"):
        backend.delete(folder)
    assert backend.stat(f"{folder}/other")
    backend.delete(folder, recursive=True)
    for path in (folder, f"{folder}/m", f"{folder}/Sub", f"{folder}/Sub/deep", f"{folder}/other"):
        with pytest.raises(NotFound, match="it was deleted"):
            backend.stat(path)
    upload(backend, make_request(folder, name, FILES), FILES)
    assert [node.path for node in backend.list(folder)] == [f"{folder}/{name}"]


def test_a_folder_whose_own_record_is_damaged_is_deleted_with_what_is_in_it(backend, store, folder) -> None:
    _damage(store, "/alice", "f")
    with pytest.raises(Conflict, match="holds 3 nodes"):
        backend.delete(folder)
    backend.delete(folder, recursive=True)
    with pytest.raises(NotFound):
        backend.stat(f"{folder}/Sub/deep")
    assert not backend.list("/alice")


def test_a_record_of_a_later_version_is_not_deleted_and_the_rest_of_its_folder_is(backend, store, folder) -> None:
    _damage(store, folder, "m", data=b'{"v": 2}')
    with pytest.raises(CorruptManifest, match="upgrade t9k-em"):
        backend.delete(folder, recursive=True)
    with pytest.raises(CorruptManifest, match="upgrade t9k-em"):
        backend.delete(f"{folder}/m")
    assert backend.list(folder) == []
    assert store.get(head_key(heads_prefix(folder, "m"), 1))
    with pytest.raises(NotFound):
        backend.stat(f"{folder}/Sub/deep")


def test_below_a_damaged_record_one_of_a_later_version_stays(backend, store, folder) -> None:
    _damage(store, folder, "m", data=b'{"v": 2}')
    _damage(store, folder, "m", generation=2)
    with pytest.raises(CorruptManifest, match="upgrade t9k-em"):
        backend.delete(f"{folder}/m")


def test_what_cannot_be_deleted_does_not_keep_the_rest(backend, store, folder) -> None:
    head = b"".join(store.get(head_key(heads_prefix(folder, "m"), 1)))
    _damage(store, folder, "m", generation=MAX_GENERATION, data=head)
    with pytest.raises(InvalidInput, match="generations"):
        backend.delete(folder, recursive=True)
    assert [node.name for node in backend.list(folder)] == ["m"]


def test_a_damaged_version_above_a_good_one_is_deleted_under_the_name_of_that(backend, store, folder) -> None:
    node = upload(backend, make_request(folder, "Model", FILES, id="mine"), FILES)
    _damage(store, folder, "model", generation=2)
    with pytest.raises(NotFound, match="'Model' was there, and its record is damaged"):
        backend.delete(f"{folder}/model")
    with pytest.raises(Conflict, match="@1 is not the newest generation any more; look at .*@2 first"):
        backend.delete(f"{folder}/Model", generation=1)
    backend.delete(f"{folder}/Model", generation=2)
    with pytest.raises(NotFound, match="it was deleted"):
        backend.stat(f"{folder}/Model")
    assert read_node(backend, backend.stat(f"{folder}/Model@1")) == FILES
    assert node.generation == 1


def test_a_damaged_record_of_a_name_that_is_cut_is_deleted_as_far_as_the_name_is_known(backend, store, folder) -> None:
    long = "é" * 100
    assert "%-" in encode_component(fold(long))
    upload(backend, make_request(folder, long, FILES), FILES)
    _damage(store, folder, long)
    _damage(store, folder, "ü" * 100)
    with pytest.raises(CorruptManifest, match="of which node is not known; delete them from the store by hand"):
        backend.delete(folder, recursive=True)
    store.delete([head_key(heads_prefix(folder, "ü" * 100), 1)])
    backend.delete(folder, recursive=True)
    assert not backend.list("/alice")


def test_a_child_that_somebody_else_deletes_meanwhile_is_no_error(backend, store, folder, monkeypatch) -> None:
    seen: list[str] = []
    children = type(backend.tree).children

    def listing(self, path, damaged):
        whole = children(self, path, damaged)
        if not seen:
            seen.append(path)
            found = whole.whole()
            backend.delete(f"{folder}/m")
            return SimpleNamespace(whole=lambda: found)
        return whole

    monkeypatch.setattr(type(backend.tree), "children", listing)
    backend.delete(folder, recursive=True)
    assert not backend.list("/alice")
    assert seen == [folder]


def test_a_folder_deeper_than_python_calls_is_deleted(backend, store) -> None:
    path = "/alice"
    head = json.loads(_folder_head(backend, store))
    for _ in range(960):
        path += "/d"
        folder = path[:-2]
        store.put(head_key(heads_prefix(folder, "d"), 1), Body.of(json.dumps({**head, "name": "d"}).encode()))
    assert backend.stat(path).kind == "Folder"
    backend.delete("/alice/d", recursive=True)
    with pytest.raises(NotFound, match="it was deleted"):
        backend.stat(path)


def _folder_head(backend, store) -> bytes:
    backend.make_folder("/alice/x")
    return b"".join(store.get(head_key(heads_prefix("/alice", "x"), 1)))
