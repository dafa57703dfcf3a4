"""What only the store by gcsfs does."""

from __future__ import annotations

import re

import pytest
from attrs import evolve
from tests.faults.s3clients import proxied

from t9k.em.errors import AlreadyExists, BackendUnavailable, InvalidURI, SourceChanged
from t9k.em.records import Body, Origin
from t9k.em.registry import open_backend
from t9k.em.testing import make_request, read_node, upload
from t9k.em.uris import parse
from t9k_em_backends import gs as driver
from t9k_em_backends.gs import CHUNK_BYTES, GSStore

HOME = "/alice/default"
LARGE = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"odd end" * 1000


@pytest.fixture
def root(gcs):
    return f"{gcs.new_root()}?anonymous=true&project={gcs.project}"


@pytest.fixture
def store(root):
    with GSStore.from_uri(parse(root)) as store:
        yield store


def open_store(root):
    return GSStore.from_uri(parse(root))


def get(store, key):
    return b"".join(store.get(key))


def test_the_other_scheme_means_the_same_bucket(root, store):
    with open_backend(f"gcs{root[2:]}") as other:
        assert type(other.store) is GSStore
        other.store.put("a", Body.of(b"data"))
    assert get(store, "a") == b"data"


def test_large_objects_go_in_chunks_and_come_back(store):
    info = store.put("a", Body.of(LARGE))
    assert info.size == len(LARGE)
    assert get(store, "a") == LARGE
    assert store.recognizes(info, Body.of(LARGE))
    assert not store.recognizes(info, Body.of(LARGE[:-1] + b"x"))


def test_a_large_object_that_changes_while_it_is_read_is_never_seen(store):
    store.put("a", Body.of(b"before"))
    for key in ("a", "b"):
        with pytest.raises(SourceChanged):
            store.put(key, evolve(Body.of(LARGE), sha256="0" * 64))
    assert get(store, "a") == b"before"
    assert [info.key for info in store.list("")] == ["a"]


@pytest.mark.long
def test_a_large_conditional_write_is_one_request_whose_condition_holds(store):
    store.put("a", Body.of(LARGE), if_absent=True)
    with pytest.raises(AlreadyExists):
        store.put("a", Body.of(LARGE[::-1]), if_absent=True)
    assert get(store, "a") == LARGE


def test_bytes_that_look_like_a_boundary_stay_as_they_are(store):
    data = b"\r\n--==0==\r\nContent-Type: text/plain\r\n\r\n--==0==--\n" * 10
    store.put("a", Body.of(data))
    assert get(store, "a") == data


def test_what_another_root_holds_is_copied_there(gcs, store):
    with GSStore.from_uri(parse(f"{gcs.new_root()}?anonymous=true")) as source:
        told = source.put("a", Body.of(b"bytes"))
        origin = Origin(store=source, key="a", etag=told.etag)
        assert not store.copies_from(open_store(gcs.new_root()))  # which asks with credentials
        store.put("b", evolve(Body.of(b"bytes"), origin=origin))
        source.put("a", Body.of(b"bytez"))
        with pytest.raises(SourceChanged):
            store.put("c", evolve(Body.of(b"bytes"), origin=origin))
    assert get(store, "b") == b"bytes"
    assert [info.key for info in store.list("")] == ["b"]


@pytest.mark.parametrize("kept", ["", "Range: bytes=0-9\r\n"])
@pytest.mark.parametrize("chunk", [1, 2])
def test_a_service_that_keeps_nothing_of_a_chunk_or_loses_what_it_had_is_given_up(gcs, monkeypatch, kept, chunk):
    monkeypatch.setattr(driver, "PAUSES_S", (0.0, 0.0))
    with proxied(gcs) as proxy, open_store(f"{gcs.new_root()}?anonymous=true&endpoint=http://{proxy.address}") as store:
        real = store._begin

        async def begin(path):
            """The session, through the proxy."""
            return re.sub("^http://[^/]+", f"http://{proxy.address}", await real(path))

        def instead(exchange):
            told = exchange.headers.get("content-range", "")
            if exchange.method != "PUT" or (chunk > 1 and told.startswith("bytes 0-")):
                return None
            return f"HTTP/1.1 308 Resume Incomplete\r\n{kept}Content-Length: 0\r\n\r\n".encode()

        monkeypatch.setattr(store, "_begin", begin)
        proxy.instead = instead
        with pytest.raises(BackendUnavailable, match="the store does not keep what it is sent"):
            store.put("a", Body.of(LARGE))
        assert len([exchange for exchange in proxy.exchanges if exchange.method == "PUT"]) <= 10
        assert list(store.list("")) == []


@pytest.mark.long
def test_an_object_that_changes_while_it_is_read_is_told(store):
    store.put("a", Body.of(LARGE))
    reading = store.get("a")
    assert LARGE.startswith(next(reading))
    store.put("a", Body.of(LARGE[::-1]))
    with pytest.raises(BackendUnavailable, match="changed while it was read; read it again"):
        list(reading)


def test_a_tree_lives_there_and_several_clients_share_it(root):
    files = {"a": b"a", "b/c": b"x" * 3_000_000}
    with open_backend(root) as one, open_backend(root) as another:
        node = upload(one, make_request(HOME, "m", files), files)
        assert read_node(another, another.stat(node.path)) == files
        again = upload(another, make_request(HOME, "m", {"a": b"b"}, strategy="replace"), {"a": b"b"})
        assert [found.generation for found in one.versions(node.path)] == [2, 1]
        assert read_node(one, again) == {"a": b"b"}


def test_a_bucket_that_is_not_there_and_an_unknown_option_are_told(gcs):
    with pytest.raises(InvalidURI, match="gs://nobody-made-this/x: there is no such bucket"):
        GSStore.from_uri(parse("gs://nobody-made-this/x?anonymous=true")).open()
    with pytest.raises(InvalidURI, match=r"speed.*takes anonymous, endpoint, project, timeout"):
        open_backend("gs://bucket/x?speed=fast")


class TestWhere:
    """What the environment says of where requests go."""

    @pytest.mark.parametrize("value", ["http://", "http://a b", "host:99999"])
    def test_an_emulator_without_an_address_is_refused_by_its_variable(self, monkeypatch, value):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", value)
        with pytest.raises(InvalidURI, match="STORAGE_EMULATOR_HOST in the environment .* is no URL of a service"):
            open_store("gs://bucket/root?anonymous=true").put("key", Body.of(b""))

    def test_an_emulator_needs_no_scheme(self, gcs, root, monkeypatch):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint.removeprefix("http://"))
        with open_store(root) as store:
            store.put("key", Body.of(b"data"))
            assert get(store, "key") == b"data"

    def test_a_proxy_is_used_unless_the_service_is_on_this_machine(self, root, gcs, monkeypatch):
        monkeypatch.setattr(driver, "PAUSES_S", ())
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # where nobody is
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        store = open_store(f"{root}&endpoint=http://gcs.lab")
        with pytest.raises(BackendUnavailable):
            store.put("key", Body.of(b"data"))
        store.close()
        with open_store(root) as store:
            store.put("key", Body.of(b"data"))
            store.put("large", Body.of(LARGE))
            assert get(store, "key") == b"data"
