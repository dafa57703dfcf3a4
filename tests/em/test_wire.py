"""The form in which client and server speak: what one writes the other reads, and nothing else is taken."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from t9k.em import errors, wire
from t9k.em.errors import EMError, RequestRefused
from t9k.em.names import new_op
from t9k.em.records import (
    FileEntry,
    FileSpec,
    Node,
    Part,
    Segment,
    SignedRequest,
    SignedUpload,
)
from t9k.em.testing import make_request

SHA = "0" * 64
NODE = Node(
    path="/alice/f/m",
    kind="Run",
    id="1",
    generation=3,
    modified="2026-11-25T00:00:00.000000Z",
    writer="bob",
    metadata={
        "labels": ["a"],
        "description": "words",
        "start_timestamp": "2026-11-24T00:00:00.000000Z",
        "n": {"x": 1.5},
    },
    file_count=2,
    size=10,
)


def through_json(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("record", "write", "read"),
    [
        (NODE, wire.node_json, wire.node_of),
        (evolve(NODE, deleted=True, metadata={}), wire.node_json, wire.node_of),
        (FileEntry(key="a/b", op=new_op(), size=1, sha256=SHA, etag="e"), wire.file_json, wire.file_of),
        (make_request("/alice/f", "m", {"a": b"a"}, metadata={"é": None}), wire.request_json, wire.request_of),
        (make_request("/alice/f", "m", {}, ancestors=[new_op()]), wire.request_json, wire.request_of),
        (Part(start=5, size=7), wire.part_json, wire.part_of),
        (Segment(key="log", start=5, size=7, modified=1.5), wire.segment_json, wire.segment_of),
        (
            SignedUpload(
                requests=(SignedRequest(method="PUT", url="https://h/k?s", headers={"a": "b"}, start=1, size=2),),
                token="t",
            ),
            wire.signed_upload_json,
            wire.signed_upload_of,
        ),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "__attrs_attrs__") else "",
)
class TestRecords:
    def test_what_was_written_is_read(self, record, write, read):
        assert read(through_json(write(record))) == record

    def test_what_lacks_a_field_or_has_a_wrong_one_is_refused(self, record, write, read):
        written = through_json(write(record))
        assert written
        for name in written:
            if name in ("deleted", "permission", "name", "storageType", "labels", "description", "extra"):
                continue  # told for other readers, or true of anything
            if name in ("makeFolder", "resumed", "preferAlternative"):
                continue
            wrong: object
            for wrong in ({}, -1, "\0", None):
                if (name, wrong) == ("ancestors", None):
                    continue  # not said
                if (name, wrong) in (("metadata", {}), ("etag", "\0"), ("headers", {}), ("token", "\0"), ("key", "\0")):
                    continue
                if name in ("id", "type", "editor", "modifiedTimestamp", "path") and wrong == "\0":
                    continue
                if name == "modified" and wrong == -1:
                    continue
                if (name, wrong) == ("op", "\0") and "etag" in written:
                    continue
                with pytest.raises((ValueError, TypeError, KeyError)):
                    read({**written, name: wrong})
            if (name == "op" and "generation" in written) or name == "ancestors":
                continue  # older servers leave the first out of a node, and older clients the second out of a request
            with pytest.raises((ValueError, TypeError, KeyError)):
                read({other: value for other, value in written.items() if other != name})


def test_a_node_tells_older_clients_what_they_know():
    told = wire.node_json(NODE, "view")
    assert (told["labels"], told["description"], told["permission"], told["storageType"]) == (["a"], "words", "view", 2)
    assert json.loads(told["extra"]) == {"createdTimestamp": "2026-11-24T00:00:00.000000Z"}
    odd = wire.node_json(evolve(NODE, metadata={"labels": "no list", "description": 5}))
    assert (odd["labels"], odd["description"], odd["extra"]) == ([], "", "{}")


FILES = {"a": b"", "b/ü": b"x" * 1000, "c": b"\0"}


class TestBatches:
    def batch(self):
        return b"".join(wire.frame(FileSpec(key=key, size=len(data), sha256=SHA)) + data for key, data in FILES.items())

    def test_a_batch_has_its_files(self):
        assert {key: bytes(data) for key, data in wire.frames(self.batch())} == FILES

    def test_a_batch_that_is_cut_is_refused(self):
        batch, ends = self.batch(), {0}
        for key, data in FILES.items():
            ends.add(max(ends) + len(wire.frame(FileSpec(key=key, size=len(data), sha256=SHA)) + data))
        for end in range(len(batch)):
            if end not in ends:
                with pytest.raises(RequestRefused):
                    list(wire.frames(batch[:end]))


class TestErrors:
    def every(self):
        return [
            kind
            for kind in vars(errors).values()
            if isinstance(kind, type) and issubclass(kind, EMError) and kind is not errors.UploadFailed
        ]

    def test_every_error_has_a_code(self):
        assert len(self.every()) > 30
        for kind in self.every():
            assert wire.code_of(kind("it happened")) in wire.CODES

    def test_every_code_but_those_of_the_server_itself_comes_back_as_its_error(self):
        for code, row in wire.CODES.items():
            told = wire.CODES[wire.code_of(row.error("it happened"))].error
            assert told is row.error or code in ("forbidden", "store_refused"), code

    def test_what_the_store_refuses_the_server_is_no_lack_of_permission_of_the_user(self):
        assert wire.code_of(errors.BackendPermissionError("no")) == "store_refused"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**63, "\ud800", {"\udfff": 1}, [[float("-inf")]], {"a": {"b": [2**64]}}]
)
def test_values_that_some_reader_cannot_take_are_refused(value):
    with pytest.raises(errors.InvalidInput):
        wire.check_json(value)


def test_values_that_every_reader_takes_pass():
    value = {"a": [1, 1.5, None, True, "é\N{SNOWMAN}", {"b": -(2**63) + 1}]}
    assert wire.check_json(value) is value
    deep = value
    for _ in range(wire.MAX_DEPTH + 1):
        deep = {"in": deep}
    with pytest.raises(errors.InvalidInput, match="deep"):
        wire.check_json(deep)


OP = "20231114T221320.000000Z-abcdefghij"


@pytest.mark.parametrize("ancestors", [["x"], [5], [OP] * (wire.MOST_ANCESTORS + 1), OP])
def test_what_an_upload_comes_from_is_a_list_of_uploads(ancestors):
    written = through_json(wire.request_json(make_request("/alice/f", "m", {}, ancestors=[])))
    assert wire.request_of(written).ancestors == ()
    with pytest.raises((ValueError, TypeError)):
        wire.request_of({**written, "ancestors": ancestors})


def test_damaged_children_are_told_by_newer_servers_alone():
    assert wire.damaged_of({"items": []}) == {}
    assert wire.damaged_of({"damaged": {"a": "cut", "../b": "no name"}}) == {"a": "cut"}


@pytest.mark.parametrize("damaged", [None, [], "a", {"a": 1}, {"a": None}], ids=repr)
def test_what_is_no_list_of_damaged_children_is_refused(damaged):
    with pytest.raises(TypeError):
        wire.damaged_of({"damaged": damaged})
