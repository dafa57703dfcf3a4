"""Requests that the S3 stores sign are taken by a real service, and bring no other bytes, keys or times than were signed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from attrs import evolve

from t9k.em.backend import SignsRequests
from t9k.em.errors import BackendError, BackendPermissionError, BackendUnavailable, NotAuthenticated, NotFound
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k.em.testing import (
    SendsDirectSuite,
    SignsReadsSuite,
    SignsRequestsSuite,
    finish,
    make_request,
    read_node,
    upload,
)
from t9k.em.uris import parse
from t9k_em_backends.memory import MemoryStore
from t9k_em_backends.s3.obstore_store import ObstoreStore
from t9k_em_backends.s3.s3fs_store import S3fsStore
from t9k_em_backends.shared.part_size import PART_BYTES

STORES = {"obstore": ObstoreStore, "fsspec": S3fsStore}
LIFETIME_S = 600.0
SIZE = 3 * PART_BYTES - 5


class _Store:
    driver = "obstore"

    @pytest.fixture
    def root(self, s3):
        return s3.new_root()

    @pytest.fixture
    def store(self, root):
        with STORES[self.driver].from_uri(parse(root)) as store:
            yield store

    @pytest.fixture
    def new_store(self, root):
        return lambda: STORES[self.driver].from_uri(parse(root))


class TestObstoreStore(_Store, SignsRequestsSuite):
    pass


@pytest.mark.long
class TestS3fsStore(_Store, SignsRequestsSuite):
    driver = "fsspec"


class _OnMoto(_Store):
    checks_signatures = False

    @pytest.fixture
    def root(self, moto):
        return moto.new_root()


@pytest.mark.long
class TestObstoreStoreOnMoto(_OnMoto, SignsRequestsSuite):
    pass


@pytest.mark.long
class TestS3fsStoreOnMoto(_OnMoto, SignsRequestsSuite):
    driver = "fsspec"


class _Backend:
    driver = "obstore"

    @pytest.fixture
    def root(self, s3):
        return f"{s3.new_root()}?driver={self.driver}"

    @pytest.fixture
    def backend(self, root):
        with open_backend(root) as backend:
            yield backend

    @pytest.fixture
    def new_backend(self, root):
        return lambda: open_backend(root)


class TestObstoreBackend(_Backend, SendsDirectSuite, SignsReadsSuite):
    pass


@pytest.mark.long
class TestS3fsBackend(_Backend, SendsDirectSuite, SignsReadsSuite):
    driver = "fsspec"


@pytest.fixture
def store(s3):
    with ObstoreStore.from_uri(parse(s3.new_root())) as store:
        yield store


@pytest.fixture
def data():
    return os.urandom(SIZE)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sign(store: SignsRequests, data: bytes):
    return store.sign_put("a", len(data), sha256(data), lifetime_s=LIFETIME_S)


def send(request, data: bytes) -> int:
    piece = data[request.start : request.start + request.size]
    return requests.put(request.url, piece, headers=dict(request.headers), timeout=60).status_code


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


class TestWhatIsSigned:
    @pytest.fixture(params=STORES)
    def offline(self, request, monkeypatch):
        """A store whose service nobody reaches, for signing asks none."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        return lambda uri: STORES[request.param].from_uri(parse(uri))

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("uri", "address"),
        [
            ("s3://bucket/root", "https://bucket.s3.amazonaws.com/root/a"),
            ("s3://bucket/root?region=eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com/root/a"),
            ("s3://bucket?region=eu-west-1&path_style=true", "https://s3.eu-west-1.amazonaws.com/bucket/a"),
            ("s3://bucket/em?endpoint=http://lab:9000", "http://lab:9000/bucket/em/a"),
            ("s3://bucket/em?endpoint=http://lab:9000&path_style=false", "http://bucket.lab:9000/em/a"),
        ],
    )
    def test_the_address_is_that_of_the_store_and_the_signature_of_version_4(self, offline, uri, address):
        url = offline(uri).sign_get("a", lifetime_s=60).url
        assert url.partition("?")[0] == address
        signed = query(url)
        assert signed["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
        assert parse(uri).options.get("region", "us-east-1") in signed["X-Amz-Credential"].split("/")

    @pytest.mark.long
    def test_length_and_checksum_are_signed(self, offline):
        (request,) = sign(offline("s3://bucket"), b"bytes").requests
        assert request.headers["Content-Length"] == "5"
        signed = query(request.url)["X-Amz-SignedHeaders"].split(";")
        assert {"content-length", "x-amz-checksum-sha256"} <= set(signed)
        assert {name.lower() for name in request.headers} == set(signed) - {"host"}

    @pytest.mark.long
    @pytest.mark.parametrize(("lifetime_s", "seconds"), [(60.9, "60"), (0.1, "1"), (1e9, "604800")])
    def test_a_lifetime_is_whole_seconds_and_seven_days_at_most(self, offline, lifetime_s, seconds):
        assert query(offline("s3://bucket").sign_get("a", lifetime_s=lifetime_s).url)["X-Amz-Expires"] == seconds

    def test_no_signature_outlives_temporary_credentials(self, offline, monkeypatch):
        end = datetime.now(timezone.utc) + timedelta(hours=1)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
        monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", end.isoformat())
        signed = query(offline("s3://bucket").sign_get("a", lifetime_s=1e9).url)
        assert signed["X-Amz-Security-Token"] == "token"
        assert 3000 < int(signed["X-Amz-Expires"]) <= 3600

    @pytest.mark.long
    def test_with_credentials_that_have_ended_nothing_is_signed(self, offline, monkeypatch):
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
        monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00+00:00")
        with pytest.raises(BackendPermissionError, match="expired"):
            offline("s3://bucket").sign_get("a", lifetime_s=60)

    def test_a_profile_gives_the_keys(self, offline, monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        (Path.home() / ".aws").mkdir()
        (Path.home() / ".aws" / "credentials").write_text(
            "[lab]\naws_access_key_id = of-the-lab\naws_secret_access_key = secret\n"
        )
        signed = query(offline("s3://bucket?profile=lab").sign_get("a", lifetime_s=60).url)
        assert signed["X-Amz-Credential"].startswith("of-the-lab/")

    @pytest.mark.parametrize("size", [5, SIZE])
    def test_an_anonymous_store_signs_nothing(self, offline, size):
        store = offline("s3://bucket?anonymous=true")
        with pytest.raises(NotAuthenticated):
            store.sign_get("a", lifetime_s=60)
        with pytest.raises(NotAuthenticated):
            store.sign_put("a", size, "0" * 64, lifetime_s=60)


class TestSending:
    def test_other_bytes_are_refused(self, store):
        (request,) = sign(store, b"bytes").requests
        assert send(request, b"other") == 400
        assert list(store.list("")) == []

    def test_a_checksum_that_the_service_tells_is_compared(self, store):
        signed = sign(store, b"bytes")
        other = store.sign_put("a", 5, sha256(b"other"), lifetime_s=LIFETIME_S)
        assert send(other.requests[0], b"other") == 200
        assert store.complete_signed("a", 5, other.token).sha256 == sha256(b"other"), "this service tells it"
        with pytest.raises(NotFound):
            store.complete_signed("a", 5, signed.token)

    @pytest.mark.long
    def test_a_completion_whose_reply_was_lost_is_repeated_without_harm(self, store, data, monkeypatch):
        signed = sign(store, data)
        for request in signed.requests:
            assert send(request, data) == 200
        client = store._open().client
        call = client.call

        def answered_in_vain(operation: str, **parameters: Any) -> Mapping[str, Any]:
            answer = call(operation, **parameters)
            if operation == "complete_multipart_upload":
                raise BackendUnavailable("lost on purpose")
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(client, "call", answered_in_vain)
            with pytest.raises(BackendUnavailable):
                store.complete_signed("a", SIZE, signed.token)
        assert store.complete_signed("a", SIZE, signed.token).size == SIZE
        assert b"".join(store.get("a")) == data

    def test_who_puts_starts_anew_where_the_parts_that_are_there_do_not_fit(self, store, data):
        """S3 refuses a part with a checksum in an upload that was begun without."""
        signed = sign(store, data)
        assert send(signed.requests[0], data) == 200
        refused: list[str] = []

        def refuse(operation: str, parameters: Mapping[str, Any]) -> None:
            if operation == "upload_part" and parameters["UploadId"] == signed.token:
                refused.append(operation)
                raise BackendError("the store refuses the request (InvalidRequest)")

        spy(store, refuse)
        store.put("a", Body.of(data))
        assert refused
        assert b"".join(store.get("a")) == data

    def test_a_refusal_that_has_nothing_to_do_with_parts_that_are_there_comes_out(self, store, data):
        def refuse(operation: str, _: Mapping[str, Any]) -> None:
            if operation == "upload_part":
                raise BackendError("the store refuses the request (InvalidRequest)")

        spy(store, refuse)
        with pytest.raises(BackendError, match="InvalidRequest"):
            store.put("a", Body.of(data))

    @pytest.mark.long
    def test_of_two_that_complete_at_once_both_see_the_object(self, store, data, monkeypatch):
        signed = sign(store, data)
        for request in signed.requests:
            assert send(request, data) == 200
        client = store._open().client
        call = client.call

        def too_late(operation: str, **parameters: Any) -> Mapping[str, Any]:
            if operation == "complete_multipart_upload":
                call(operation, **parameters)
            return call(operation, **parameters)

        monkeypatch.setattr(client, "call", too_late)
        assert store.complete_signed("a", SIZE, signed.token).size == SIZE
        assert b"".join(store.get("a")) == data

    def test_what_the_service_dropped_is_sent_again(self, store, data):
        signed = sign(store, data)
        for request in signed.requests:
            assert send(request, data) == 200
        store._open().multipart.abort(store._key("a"), signed.token)
        with pytest.raises(NotFound):
            store.complete_signed("a", SIZE, signed.token)
        again = sign(store, data)
        assert [request.start for request in again.requests] == [request.start for request in signed.requests]
        for request in again.requests:
            assert send(request, data) == 200
        store.complete_signed("a", SIZE, again.token)
        assert b"".join(store.get("a")) == data


class TestRecords:
    def test_a_completed_upload_leaves_none(self, store, data):
        signed = sign(store, data)
        assert len(list(store.list(".em/signed/"))) == 1
        for request in signed.requests:
            assert send(request, data) == 200
        store.complete_signed("a", SIZE, signed.token)
        assert list(store.list(".em/")) == []
        assert list(store.sweep(-60)) == []

    @pytest.mark.parametrize("driver", STORES)
    def test_what_nobody_completed_is_swept(self, s3, data, driver):
        with STORES[driver].from_uri(parse(s3.new_root())) as store:
            signed = sign(store, data)
            assert list(store.sweep(3600)) == []
            found = list(store.sweep(-60))
            assert len(found) == 2
            store.remove_swept(found)
            assert list(store.sweep(-60)) == []
            assert list(store.list("")) == []
            again = sign(store, data)
            assert again.token != signed.token
            assert len(again.requests) == 3

    @pytest.mark.long
    @pytest.mark.parametrize(
        "left", [b"", b"{", b"[]", b"{}", b"null", b"\xff", b'{"upload": 1, "size": 1, "sha256": ""}']
    )
    def test_a_damaged_one_is_replaced(self, store, data, left):
        sign(store, data)
        (record,) = store.list(".em/signed/")
        store.put(record.key, Body.of(left))
        signed = sign(store, data)
        assert len(signed.requests) == 3
        assert json.loads(b"".join(store.get(record.key)))["upload"] == signed.token

    @pytest.mark.long
    def test_with_other_bytes_the_parts_that_are_there_are_dropped(self, store, data):
        sign(store, data)
        other = sign(store, data[::-1])
        (pending,) = (found for found in store.sweep(-60) if found.key == "a")
        assert pending.etag == other.token


class TestTree:
    @pytest.fixture
    def backend(self, s3):
        with open_backend(f"{s3.new_root()}?driver=obstore") as backend:
            yield backend

    @pytest.mark.long
    def test_files_sent_under_a_name_that_was_taken_meanwhile_are_asked_for_under_the_other(self, backend):
        folder = f"/{backend.whoami()}/default"
        mine = backend.begin(make_request(folder, "m", {"x": b"mine"}, strategy="new", alternative_name="other"))
        (file,) = mine.missing
        (request,) = mine.sign(file, lifetime_s=LIFETIME_S).requests
        upload(backend, make_request(folder, "m", {"x": b"theirs"}), {"x": b"theirs"})
        assert send(request, b"mine") == 200
        mine.complete_signed(file, sha256(b"mine"))
        while mine.commit() is None:
            for file in mine.missing:
                mine.put([(file, Body.of(b"mine"))])
        assert mine.node.name == "other"
        assert read_node(backend, mine.node) == {"x": b"mine"}

    def test_a_file_that_is_replaced_after_it_was_completed_is_not_published(self, backend):
        open_upload = backend.begin(make_request(f"/{backend.whoami()}/default", "m", {"x": b"bytes"}))
        (file,) = open_upload.missing
        signed = open_upload.sign(file, lifetime_s=LIFETIME_S)
        assert send(signed.requests[0], b"bytes") == 200
        open_upload.complete_signed(file, signed.token)
        (there,) = (info for info in backend.store.list("") if info.key.endswith("/x"))
        backend.store.put(there.key, Body.of(b"other"))
        assert open_upload.commit() is None
        assert list(open_upload.missing) == [file]

    @pytest.mark.parametrize("kind", ["anonymous", "no ability"])
    def test_where_nothing_is_signed_files_are_put(self, backend, kind):
        contents = {"small": b"bytes", "large": bytes(SIZE)}
        open_upload = backend.begin(make_request(f"/{backend.whoami()}/default", "m", contents))
        store = backend.store
        none = ObstoreStore(evolve(store.place, anonymous=True)) if kind == "anonymous" else MemoryStore()
        backend.store = none
        for file in open_upload.missing:
            assert open_upload.sign(file, lifetime_s=LIFETIME_S) is None
            if kind == "no ability":
                with pytest.raises(NotFound, match="put it"):
                    open_upload.complete_signed(file, "")
        backend.store = store
        node = finish(open_upload, contents).node
        files = backend.files(node)
        backend.store = none
        assert [backend.sign_read(node, file, lifetime_s=LIFETIME_S) for file in files] == [None, None]


@pytest.mark.parametrize("driver", STORES)
def test_no_signature_is_in_a_log_a_repr_or_a_file(s3, driver, data, caplog, capfd, tmp_path):
    caplog.set_level(logging.INFO, "urllib3.connectionpool")  # of who sends, who has to keep it out
    caplog.set_level(logging.DEBUG)  # last, for it is the level of the handler too
    with open_backend(f"{s3.new_root()}?driver={driver}") as backend:
        contents = {"small": b"bytes", "large": data}
        open_upload = backend.begin(make_request(f"/{backend.whoami()}/default", "m", contents))
        given = []
        for file in open_upload.missing:
            signed = open_upload.sign(file, lifetime_s=LIFETIME_S)
            given += [request.url for request in signed.requests]
            assert not signatures_in(repr(signed) + repr(open_upload) + str(vars(open_upload)), given)
            with pytest.raises(NotFound) as caught:
                open_upload.complete_signed(file, signed.token)
            assert not signatures_in(repr(caught.value) + str(caught.value.__dict__), given)
            for request in signed.requests:
                assert send(request, contents[file.key]) == 200
            open_upload.complete_signed(file, signed.token)
        node = open_upload.commit()
        assert node is not None
        for entry in backend.files(node):
            read = backend.sign_read(node, entry, lifetime_s=LIFETIME_S)
            given.append(read.url)
            assert not signatures_in(repr(read), given)
        stored = [b"".join(backend.store.get(info.key)).decode("latin-1") for info in backend.store.list("")]
        assert not signatures_in("".join(stored), given)
    assert len(given) == 6
    assert [record for record in caplog.records if record.name == "botocore.utils"], "what logs nothing proves nothing"
    for record in caplog.records:
        assert not signatures_in(f"{record.getMessage()}{record.__dict__}{record.exc_text}", given), record.name
    printed = capfd.readouterr()
    assert not signatures_in(printed.out + printed.err, given)
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and signatures_in(path.read_text("latin-1"), given)
    ]


def signatures_in(text: str, urls: list[str]) -> list[str]:
    assert urls
    return [signature for url in urls if (signature := query(url)["X-Amz-Signature"]) in text]


def spy(store: ObstoreStore, look: Any) -> None:
    """Lets a function look at each call about parts that `put` makes, which may raise."""
    drivers = store._open()
    call = drivers.multipart.call

    def looked(operation: str, **parameters: Any) -> Mapping[str, Any]:
        look(operation, parameters)
        return call(operation, **parameters)

    drivers.multipart = evolve(drivers.multipart, call=looked)
