"""Records that are truncated, hostile or from another version: refused or ignored before anything is written."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import math
import os
import tracemalloc
from typing import Any

import pytest
from attrs import evolve

from t9k.em.errors import CorruptData, CorruptManifest, Diverged, EMError, InvalidInput, NotFound
from t9k.em.records import RUN, Body
from t9k.em.testing.faults import Faults, FaultyStore
from t9k.em.testing.uploads import finish, make_request, read_node, upload
from t9k_em_backends.local import LocalBackend, LocalStore
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.tree import heads as heads_module
from t9k_em_backends.tree import index, json_members, listing, manifests, values
from t9k_em_backends.tree.heads import (
    MAX_GENERATION,
    MAX_HEAD_BYTES,
    Head,
    ManifestRef,
    decode_head,
    encode_head,
    head_key,
    seal_head,
)
from t9k_em_backends.tree.manifests import decode_manifest, encode_manifest

FILES = {"a": b"a", "b/c": b"bb"}
HEAD = "alice/.em/h/m/00000001.json"
SHA = hashlib.sha256(b"a").hexdigest()
OP = "20240101T000000.000000Z-0123456789"
FILE = {"key": "a", "op": OP, "size": 1, "sha256": SHA}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def backend(store):
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


def _overwrite(store, key: str, data: bytes | object) -> None:
    store.put(key, Body.of(data if isinstance(data, bytes) else json.dumps(data).encode()))


def _read(store, key: str) -> bytes:
    return b"".join(store.get(key))


def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth - 1):
        nested = [nested]
    return nested


# Heads.

HOSTILE: dict[str, dict[str, Any]] = {
    "another version": {"v": 2},
    "no version": {"v": None},
    "no name": {"name": None},
    "a name that is none": {"name": "../x"},
    "the name of somebody else": {"name": "other"},
    "an unknown state": {"state": "maybe"},
    "a run that is closing": {"state": "closing"},
    "a state that is no text": {"state": ["ready"]},
    "a kind that is no text": {"kind": 1},
    "no id": {"id": None},
    "an op that climbs": {"op": "../../etc"},
    "a manifest that climbs": {"files": [], "manifest": {"op": "../..", "sha256": SHA}},
    "a manifest without checksum": {"files": [], "manifest": {"op": OP, "sha256": "x"}},
    "a manifest that is a text": {"files": [], "manifest": "x"},
    "a span that ends before it begins": {"fenced_spans": [[OP.replace("2024", "2025"), OP]]},
    "a span of one upload": {"fenced_spans": [[OP]]},
    "a span of what is no upload": {"fenced_spans": [["a", "b"]]},
    "a key that climbs": {"files": [{**FILE, "key": "../../etc/passwd"}], "file_count": 1, "size": 1},
    "an absolute key": {"files": [{**FILE, "key": "/etc/passwd"}], "file_count": 1, "size": 1},
    "a reserved key": {"files": [{**FILE, "key": ".em/x"}], "file_count": 1, "size": 1},
    "a file of an op that climbs": {"files": [{**FILE, "op": "../x"}], "file_count": 1, "size": 1},
    "the same key twice": {"files": [FILE, FILE], "file_count": 2, "size": 2},
    "keys that differ by case": {"files": [FILE, {**FILE, "key": "A"}], "file_count": 2, "size": 2},
    "a key that is another's directory": {"files": [FILE, {**FILE, "key": "a/b"}], "file_count": 2, "size": 2},
    "a negative size": {"files": [{**FILE, "size": -1}], "file_count": 1, "size": -1},
    "a size that is true": {"files": [{**FILE, "size": True}], "file_count": 1, "size": 1},
    "a checksum that is none": {"files": [{**FILE, "sha256": "x"}], "file_count": 1, "size": 1},
    "an etag that is a number": {"files": [{**FILE, "etag": 1}], "file_count": 1, "size": 1},
    "a file without a key": {"files": [{}], "file_count": 1, "size": 1},
    "files that are a number": {"files": 3},
    "another number of files": {"files": [FILE], "file_count": 2, "size": 1},
    "another size": {"files": [FILE], "file_count": 1, "size": 2},
    "a negative count": {"file_count": -1},
    "metadata that is a list": {"metadata": []},
    "metadata with NaN": {"metadata": {"loss": math.nan}},
    "metadata with an infinity, deep in a list": {"metadata": {"losses": [{"x": [1, math.inf]}]}},
    "metadata with a lone surrogate": {"metadata": {"description": "\ud800"}},
    "metadata with a lone surrogate in a key": {"metadata": {"x": {"\udfff": 1}}},
    "metadata that are nested too deeply": {"metadata": {"x": _nested(values.MAX_DEPTH)}},
    "metadata that are too large": {"metadata": {"x": "y" * values.MAX_METADATA_BYTES}},
    "an id with a lone surrogate": {"id": "\ud800"},
    "an id without end": {"id": "x" * (values.MAX_TEXT_BYTES + 1)},
    "a kind with a lone surrogate": {"kind": "\ud800"},
    "a writer with a lone surrogate": {"writer": "\ud800"},
    "a name with a lone surrogate": {"name": "m\ud800"},
    "a key with a lone surrogate": {"files": [{**FILE, "key": "\ud800"}], "file_count": 1, "size": 1},
    "an etag with a lone surrogate": {"files": [{**FILE, "etag": "\ud800"}], "file_count": 1, "size": 1},
    "a size that no database takes": {"files": [{**FILE, "size": 2**63}], "file_count": 1, "size": 2**63},
    "sizes that no database takes together": {
        "files": [{**FILE, "size": 2**62}, {**FILE, "key": "b", "size": 2**62}],
        "file_count": 2,
        "size": 2**63,
    },
    "a size that is a fraction": {"size": 0.5},
    "files beside a list of files": {"files": [FILE], "manifest": {"op": OP, "sha256": SHA}},
    "files that are an object": {"files": {"a": FILE}},
    "a file that is a text": {"files": ["a"]},
    "a generation that cannot be": {"collected": MAX_GENERATION + 1},
    "fences that are an object": {"fenced": {OP: 1}},
    "a time that is none": {"time": "yesterday"},
    "a time in a month that is none": {"time": "2024-13-01T00:00:00.000000Z"},
    "an older version than the first": {"v": 0},
    "a version that is true": {"v": True},
    "a fence that is no op": {"fenced": ["x"]},
    "fences that are a number": {"fenced": 1},
    "a negative generation": {"collected": -1},
    "no writer": {"writer": None},
    "no time": {"time": 0},
}
NO_HEADS = {
    "nothing": b"",
    "half": b'{"v": 1, "wri',
    "no JSON": b"\x00\xff",
    "JSON in UTF-16": json.dumps({"v": 1}).encode("utf-16"),
    "a surrogate in bytes": b'{"v": 1, "name": "\xed\xa0\x80"}',
    "a list": b"[]",
    "a number": b"1",
    "empty": b"{}",
    "deep": b"[" * 200_000,
    "large": b" " * (MAX_HEAD_BYTES + 1),
}


def _refuses(backend, store, caplog) -> None:
    before = {info.key: info.etag for info in store.list("")}
    for call in (
        lambda: backend.stat("/alice/m"),
        lambda: backend.stat("/alice/m@1"),
        lambda: backend.versions("/alice/m"),
        lambda: backend.begin(make_request("/alice", "m", FILES, strategy="replace")),
    ):
        with pytest.raises(CorruptManifest):
            call()
    for call, warning in (
        (lambda: backend.list("/alice"), "left out"),
        (lambda: backend.collect("/alice", grace_s=-60.0).objects, "nothing is collected of 'm'"),
    ):
        caplog.clear()
        assert not call()
        assert warning in caplog.text
    assert {info.key: info.etag for info in store.list("")} == before


def _can_be_deleted(backend) -> None:
    backend.delete("/alice/m")
    with pytest.raises(NotFound, match="it was deleted"):
        backend.stat("/alice/m")
    upload(backend, make_request("/alice", "m", FILES), FILES)
    assert read_node(backend, backend.stat("/alice/m")) == FILES
    assert backend.stat("/alice/m").generation == 3


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_head_is_refused_before_anything_is_written(backend, store, caplog, what: str) -> None:
    upload(backend, make_request("/alice", "m", FILES), FILES)
    _overwrite(store, HEAD, {**json.loads(_read(store, HEAD)), **HOSTILE[what]})
    _refuses(backend, store, caplog)
    if what == "another version":
        with pytest.raises(CorruptManifest, match="upgrade t9k-em"):
            backend.delete("/alice/m")
    else:
        _can_be_deleted(backend)


@pytest.mark.parametrize("what", NO_HEADS)
def test_what_is_no_head_is_refused_before_anything_is_written(backend, store, caplog, what: str) -> None:
    upload(backend, make_request("/alice", "m", FILES), FILES)
    _overwrite(store, HEAD, NO_HEADS[what])
    _refuses(backend, store, caplog)
    _can_be_deleted(backend)


def test_every_field_of_a_head_is_needed(backend, store) -> None:
    upload(backend, make_request("/alice", "m", FILES), FILES)
    record = json.loads(_read(store, HEAD))
    for name in record:
        _overwrite(store, HEAD, {key: value for key, value in record.items() if key != name})
        with pytest.raises(CorruptManifest):
            backend.stat("/alice/m")


def test_fields_that_a_later_version_adds_are_ignored(backend, store) -> None:
    node = upload(backend, make_request("/alice", "m", FILES), FILES)
    _overwrite(store, HEAD, {**json.loads(_read(store, HEAD)), "later": {"x": 1}})
    assert backend.stat("/alice/m") == node


def test_objects_among_the_heads_that_are_none_are_ignored(backend, store) -> None:
    node = upload(backend, make_request("/alice", "m", FILES), FILES)
    for key in ("x", "m/9.json", "m/00000002.txt", "m/000000002.json", "m/sub/00000002.json"):
        _overwrite(store, f"alice/.em/h/{key}", b"hostile")
    assert backend.stat("/alice/m") == node
    assert list(backend.list("/alice")) == [node]


def test_a_head_that_is_listed_and_never_found_is_an_error(backend, store) -> None:
    upload(backend, make_request("/alice", "m", FILES), FILES)

    class Hiding(FaultyStore):
        def get(self, key, start=0, end=None):
            if key == HEAD:
                raise NotFound(key)
            return super().get(key, start, end)

    hiding = MemoryBackend(Hiding(store, Faults()), "memory://test", sleep=lambda _: None)
    for call in (lambda: hiding.stat("/alice/m"), lambda: hiding.list("/alice")):
        with pytest.raises(CorruptData):
            call()


# Lists of files.


@pytest.fixture
def manifest_key(backend, store, monkeypatch):
    """The key of the list of files of a node that has one."""
    monkeypatch.setattr(heads_module, "FILES_IN_HEAD_BYTES", 1)
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    return next(info.key for info in store.list("alice/m/") if "/.em/manifest-" in info.key)


def test_a_list_of_files_that_is_not_the_one_in_the_head_is_refused(backend, store, manifest_key) -> None:
    good = _read(store, manifest_key)
    node = backend.stat("/alice/m")
    assert read_node(backend, node) == FILES
    for data in (b"", good[:-1], good + b"x", gzip.compress(b"{}"), b"no gzip"):
        _overwrite(store, manifest_key, data)
        with pytest.raises(CorruptManifest):
            backend.files(backend.stat("/alice/m"))
        assert not backend.collect("/alice", grace_s=-60.0, apply=True).objects
        assert len(backend.begin(make_request("/alice", "m", FILES, id="mine")).missing) == len(FILES)
    assert len(list(store.list("alice/m/"))) == 3
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    assert read_node(backend, backend.stat("/alice/m")) == FILES


def test_on_top_of_a_list_of_files_of_a_later_version_nothing_is_uploaded(backend, store, manifest_key) -> None:
    newer = gzip.compress(b'{"v":2,"files":[]}')
    head = json.loads(_read(store, HEAD))
    sha256 = hashlib.sha256(newer).hexdigest()
    _overwrite(store, HEAD, {**head, "manifest": {**head["manifest"], "sha256": sha256}})
    _overwrite(store, manifest_key.replace(head["manifest"]["sha256"], sha256), newer)
    with pytest.raises(CorruptManifest, match="upgrade t9k-em"):
        backend.begin(make_request("/alice", "m", FILES, id="mine"))


def test_without_its_list_of_files_a_node_is_not_collected_and_can_be_sent_again(backend, store, manifest_key) -> None:
    store.delete([manifest_key])
    with pytest.raises(NotFound):
        backend.files(backend.stat("/alice/m"))
    assert backend.collect("/alice", grace_s=-60.0, apply=True).objects == ()
    begun = backend.begin(make_request("/alice", "m", FILES, id="mine"))
    assert len(begun.missing) == 2
    finish(begun, FILES)
    assert read_node(backend, backend.stat("/alice/m")) == FILES


def _head_for(data: bytes, **changes) -> Head:
    head = Head(
        write_id="w",
        kind=RUN,
        state="ready",
        name="m",
        id="i",
        writer="alice",
        time="2024-01-01T00:00:00.000000Z",
        manifest=ManifestRef(op=OP, sha256=hashlib.sha256(data).hexdigest()),
        file_count=1,
        size=1,
    )
    return evolve(head, **changes)


HOSTILE_LISTS: list[list[dict[str, Any]]] = [
    [],
    [FILE, FILE],
    [{**FILE, "size": -1}],
    [{**FILE, "size": 2}],
    [{**FILE, "key": "../x"}],
    [{**FILE, "key": "a\\b"}],
    [{**FILE, "op": "x"}],
    [{**FILE, "sha256": 1}],
    [{}],
]
NO_LISTS = [b"", b"x", b"[]", b"{}", b'{"files": 1}', b"[" * 200_000]


@pytest.mark.parametrize(
    "plain",
    [*NO_LISTS, *(json.dumps({"v": 1, "files": files}).encode() for files in HOSTILE_LISTS)],
    ids=lambda plain: plain[:60].decode(),
)
def test_a_hostile_list_of_files_with_the_right_checksum_is_refused(plain: bytes) -> None:
    data = gzip.compress(plain)
    with pytest.raises(CorruptManifest):
        decode_manifest(data, _head_for(data), "key")


def test_a_list_of_files_that_becomes_huge_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", 1 << 20)
    files = b",".join(json.dumps({**FILE, "key": f"{number:06d}"}).encode() for number in range(10_000))
    data = gzip.compress(b'{"v":1,"files":[%b]}' % files)
    with pytest.raises(CorruptManifest, match="larger"):
        decode_manifest(data, _head_for(data, file_count=10_000, size=10_000), "key")


def test_a_file_that_is_listed_again_and_again_is_the_end_of_a_list_before_all_of_it_takes_memory() -> None:
    number = 100_000
    data = gzip.compress(b'{"v":1,"files":[%b]}' % b",".join([json.dumps(FILE).encode()] * number))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptManifest, match="same key"):
            decode_manifest(data, _head_for(data, file_count=number, size=number), "key")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_the_longest_list_of_files_is_written_and_read_and_a_longer_one_is_refused(backend, monkeypatch) -> None:
    monkeypatch.setattr(heads_module, "FILES_IN_HEAD_BYTES", 1)
    contents = {f"{number:04d}": b"" for number in range(1500)}
    request = make_request("/alice", "m", contents, id="mine")
    upload(backend, request, contents)
    plain = sum(len(values.dump_json(values.file_record(file))) + 1 for file in backend.files(backend.stat("/alice/m")))
    monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", plain + 100)
    upload(backend, make_request("/alice", "largest", contents), contents)
    assert read_node(backend, backend.stat("/alice/largest")) == contents
    more = {**contents, "x": b""}
    with pytest.raises(
        InvalidInput, match="the list of 1501 files takes more than .* add them as archives of many files"
    ):
        upload(backend, make_request("/alice", "larger", more), more)
    with pytest.raises(NotFound):
        backend.stat("/alice/larger")


@pytest.mark.parametrize("more", [0, 1])
def test_a_list_of_files_is_in_the_head_up_to_its_limit(backend, store, monkeypatch, more: int) -> None:
    upload(backend, make_request("/alice", "m", FILES), FILES)
    monkeypatch.setattr(heads_module, "FILES_IN_HEAD_BYTES", len(_read(store, HEAD)) - more)
    upload(backend, make_request("/alice", "n", FILES), FILES)
    head = json.loads(_read(store, HEAD.replace("/m/", "/n/")))
    assert (head["manifest"] is None, len(head["files"])) == ((True, 2) if not more else (False, 0))
    assert read_node(backend, backend.stat("/alice/n")) == FILES


def test_a_head_without_a_list_has_none() -> None:
    data = encode_manifest(())
    with pytest.raises(CorruptManifest):
        decode_manifest(data, _head_for(data, manifest=None), "key")


def test_the_same_files_make_the_same_list() -> None:
    assert encode_manifest(()) == encode_manifest(())
    assert json.loads(encode_head(_head_for(b"")))["v"] == 1


# The listing cache.

BAD_ROWS: dict[str, dict[str, Any]] = {
    "another type": {"size": "1"},
    "another generation": {"generation": 2},
    "another name": {"name": "other"},
    "a name that is none": {"name": "../x"},
    "more": {"more": 1},
    "metadata with NaN": {"metadata": {"x": math.nan}},
    "metadata with a lone surrogate": {"metadata": {"x": "\ud800"}},
    "metadata that are too deep": {"metadata": {"x": _nested(values.MAX_DEPTH)}},
    "metadata that are too large": {"metadata": {"x": "y" * index.LARGEST_METADATA_BYTES}},
    "a count that no database takes": {"size": 2**63},
    "a time that is none": {"modified": "x"},
    "a flag that is a number": {"deleted": 0},
    "an id with a lone surrogate": {"id": "\ud800"},
}
BAD_INDEXES = [
    b"",
    b"x",
    b"[]",
    b"{}",
    b'{"v": 1}',
    b'{"v": 2, "rows": {"m/00000001": {}}}',
    b'{"v": 0, "rows": {}}',
    b'{"v": 1, "rows": []}',
    b'{"v": 1, "rows": {1: 2}}',
    b'{"v": 1, "rows": {"a" 1}}',
    b'{"v": 1, "rows": {"a": 1 "b": 2}}',
    b'{"v": 1, "rows": {"a": 1}',
    b'{"v": 1, "rows": {"a": 1}]',
    b'{"v": 1, "rows": {}}' + b" " * (json_members.MAX_MEMBER_BYTES + 1),
    b'{"v": 1, "rows": {"a": "' + b"x" * (json_members.MAX_MEMBER_BYTES + 1) + b'"}}',
    b'{"v": 1, "rows": {"\xff": 1}}',
    b"[" * 200_000,
]


@pytest.fixture
def listed(backend):
    """Nodes in a folder with a cache."""
    names = [f"n{number:02d}" for number in range(listing.REWRITE_AT + 2)]
    nodes = [upload(backend, make_request("/alice/f", name, {}), {}) for name in names]
    assert list(backend.list("/alice/f")) == nodes
    return nodes


def anew(store) -> MemoryBackend:
    """Another process, which remembers nothing."""
    return MemoryBackend(store, "memory://test", sleep=lambda _: None)


INDEX = "alice/f/.em/index.json"


def _rows(store) -> dict[str, Any]:
    """The rows of the cache by name."""
    return {key.partition("/")[0]: key for key in json.loads(_read(store, INDEX))["rows"]}


@pytest.mark.parametrize("data", BAD_INDEXES, ids=lambda data: repr(data[:40]))
def test_a_damaged_listing_cache_changes_nothing(backend, store, listed, data: bytes, caplog) -> None:
    _overwrite(store, INDEX, data)
    with caplog.at_level(logging.WARNING):
        assert list(anew(store).list("/alice/f")) == listed
    assert f"the listing cache {INDEX} is damaged" in caplog.text
    assert list(anew(store).list("/alice/f")) == listed
    store.delete([INDEX])
    assert list(anew(store).list("/alice/f")) == listed


@pytest.mark.parametrize("what", BAD_ROWS)
def test_an_entry_of_the_cache_that_does_not_fit_is_ignored(backend, store, listed, what: str) -> None:
    keys = _rows(store)
    record = json.loads(_read(store, INDEX))
    record["rows"][keys["n00"]] |= BAD_ROWS[what]
    record["rows"][keys["n01"]] = None
    _overwrite(store, INDEX, record)
    assert list(anew(store).list("/alice/f")) == listed


def test_entries_of_the_cache_for_what_is_not_there_are_ignored(backend, store, listed) -> None:
    record = json.loads(_read(store, INDEX))
    key = _rows(store)["n00"]
    row = record["rows"][key]
    record["rows"][key.replace("n00", "ghost")] = {**row, "name": "ghost"}
    record["rows"][key.replace("00000001", "00000002")] = {**row, "generation": 2}
    record["rows"]["n00/00000001"] = {**row, "size": 77}  # as earlier versions wrote
    record["later"] = {"x": 1}
    _overwrite(store, INDEX, record)
    assert list(anew(store).list("/alice/f")) == listed


def test_a_row_of_the_cache_is_read_in_place_of_its_head(backend, store, listed) -> None:
    record = json.loads(_read(store, INDEX))
    record["rows"][_rows(store)["n00"]]["size"] = 77
    _overwrite(store, INDEX, record)
    assert anew(store).list("/alice/f")[0].size == 77


def test_a_head_that_was_restored_from_another_copy_is_listed_as_it_is(backend, store, listed) -> None:
    head = "alice/f/.em/h/n00/00000001.json"
    restored = {**json.loads(_read(store, head)), "id": "another", "metadata": {"from": "an older copy"}}
    _overwrite(store, head, restored)
    assert backend.stat("/alice/f/n00").id == "another"
    assert anew(store).list("/alice/f")[0] == backend.stat("/alice/f/n00")


def test_a_cache_holds_as_many_rows_as_its_readers_take(backend, store, listed, monkeypatch, caplog) -> None:
    whole = _read(store, INDEX)
    store.delete([INDEX])
    monkeypatch.setattr(index, "MAX_INDEX_BYTES", len(whole) - 1)
    assert list(anew(store).list("/alice/f")) == listed
    written = _read(store, INDEX)
    assert 0 < len(json.loads(written)["rows"]) < len(listed)
    assert list(anew(store).list("/alice/f")) == listed
    assert not caplog.records
    _overwrite(store, INDEX, whole)
    assert list(anew(store).list("/alice/f")) == listed
    assert "is larger than" in caplog.text


def test_a_row_that_is_too_long_is_left_out_of_the_cache(backend, store, listed, monkeypatch, caplog) -> None:
    upload(backend, make_request("/alice/f", "long", {}, metadata={"x": "y" * 1000}), {})
    store.delete([INDEX])
    monkeypatch.setattr(index, "MAX_MEMBER_BYTES", 1000)
    assert len(anew(store).list("/alice/f")) == len(listed) + 1
    assert set(_rows(store)) == {node.name for node in listed}
    monkeypatch.setattr(index, "MAX_MEMBER_BYTES", 10)
    store.delete([INDEX])
    assert len(anew(store).list("/alice/f")) == len(listed) + 1
    assert json.loads(_read(store, INDEX)) == {"v": 1, "rows": {}}
    assert not caplog.records


def test_a_listing_leaves_out_large_metadata(backend, listed) -> None:
    metadata = {"small": 1, "large": "x" * index.LARGEST_METADATA_BYTES}
    node = upload(backend, make_request("/alice/f", "large", {}, metadata=metadata), {})
    assert backend.list("/alice/f")[0].metadata == {"small": 1}
    assert backend.stat(node.path).metadata == metadata


def test_metadata_has_a_limit(backend) -> None:
    with pytest.raises(InvalidInput, match="metadata"):
        backend.begin(make_request("/alice", "m", {}, metadata={"x": "y" * (1 << 20)}))


def test_every_error_here_belongs_to_the_library() -> None:
    assert issubclass(CorruptManifest, EMError)


def test_a_damaged_version_keeps_none_of_the_others_from_being_read(backend, store, caplog) -> None:
    old = upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    request = make_request("/alice", "m", {"a": b"new"}, id="mine")
    upload(backend, request, {"a": b"new"})
    upload(backend, make_request("/alice", "m", {"a": b"newest"}, id="mine"), {"a": b"newest"})
    damaged = HEAD.replace("1.json", "2.json")
    good = _read(store, damaged)
    _overwrite(store, damaged, b"damaged")
    assert backend.stat("/alice/m").generation == 3
    assert [node.generation for node in backend.versions("/alice/m")] == [3, 1]
    assert "left out of the versions of /alice/m" in caplog.text
    with pytest.raises(CorruptManifest):
        backend.stat("/alice/m@2")
    with pytest.raises(Diverged, match="comes from none of its versions"):
        backend.begin(make_request("/alice", "m", FILES, id="mine", ancestors=[request.op]))
    again = upload(backend, evolve(request, resumed=True), {"a": b"new"})
    assert again.generation == 4
    _overwrite(store, HEAD.replace("1.json", "4.json"), b"damaged")
    with pytest.raises(CorruptManifest, match="delete the node and upload it again"):
        backend.stat("/alice/m")
    assert backend.stat("/alice/m@1") == old
    assert read_node(backend, old) == FILES
    _overwrite(store, damaged, good)
    assert read_node(backend, backend.stat("/alice/m@2")) == {"a": b"new"}


def test_of_a_later_version_on_top_no_older_one_is_read(backend, store) -> None:
    upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    _overwrite(store, HEAD.replace("1.json", "2.json"), {"v": 2})
    with pytest.raises(CorruptManifest, match="upgrade t9k-em"):
        backend.stat("/alice/m@1")


def test_a_record_that_no_reader_takes_is_not_written(backend, store):
    large = _head_for(b"", metadata={"text": "x" * MAX_HEAD_BYTES})
    with pytest.raises(InvalidInput, match="the record .* would take .* bytes, of at most"):
        backend.tree.generations("/alice", "m").publish(1, large)
    assert not [info for info in store.list("") if "/h/" in info.key]


def test_the_last_generation_is_published_and_found_and_none_behind_it(backend, store) -> None:
    node = upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES)
    generations = backend.tree.generations("/alice", "m")
    store.put(head_key(generations.prefix, MAX_GENERATION - 1), Body.of(_read(store, HEAD)))
    last = upload(backend, make_request("/alice", "m", {"a": b"new"}, id="mine"), {"a": b"new"})
    assert last.generation == MAX_GENERATION
    assert backend.stat("/alice/m") == last == backend.stat(f"/alice/m@{MAX_GENERATION}")
    assert backend.list("/alice") == [last]
    before = {info.key for info in store.list("alice/.em/")}
    for call in (
        lambda: upload(backend, make_request("/alice", "m", FILES, id="mine"), FILES),
        lambda: backend.delete("/alice/m"),
    ):
        with pytest.raises(
            InvalidInput, match="'m' has 99999999 generations, and there can be no more; use another name"
        ):
            call()
    assert {info.key for info in store.list("alice/.em/")} == before
    assert node.generation == 1


def test_the_largest_record_is_written_and_read_and_one_byte_more_is_refused(store, monkeypatch) -> None:
    head = evolve(_head_for(b""), fenced=tuple(f"20240101T{number:06d}.000000Z-0123456789" for number in range(90_000)))
    free = MAX_HEAD_BYTES - len(encode_head(evolve(head, metadata={"x": ""})))
    largest = evolve(head, metadata={"x": "y" * free})
    assert len(seal_head(largest, HEAD)) == MAX_HEAD_BYTES
    generations = MemoryBackend(store, "memory://test").tree.generations("/alice", "m")
    assert generations.publish(1, largest)
    assert generations.read(1) == largest
    with pytest.raises(InvalidInput, match=f"would take {MAX_HEAD_BYTES + 1} bytes, of at most .*em gc --apply"):
        generations.publish(2, evolve(largest, metadata={"x": "y" * (free + 1)}))
    assert [info.key for info in store.list("")] == [HEAD]


LARGEST: dict[str, dict[str, Any]] = {
    "metadata that are as large as can be": {"x": "y" * (values.MAX_METADATA_BYTES - len('{"x":""}'))},
    "metadata that are as deep as can be": {"x": _nested(values.MAX_DEPTH - 1)},
    "numbers": {"x": [0.5, -1e300, 1e-300, 2**70, {"y": -0.0}]},
}


@pytest.mark.parametrize("what", LARGEST)
def test_what_is_at_a_limit_is_published_and_read(backend, what: str) -> None:
    node = upload(backend, make_request("/alice", "m", FILES, metadata=LARGEST[what]), FILES)
    assert backend.stat("/alice/m") == node
    assert backend.stat("/alice/m").metadata == LARGEST[what]


REFUSED: dict[str, dict[str, Any]] = {
    "take 1048577 bytes": {"metadata": {"x": "y" * (values.MAX_METADATA_BYTES - len('{"x":""}') + 1)}},
    "nested more than 128 deep": {"metadata": {"x": _nested(values.MAX_DEPTH)}},
    "NaN": {"metadata": {"x": [math.nan]}},
    "lone surrogate": {"metadata": {"x": "\ud800"}},
    "a key that is no text": {"metadata": {"x": {1: 2}}},
    "not JSON serializable": {"metadata": {"x": {1, 2}}},
    "longer than 1024 bytes": {"id": "x" * (values.MAX_TEXT_BYTES + 1)},
}


@pytest.mark.parametrize("flaw", REFUSED)
def test_what_no_record_can_say_is_refused_before_anything_is_sent(backend, store, flaw: str) -> None:
    with pytest.raises(InvalidInput, match=f"'m' cannot be uploaded, for what its record would say: .*{flaw}"):
        backend.begin(make_request("/alice", "m", FILES, **REFUSED[flaw]))
    assert not list(store.list("alice/"))


@pytest.mark.parametrize(
    "changes",
    [{"writer": "\ud800"}, {"time": "yesterday"}, {"collected": -1}, {"metadata": {"x": {1: 2, "1": 2}}}, {"size": 1}],
    ids=str,
)
def test_a_record_is_read_before_it_is_written(store, changes) -> None:
    head = _head_for(b"", manifest=None, file_count=0, size=0)
    assert decode_head(seal_head(head, HEAD), HEAD) == head
    with pytest.raises(InvalidInput, match="nothing was published"):
        MemoryBackend(store, "memory://test").tree.generations("/alice", "m").publish(1, evolve(head, **changes))
    assert not list(store.list(""))


def test_what_a_few_bytes_of_gzip_become_is_not_unpacked_behind_the_first_flaw() -> None:
    data = gzip.compress(b'{"v":1,"files":[' + b"{}," * (32 << 20) + b"{}]}", 9)
    assert len(data) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(CorruptManifest, match="is damaged"):
            decode_manifest(data, _head_for(data), "key")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["bad/name", ".."])
def test_who_writes_a_record_without_a_name_is_known_by_a_number(backend, monkeypatch, name):
    def nobody():
        raise InvalidInput("no name; set EM_USER")

    monkeypatch.setattr(backend.tree, "whoami", nobody)
    monkeypatch.delenv("EM_USER", raising=False)
    assert backend.tree.writer() == f"uid-{os.getuid()}"
    monkeypatch.setenv("EM_USER", name)
    with pytest.raises(InvalidInput):
        backend.tree.writer()


def test_a_head_that_is_put_back_into_a_directory_is_listed_as_it_is(tmp_path) -> None:
    uri = f"file://{tmp_path}/store"
    local = LocalBackend(LocalStore(tmp_path / "store"), uri)
    names = [f"n{number:02d}" for number in range(listing.REWRITE_AT)]
    for name in names:
        upload(local, make_request("/alice/f", name, {}), {})
    path = tmp_path / "store" / "alice/f/.em/h/n00/00000001.json"
    copy = path.read_bytes().replace(b'"size":0', b'"size":0 ')[:-1] + b"}"
    copy = copy.replace(local.stat("/alice/f/n00").id.encode(), b"another")
    assert len(local.list("/alice/f")) == len(names)
    path.unlink()
    path.write_bytes(copy)
    assert local.list("/alice/f")[0].id == local.stat("/alice/f/n00").id == "another"
