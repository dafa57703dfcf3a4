"""What a network and a service do to uploads and downloads: replies get lost or cut, requests are refused or put off."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from tests.faults.s3clients import DRIVERS, HOME, Uploader, first_of, proxied, through
from tests.services import stub
from tests.services.places import S3Place
from tests.services.proxy import LOST, REFUSED, RESET, STALLED, TRUNCATED, Proxy, at, every

from t9k.em.errors import (
    BackendError,
    BackendPermissionError,
    BackendUnavailable,
    CommitUnknown,
    CorruptData,
    EMError,
    InvalidURI,
    UnsafeStore,
)
from t9k.em.records import Body, Outcome
from t9k.em.registry import open_backend
from t9k.em.testing.uploads import read_node
from t9k.em.transfer.downloading import download_files

CONTENTS = {"a": b"a" * 100, "b/c": b"bb" * 1000, "empty": b""}
OTHER = {"a": b"other"}
LARGE = {"large": os.urandom(1 << 20) * 17}
TOKEN = "tHe/session+token/tHaT/nobody+shall/see"
PARTS = "UploadPart|CreateMultipartUpload"
Result = TypeVar("Result")
pytestmark = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture
def proxy(s3: S3Place) -> Iterator[Proxy]:
    with proxied(s3) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore waits for up to 20 s between two tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


@pytest.fixture
def root(s3: S3Place) -> str:
    return s3.new_root()


def nodes(root: str, driver: str) -> dict[tuple[str, int], dict[str, bytes]]:
    """All that was ever published in the home, by path and generation, as somebody else sees it."""
    with open_backend(f"{root}?driver={driver}") as backend:
        return {
            (node.path, node.generation): read_node(backend, node)
            for path in {node.path for node in backend.list(HOME)}
            for node in backend.versions(path)
        }


def in_the_end(act: Callable[[], Result], tries: int = 2) -> Result:
    """Does it again when the outcome is unknown, as the error says."""
    for left in reversed(range(tries)):
        try:
            return act()
        except (BackendUnavailable, CommitUnknown) as error:
            if not left or "run the same command again" not in str(error):
                raise
    raise AssertionError


class TestOneReplyOfAnUpload:
    @pytest.mark.long
    @pytest.mark.parametrize(
        ("strategy", "taken", "fate", "first"),
        [
            ("error", False, LOST, 1),
            ("error", False, RESET, 2),
            ("new", True, LOST, 2),
            ("new", False, TRUNCATED, 1),
            ("replace", True, TRUNCATED, 2),
            ("replace", True, REFUSED, 1),
        ],
    )
    def test_goes_wrong_and_the_same_upload_again_publishes_it_once(
        self, strategy: str, taken: bool, fate: str, first: int, driver: str, s3: S3Place, proxy: Proxy
    ) -> None:
        every_number = itertools.count(1) if driver == "obstore" else itertools.count(first, 2)  # s3fs takes its time
        for number in every_number:
            root = s3.new_root()
            if taken:
                with open_backend(f"{root}?driver={driver}") as direct:
                    Uploader(OTHER).upload(direct)
            proxy.forget()
            proxy.fate = at(number, fate)
            uploader = Uploader(CONTENTS, strategy)
            with through(proxy, driver, root) as backend:
                outcome, node = in_the_end(partial(uploader.upload, backend))
            there = nodes(root, driver)
            expected = {(node.path, node.generation): CONTENTS, **({(f"{HOME}/m", 1): OTHER} if taken else {})}
            assert (outcome, there) == (Outcome.PUBLISHED, expected), f"reply {number}: {proxy.exchanges}"
            assert (node.path == f"{HOME}/m") == (strategy != "new" or not taken)
            if len(proxy.exchanges) < number:
                return

    @pytest.mark.long
    @pytest.mark.parametrize("at_what", ["PutObject .*/b/c", "PutObject .*/h/m/", "ListObjects"])
    def test_never_comes_and_a_timeout_ends_the_wait(self, at_what: str, driver: str, proxy: Proxy, root: str) -> None:
        proxy.fate = first_of(at_what, STALLED)
        uploader = Uploader(CONTENTS, "error")
        with through(proxy, driver, root, timeout=2) as backend:
            assert in_the_end(lambda: uploader.upload(backend), tries=5)[0] is Outcome.PUBLISHED
        assert STALLED in [exchange.fate for exchange in proxy.exchanges]
        assert nodes(root, driver) == {(f"{HOME}/m", 1): CONTENTS}

    @pytest.mark.long
    @pytest.mark.parametrize(
        "of", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListMultipartUploads|ListObjects"]
    )
    @pytest.mark.parametrize("fate", [LOST, RESET])
    def test_of_a_large_file(self, of: str, fate: str, driver: str, proxy: Proxy, root: str) -> None:
        proxy.fate = first_of(of, fate)
        uploader = Uploader(LARGE, "error")
        with through(proxy, driver, root) as backend:
            assert in_the_end(lambda: uploader.upload(backend))[0] is Outcome.PUBLISHED
        assert fate in [exchange.fate for exchange in proxy.exchanges]
        assert nodes(root, driver) == {(f"{HOME}/m", 1): LARGE}


@pytest.mark.parametrize("fate", [LOST, RESET, REFUSED])
def test_with_every_seventh_reply_gone_wrong_an_upload_gets_through(
    fate: str, driver: str, proxy: Proxy, root: str
) -> None:
    proxy.fate = every(7, fate)
    uploader = Uploader(CONTENTS, "error")
    with through(proxy, driver, root) as backend:
        assert in_the_end(lambda: uploader.upload(backend), tries=10)[0] is Outcome.PUBLISHED
    assert nodes(root, driver) == {(f"{HOME}/m", 1): CONTENTS}


@pytest.mark.long
def test_latency_changes_nothing(driver: str, proxy: Proxy, root: str) -> None:
    proxy.delay_s = 0.03
    with through(proxy, driver, root) as backend:
        Uploader(CONTENTS, "error").upload(backend)
        assert read_node(backend, backend.stat(f"{HOME}/m")) == CONTENTS


@pytest.mark.long
@pytest.mark.parametrize("fate", [LOST, RESET, TRUNCATED])
def test_a_download_is_right_or_an_error_whichever_reply_goes_wrong(
    fate: str, driver: str, s3: S3Place, proxy: Proxy, root: str, tmp_path: Path
) -> None:
    contents = {**CONTENTS, "pieces": os.urandom(9 << 20)}
    with open_backend(f"{root}?driver={driver}") as direct:
        Uploader(contents).upload(direct)
    for number in itertools.count(1):
        target = tmp_path / str(number)
        target.mkdir()
        proxy.forget()
        proxy.fate = at(number, fate)
        with through(proxy, driver, root) as backend:
            for _ in range(2):
                try:
                    download_files(backend, backend.stat(f"{HOME}/m"), target)
                except (BackendUnavailable, CorruptData):
                    assert downloaded(target).items() <= contents.items(), f"reply {number}"
                    proxy.fate = lambda _: ""
                else:
                    break
        assert downloaded(target) == contents
        if len(proxy.exchanges) < number:
            return


def downloaded(target: Path) -> Mapping[str, bytes]:
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


class TestWhatTheServiceSays:
    @pytest.mark.parametrize(
        ("answer", "kind", "advice"),
        [
            (stub.EXPIRED, BackendPermissionError, "have expired; get new ones"),
            (stub.EXPIRED_403, BackendPermissionError, "have expired; get new ones"),
            (stub.INVALID_TOKEN, BackendPermissionError, "the credentials are wrong"),
            (stub.WRONG_KEY, BackendPermissionError, "the credentials are wrong"),
            (stub.WRONG_SECRET, BackendPermissionError, "the credentials are wrong"),
            (stub.DENIED, BackendPermissionError, "do not allow this"),
            (stub.SKEWED, BackendPermissionError, "set the clock"),
            (stub.NO_BUCKET, InvalidURI, "there is no such bucket"),
        ],
        ids=lambda value: f"{value.code}-{value.status}" if isinstance(value, stub.Answer) else "",
    )
    @pytest.mark.parametrize("of", ["PutObject", "ListObjects", "GetObject", PARTS])
    def test_is_told_in_one_line_that_says_what_to_do(
        self,
        answer: stub.Answer,
        kind: type[EMError],
        advice: str,
        of: str,
        driver: str,
        s3: S3Place,
        proxy: Proxy,
        root: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if of != PARTS:
            monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)  # which SeaweedFS would refuse
            before = stub.script(answer, of=of)
            proxy.instead = lambda exchange: before(exchange) or _fake(exchange)
        else:
            proxy.instead = stub.script(answer, of=of)
        with through(proxy, driver, root) as backend:
            act: dict[str, Callable[[], object]] = {
                "ListObjects": lambda: backend.list(HOME),
                "GetObject": lambda: b"".join(backend.store.get("x")),
                "PutObject": lambda: backend.store.put("x", Body.of(b"x")),
                PARTS: lambda: backend.store.put("x", Body.of(LARGE["large"])),
            }
            with pytest.raises(kind) as caught:
                act[of]()
        message = str(caught.value)
        assert message.startswith(root.rpartition("/")[0])
        assert advice in message
        assert "\n" not in message
        assert TOKEN not in message
        assert s3.secret_key not in message
        assert caught.value.__cause__ is None

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("answer", "of", "times"),
        [
            (stub.SLOW_DOWN, "PutObject /b/c$", 2),
            (stub.SLOW_DOWN, "PutObject /h/m/", 2),
            (stub.SLOW_DOWN, "ListObjects", 2),
            (stub.INTERNAL, "PutObject /h/m/", 1),
            (stub.TOO_MANY, "PutObject /a$", 1),
            (stub.TOO_MANY, "PutObject /h/m/", 1),
            (stub.CONFLICT, "PutObject /h/m/", 2),
            (stub.PRECONDITION, "PutObject /h/m/", 2),
        ],
        ids=lambda value: value.code if isinstance(value, stub.Answer) else None,
    )
    def test_and_means_later_is_tried_again(
        self,
        answer: stub.Answer,
        of: str,
        times: int,
        driver: str,
        proxy: Proxy,
        root: str,
    ) -> None:
        operation, _, key = of.partition(" ")
        proxy.instead = stub.script(answer, of=operation, key=key, times=times)
        with through(proxy, driver, root) as backend:
            assert Uploader(CONTENTS, "error").upload(backend)[0] is Outcome.PUBLISHED
        assert [exchange.status for exchange in proxy.exchanges].count(answer.status) >= times
        assert nodes(root, driver) == {(f"{HOME}/m", 1): CONTENTS}

    @pytest.mark.long
    @pytest.mark.parametrize("answer", [stub.SLOW_DOWN, stub.INTERNAL, stub.TOO_MANY])
    def test_and_means_later_about_a_part_is_tried_again(
        self, answer: stub.Answer, driver: str, proxy: Proxy, root: str
    ) -> None:
        proxy.instead = stub.script(answer, of="UploadPart", times=1)
        with through(proxy, driver, root) as backend:
            assert Uploader(LARGE, "error").upload(backend)[0] is Outcome.PUBLISHED
        assert nodes(root, driver) == {(f"{HOME}/m", 1): LARGE}

    def test_and_means_later_for_ever_is_told(self, driver: str, proxy: Proxy, root: str) -> None:
        proxy.instead = stub.script(stub.SLOW_DOWN, of="PutObject", key="/b/c")
        uploader = Uploader(CONTENTS, "error")
        with through(proxy, driver, root) as backend:
            with pytest.raises(
                BackendUnavailable, match=r"b/c: the store is busy; run the same command again"
            ) as caught:
                uploader.upload(backend)
            assert "\n" not in str(caught.value)
            proxy.instead = lambda _: None
            assert uploader.upload(backend)[0] is Outcome.PUBLISHED
        assert nodes(root, driver) == {(f"{HOME}/m", 1): CONTENTS}

    @pytest.mark.long
    def test_a_conflict_that_does_not_end_is_no_answer_to_whether_it_is_there(
        self, driver: str, proxy: Proxy, root: str
    ) -> None:
        uploader = Uploader(CONTENTS, "error")
        with through(proxy, driver, root) as backend:
            backend.sleep = lambda _: None
            proxy.instead = stub.script(stub.CONFLICT, of="PutObject", key="/h/m/")
            with pytest.raises(CommitUnknown, match="run the same command again"):
                uploader.upload(backend)
            proxy.instead = lambda _: None
            assert uploader.upload(backend)[0] is Outcome.PUBLISHED
        assert nodes(root, driver) == {(f"{HOME}/m", 1): CONTENTS}

    def test_success_with_an_error_in_it_is_none_for_a_large_file(self, driver: str, proxy: Proxy, root: str) -> None:
        uploader = Uploader(LARGE, "error")
        proxy.instead = stub.script(stub.OK_WITH_ERROR, of="CompleteMultipartUpload", times=1)
        with through(proxy, driver, root) as backend:
            assert in_the_end(lambda: uploader.upload(backend))[0] is Outcome.PUBLISHED
        assert "CompleteMultipartUpload" in map(stub.operation, proxy.exchanges)
        assert nodes(root, driver) == {(f"{HOME}/m", 1): LARGE}

    def test_success_with_an_error_in_it_is_none_for_a_copy(self, driver: str, proxy: Proxy, root: str) -> None:
        with through(proxy, driver, root) as backend:
            store = backend.store
            store.put("x", Body.of(b"x"))
            proxy.instead = stub.script(stub.OK_WITH_ERROR, of="CopyObject")
            with pytest.raises(BackendError):
                store.copy("x", "y")
            assert [info.key for info in store.list("")] == ["x"]
            proxy.instead = stub.script(stub.OK_WITH_ERROR, of="CopyObject", times=1)
            in_the_end(lambda: store.copy("x", "y"))
            assert b"".join(store.get("y")) == b"x"


def _fake(exchange: object) -> bytes:
    return b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "d41d8cd98f00b204e9800998ecf8427e"\r\n\r\n'


class TestIgnoredConditions:
    """A service whose answers to conditions cannot be believed; moto checks no signature that would give it away."""

    def test_are_found_out(self, driver: str, moto: S3Place) -> None:
        root = moto.new_root()
        with proxied(moto) as proxy, through(proxy, driver, root) as backend:
            proxy.instead = stub.ignoring_conditions()
            with pytest.raises(UnsafeStore, match=f"{root}.*unsafe_single_writer=true"):
                Uploader(CONTENTS).upload(backend)
            assert list(backend.store.list("")) == []

    def test_matter_where_conditions_are_used_only(self, driver: str, moto: S3Place) -> None:
        with proxied(moto) as proxy, through(proxy, driver, moto.new_root()) as backend:
            proxy.instead = stub.ignoring_conditions(of="CompleteMultipartUpload")
            asked: list[str] = []
            ignoring = proxy.instead
            proxy.instead = lambda exchange: (
                (asked.append(stub.operation(exchange)) if "if-none-match" in exchange.headers else None)
                or ignoring(exchange)
            )
            Uploader({**CONTENTS, **LARGE}, "error").upload(backend)
            assert set(asked) == {"PutObject"}
            assert read_node(backend, backend.stat(f"{HOME}/m")) == {**CONTENTS, **LARGE}
