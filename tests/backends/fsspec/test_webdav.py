"""A store by a driver that knows no conditions: WebDAV, one writer at a time."""

from __future__ import annotations

import io
import tempfile
import threading

import pytest

from t9k.em.errors import (
    AlreadyExists,
    BackendUnavailable,
    InvalidKey,
    InvalidURI,
    LocalError,
    MissingExtra,
    NotFound,
    SourceChanged,
    UnknownScheme,
    UnsafeStore,
)
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k.em.testing import (
    CopiesObjectsSuite,
    MarkSuite,
    ObjectStoreSuite,
    StoreWrapper,
    SweepsTemporarySuite,
    make_request,
    read_node,
    upload,
)
from t9k.em.uris import parse
from t9k_em_backends.fsspec import FsspecStore
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES

HOME = "/alice/default"


class LooksFirst(StoreWrapper):
    """Makes conditional writes out of two calls, which is right as long as there is one writer."""

    looking = threading.Lock()

    def put(self, key, body, *, if_absent=False):
        if not if_absent:
            return super().put(key, body)
        with self.looking:
            try:
                self.get(key)
            except NotFound:
                return super().put(key, body)
        raise AlreadyExists(key)


@pytest.fixture
def root(webdav):
    return f"{webdav.new_root()}?endpoint={webdav.endpoint}"


@pytest.fixture
def plain(root):
    with FsspecStore.from_uri(parse(root)) as store:
        yield store


class TestWebDAV(ObjectStoreSuite):
    @pytest.fixture
    def store(self, plain):
        return LooksFirst(plain)


class TestWebDAVCopies(CopiesObjectsSuite, SweepsTemporarySuite):
    @pytest.fixture
    def store(self, plain):
        return plain

    def leave_something(self, store):
        with store._driving("") as driver:
            driver.makedirs(store._path(".em/tmp"), exist_ok=True)
            driver.pipe_file(store._path(".em/tmp/half"), b"half")


class TestConditions:
    def test_a_conditional_write_is_refused_with_advice(self, plain):
        with pytest.raises(UnsafeStore, match="unsafe_single_writer=true"):
            plain.put("a", Body.of(b"x"), if_absent=True)
        assert list(plain.list("")) == []

    def test_a_tree_is_refused_and_nothing_is_written(self, root):
        with open_backend(root) as backend:
            with pytest.raises(UnsafeStore, match="unsafe_single_writer=true"):
                backend.begin(make_request(HOME, "m", {}))
            assert list(backend.store.list("")) == []

    def test_a_single_writer_has_a_tree(self, root):
        files = {"a": b"a", "b/#c [d]*": b"x" * 3_000_000}
        with open_backend(f"{root}&unsafe_single_writer=true") as backend:
            first = upload(backend, make_request(HOME, "m", files), files)
            upload(backend, make_request(HOME, "m", {"a": b"b"}, strategy="replace"), {"a": b"b"})
        with open_backend(root) as backend:
            assert [node.generation for node in backend.versions(first.path)] == [2, 1]
            assert read_node(backend, backend.stat(first.path)) == {"a": b"b"}
            assert read_node(backend, first) == files


class TestMark(MarkSuite):
    @pytest.fixture
    def backend(self, root):
        with open_backend(f"{root}&unsafe_single_writer=true") as backend:
            yield backend

    @pytest.fixture
    def new_backend(self, root):
        return lambda: open_backend(f"{root}&unsafe_single_writer=true")


class TestLargeObjects:
    def test_one_that_changes_while_it_is_read_is_never_seen(self, plain):
        data = bytes(MULTIPART_FROM_BYTES + 1)
        plain.put("a", Body.of(b"before"))
        with pytest.raises(SourceChanged):
            plain.put("a", Body(size=len(data), sha256="0" * 64, open=Body.of(data).open))
        assert b"".join(plain.get("a")) == b"before"
        plain.put("a", Body.of(data))
        assert b"".join(plain.get("a")) == data
        assert list(plain.sweep(-60)) == []

    @pytest.mark.parametrize("file", ["/dev/full", "/nowhere/at-all"])
    def test_no_room_for_the_copy_that_is_sent_is_told_with_advice(self, plain, file, monkeypatch):
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda **_: io.FileIO(file, "w"))
        with pytest.raises(LocalError, match="set TMPDIR to a directory that has some"):
            plain.put("a", Body.of(bytes(MULTIPART_FROM_BYTES)))
        assert list(plain.list("")) == []


class TestURIs:
    @pytest.mark.parametrize("uri", ["s5://bucket", "zip://x", "simplecache://x"])
    def test_what_is_no_place_is_an_unknown_scheme(self, uri):
        with pytest.raises(UnknownScheme, match=r"no installed backend serves .*; installed are: file://"):
            open_backend(uri)

    def test_a_driver_that_is_not_installed_is_named(self):
        with pytest.raises(MissingExtra, match=r"abfs:// needs a library.*adlfs"):
            open_backend("abfs://container/root")

    @pytest.mark.parametrize(
        "uri", ["webdav://host/x?speed=fast", "webdav://host/x?endpoint=ftp://host", "gs://b?anonymous=perhaps"]
    )
    def test_an_option_that_means_nothing_is_refused(self, uri):
        with pytest.raises(InvalidURI):
            open_backend(uri)

    @pytest.mark.parametrize("key", ["", "a//b", "../a", "a/./b", "a\0b"])
    def test_what_is_no_key_is_refused(self, plain, key):
        with pytest.raises(InvalidKey):
            plain.get(key)

    def test_a_server_that_is_away_is_unavailable(self):
        with (
            FsspecStore.from_uri(parse("webdav://127.0.0.1:9/x?endpoint=http://127.0.0.1:9")) as store,
            pytest.raises(BackendUnavailable, match="webdav://127.0.0.1:9/x/a"),
        ):
            store.get("a")
