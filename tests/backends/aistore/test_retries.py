"""Requests are repeated where that helps, and streams go on where they broke."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import requests
from attrs import evolve
from tests.backends.aistore.clients import AT_ONCE, Clients
from tests.backends.aistore.scripted import DROP, VERSION, Reply, Request, Scripted, an_error, as_json
from tests.services.aistore import Someone
from tests.services.proxy import LOST, REFUSED, RESET, TRUNCATED, Proxy

from t9k.em import wire
from t9k.em.errors import (
    BackendError,
    BackendUnavailable,
    CommitUnknown,
    CorruptData,
    NotFound,
    RateLimited,
    RequestRefused,
)
from t9k.em.records import Body, FileEntry, Node, Outcome
from t9k.em.testing import finish, make_request, read_node, upload
from t9k.em.uris import parse
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import address_of
from t9k_em_backends.aistore.retries import Retries

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"
NODE = Node(path="/alice/default/m", kind="Run", id="1", generation=1)
DATA = os.urandom(5 << 20)
FILE = FileEntry(key="k", op="o", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())


class Clock:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def retries(self, **changes: Any) -> Retries:
        return evolve(Retries(sleep=self.sleep, clock=lambda: self.now, chance=lambda: 1.0), **changes)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as scripted:
        yield scripted


@pytest.fixture
def backend(server: Scripted) -> Iterator[AIStoreBackend]:
    with AIStoreBackend(address_of(parse(server.url), 5), KEY, retries=AT_ONCE) as backend:
        yield backend


def patient(server: Scripted, retries: Retries) -> AIStoreBackend:
    backend = AIStoreBackend(address_of(parse(server.url), 5), KEY, retries=retries)
    backend.open()
    return backend


def in_turn(*replies: Reply) -> Callable[[Request], Reply]:
    """One reply after the other, the last again and again."""
    numbers = count()
    return lambda _: replies[min(next(numbers), len(replies) - 1)]


A_NODE = as_json(wire.node_json(NODE))


@pytest.mark.parametrize(
    "trouble", [an_error("unavailable"), an_error("rate_limited"), DROP, Reply(status=502), Reply(status=504)]
)
def test_what_may_go_over_is_asked_again(server: Scripted, backend: AIStoreBackend, trouble: Reply) -> None:
    server.answers = in_turn(trouble, trouble, A_NODE)
    assert backend.stat(NODE.path) == NODE
    assert len(server.asked("/nodes")) == 3


@pytest.mark.parametrize(
    "code",
    ["internal", "not_found", "forbidden", "key_unknown", "store_refused", "full", "bad_request", "not_supported"],
)
def test_what_stays_is_not_asked_again(server: Scripted, backend: AIStoreBackend, code: str) -> None:
    server.answers = in_turn(an_error(code))
    with pytest.raises(requests.HTTPError):
        backend.stat(NODE.path)
    assert len(server.asked("/nodes")) == 1


def test_pauses_grow_and_end(server: Scripted) -> None:
    clock = Clock()
    server.answers = in_turn(an_error("unavailable"))
    with patient(server, clock.retries()) as backend, pytest.raises(BackendUnavailable):
        backend.stat(NODE.path)
    assert clock.pauses[:7] == [0.25, 0.5, 1, 2, 4, 8, 8]
    assert 45 < clock.now <= 60


def test_pauses_are_random(server: Scripted) -> None:
    clock = Clock()
    server.answers = in_turn(an_error("unavailable"))
    with patient(server, clock.retries(chance=lambda: 0.5, most=4)) as backend, pytest.raises(BackendUnavailable):
        backend.stat(NODE.path)
    assert clock.pauses == [0.125, 0.25, 0.5]


@pytest.mark.parametrize(("asked", "waited"), [("3", 3), ("999", 30), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("-1", 0)])
def test_a_retry_after_is_honoured_up_to_a_limit(server: Scripted, asked: str, waited: float) -> None:
    clock = Clock()
    server.answers = in_turn(an_error("rate_limited", Retry_After=asked), A_NODE)
    with patient(server, clock.retries(chance=lambda: 0.0)) as backend:
        assert backend.stat(NODE.path) == NODE
    assert clock.pauses == [waited]


def test_a_rate_limit_that_stays_is_told_in_the_end(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = in_turn(an_error("rate_limited", Retry_After="2"))
    with pytest.raises(RateLimited) as caught:
        backend.stat(NODE.path)
    assert caught.value.retry_after_s == 2


def test_a_dropped_connection_is_made_again_at_once(server: Scripted) -> None:
    clock = Clock()
    server.answers = in_turn(A_NODE, DROP, A_NODE)
    with patient(server, clock.retries()) as backend:
        assert [backend.stat(NODE.path) for _ in range(2)] == [NODE] * 2
    assert clock.pauses == []


def test_a_wrong_address_is_told_soon() -> None:
    clock = Clock()
    with Scripted() as server:
        url = server.url
    backend = AIStoreBackend(address_of(parse(url), 5), KEY, retries=clock.retries())
    with pytest.raises(BackendUnavailable):
        backend.open()
    assert clock.now <= 5


@pytest.mark.long
def test_a_connection_is_used_again(alice: Someone, client: Clients) -> None:
    with Proxy(alice.url.removeprefix("http://")) as proxy:
        backend = client(alice, url=f"http://{proxy.address}")
        for _ in range(5):
            backend.stat("/")
        assert len(proxy._wires) == 2, "one from here to the proxy, and one from there to the server"


# A change whose answer was lost happened once.


@pytest.mark.parametrize("fate", [REFUSED, LOST, RESET, TRUNCATED])
def test_everything_may_be_repeated(alice: Someone, client: Clients, fate: str) -> None:
    files = {"a": b"a", "b": b"b" * 2000}
    with Proxy(alice.url.removeprefix("http://")) as proxy:
        backend = client(alice, url=f"http://{proxy.address}", retries=AT_ONCE)
        proxy.fate = lambda exchange: fate if exchange.number % 2 else ""
        node = upload(backend, make_request(f"/{alice.name}/f", "m", files), files)
        assert read_node(backend, node) == files
        assert [child.path for child in backend.list(f"/{alice.name}/f")] == [node.path]
        assert [version.generation for version in backend.versions(node.path)] == [1]
        backend.delete(node.path)
        assert backend.list(f"/{alice.name}/f") == []
        with pytest.raises(NotFound):
            backend.delete(f"/{alice.name}/never")
        assert {exchange.fate for exchange in proxy.exchanges} == {fate, ""}


def test_a_deletion_whose_answer_was_lost_succeeded(server: Scripted, backend: AIStoreBackend) -> None:
    gone = as_json({"items": [wire.node_json(evolve(NODE, deleted=True))], "next": None})
    server.answers = in_turn(DROP, an_error("not_found"), gone)
    backend.delete(NODE.path)
    server.answers = in_turn(an_error("unavailable"), an_error("not_found"))
    with pytest.raises(NotFound):
        backend.delete(NODE.path)


STATE: dict[str, Any] = {"op": "o", "outcome": None, "node": None, "missing": [], "round": 0}
DONE = {**STATE, "outcome": "published", "node": wire.node_json(NODE)}


def test_a_commit_that_nobody_answered_is_unknown(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = in_turn(as_json(STATE))
    begun = backend.begin(make_request("/alice/default", "m", {}))
    server.answers = in_turn(DROP)
    with pytest.raises(CommitUnknown, match="finds out") as caught:
        begun.commit()
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), requests.HTTPError)
    server.answers = in_turn(as_json(DONE))
    assert begun.commit() == NODE
    assert begun.outcome is Outcome.PUBLISHED


def test_a_commit_that_the_server_refused_to_begin_is_no_doubt(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = in_turn(as_json(STATE))
    begun = backend.begin(make_request("/alice/default", "m", {}))
    server.answers = in_turn(an_error("rate_limited"))
    with pytest.raises(RateLimited):
        begun.commit()


def test_a_forgotten_upload_is_begun_again(server: Scripted, backend: AIStoreBackend) -> None:
    contents = {"a": b"a"}
    begins = []

    def answer(request: Request) -> Reply:
        if request.what == "/uploads":
            begins.append(b'"resumed":true' in request.body)
            return as_json({**STATE, "missing": ["a"], "round": 4 if len(begins) == 1 else 0})
        if request.what.endswith("/file") and len(begins) == 1:
            return an_error("upload_not_found")
        return as_json(DONE) if request.what.endswith("/commit") else Reply(status=204)

    server.answers = answer
    begun = finish(backend.begin(make_request("/alice/default", "m", contents)), contents)
    assert begun.node == NODE
    assert begins == [False, True]
    assert {request.query["round"] for request in server.requests if "round" in request.query} == {"4"}


def test_a_forgotten_upload_that_was_published_sends_nothing_more(server: Scripted, backend: AIStoreBackend) -> None:
    contents = {"a": b"a", "b": b"b" * (2 << 20)}
    request = make_request("/alice/default", "m", contents)
    server.answers = in_turn(as_json({**STATE, "missing": ["a", "b"]}))
    begun = backend.begin(request)
    server.answers = in_turn(an_error("upload_not_found"), as_json(DONE))
    begun.put([(file, Body.of(contents[file.key])) for file in reversed(request.files)])
    assert begun.commit() == NODE
    assert len(server.requests) == 5, "the version, the user, two begins, and one file in vain"


def test_a_list_of_files_that_is_too_long_is_not_sent(server: Scripted, backend: AIStoreBackend) -> None:
    files = {f"{number:06d}-{'x' * 200}": b"" for number in range(4000)}
    with pytest.raises(RequestRefused, match="fewer files"):
        backend.begin(make_request("/alice/default", "m", files))
    assert server.asked("/uploads") == []


# Reading.


def content(request: Request, *, most: int = len(DATA), tag: str = FILE.sha256) -> Reply:
    """What a server answers, whose connection breaks after so many bytes."""
    first, _, last = request.headers.get("range", f"bytes=0-{len(DATA) - 1}").removeprefix("bytes=").partition("-")
    data = DATA[int(first) : int(last) + 1]
    return Reply(
        status=206 if "range" in request.headers else 200,
        body=data[:most],
        headers={"ETag": f'"{tag}"', "X-Request-Id": "1"},
        announced=None if len(data) <= most else len(data),
    )


WHOLE = content(Request(method="GET", path="", query={}, headers={}, body=b""))


@pytest.mark.parametrize("most", [1 << 20, 700_001])
def test_a_stream_that_breaks_goes_on_where_it_was(server: Scripted, backend: AIStoreBackend, most: int) -> None:
    server.answers = lambda request: content(request, most=most)
    assert b"".join(backend.read(NODE, FILE)) == DATA
    assert b"".join(backend.read(NODE, FILE, 5, 3 << 20)) == DATA[5 : 3 << 20]
    assert len(server.asked("/nodes/content")) >= 8


def test_a_stream_comes_in_chunks(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = content
    assert [len(chunk) for chunk in backend.read(NODE, FILE)] == [1 << 20] * 5


def test_a_stream_that_gives_nothing_any_more_ends(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = lambda request: content(request, most=0 if "range" in request.headers else 2 << 20)
    with pytest.raises(BackendUnavailable):
        b"".join(backend.read(NODE, FILE))
    assert len(server.asked("/nodes/content")) == 5


def test_a_file_that_became_another_is_not_gone_on_with(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = lambda request: content(
        request, most=1 << 20, tag=FILE.sha256 if "range" not in request.headers else "0" * 64
    )
    chunks = backend.read(NODE, FILE)
    assert next(chunks) == DATA[: 1 << 20]
    with pytest.raises(CorruptData):
        next(chunks)


@pytest.mark.parametrize(
    "reply", [Reply(body=DATA), Reply(body=b"<html>", headers={"ETag": '"1"'}), Reply(status=206, body=DATA)]
)
def test_what_is_not_the_file_is_refused(server: Scripted, backend: AIStoreBackend, reply: Reply) -> None:
    server.answers = in_turn(evolve(reply, headers={**reply.headers, "X-Request-Id": "1"}))
    with pytest.raises(CorruptData, match="other bytes"):
        backend.read(NODE, FILE)


def test_an_answer_whose_head_was_cut_is_asked_for_again(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = in_turn(Reply(body=DATA, headers={"ETag": FILE.sha256[:20]}), WHOLE)
    assert b"".join(backend.read(NODE, FILE)) == DATA


def test_a_missing_file_is_told_before_the_first_chunk(server: Scripted, backend: AIStoreBackend) -> None:
    with pytest.raises(NotFound):
        backend.read(NODE, FILE)
    with pytest.raises(NotFound):
        backend.read(NODE, evolve(FILE, size=0))


def test_a_growing_file_that_breaks_goes_on_where_it_was(server: Scripted, backend: AIStoreBackend) -> None:
    data = DATA[: 2 << 20]

    def answer(request: Request) -> Reply:
        rest = data[int(request.query["start"]) : int(request.query["end"])]
        return Reply(body=rest[:300_000], announced=len(rest))

    server.version = as_json({**VERSION, "abilities": ["parts", "grows"]})
    server.answers = answer
    assert b"".join(patient(server, AT_ONCE).read_grown(NODE, "log", 7, len(data))) == data[7:]
    assert len(server.asked("/runs/content")) == 7


def test_where_nothing_grows_nothing_is_asked(server: Scripted, backend: AIStoreBackend) -> None:
    for use in (
        lambda: backend.append(NODE, "log", 0, b"x"),
        lambda: backend.grown(NODE),
        lambda: backend.read_grown(NODE, "log"),
    ):
        with pytest.raises(RequestRefused, match="runs in progress"):
            use()
    assert [request.what for request in server.requests] == ["/version", "/user"]


def test_what_is_not_read_to_its_end_leaves_no_connection_open(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = content
    for _ in range(3):
        chunks = backend.read(NODE, FILE)
        next(chunks)
        chunks.close()
    assert b"".join(backend.read(NODE, FILE)) == DATA


def test_an_answer_of_another_version_is_no_index_error(server: Scripted, backend: AIStoreBackend) -> None:
    server.answers = in_turn(as_json({}))
    with pytest.raises(BackendError, match="upgrade"):
        backend.begin(make_request("/alice/default", "m", {}))
    with pytest.raises(BackendError, match="upgrade"):
        backend.list("/")
