"""Whatever lies in a store: a record is one, or the one error says that it is not; nothing else ever comes out of reading it."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from t9k.em.errors import CorruptData, CorruptManifest, NewerStore
from t9k.em.records import RUN, Body
from t9k.em.testing.uploads import make_request, upload
from t9k.em.wire import node_json, node_of
from t9k_em_backends.memory import MemoryBackend, MemoryStore
from t9k_em_backends.s3 import presigning
from t9k_em_backends.tree import begun, json_members
from t9k_em_backends.tree.begun import read_name, split_begun
from t9k_em_backends.tree.heads import Head, ManifestRef, decode_head, encode_head, seal_head, to_node
from t9k_em_backends.tree.index import index_rows, row_key, to_row
from t9k_em_backends.tree.manifests import decode_manifest
from t9k_em_backends.tree.mark import decode_mark, encode_mark
from t9k_em_backends.tree.values import dump_json

KEY = "alice/.em/h/m/00000001.json"
OP = "20240101T000000.000000Z-0123456789"
LATER = "20240102T000000.000000Z-0123456789"
FILE = {"key": "a", "op": OP, "size": 1, "sha256": "0" * 64, "etag": "x"}
HEAD = {
    "v": 1,
    "write_id": "w",
    "op": OP,
    "kind": "Run",
    "state": "ready",
    "name": "m",
    "id": "i",
    "files": [FILE],
    "manifest": None,
    "file_count": 1,
    "size": 1,
    "metadata": {"labels": ["a"]},
    "fenced": [OP],
    "fenced_spans": [[OP, LATER]],
    "collected": 0,
    "writer": "alice",
    "time": "2024-01-01T00:00:00.000000Z",
}
ROW = {
    "name": "m",
    "kind": "Run",
    "id": "i",
    "generation": 1,
    "modified": "2024-01-01T00:00:00.000000Z",
    "writer": "alice",
    "metadata": {"labels": ["a"]},
    "file_count": 1,
    "size": 1,
    "deleted": False,
}

texts = st.text(st.characters() | st.sampled_from("\ud800\udfff"), max_size=8)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**70),
    st.floats(),
    texts,
    st.sampled_from([OP, LATER, "m", "ready", "closing", "deleted", "Folder", "Run", "", "0" * 64, "../x", "a/b"]),
)
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(texts | st.sampled_from([*HEAD, *FILE, "rows"]), inner, max_size=4),
    ),
    max_leaves=12,
)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A good record of which some fields hold anything, or are missing."""
    some = st.dictionaries(st.sampled_from(sorted(record)), anything, max_size=3)
    without = st.sets(st.sampled_from(sorted(record)), max_size=1)
    return st.builds(
        lambda fields, gone: {key: value for key, value in {**record, **fields}.items() if key not in gone},
        some,
        without,
    )


def _can_be_printed(error: Exception) -> None:
    assert str(error).encode()


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


heads = st.one_of(
    changed(HEAD),
    st.builds(lambda file: {**HEAD, "files": [file]}, changed(FILE)),
    st.builds(lambda span: {**HEAD, "fenced_spans": [span]}, st.lists(st.sampled_from([OP, LATER, "x"]), max_size=3)),
    anything,
).map(encoded)


@given(heads | st.binary(max_size=60))
def test_a_head_is_one_or_damaged(data: bytes) -> None:
    try:
        head = decode_head(data, KEY)
    except CorruptManifest as error:
        _can_be_printed(error)
        return
    assert decode_head(seal_head(head, KEY), KEY) == head
    node = to_node("/alice", 1, head)
    assert node_of(json.loads(dump_json(node_json(node)))) == evolve(node, deleted=not head.ready)
    assert dump_json(to_row(1, head))


def test_the_head_that_the_others_are_made_of_is_one() -> None:
    head = decode_head(encoded(HEAD), KEY)
    assert json.loads(encode_head(head)) == HEAD


manifest_head = Head(
    write_id="w",
    kind=RUN,
    state="ready",
    name="m",
    id="i",
    writer="alice",
    time="2024-01-01T00:00:00.000000Z",
    file_count=1,
    size=1,
)
lists = st.one_of(
    changed(FILE).map(lambda file: encoded({"v": 1, "files": [file]})),
    st.lists(anything, max_size=3).map(lambda files: encoded({"v": 1, "files": files})),
    changed({"v": 1, "files": [FILE]}).map(encoded),
    anything.map(encoded),
    st.binary(max_size=40),
    st.binary(max_size=20).map(lambda rest: b'{"v": 1, "files": [' + rest),
    st.binary(max_size=20).map(lambda rest: b'{"v": 1, "files": [' + encoded(FILE) + rest),
)


@given(lists.map(gzip.compress) | st.binary(max_size=40))
def test_a_list_of_files_is_one_or_damaged(data: bytes) -> None:
    head = evolve(manifest_head, manifest=ManifestRef(op=OP, sha256=hashlib.sha256(data).hexdigest()))
    try:
        files = decode_manifest(data, head, "key")
    except CorruptManifest as error:
        _can_be_printed(error)
        return
    assert len(files) == files[0].size == 1


@pytest.mark.parametrize("end", [b"", b', "later": {"x": [1]}', b" \n"])
def test_a_list_of_files_may_have_more_fields(end: bytes) -> None:
    data = gzip.compress(b'{ "v" : 1 , "files" : [ ' + encoded(FILE) + b" ]" + end + b"}")
    head = evolve(manifest_head, manifest=ManifestRef(op=OP, sha256=hashlib.sha256(data).hexdigest()))
    assert decode_manifest(data, head, "key")[0].key == "a"


def test_a_list_of_files_of_a_later_version_is_not_damaged() -> None:
    data = gzip.compress(b'{"v":2,"files":[]}')
    head = evolve(manifest_head, manifest=ManifestRef(op=OP, sha256=hashlib.sha256(data).hexdigest()))
    with pytest.raises(CorruptManifest, match="upgrade t9k-em"):
        decode_manifest(data, head, "key")


def test_the_longest_file_in_a_list_is_read_and_a_longer_one_is_not() -> None:
    long = {**FILE, "etag": "é" * 512, "key": "/".join(["\u00e9" * 100] * 5), "x": ""}
    long["x"] = "y" * (json_members.MAX_MEMBER_BYTES - len(json.dumps(long, ensure_ascii=False)))
    for more, is_read in ((b"", True), (b" ", False)):
        plain = b'{"v":1,"files":[' + json.dumps(long, ensure_ascii=False).encode()[:-1] + more + b"}]}"
        data = gzip.compress(plain)
        head = evolve(manifest_head, manifest=ManifestRef(op=OP, sha256=hashlib.sha256(data).hexdigest()))
        if is_read:
            assert decode_manifest(data, head, "key")[0].key == long["key"]
        else:
            with pytest.raises(CorruptManifest, match="a member is longer than"):
                decode_manifest(data, head, "key")


STORE = MemoryStore()
TREE = MemoryBackend(STORE, "memory://decoders", sleep=lambda _: None)
NODE = upload(TREE, make_request("/alice/f", "m", {}), {})
INFO = next(info for info in STORE.list("alice/f/.em/h/m/"))
OF_ROW = row_key("m", 1, INFO)

indexes = st.one_of(
    changed(ROW).map(lambda row: encoded({"v": 1, "rows": {OF_ROW: row}})),
    st.dictionaries(st.just(OF_ROW) | texts, anything, max_size=3).map(lambda rows: encoded({"v": 1, "rows": rows})),
    changed({"v": 1, "rows": {OF_ROW: ROW}}).map(encoded),
    anything.map(encoded),
    st.binary(max_size=40),
    st.binary(max_size=20).map(lambda rest: b'{"v": 1, "rows": {' + rest),
)


@given(indexes)
def test_a_listing_cache_gives_rows_and_no_error(data: bytes) -> None:
    STORE.put("alice/f/.em/index.json", Body.of(data))
    for of_row, row in index_rows(STORE, "/alice/f"):
        assert of_row.startswith(f"{row['name']}/".lower())
        assert dump_json(row)
    fresh = MemoryBackend(STORE, "memory://decoders", sleep=lambda _: None)
    [node] = fresh.list("/alice/f")
    assert node.name == "m"
    assert node_of(json.loads(dump_json(node_json(node)))) == node


@given(changed({"v": 1, "name": "m"}).map(encoded) | anything.map(encoded) | st.binary(max_size=40))
def test_a_record_of_an_upload_gives_a_name_or_none(data: bytes) -> None:
    record = split_begun(STORE.put(f"alice/f/.em/uploads/m@{OP}", Body.of(data)))
    assert record is not None
    assert read_name(STORE, record).encode() is not None


def test_the_record_of_an_upload_that_ended_meanwhile_has_no_name() -> None:
    record = split_begun(STORE.put(f"alice/f/.em/uploads/ended@{OP}", Body.of(dump_json({"v": 1, "name": "ended"}))))
    assert record is not None
    assert read_name(STORE, record) == "ended"
    STORE.delete([record.info.key])
    assert read_name(STORE, record) == ""


def test_the_record_of_an_upload_with_the_longest_name_is_read_and_a_longer_record_is_not() -> None:
    for name in ("é" * 127, "\u4e2d" * 85):
        data = dump_json({"v": 1, "name": name})
        data += b" " * (begun.MAX_BEGUN_BYTES - len(data))
        record = split_begun(STORE.put(f"alice/f/.em/uploads/m@{OP}", Body.of(data)))
        assert record is not None
        assert read_name(STORE, record) == name
        STORE.put(record.info.key, Body.of(b" " * (begun.MAX_BEGUN_BYTES - 9) + data))
        assert read_name(STORE, record) == "", "what is behind the limit is not read"


@given(
    changed({"v": 1, "id": "x", "created": "t", "writer_features": []}).map(encoded)
    | anything.map(encoded)
    | st.binary(max_size=40)
)
def test_the_mark_of_a_store_is_one_or_damaged(data: bytes) -> None:
    try:
        mark = decode_mark(data, "memory://x")
    except (CorruptData, NewerStore) as error:
        _can_be_printed(error)
        return
    assert decode_mark(encode_mark(mark), "memory://x") == mark


BEGUN = {"upload": "u", "size": 1, "sha256": "0" * 64}


@given(changed(BEGUN).map(encoded) | anything.map(encoded) | st.binary(max_size=40))
def test_what_says_that_parts_are_sent_by_others_is_used_or_not(data: bytes) -> None:
    signer = presigning.Signer(store=STORE, path=lambda key: key, client=None)  # type: ignore[arg-type]  # which it never asks
    STORE.put(presigning._record("k"), Body.of(data))
    found = signer._begun("k")
    assert found.upload.isascii()
    assert " " not in found.upload


@given(st.binary(max_size=60), st.sampled_from(["%FF", "a%00", "..", ".em", "x", "a" * 160 + "%-" + "0" * 32]))
def test_segments_of_a_growing_file_that_cannot_be_are_left_aside(data: bytes, directory: str) -> None:
    assume(directory != "x" or data)
    store = MemoryStore()
    tree = MemoryBackend(store, "memory://x", sleep=lambda _: None)
    node = upload(tree, make_request("/alice", "r", {}, kind=RUN), {})
    tree.append(node, "good", 0, b"1")
    there = f"alice/r/{node.op}/.em/grown/{directory}/"
    store.put(f"{there}{0:016d}-{1:016d}", Body.of(b"x"))
    if directory != "x":
        store.put(f"{there}key", Body.of(data))
    for segment in tree.grown(node):
        assert segment.key in ("good", "x") or segment.key.encode() == data
