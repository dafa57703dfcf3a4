"""What only the store by s3fs does: large objects in parts, secrets kept, errors told, forks survived."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys

import pytest
from attrs import evolve
from botocore import exceptions
from tests.faults.s3clients import proxied
from tests.services import stub

from t9k.em.errors import (
    AlreadyExists,
    BackendError,
    BackendPermissionError,
    BackendUnavailable,
    InvalidURI,
    NotFound,
    SourceChanged,
    UnsafeStore,
)
from t9k.em.records import Body, Origin
from t9k.em.registry import open_backend
from t9k.em.testing import make_request, read_node, upload
from t9k.em.uris import parse
from t9k_em_backends.s3 import s3fs_store as driver
from t9k_em_backends.s3.s3fs_store import S3fsStore
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES, PART_BYTES

HOME = "/alice/default"
LARGE = bytes(range(256)) * (2 * PART_BYTES // 256) + b"odd end" * 1000


def open_store(root):
    return S3fsStore.from_uri(parse(root))


def get(store, key, *span):
    return b"".join(store.get(key, *span))


def keys(store):
    return sorted(info.key for info in store.list(""))


class Watched:
    """Counts what a store asks its service for."""

    def __init__(self, store, monkeypatch):
        self.asked: list[str] = []
        real = store._call

        async def call(operation, **parameters):
            self.asked.append(operation)
            return await real(operation, **parameters)

        monkeypatch.setattr(store, "_call", call)


@pytest.fixture
def root(s3):
    return s3.new_root()


@pytest.fixture
def store(root):
    with open_store(root) as store:
        yield store


class TestLargeObjects:
    def test_they_go_in_parts_and_come_back(self, store, monkeypatch):
        watched = Watched(store, monkeypatch)
        info = store.put("a", Body.of(LARGE))
        assert watched.asked.count("upload_part") == 3
        assert (info.size, info.etag[-2:]) == (len(LARGE), "-3")
        assert get(store, "a") == LARGE
        assert get(store, "a", PART_BYTES - 1, PART_BYTES + 1) == LARGE[PART_BYTES - 1 : PART_BYTES + 1]
        (listed,) = store.list("")
        assert store.recognizes(listed, Body.of(LARGE))
        assert not store.recognizes(listed, Body.of(LARGE[:-1] + b"x"))

    def test_one_that_was_interrupted_goes_on_with_the_parts_that_are_there(self, root, store, monkeypatch):
        class Torn(io.BytesIO):
            def read(self, size=-1, /):
                if self.tell() >= 2 * PART_BYTES:
                    raise KeyboardInterrupt
                return super().read(size)

        with pytest.raises(KeyboardInterrupt):
            store.put("a", evolve(Body.of(LARGE), open=lambda: Torn(LARGE)))
        assert keys(store) == []
        with open_store(root) as another:
            watched = Watched(another, monkeypatch)
            another.put("a", Body.of(LARGE))
            assert watched.asked.count("upload_part") == 1
            assert get(another, "a") == LARGE
            assert list(another.sweep(-60)) == []

    def test_one_that_changes_while_it_is_read_is_never_seen_and_leaves_nothing(self, store):
        store.put("a", Body.of(b"before"))
        with pytest.raises(SourceChanged):
            store.put("a", evolve(Body.of(LARGE), sha256="0" * 64))
        assert get(store, "a") == b"before"
        assert list(store.sweep(-60)) == []

    def test_a_conditional_one_is_one_request_which_is_what_was_probed(self, store, monkeypatch):
        watched = Watched(store, monkeypatch)
        store.put("a", Body.of(LARGE), if_absent=True)
        with pytest.raises(AlreadyExists):
            store.put("a", Body.of(LARGE[::-1]), if_absent=True)
        assert watched.asked == ["put_object", "put_object"]
        assert get(store, "a") == LARGE

    def test_one_that_is_copied_passes_the_limit_of_one_request_in_parts(self, store, monkeypatch):
        monkeypatch.setattr(driver, "COPY_LIMIT_BYTES", 1 << 20)
        store.put("a", Body.of(LARGE))
        assert store.copy("a", "b").size == len(LARGE)
        assert get(store, "b") == LARGE


class TestSmallObjects:
    def test_the_service_is_told_the_checksum_and_refuses_other_bytes(self, moto):
        with open_store(moto.new_root()) as store:
            data = b"bytes"
            assert store.put("a", Body.of(data)).etag == hashlib.md5(data).hexdigest()
            info = next(store.list(""))
            assert store.recognizes(info, Body.of(data))
            assert not store.recognizes(info, Body.of(b"bytez"))

    @pytest.mark.parametrize("key", ["a?versionId=b", "model*.pt", "a[1].txt"])
    def test_no_key_is_cut_or_expanded(self, store, key):
        others = ["a", "model1.pt", "a1.txt"]
        store.put_many([(other, Body.of(b"other")) for other in others])
        store.put(key, Body.of(b"own"))
        store.copy(key, "copy")
        assert get(store, key) == get(store, "copy") == b"own"
        store.delete([key])
        assert keys(store) == sorted([*others, "copy"])

    def test_what_another_store_of_the_service_holds_is_copied_there(self, s3, store, monkeypatch):
        with open_store(s3.new_root()) as source:
            told = source.put("a", Body.of(b"bytes"))
            origin = Origin(store=source, key="a", etag=told.etag)
            watched = Watched(store, monkeypatch)
            store.put_many([("b", evolve(Body.of(b"bytes"), origin=origin))])
            assert "put_object" not in watched.asked
            with pytest.raises(SourceChanged):
                store.put("c", evolve(Body.of(b"other"), origin=evolve(origin, etag="0" * 32)))
            assert "delete_objects" not in watched.asked  # the service itself has seen it
        assert get(store, "b") == b"bytes"
        assert keys(store) == ["b"]

    @pytest.mark.parametrize("service", ["s3", "moto"])  # moto copies whatever is there
    def test_a_copy_may_have_another_etag_as_long_as_the_source_has_its_own(self, request, service, monkeypatch):
        place = request.getfixturevalue(service)
        with open_store(place.new_root()) as source, open_store(place.new_root()) as store:
            real = store._call

            async def encrypted(operation, **parameters):
                answer = await real(operation, **parameters)
                if operation == "copy_object":
                    answer["CopyObjectResult"]["ETag"] = f'"{"e" * 32}"'
                return answer

            monkeypatch.setattr(store, "_call", encrypted)
            origin = Origin(store=source, key="a", etag=source.put("a", Body.of(b"bytes")).etag)
            store.put("b", evolve(Body.of(b"bytes"), origin=origin))
            assert get(store, "b") == b"bytes"
            source.put("a", Body.of(b"bytez"))
            with pytest.raises(SourceChanged):
                store.put("c", evolve(Body.of(b"bytes"), origin=origin))
            assert keys(store) == ["b"]

    def test_the_bytes_are_sent_where_a_copy_is_refused_or_another_one_asks(self, s3, root):
        with proxied(s3) as proxy, open_store(f"{root}?endpoint=http://{proxy.address}") as store:
            proxy.instead = stub.script(stub.DENIED, of="CopyObject")
            store.put("a", Body.of(b"bytes"))
            assert store.put("b", evolve(Body.of(b"bytes"), origin=Origin(store=store, key="a"))).size == 5
            assert "CopyObject" in map(stub.operation, proxy.exchanges)
            assert get(store, "b") == b"bytes"
            assert not store.copies_from(open_store(f"{root}?endpoint=http://{proxy.address}&anonymous=true"))


class TestConditions:
    def test_a_service_that_ignores_them_is_refused(self, rclone_s3):
        root = f"{rclone_s3.new_root()}?driver=fsspec"
        with open_backend(root) as backend, pytest.raises(UnsafeStore, match="unsafe_single_writer=true"):
            backend.begin(make_request(HOME, "m", {}))
        with open_backend(f"{root}&unsafe_single_writer=true") as backend:
            node = upload(backend, make_request(HOME, "m", {"a": b"a"}), {"a": b"a"})
            assert read_node(backend, node) == {"a": b"a"}


class TestErrors:
    @pytest.mark.long
    def test_each_says_what_to_do(self, root, monkeypatch):
        with open_store(root) as store, pytest.raises(NotFound):
            store.get("a")
        with pytest.raises(InvalidURI, match="s3://nobody-made-this/root: there is no such bucket"):
            open_store("s3://nobody-made-this/root").open()
        monkeypatch.setattr(driver, "TRIES", 2)
        away = "http://127.0.0.1:9"
        with pytest.raises(BackendUnavailable, match=f"at {away} cannot be reached; check the network"):
            open_store(f"{root}?endpoint={away}").open()
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        store = open_store(root)
        for ask in (store.open, lambda: store.put("a", Body.of(LARGE[:MULTIPART_FROM_BYTES]))):
            with pytest.raises(BackendPermissionError, match="credentials are wrong"):
                ask()
        store.close()
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
            monkeypatch.delenv(name)
        with pytest.raises(BackendPermissionError, match="no credentials were found"):
            open_store(root).open()

    @pytest.mark.parametrize(
        ("status", "code", "kind", "advice"),
        [
            (400, "InvalidArgument", BackendError, r"refuses the request \(InvalidArgument\)"),
            (400, "EntityTooLarge", BackendError, r"refuses the request \(EntityTooLarge\)"),
            (400, "KMS.DisabledException", BackendError, r"refuses the request \(KMS.DisabledException\)"),
            (405, "MethodNotAllowed", BackendError, r"refuses the request \(MethodNotAllowed\)"),
            (301, "PermanentRedirect", InvalidURI, "lies in another region"),
        ],
    )
    def test_a_final_refusal_is_none_that_passes(self, s3, root, status, code, kind, advice):
        with proxied(s3) as proxy, open_store(f"{root}?endpoint=http://{proxy.address}") as store:
            proxy.instead = stub.script(stub.Answer(status=status, code=code), of="PutObject|HeadBucket")
            with pytest.raises(kind, match=advice) as caught:
                store.put("a", Body.of(b"x"))
            assert not isinstance(caught.value, BackendUnavailable)

    def test_credentials_that_cannot_be_got_again_are_told(self, s3, root, monkeypatch, tmp_path):
        """The process that gives them works once, for those that look whether there are any."""
        keys = f'{{"Version": 1, "AccessKeyId": "{s3.access_key}", "SecretAccessKey": "{s3.secret_key}"}}'
        (tmp_path / "keys").write_text(keys)
        (tmp_path / "once").write_text(f"cat {tmp_path}/keys && rm {tmp_path}/keys")
        (tmp_path / "config").write_text(f"[default]\ncredential_process = sh {tmp_path}/once\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
            monkeypatch.delenv(name)
        with pytest.raises(BackendPermissionError, match="credentials cannot be got"):
            open_store(root).put("a", Body.of(b"x"))
        assert not (tmp_path / "keys").exists()

    @pytest.mark.parametrize(
        "error",
        [exceptions.UnauthorizedSSOTokenError(), exceptions.TokenRetrievalError(provider="sso", error_msg="expired")],
        ids=lambda error: type(error).__name__,
    )
    def test_a_login_that_has_expired_meanwhile_is_told(self, store, error, monkeypatch):
        async def call(*_, **__):
            raise error

        monkeypatch.setattr(store, "_call", call)
        with pytest.raises(BackendPermissionError, match="aws sso login"):
            store.put("a", Body.of(b"x"))

    def test_an_object_that_changes_while_it_is_read_is_told(self, store):
        store.put("a", Body.of(LARGE))
        reading = store.get("a")
        assert LARGE.startswith(next(reading))
        store.put("a", Body.of(LARGE[::-1]))
        with pytest.raises(BackendUnavailable, match="changed while it was read; read it again"):
            list(reading)

    @pytest.mark.long
    def test_no_secret_is_told_or_logged(self, s3, root, monkeypatch, caplog, capfd):
        caplog.set_level(logging.DEBUG)
        secrets = [s3.secret_key, "session-token-that-nobody-sees"]
        told = []
        for _ in range(2):
            store = open_store(root)
            for put in (Body.of(b"x"), Body.of(LARGE)):
                with contextlib.suppress(BackendPermissionError):  # the second time, for the token is made up
                    store.put("a", put)
            with pytest.raises((NotFound, BackendPermissionError)) as caught:
                store.get("missing")
            error = caught.value
            told += [repr(store), str(error), repr(error), repr(error.__cause__), pickle.dumps(store).decode("latin1")]
            store.close()
            monkeypatch.setenv("AWS_SESSION_TOKEN", secrets[1])
        assert "put_object" in caplog.text
        told += [caplog.text, *capfd.readouterr()]
        assert not [secret for secret in secrets if secret in "".join(told)]


class TestProcesses:
    def test_what_asks_for_credentials_never_stops_the_requests_of_others(self, root, monkeypatch):
        """The driver is made in the thread that asks, also when it first asks for something in parts."""
        loops = []
        real = driver.find_access

        def find_access(place):
            loops.append(asyncio._get_running_loop())
            return real(place)

        monkeypatch.setattr(driver, "find_access", find_access)
        store = open_store(root)
        with store._multipart() as multipart:
            assert list(multipart.pending(store._key("a"))) == []
        store.close()
        assert loops == [None]

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_fork_makes_connections_of_its_own(self, store):
        store.put("a", Body.of(b"before the fork"))
        context = multiprocessing.get_context("fork")
        answers = context.Queue()

        def child() -> None:
            store.put_many([("b", Body.of(b"from the fork"))])
            answers.put(get(store, "a"))
            store.close()

        store._budget.take(1 << 40)  # the fork is made while others transfer
        process = context.Process(target=child, daemon=True)
        with store._slots._changed:
            process.start()
        assert answers.get(timeout=60) == b"before the fork"
        process.join(60)
        assert process.exitcode == 0
        store._budget.give(1 << 40)
        assert get(store, "b") == b"from the fork"

    def test_a_pickled_store_finds_its_own_credentials(self, store):
        store.put("a", Body.of(b"x"))
        with pickle.loads(pickle.dumps(store)) as another:
            assert get(another, "a") == b"x"

    @pytest.mark.long
    def test_a_process_that_closes_nothing_ends_in_silence(self, root):
        code = (
            "import sys; from t9k.em.records import Body; from t9k.em.uris import parse\n"
            "from t9k_em_backends.s3.s3fs_store import S3fsStore\n"
            "store = S3fsStore.from_uri(parse(sys.argv[1])); store.put('a', Body.of(b'x'))\n"
            "assert b''.join(store.get('a')) == b'x'"
        )
        ended = subprocess.run(
            [sys.executable, "-W", "always", "-c", code, root],
            env=os.environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (ended.stdout, ended.stderr) == ("", "")
