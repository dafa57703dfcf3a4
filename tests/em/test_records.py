"""The records that travel: validated where they are made, frozen, and a body that finds out when its bytes changed."""

from __future__ import annotations

import hashlib
import io
import pickle
from datetime import datetime, timedelta, timezone

import attrs
import pytest

from t9k.em.errors import InvalidKey, InvalidName, InvalidStrategy, KeyCollision, SourceChanged
from t9k.em.names import new_op
from t9k.em.records import (
    CHUNK_BYTES,
    Body,
    Draft,
    FileEntry,
    FileSpec,
    Garbage,
    Node,
    ObjectInfo,
    UploadRequest,
    parse_utc,
    utc_text,
)

SHA = hashlib.sha256(b"").hexdigest()
DRAFT = Draft(kind="Run", name="a", alternative_name="a_1", id="1")


def request(**fields) -> UploadRequest:
    return UploadRequest(**{"folder": "/alice", "draft": DRAFT, "files": (), "op": new_op(), **fields})


def test_times_are_utc_with_microseconds():
    moment = datetime(2023, 8, 17, 10, 5, 24, 390002, tzinfo=timezone(timedelta(hours=2)))
    assert utc_text(moment) == "2023-08-17T08:05:24.390002Z"
    assert parse_utc("2023-08-17T08:05:24.390002Z") == moment
    assert utc_text() <= utc_text()


class TestFiles:
    def test_are_told_apart_by_key_size_and_checksum(self):
        entry = FileEntry(key="a/b", op=new_op(), size=0, sha256=SHA, etag="e")
        assert entry.spec == FileSpec(key="a/b", size=0, sha256=SHA)

    @pytest.mark.parametrize("size", [-1, 1.0, "1", True, None])
    def test_have_a_size(self, size):
        with pytest.raises(ValueError, match="non-negative int"):
            FileSpec(key="a", size=size, sha256=SHA)

    @pytest.mark.parametrize("sha256", ["", SHA.upper(), SHA[1:], SHA + "\n", None, b"x"])
    def test_have_a_checksum(self, sha256):
        with pytest.raises(ValueError, match="64 lower-case"):
            FileSpec(key="a", size=1, sha256=sha256)

    def test_have_a_key(self):
        with pytest.raises(InvalidKey):
            FileEntry(key="../a", op="", size=1, sha256=SHA)

    def test_are_frozen(self):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            FileSpec(key="a", size=1, sha256=SHA).key = "../b"  # type: ignore[misc]


class TestBody:
    def test_gives_its_bytes_again_and_again(self):
        data = bytes(range(256)) * 8192
        body = Body.of(data)
        assert body.read() == body.read() == data
        assert max(map(len, body.chunks())) == CHUNK_BYTES

    @pytest.mark.parametrize("now", [b"", b"1234", b"abcde"])
    def test_finds_out_that_its_source_changed(self, now):
        body = attrs.evolve(Body.of(b"12345"), open=lambda: io.BytesIO(now), what="the file x")
        with pytest.raises(SourceChanged, match="the file x changed while it was uploaded; upload again"):
            body.read()

    def test_reads_no_more_than_was_planned(self):
        body = attrs.evolve(Body.of(b"12345"), open=lambda: io.BytesIO(b"12345 and more"))
        assert body.read() == b"12345"


class TestRequests:
    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"strategy": "mine"}, InvalidStrategy),
            ({"op": "../x"}, ValueError),
            ({"files": (FileSpec(key="a", size=0, sha256=SHA), FileSpec(key="A", size=0, sha256=SHA))}, KeyCollision),
        ],
    )
    def test_are_checked_where_they_are_made(self, fields, error):
        with pytest.raises(error):
            request(**fields)

    def test_of_nodes_with_impossible_names_cannot_be_made(self):
        with pytest.raises(InvalidName):
            Draft(kind="Run", name="a/b", alternative_name="a", id="1")
        with pytest.raises(InvalidName, match="alternative name"):
            Draft(kind="Run", name="a", alternative_name="../a", id="1")

    def test_travel_between_processes(self):
        made = request()
        assert pickle.loads(pickle.dumps(made)) == made


def test_a_node_is_called_like_the_end_of_its_path():
    assert Node(path="/a/b", kind="Run", id="", generation=1).name == "b"
    assert Node(path="/", kind="Folder", id="", generation=0).name == ""


def test_garbage_has_a_size():
    found = tuple(ObjectInfo(key=key, size=2, modified=0.0) for key in "ab")
    assert Garbage(objects=found, applied=False).size == 4
