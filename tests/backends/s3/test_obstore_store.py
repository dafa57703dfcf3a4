"""`ObstoreStore` keeps the contract of the port over a real S3."""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing
import os
import pickle
import selectors
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from attrs import evolve
from botocore.config import Config
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.backends.s3.scripted import open_descriptors

from t9k.em.errors import (
    BackendError,
    BackendPermissionError,
    BackendUnavailable,
    CorruptData,
    InvalidKey,
    InvalidURI,
    NotFound,
    SourceChanged,
)
from t9k.em.memory.budget import Budget
from t9k.em.records import Body, Origin
from t9k.em.registry import open_backend
from t9k.em.testing import (
    BackendSuite,
    CollectsSuite,
    CopiesObjectsSuite,
    DescentSuite,
    FillsBuffersSuite,
    GrowsSuite,
    ObjectStoreSuite,
    ServesUsersSuite,
    SweepsTemporarySuite,
    TakesPartsSuite,
    backend_machine,
    make_request,
    object_store_machine,
    read_node,
    upload,
)
from t9k.em.transfer.copying import copy_node
from t9k.em.uris import parse
from t9k_em_backends.s3.obstore_store import SMALL_BYTES, ObstoreStore
from t9k_em_backends.s3.plain_http.client import Sockets
from t9k_em_backends.s3.plain_http.connection import Refused
from t9k_em_backends.s3.plain_http.pool import Pool
from t9k_em_backends.shared.part_size import MIB, MULTIPART_FROM_BYTES, PART_BYTES


def a_file(path, data: bytes) -> Body:
    """A body that is a file of this machine."""
    path.write_bytes(data)
    return evolve(Body.of(data), path=path)


def open_store(root: str) -> ObstoreStore:
    return ObstoreStore.from_uri(parse(root))


class _OnSeaweedFS:
    @pytest.fixture
    def root(self, s3):
        return s3.new_root()

    @pytest.fixture
    def store(self, root):
        with open_store(root) as store:
            yield store

    @pytest.fixture
    def new_store(self, root):
        return lambda: open_store(root)

    def leave_something(self, store):
        """A multipart upload that nobody completes."""
        clients = store._open()
        clients.multipart._create(store._key("half"))


class TestObstoreStore(_OnSeaweedFS, ObjectStoreSuite, CopiesObjectsSuite, FillsBuffersSuite, SweepsTemporarySuite):
    pass


@pytest.mark.long
class TestObstoreStoreAlone(_OnSeaweedFS, ObjectStoreSuite, CopiesObjectsSuite, FillsBuffersSuite):
    """The same where nothing goes over sockets of our own, as with TLS: the folder `plain_http` could be deleted."""

    @pytest.fixture
    def root(self, s3, monkeypatch):
        def fail(*_, **__):
            raise AssertionError("a socket of our own")

        monkeypatch.setattr(Pool, "__init__", fail)
        return f"{s3.new_root()}?plain_http=false"


@pytest.mark.long
class TestObstoreStoreInsteadOfSockets(_OnSeaweedFS, ObjectStoreSuite, FillsBuffersSuite):
    """The same where the service never answers these as was hoped."""

    @pytest.fixture(autouse=True)
    def _refused(self, monkeypatch):
        def read_into(*_):
            raise Refused("not today")

        monkeypatch.setattr(Sockets, "read_into", read_into)
        monkeypatch.setattr(Sockets, "put_many", lambda _, objects, *__: [None] * len(objects))


@pytest.mark.long
class TestObstoreStoreOnMoto(ObjectStoreSuite, CopiesObjectsSuite):
    @pytest.fixture
    def store(self, moto):
        with open_store(moto.new_root()) as store:
            yield store


@pytest.mark.long
class TestObstoreBackend(BackendSuite, DescentSuite, CollectsSuite, ServesUsersSuite, TakesPartsSuite, GrowsSuite):
    @pytest.fixture
    def root(self, s3):
        return f"{s3.new_root()}?driver=obstore"

    @pytest.fixture
    def backend(self, root):
        with open_backend(root) as backend:
            yield backend

    @pytest.fixture
    def new_backend(self, root):
        return lambda: open_backend(root)


QUICK = settings(max_examples=5, stateful_step_count=20, deadline=None)
HOME = "/alice/default"


def test_any_history_of_the_store_is_that_of_a_dict(s3):
    run_state_machine_as_test(object_store_machine(lambda: open_store(s3.new_root())), settings=QUICK)


def test_any_history_of_two_clients_is_that_of_the_reference(s3):
    def clients():
        root = s3.new_root()
        return [open_backend(f"{root}?driver=obstore") for _ in range(2)]

    run_state_machine_as_test(backend_machine(clients), settings=QUICK)


class TestReading:
    @pytest.mark.long
    @pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 6 * PART_BYTES + 3])
    def test_the_pieces_of_a_large_object_come_in_order(self, s3, size):
        data = b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]
        with open_store(s3.new_root()) as store:
            store.put("a", Body.of(data))
            assert b"".join(store.get("a")) == data
            assert b"".join(store.get("a", 0, size + 1)) == data
            assert b"".join(store.get("a", 5, size - 5)) == data[5 : size - 5]

    def test_a_large_object_that_is_replaced_while_it_is_read_is_never_mixed(self, s3):
        with open_store(s3.new_root()) as store:
            store.put("a", Body.of(b"a" * 64 * MIB))
            chunks = store.get("a")
            read = [bytes(next(chunks))]
            store.put("a", Body.of(b"b" * 64 * MIB))
            with pytest.raises(BackendError):
                read.extend(map(bytes, chunks))
            assert set(b"".join(read)) == {ord("a")}

    def test_leaving_a_stream_gives_its_room_back(self, s3):
        with open_store(s3.new_root()) as store:
            store.put("a", Body.of(bytes(64 * MIB)))
            for _ in range(4):
                chunks = store.get("a")
                for _ in range(10):
                    next(chunks)
                chunks.close()
            assert store._budget.taken_bytes == 0


@pytest.mark.long
def test_files_joined_at_once_do_not_wait_for_room_that_the_others_hold(s3):
    data = bytes(MULTIPART_FROM_BYTES)
    contents = {str(number): data for number in range(3)}
    with open_backend(f"{s3.new_root()}?driver=obstore") as backend:
        backend.store._budget = Budget(PART_BYTES * 2)
        backend.close()  # what opens again uses it
        begun = backend.begin(make_request(HOME, "m", contents))
        files = [*begun.missing]
        for file in files:
            for start in (0, PART_BYTES):
                begun.put_part(file, start, Body.of(data[start : start + PART_BYTES]))
        with ThreadPoolExecutor(len(files)) as pool:
            for joined in [pool.submit(begun.join_parts, file) for file in files]:
                joined.result(timeout=60)
        assert list(begun.missing) == []


class TestProcesses:
    def test_pickled_it_is_its_address_and_no_secret(self, s3):
        with open_store(s3.new_root()) as store:
            store.put("a", Body.of(b"x"))
            pickled = pickle.dumps(store)
            assert s3.secret_key.encode() not in pickled
            assert b"".join(pickle.loads(pickled).get("a")) == b"x"

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_fork_opens_the_place_anew_by_another_driver(self, s3):
        root = s3.new_root()
        with open_backend(root) as backend:
            assert isinstance(backend.store, ObstoreStore)
            node = upload(backend, make_request(HOME, "m", {"a": b"a"}), {"a": b"a"})
            context = multiprocessing.get_context("fork")
            answers = context.Queue()

            def child() -> None:
                answers.put(read_node(backend, backend.stat(node.path)))
                answers.put(upload(backend, make_request(HOME, "n", {"b": b"b"}), {"b": b"b"}).path)
                answers.put(type(backend.store).__name__)

            process = context.Process(target=child)
            process.start()
            assert answers.get(timeout=60) == {"a": b"a"}
            assert answers.get(timeout=60) == f"{HOME}/n"
            assert answers.get(timeout=60) == "S3fsStore"
            process.join(60)
            assert read_node(backend, backend.stat(f"{HOME}/n")) == {"b": b"b"}

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_fork_that_insists_on_obstore_is_told_so_and_does_not_hang(self, s3):
        with open_store(s3.new_root()) as store:
            store.put("a", Body.of(b"x"))
            context = multiprocessing.get_context("fork")
            answers = context.Queue()

            def child() -> None:
                try:
                    store.get("a")
                except BackendError as error:
                    answers.put(str(error))

            process = context.Process(target=child)
            process.start()
            assert "was forked after it was used; start processes with 'spawn'" in answers.get(timeout=60)
            process.join(60)


@pytest.fixture
def other_bucket(s3):
    """URI of a new root in a bucket of its own."""
    client = boto3.session.Session().client("s3", config=Config(s3={"addressing_style": "path"}))
    with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=f"{s3.bucket}-2")
    return f"s3://{s3.bucket}-2/{s3.new_root()[-10:]}"


class TestCopies:
    def test_what_lies_in_another_bucket_is_copied_by_the_service(self, s3, other_bucket):
        data = bytes(range(256)) * 100
        large = bytes(MULTIPART_FROM_BYTES)
        with open_store(s3.new_root()) as source, open_store(other_bucket) as target:
            for key, content in (("a b#?", data), ("large", large)):
                etag = source.put(key, Body.of(content)).etag
                origin = Origin(store=source, key=key, etag=etag)
                body = evolve(Body.of(content), origin=origin, open=lambda: pytest.fail("the bytes need not be read"))
                assert target.put(key, body).size == len(content)
                assert b"".join(target.get(key)) == content

    @pytest.mark.parametrize("keep_etags", [False, True], ids=["seen at once", "seen by the listing"])
    def test_a_source_that_is_not_what_was_uploaded_any_more_is_not_published(self, s3, keep_etags):
        with open_backend(f"{s3.new_root()}?driver=obstore") as backend:
            node = upload(backend, make_request(HOME, "m", {"a": b"right"}), {"a": b"right"})
            (file,) = backend.files(node)
            backend.store.put(backend.origin(node, file).key, Body.of(b"wrong"))
            backend.store._open().copies_keep_etags = keep_etags
            backend.store._open().plain_http = None  # over which each is looked at
            with pytest.raises(CorruptData if keep_etags else SourceChanged, match=r"as it was sent|was uploaded"):
                copy_node(backend, node.path, backend, f"{HOME}/copies", make_folder=True)
            assert list(backend.list(f"{HOME}/copies")) == []

    def test_a_service_that_gives_copies_another_etag_may_copy_all_the_same(self, s3, monkeypatch):
        """As those do that encrypt with a key of their own."""
        look = ObstoreStore._look
        with open_backend(f"{s3.new_root()}?driver=obstore") as backend:
            node = upload(backend, make_request(HOME, "m", {"a": b"right"}), {"a": b"right"})

            def other(store, key):
                info = look(store, key)
                return evolve(info, etag="f" * 32) if "copies" in key else info

            monkeypatch.setattr(ObstoreStore, "_look", other)
            listed = ObstoreStore.list

            def listing(store, prefix):
                return (evolve(info, etag="f" * 32) if "copies" in info.key else info for info in listed(store, prefix))

            monkeypatch.setattr(ObstoreStore, "list", listing)
            _, copied = copy_node(backend, node.path, backend, f"{HOME}/copies", make_folder=True)
            assert read_node(backend, copied) == {"a": b"right"}

    def test_a_source_of_another_size_leaves_no_copy(self, s3):
        with open_store(s3.new_root()) as store:
            etag = store.put("a", Body.of(bytes(MULTIPART_FROM_BYTES))).etag
            body = evolve(Body.of(bytes(MULTIPART_FROM_BYTES + 1)), origin=Origin(store=store, key="a", etag=etag))
            with pytest.raises(SourceChanged):
                store.put("b", body)
            assert [info.key for info in store.list("")] == ["a"]


def _copied(store, key, data):
    """What an object of a store holds, for others to copy without reading it."""
    origin = Origin(store=store, key=key, etag=store.put(key, Body.of(data)).etag)
    return evolve(Body.of(data), origin=origin, open=lambda: pytest.fail("the bytes need not be read"))


@pytest.fixture
def copied_over_sockets(monkeypatch):
    """The keys in the bucket of what was written over sockets."""
    paths: list[str] = []
    put_many = Sockets.put_many

    def noted(sockets, writes, *rest):
        etags = put_many(sockets, writes, *rest)
        paths.extend(write.path for write, etag in zip(writes, etags, strict=True) if etag)
        return etags

    monkeypatch.setattr(Sockets, "put_many", noted)
    return paths


class TestManyAtOnce:
    def test_small_and_large_ones_arrive_each_with_its_etag(self, s3, tmp_path, monkeypatch):
        over_sockets: list[str | None] = []
        put_many = Sockets.put_many

        def noted(sockets, objects, *rest):
            etags = put_many(sockets, objects, *rest)
            over_sockets.extend(etags)
            return etags

        monkeypatch.setattr(Sockets, "put_many", noted)
        contents = {f"{number}": bytes([number]) * (number * 700) for number in range(100)}
        contents["large"] = bytes(SMALL_BYTES + 1)
        with open_store(s3.new_root()) as store:
            infos = store.put_many([(key, a_file(tmp_path / key, data)) for key, data in contents.items()])
            listed = {info.key: info for info in store.list("")}
            assert [info.key for info in infos] == [*contents]
            for info in infos:
                assert (info.size, info.etag) == (len(contents[info.key]), listed[info.key].etag)
                assert b"".join(store.get(info.key)) == contents[info.key]
            assert len(over_sockets) == 1 + max(n for n in range(100) if n * 700 <= SMALL_BYTES)
            assert None not in over_sockets

    def test_those_that_are_not_small_go_at_once_too(self, s3):
        meeting = threading.Barrier(20, timeout=30)

        def opened(data):
            meeting.wait()
            return io.BytesIO(data)

        with open_store(s3.new_root()) as store:
            data = bytes(SMALL_BYTES + 1)
            body = evolve(Body.of(data), open=lambda: opened(data))
            infos = store.put_many([(str(number), body) for number in range(20)])
            assert [info.key for info in infos] == [str(number) for number in range(20)]

    def test_what_is_wrong_is_told_as_for_one(self, s3, tmp_path, monkeypatch):
        store = open_store(s3.new_root())
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        with pytest.raises(BackendPermissionError, match="credentials are wrong"):
            store.put_many([(str(number), a_file(tmp_path / "a", b"x")) for number in range(5)])
        store.close()

    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_a_file_that_is_gone_is_told_as_for_one(self, s3, tmp_path, at):
        def gone():
            return (tmp_path / "gone").open("rb")

        bodies = [a_file(tmp_path / "a", b"x")] * 3
        bodies[at] = evolve(bodies[at], open=gone)
        with open_store(s3.new_root()) as store, pytest.raises(FileNotFoundError):
            store.put_many([(str(number), body) for number, body in enumerate(bodies)])

    def test_one_key_twice_is_as_one_put_after_the_other(self, s3, tmp_path):
        contents = [("a", b"1"), ("b", b"2"), ("a", bytes(SMALL_BYTES + 1)), ("c", b"3"), ("c", b"4")]
        with open_store(s3.new_root()) as store:
            infos = store.put_many([(key, a_file(tmp_path / "file", data)) for key, data in contents])
            assert [(info.key, info.size) for info in infos] == [(key, len(data)) for key, data in contents]
            for key, data in dict(contents).items():
                assert b"".join(store.get(key)) == data

    @pytest.mark.long
    def test_copies_of_what_another_bucket_has_go_without_their_bytes_each_known_to_be_right(
        self, s3, other_bucket, copied_over_sockets
    ):
        keys = ["a", "b/100%", "b/a b+c", "b/\N{SNOWMAN}", "b/\N{IDEOGRAPHIC SPACE}", "b/q?x=1&y=%2f"]
        contents = {key: key.encode() * 100 for key in keys}
        with open_store(s3.new_root()) as source, open_store(other_bucket) as target:
            items = [(f"to/{key}", _copied(source, key, data)) for key, data in contents.items()]
            infos = target.put_many(items)
            assert [info.key for info in infos] == [key for key, _ in items]
            listed = {info.key: info for info in target.list("")}
            for info, (key, data) in zip(infos, contents.items(), strict=True):
                assert (info.size, info.etag) == (len(data), listed[f"to/{key}"].etag)
                assert b"".join(target.get(f"to/{key}")) == data
            assert [path.partition("/")[2] for path in copied_over_sockets] == [f"to/{key}" for key in keys]

    @pytest.mark.parametrize("replaced", ["0", "3"])
    @pytest.mark.parametrize("keep_etags", [False, True])
    @pytest.mark.parametrize("over_sockets", [False, True])
    def test_copies_of_what_was_replaced_are_refused_and_not_left(self, s3, keep_etags, over_sockets, replaced):
        with open_store(s3.new_root()) as store:
            items = [(f"to/{n}", _copied(store, str(n), b"right")) for n in range(5)]
            clients = store._open()
            clients.copies_keep_etags, clients.copies_over_http = keep_etags, over_sockets
            store.put(replaced, Body.of(b"other"))
            with pytest.raises(SourceChanged):
                store.put_many(items)
            assert all(b"".join(store.get(info.key)) == b"right" for info in store.list("to/"))

    def test_batches_that_begin_at_once_all_go_over_sockets(self, s3, copied_over_sockets):
        with open_store(s3.new_root()) as store, ThreadPoolExecutor(8) as pool:
            batches = [[(f"to/{m}/{n}", _copied(store, f"{m}/{n}", b"right")) for n in range(5)] for m in range(8)]
            for infos in pool.map(store.put_many, batches):
                assert len(infos) == 5
        assert len(copied_over_sockets) == 40

    def test_after_one_that_cannot_be_copied_the_next_ones_are(self, s3, copied_over_sockets):
        with open_store(s3.new_root()) as store:
            items = [(f"to/{n}", _copied(store, str(n), b"right")) for n in range(5)]
            store.delete(["0"])
            with pytest.raises(NotFound):
                store.put_many(items)
            copied_over_sockets.clear()
            store.put_many(items[1:])
            assert len(copied_over_sockets) == 4

    def test_a_service_that_never_copies_so_is_tried_a_few_times(self, s3, monkeypatch):
        tried = []
        monkeypatch.setattr(Sockets, "put_many", lambda _, writes, *__: tried.append(1) or [None] * len(writes))
        with open_store(s3.new_root()) as store:
            items = [(f"to/{n}", _copied(store, str(n), b"right")) for n in range(5)]
            for _ in range(5):
                store.put_many(items)
        assert len(tried) == 3

    def test_who_may_not_look_at_a_copy_sends_the_bytes(self, s3, monkeypatch):
        def denied(*_):
            raise BackendPermissionError("no HEAD")

        with open_store(s3.new_root()) as store:
            items = [
                (f"to/{n}", evolve(_copied(store, str(n), b"right"), open=lambda: io.BytesIO(b"right")))
                for n in range(5)
            ]
            monkeypatch.setattr(ObstoreStore, "_look", denied)
            assert [info.key for info in store.put_many(items)] == [key for key, _ in items]

    def test_a_service_whose_listing_tells_other_etags_of_copies_is_found_out_by_one(self, s3, monkeypatch):
        asked = []
        put_many, look = Sockets.put_many, ObstoreStore._look
        monkeypatch.setattr(Sockets, "put_many", lambda *arguments: asked.append(1) or put_many(*arguments))

        def other(store, key):
            return evolve(look(store, key), etag="f" * 32) if key.startswith("to/") else look(store, key)

        monkeypatch.setattr(ObstoreStore, "_look", other)
        with open_store(s3.new_root()) as store:
            items = [(f"to/{n}", _copied(store, str(n), b"right")) for n in range(5)]
            for _ in range(2):
                assert [info.etag for info in store.put_many(items)] == ["f" * 32] * 5
        assert len(asked) == 1

    def test_without_more_descriptors_it_goes_the_long_way(self, s3, tmp_path, monkeypatch):
        def none():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with open_store(s3.new_root()) as store:
            store.open()
            monkeypatch.setattr(selectors, "DefaultSelector", none)
            store.put_many([(str(number), a_file(tmp_path / "a", b"x")) for number in range(5)])
            assert {info.key for info in store.list("")} == set("01234")


class TestLetGo:
    def test_what_a_store_had_goes_with_it(self, s3):
        store = open_store(s3.new_root())
        store.put("a", Body.of(b"x"))
        clients = weakref.ref(store._open())
        store.close()
        del store
        assert clients() is None

    def test_many_that_were_used_leave_few_descriptors(self, s3, tmp_path):
        before = open_descriptors()
        for _ in range(10):
            with open_store(s3.new_root()) as store:
                store._open().plain_http = None  # so that all goes by obstore
                store.put_many([(str(number), a_file(tmp_path / "a", b"x")) for number in range(50)])
        del store
        deadline = time.monotonic() + 30
        while (left := open_descriptors() - before) > 100 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left <= 100


class TestErrors:
    @pytest.mark.long
    def test_a_wrong_key_a_missing_bucket_and_a_server_that_is_away_say_what_to_do(self, s3, monkeypatch):
        root = s3.new_root()
        with open_store(root) as store:
            store.put("a", Body.of(b"x"))
            with pytest.raises(InvalidKey, match="too long"):
                store.put("k" * 200 + "/" + "/".join(["x" * 200] * 5), Body.of(b"x"))
        with (
            pytest.raises(InvalidURI, match="s3://nobody-made-this/root: there is no such bucket"),
            open_store("s3://nobody-made-this/root"),
        ):
            pass
        away = "http://127.0.0.1:9"
        with (
            pytest.raises(BackendUnavailable, match=f"at {away} cannot be reached"),
            open_store(f"{root}?endpoint={away}"),
        ):
            pass
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        with pytest.raises(BackendPermissionError, match="credentials are wrong") as caught, open_store(root):
            pass
        assert "another-secret" not in repr(caught.value)

    def test_large_files_meet_the_same_errors(self, s3, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        body = Body.of(bytes(MULTIPART_FROM_BYTES))
        store = open_store(s3.new_root())
        with pytest.raises(BackendPermissionError, match="credentials are wrong"):
            store.put("a", body)
        store.close()
