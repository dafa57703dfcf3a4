"""Large objects over a real S3: in parts, each sent once, whatever happens in between."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from attrs import evolve
from botocore.config import Config

from t9k.em.errors import BackendPermissionError, BackendUnavailable, SourceChanged
from t9k.em.records import Body
from t9k.em.uris import parse
from t9k_em_backends.s3.obstore_store import ObstoreStore
from t9k_em_backends.shared.part_size import MIB, PART_BYTES

SIZE = 3 * PART_BYTES - 5


class Recorded:
    """Passes the calls on and remembers them; some of them fail, before they are made or after."""

    def __init__(self, call, fail: Mapping[str, int] = {}, *, after: bool = False) -> None:
        self._call = call
        self._fail = dict(fail)
        self._after = after
        self.calls: list[tuple[str, Any]] = []

    def __call__(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        self.calls.append((operation, parameters.get("PartNumber")))
        fails = self._fail.get(operation) == parameters.get("PartNumber", 0)
        if fails and not self._after:
            raise BackendUnavailable("lost on purpose")
        answer = self._call(operation, **parameters)
        if fails:
            raise BackendUnavailable("lost on purpose")
        return answer

    def numbers(self, operation: str) -> list[int]:
        return sorted(number for name, number in self.calls if name == operation)


@pytest.fixture
def store(s3):
    with ObstoreStore.from_uri(parse(s3.new_root())) as store:
        yield store


@pytest.fixture
def data():
    return os.urandom(SIZE)


def spy(store: ObstoreStore, fail: Mapping[str, int] = {}, *, after: bool = False) -> Recorded:
    drivers = store._open()
    call = drivers.multipart.call
    recorded = Recorded(call._call if isinstance(call, Recorded) else call, fail, after=after)
    drivers.multipart = evolve(drivers.multipart, call=recorded)
    return recorded


def pending(store: ObstoreStore) -> list[str]:
    return [upload.key for upload in store.sweep(-60)]


def read(store: ObstoreStore, key: str) -> bytes:
    return b"".join(store.get(key))


def test_an_object_in_parts_is_one_object(store, data):
    info = store.put("a", Body.of(data))
    assert (info.size, info.etag.partition("-")[2]) == (SIZE, "3")
    (listed,) = store.list("")
    assert (listed.size, listed.etag) == (SIZE, info.etag)
    assert read(store, "a") == data
    assert pending(store) == []


def test_what_an_interrupted_upload_sent_is_not_sent_again_by_whoever_goes_on(store, data, s3):
    first = spy(store, {"upload_part": 2})
    with pytest.raises(BackendUnavailable):
        store.put("a", Body.of(data))
    sent = set(first.numbers("upload_part")) - {2}
    assert sent
    assert list(store.list("")) == []
    assert pending(store) == ["a"]
    with ObstoreStore(store.place) as another:
        second = spy(another)
        another.put("a", Body.of(data))
        assert second.numbers("upload_part") == sorted({1, 2, 3} - sent)
        assert "create_multipart_upload" not in [name for name, _ in second.calls]
        assert read(another, "a") == data
        assert pending(another) == []


def test_a_part_with_other_bytes_is_sent_again(store, data):
    spy(store, {"complete_multipart_upload": 0})
    with pytest.raises(BackendUnavailable):
        store.put("a", Body.of(data))
    changed = data[:10] + bytes([data[10] ^ 1]) + data[11:]
    second = spy(store)
    store.put("a", Body.of(changed))
    assert second.numbers("upload_part") == [1]
    assert read(store, "a") == changed


def test_a_completion_whose_reply_was_lost_left_the_object_and_another_attempt_does_no_harm(store, data):
    spy(store, {"complete_multipart_upload": 0}, after=True)
    with pytest.raises(BackendUnavailable):
        store.put("a", Body.of(data))
    assert read(store, "a") == data
    spy(store)
    store.put("a", Body.of(data))
    assert read(store, "a") == data
    assert pending(store) == []


def test_a_completion_that_somebody_else_was_faster_with_is_one_all_the_same(store, data):
    drivers = store._open()
    call = drivers.multipart.call

    def twice(operation, **parameters):
        if operation == "complete_multipart_upload":
            call(operation, **parameters)
        return call(operation, **parameters)

    drivers.multipart = evolve(drivers.multipart, call=twice)
    assert store.put("a", Body.of(data)).size == SIZE
    assert read(store, "a") == data


def test_bytes_that_are_not_the_announced_ones_leave_neither_object_nor_parts(store, data):
    body = evolve(Body.of(data), open=lambda: io.BytesIO(data[:-1] + bytes([data[-1] ^ 1])))
    with pytest.raises(SourceChanged):
        store.put("a", body)
    assert list(store.list("")) == []
    assert pending(store) == []


def test_the_etag_of_parts_is_recognized(store, data):
    info = store.put("a", Body.of(data))
    assert store.recognizes(info, Body.of(data))
    assert not store.recognizes(info, Body.of(data[:-1] + bytes([data[-1] ^ 1])))
    assert not store.recognizes(evolve(info, etag="opaque-etag"), Body.of(data))
    small = store.put("b", Body.of(b"small"))
    assert small.etag == hashlib.md5(b"small").hexdigest()
    assert store.recognizes(small, Body.of(b"small"))
    assert not store.recognizes(small, Body.of(b"other"))


def test_uploads_of_other_keys_are_left_alone(store, data):
    drivers = store._open()
    drivers.multipart._create(store._key("ab"))
    store.put("a", Body.of(data))
    assert pending(store) == ["ab"]


@pytest.mark.long
def test_an_object_too_large_for_one_copy_is_copied_in_parts(store, data, monkeypatch, s3):
    monkeypatch.setattr("t9k_em_backends.s3.obstore_store.COPY_LIMIT_BYTES", MIB)
    monkeypatch.setattr("t9k_em_backends.s3.multipart.COPY_BYTES", 5 * MIB)
    store.put("dir/a", Body.of(data))
    info = store.copy("dir/a", "b c")
    assert info.size == SIZE
    assert read(store, "b c") == data


@pytest.mark.long
def test_every_part_carries_a_checksum_that_the_store_compares(s3):
    """The service refuses a part whose checksum is wrong, so the one we send means something."""
    client = boto3.session.Session().client("s3", config=Config(s3={"addressing_style": "path"}))
    upload = client.create_multipart_upload(Bucket=s3.bucket, Key="checked", ChecksumAlgorithm="CRC32")
    with pytest.raises(client.exceptions.ClientError):
        client.upload_part(
            Bucket=s3.bucket,
            Key="checked",
            UploadId=upload["UploadId"],
            PartNumber=1,
            Body=b"bytes",
            ChecksumCRC32="AAAAAA==",
        )
    client.abort_multipart_upload(Bucket=s3.bucket, Key="checked", UploadId=upload["UploadId"])


def test_a_source_that_changes_gives_its_room_back(store, data):
    body = evolve(Body.of(data), open=lambda: io.BytesIO(data[:100]))
    for _ in range(10):
        with pytest.raises(SourceChanged):
            store.put("a", body)
    assert store._budget.taken_bytes == 0
    assert store.put("a", Body.of(data)).size == SIZE


def test_an_upload_that_somebody_else_ends_meanwhile_begins_anew(store, data):
    first = spy(store, {"complete_multipart_upload": 0})
    with pytest.raises(BackendUnavailable):
        store.put("a", Body.of(data))
    (upload,) = store.sweep(-60)
    call = first._call

    def ended(operation, **parameters):
        if operation == "complete_multipart_upload" and parameters["UploadId"] == upload.etag:
            call("abort_multipart_upload", Key=parameters["Key"], UploadId=upload.etag)
        return call(operation, **parameters)

    drivers = store._open()
    drivers.multipart = evolve(drivers.multipart, call=ended)
    store.put("a", Body.of(data))
    assert read(store, "a") == data
    assert pending(store) == []


def test_bytes_that_changed_end_no_upload_that_somebody_else_may_go_on_with(store, data):
    spy(store, {"complete_multipart_upload": 0})
    with pytest.raises(BackendUnavailable):
        store.put("a", Body.of(data))
    spy(store)
    with pytest.raises(SourceChanged):
        store.put("a", evolve(Body.of(data), open=lambda: io.BytesIO(data[:-1])))
    assert pending(store) == ["a"]


def test_who_may_not_list_uploads_sends_all_parts(store, data):
    recorded = spy(store)
    call = recorded._call

    def denied(operation, **parameters):
        if operation.startswith("list_"):
            raise BackendPermissionError("not you")
        return call(operation, **parameters)

    recorded._call = denied
    store.put("a", Body.of(data))
    assert recorded.numbers("upload_part") == [1, 2, 3]
    assert read(store, "a") == data
