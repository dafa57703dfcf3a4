"""Large files go straight to and from the store behind a server where that is possible, else through the server."""

from __future__ import annotations

import io
import logging
import random
from functools import partial

import pytest
from attrs import evolve
from tests.backends.aistore.clients import AT_ONCE, Clients
from tests.backends.aistore.scripted import VERSION, Reply, Request, Scripted, an_error, as_json
from tests.services.aistore import AIStorePlace, Someone
from tests.services.processes import free_port
from tests.services.proxy import Proxy

from t9k.em import wire
from t9k.em.errors import CorruptData, SourceChanged
from t9k.em.records import Body, FileEntry, Node, SignedRequest, SignedUpload
from t9k.em.testing import make_request, read_node, upload
from t9k.em.uris import parse
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import address_of
from t9k_em_backends.aistore.direct import DIRECT_BYTES

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"
MIB = 1 << 20
WHOLE = random.Random(2).randbytes(DIRECT_BYTES + 5)  # one signed request
PARTS = random.Random(3).randbytes(20 * MIB + 5)  # several
SMALL = WHOLE[: DIRECT_BYTES - 1]
CONTENTS = {"whole": WHOLE, "parts": PARTS, "small": SMALL}
NODE = Node(path="/alice/default/m", kind="Run", id="1", generation=1)


@pytest.fixture
def bob(over_s3: AIStorePlace) -> Someone:
    return over_s3.someone(prefix="bob")


def through_server(proxy: Proxy) -> list[tuple[str, str]]:
    """The method and key of all requests that carried bytes of files."""
    found = []
    for exchange in proxy.exchanges:
        path, _, query = exchange.target.partition("?")
        if path.endswith(("/file", "/part", "/content", "/batch")):
            found.append((exchange.method, query.partition("key=")[2].partition("&")[0]))
    return found


def test_the_server_moves_no_large_file(bob: Someone, client: Clients, caplog: pytest.LogCaptureFixture) -> None:
    with Proxy(bob.url.removeprefix("http://")) as proxy, caplog.at_level(logging.INFO, "t9k_em_backends"):
        backend = client(bob, url=f"http://{proxy.address}")
        node = upload(backend, make_request(f"/{bob.name}/default", "m", CONTENTS), CONTENTS)
        assert read_node(backend, node) == CONTENTS
        parts = next(file for file in backend.files(node) if file.key == "parts")
        assert b"".join(backend.read(node, parts, 5, 5 + DIRECT_BYTES)) == PARTS[5 : 5 + DIRECT_BYTES]
        assert sorted(set(through_server(proxy))) == [("GET", "small"), ("PUT", "small")]
    assert caplog.records == []


@pytest.mark.long
def test_direct_false_takes_the_way_through_the_server(bob: Someone, client: Clients) -> None:
    with Proxy(bob.url.removeprefix("http://")) as proxy:
        backend = client(bob, url=f"http://{proxy.address}?direct=false")
        node = upload(backend, make_request(f"/{bob.name}/default", "m", CONTENTS), CONTENTS)
        assert read_node(backend, node) == CONTENTS
        assert {key for _, key in through_server(proxy)} == {"whole", "parts", "small"}
        assert not any("sign" in exchange.target for exchange in proxy.exchanges)


@pytest.mark.long
@pytest.mark.parametrize("size", [len(WHOLE), len(PARTS)])
def test_a_file_that_changed_is_not_told_to_be_there(bob: Someone, client: Clients, size: int) -> None:
    data = PARTS[:size]
    backend = client(bob)
    begun = backend.begin(request := make_request(f"/{bob.name}/default", "m", {"f": data}))
    wrong = evolve(Body.of(data), open=partial(io.BytesIO, data[:-1] + b"\0"))
    with pytest.raises(SourceChanged):
        begun.put([(request.files[0], wrong)])
    assert begun.missing == list(request.files)
    assert begun.commit() is None
    node = upload(backend, evolve(request, resumed=True), {"f": data})
    assert read_node(backend, node) == {"f": data}


class Store:
    """A server, scripted, whose store is scripted as well: it keeps what comes, and does what it is told to."""

    def __init__(self, server: Scripted, store: Scripted) -> None:
        server.version = as_json({**VERSION, "abilities": ["parts", "direct"]})
        server.answers = self.serve
        store.answers = self.keep
        self.url = store.url
        self.refusals: list[Reply] = []
        self.kept: dict[int, bytes] = {}
        self.through: dict[int, bytes] = {}
        self.signed = 0
        self.size = len(PARTS)

    def serve(self, request: Request) -> Reply:
        what = request.what.rpartition("/")[2]
        state = {"op": "o", "outcome": None, "node": None, "missing": ["f"], "round": 0}
        if what == "uploads":
            return as_json(state)
        if what == "commit":
            return as_json({**state, "outcome": "published", "node": wire.node_json(NODE), "missing": []})
        if what == "sign":
            self.signed += 1
            starts = [start for start in range(0, self.size, DIRECT_BYTES) if start not in self.kept]
            requests = [self._sign("PUT", start, min(DIRECT_BYTES, self.size - start)) for start in starts]
            return as_json(wire.signed_upload_json(SignedUpload(requests=tuple(requests), token="t")))
        if what == "signed" and request.method == "GET":
            self.signed += 1
            return as_json(wire.signed_json(self._sign("GET", 0, 0)))
        if what == "signed":
            whole = sum(map(len, self.kept.values())) == self.size
            return Reply(status=204) if whole else an_error("not_found")
        if what in ("part", "file"):
            self.through[int(request.query.get("start", 0))] = request.body
        if what == "content":
            return self._range(request, PARTS, {"ETag": f'"{Body.of(PARTS).sha256}"', "X-Request-Id": "1"})
        return Reply(status=204)

    def keep(self, request: Request) -> Reply:
        assert "authorization" not in request.headers
        assert request.query["X-Amz-Signature"] == "s3cret"
        if self.refusals:
            return self.refusals.pop(0)
        if request.method == "GET":
            return self._range(request, PARTS, {"ETag": '"e"'})
        assert request.headers["x-amz-meta"] == "1"
        self.kept[int(request.query["start"])] = request.body
        return Reply()

    def _sign(self, method: str, start: int, size: int) -> SignedRequest:
        url = f"{self.url}/bucket/f?start={start}&X-Amz-Signature=s3cret"
        return SignedRequest(method=method, url=url, headers={"x-amz-meta": "1"}, start=start, size=size)

    def _range(self, request: Request, data: bytes, headers: dict[str, str]) -> Reply:
        if "range" not in request.headers:
            return Reply(body=data, headers=headers)
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        return Reply(status=206, body=data[int(first) : int(last) + 1], headers=headers)


@pytest.fixture
def scene():
    with Scripted() as server, Scripted() as bucket:
        store = Store(server, bucket)
        with AIStoreBackend(address_of(parse(server.url), 5), KEY, retries=AT_ONCE) as backend:
            yield backend, store


def send(backend: AIStoreBackend, data: bytes = PARTS) -> None:
    begun = backend.begin(request := make_request("/alice/default", "m", {"f": data}))
    begun.put([(request.files[0], Body.of(data))])
    assert begun.missing == []


FILE = FileEntry(key="f", op="o", size=len(PARTS), sha256=Body.of(PARTS).sha256)
BUSY = [Reply(status=503), Reply(status=500), Reply(drop=True)]


def whole(parts: dict[int, bytes]) -> bytes:
    return b"".join(parts[start] for start in sorted(parts))


def test_a_busy_store_is_asked_again(scene) -> None:
    backend, store = scene
    store.refusals = [BUSY[2], BUSY[0]]
    send(backend)
    assert (whole(store.kept), store.through) == (PARTS, {})
    store.refusals = list(BUSY)
    assert b"".join(backend.read(NODE, FILE)) == PARTS


@pytest.mark.long
def test_a_signature_that_ended_is_made_again(scene) -> None:
    backend, store = scene
    send(backend)
    store.kept.clear()
    store.refusals = [Reply(status=403)]
    send(backend)
    assert (whole(store.kept), store.through) == (PARTS, {})
    assert store.signed == 3
    broken = Reply(status=206, body=PARTS[:MIB], headers={"ETag": '"e"'}, announced=len(PARTS))
    store.refusals = [broken, Reply(status=403)]
    assert b"".join(backend.read(NODE, FILE)) == PARTS
    assert store.signed == 5


def test_a_part_that_did_not_arrive_is_sent_again(scene) -> None:
    backend, store = scene
    keep = store.keep
    lost: list[bytes] = []

    def lose(request: Request) -> Reply:
        reply = keep(request)
        if not lost and request.query["start"] == str(DIRECT_BYTES):
            lost.append(store.kept.pop(DIRECT_BYTES))
        return reply

    with Scripted(answers=lose) as bucket:
        store.url = bucket.url
        send(backend)
        assert len(bucket.requests) == 4, "three parts, and one of them again"
    assert whole(store.kept) == PARTS
    assert len(lost) == 1


def test_parts_of_another_process_are_not_built_upon(scene) -> None:
    backend, store = scene
    store.kept = {DIRECT_BYTES: b"\0" * DIRECT_BYTES}
    send(backend)
    assert whole(store.through) == PARTS
    assert list(store.kept) == [DIRECT_BYTES]


@pytest.mark.long
@pytest.mark.parametrize("reply", [Reply(status=403), Reply(status=400), Reply(status=307), Reply(status=404)])
def test_a_store_that_refuses_is_left_alone(scene, caplog: pytest.LogCaptureFixture, reply: Reply) -> None:
    backend, store = scene
    store.refusals = [reply] * 100
    with caplog.at_level(logging.INFO, "t9k_em_backends"):
        send(backend)
        send(backend)
        assert b"".join(backend.read(NODE, FILE)) == PARTS
    assert (whole(store.through), store.kept, store.signed) == (PARTS, {}, 1)
    (record,) = caplog.records
    assert "through" in record.getMessage()
    assert str(reply.status) in record.getMessage()
    assert "s3cret" not in record.getMessage()


def test_a_store_that_cannot_be_reached_from_here_is_left_alone(scene, caplog: pytest.LogCaptureFixture) -> None:
    backend, store = scene
    store.url = f"http://127.0.0.1:{free_port()}"
    with caplog.at_level(logging.INFO, "t9k_em_backends"):
        assert b"".join(backend.read(NODE, FILE)) == PARTS
        send(backend)
    assert (whole(store.through), store.kept, store.signed) == (PARTS, {}, 1)
    assert "refuses connections" in caplog.text


def test_a_store_that_breaks_in_the_middle_of_a_file_is_read_on_from_there(scene) -> None:
    backend, store = scene
    half = len(PARTS) // 2
    store.refusals = [
        Reply(status=206, body=PARTS[:half], headers={"ETag": '"e"'}, announced=len(PARTS)),
        Reply(status=503),
    ]
    assert b"".join(backend.read(NODE, FILE)) == PARTS


def test_a_file_that_is_replaced_while_it_is_read_is_found_out(scene) -> None:
    backend, store = scene
    store.refusals = [
        Reply(status=206, body=PARTS[:MIB], headers={"ETag": '"before"'}, announced=len(PARTS)),
        Reply(status=206, body=PARTS[MIB:], headers={"ETag": '"after"'}),
    ]
    with pytest.raises(CorruptData, match="replaced"):
        b"".join(backend.read(NODE, FILE))


def test_a_store_that_gives_no_ranges_is_left_alone(scene) -> None:
    backend, store = scene
    store.refusals = [Reply(body=PARTS)] * 3
    assert b"".join(backend.read(NODE, FILE, 7)) == PARTS[7:]


@pytest.mark.long
def test_a_server_that_signs_nothing_is_asked_once(scene) -> None:
    _, store = scene
    serve = store.serve
    signs = []

    def refuse(request: Request) -> Reply:
        if "sign" in request.what:
            signs.append(request)
            return an_error("not_supported")
        return serve(request)

    with Scripted(version=as_json({**VERSION, "abilities": ["parts", "direct"]}), answers=refuse) as server:
        other = AIStoreBackend(address_of(parse(server.url), 5), KEY, retries=AT_ONCE)
        send(other)
        assert b"".join(other.read(NODE, FILE)) == PARTS
        other.close()
    assert whole(store.through) == PARTS
    assert len(signs) == 1
